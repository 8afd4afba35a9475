//! What the status topic says.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What the status topic says besides `online`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Presence {
    /// State of the link to Ankaios: `connected`, `disconnected` or `closed`.
    pub ankaios: String,
    /// Why it is not connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Presence {
    /// Whether requests can be served.
    pub(super) fn is_connected(&self) -> bool {
        self.reason.is_none()
    }
}

/// The payload of the status topic: `online` with a presence, `offline` without.
pub(super) fn status(since: &str, replica: Option<&str>, presence: Option<&Presence>) -> Bytes {
    #[derive(Serialize)]
    struct Payload<'a> {
        status: &'a str,
        version: &'a str,
        since: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        replica: Option<&'a str>,
        #[serde(flatten)]
        presence: Option<&'a Presence>,
    }
    let status = if presence.is_some() { "online" } else { "offline" };
    let payload = Payload { status, version: env!("CARGO_PKG_VERSION"), since, replica, presence };
    serde_json::to_vec(&payload).expect("strings always become JSON").into()
}

/// What a connector needs to know of the status that another one has published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    /// It is there.
    pub(super) online: bool,
    /// Its name, if it is one of several.
    pub(super) replica: Option<String>,
    /// Since when it is, or was, there. Tells a process from another one of the same
    /// name.
    pub(super) since: Option<String>,
}

impl Status {
    /// Reads a payload; `None` if it is not one of a connector.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Payload {
            status: String,
            replica: Option<String>,
            since: Option<String>,
        }
        let Payload { status, replica, since } = serde_json::from_slice(payload).ok()?;
        Some(Self { online: status == "online", replica, since })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let presence = Presence { ankaios: "connected".into(), reason: None };
        for replica in [None, Some("a")] {
            for presence in [None, Some(&presence)] {
                let read = Status::read(&status("now", replica, presence)).unwrap();
                assert_eq!(read.online, presence.is_some());
                assert_eq!(
                    (read.replica.as_deref(), read.since.as_deref()),
                    (replica, Some("now"))
                );
            }
        }
        let alone = status("now", None, None);
        assert!(!String::from_utf8_lossy(&alone).contains("replica"));
    }

    #[test]
    fn what_is_no_status_is_not_read() {
        for payload in [&b""[..], b"online", b"{}", b"[]", b"{\"status\": 1}", b"\xff"] {
            assert_eq!(Status::read(payload), None);
        }
    }
}
