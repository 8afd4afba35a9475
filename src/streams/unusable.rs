//! Why a retained record is not used.

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
    /// It is not used, because anybody who may publish for the vehicle can have retained it. It is
    /// removed from the broker.
    #[error("{0}")]
    Untrusted(&'static str),
    /// It cannot be used now. The broker keeps it.
    #[error("{0}")]
    NotNow(&'static str),
}

/// Whether a record that the broker has retained may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetainedUse {
    Allowed,
    /// See [`Unusable::Untrusted`].
    Untrusted(&'static str),
    /// See [`Unusable::NotNow`].
    NotNow(&'static str),
}

impl RetainedUse {
    /// `Ok` if it may be used.
    pub(super) fn check(self) -> Result<(), Unusable> {
        match self {
            Self::Allowed => Ok(()),
            Self::Untrusted(reason) => Err(Unusable::Untrusted(reason)),
            Self::NotNow(reason) => Err(Unusable::NotNow(reason)),
        }
    }
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
