//! The status of a connector, retained on `connector/status`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Whether a connector is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Availability {
    /// It serves requests.
    Online,
    /// It does not; also whatever later versions may say.
    #[serde(other)]
    Offline,
}

/// The state of the link to Ankaios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnkaiosLink {
    /// Ankaios answers.
    Connected,
    /// No agent is there, or it does not answer.
    Disconnected,
    /// The agent has closed the session and will not answer in it again.
    Closed,
}

/// What a connector says about its link to Ankaios.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkReport {
    /// The state of the link.
    pub ankaios: AnkaiosLink,
    /// Why it is not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The status of a connector: its birth message, its last will and its farewell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectorStatus {
    /// Whether it is there.
    pub status: Availability,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// Since when it is, or was, online: RFC 3339. The farewell and the last will have the
    /// same as the birth message, which tells one process from another of the same name.
    #[serde(default)]
    pub since: Option<String>,
    /// Its name, if it is one of several replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<String>,
    /// Its link to Ankaios, while it is online.
    #[serde(flatten)]
    pub link: Option<LinkReport>,
}

impl ConnectorStatus {
    /// The payload of the message.
    #[must_use]
    pub fn to_payload(&self) -> Bytes {
        serde_json::to_vec(self).expect("strings always become JSON").into()
    }

    /// Reads a payload; `None` if it is not the status of a connector.
    #[must_use]
    pub fn from_payload(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn status(replica: Option<&str>, link: Option<LinkReport>) -> ConnectorStatus {
        ConnectorStatus {
            status: if link.is_some() { Availability::Online } else { Availability::Offline },
            version: "1.2.3".into(),
            since: Some("now".into()),
            replica: replica.map(str::to_owned),
            link,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let link = LinkReport { ankaios: AnkaiosLink::Connected, reason: None };
        for replica in [None, Some("a")] {
            for link in [None, Some(link.clone())] {
                let status = status(replica, link);
                let payload = status.to_payload();
                assert_eq!(ConnectorStatus::from_payload(&payload), Some(status));
            }
        }
        let alone = status(None, None).to_payload();
        assert_eq!(&*alone, br#"{"status":"offline","version":"1.2.3","since":"now"}"#);
    }

    #[test]
    fn less_than_this_version_writes_is_read() {
        let read = ConnectorStatus::from_payload(br#"{"status": "paused"}"#).unwrap();
        assert_eq!(read.status, Availability::Offline);
        assert_eq!((read.replica, read.since, read.link), (None, None, None));
        let read = ConnectorStatus::from_payload(br#"{"status": "online", "ankaios": "new"}"#);
        assert_eq!(read.unwrap().status, Availability::Online);
    }

    #[test]
    fn what_is_no_status_is_not_read() {
        for payload in [&b""[..], b"online", b"{}", b"[]", b"{\"status\": 1}", b"\xff"] {
            assert_eq!(ConnectorStatus::from_payload(payload), None);
        }
    }
}
