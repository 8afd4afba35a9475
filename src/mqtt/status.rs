//! What the status topic says.

use bytes::Bytes;
use serde::Serialize;

/// What the status topic says besides `online`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Presence {
    /// State of the link to Ankaios: `connected`, `disconnected` or `closed`.
    pub ankaios: String,
    /// Why it is not connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The payload of the status topic.
pub(super) fn status(status: &str, since: &str, presence: Option<&Presence>) -> Bytes {
    #[derive(Serialize)]
    struct Status<'a> {
        status: &'a str,
        version: &'a str,
        since: &'a str,
        #[serde(flatten)]
        presence: Option<&'a Presence>,
    }
    let status = Status { status, version: env!("CARGO_PKG_VERSION"), since, presence };
    serde_json::to_vec(&status).expect("strings always become JSON").into()
}
