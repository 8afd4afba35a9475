//! The reasons why a retained record is not used.

use bytes::Bytes;
use mqtt_session::Refused;

/// Why a record is not used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    /// It is invalid; the text names the field and the reason. It is removed from the broker.
    #[error("{0}")]
    Invalid(String),
    /// Its lifetime is over. It is removed from the broker.
    #[error("it has expired")]
    Expired,
    /// There is no room for it now. The broker keeps it.
    #[error("{0}")]
    NotNow(&'static str),
}

/// The bytes of a record, at most `max`.
pub(super) fn bytes(payload: Result<Bytes, Refused>, max: usize) -> Result<Bytes, Unusable> {
    let too_large =
        |size| Unusable::Invalid(format!("the record has {size} bytes; the limit is {max}"));
    match payload {
        Ok(payload) if payload.len() > max => Err(too_large(payload.len())),
        Ok(payload) => Ok(payload),
        Err(Refused::TooLarge { size }) => Err(too_large(size)),
        Err(Refused::TooMany) => Err(Unusable::NotNow("too many messages arrive at a time")),
    }
}
