//! The status of a connector, a retained message on `connector/status`.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};

/// Whether a connector serves requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Availability {
    /// The connector serves requests.
    Online,
    /// The connector does not serve requests. Also stands for values of later versions.
    #[serde(other)]
    Offline,
}

/// The state of the link to Ankaios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnkaiosLink {
    /// Ankaios answers.
    Connected,
    /// There is no agent, or it does not answer.
    Disconnected,
    /// The agent has closed the session and will not answer in it again.
    Closed,
}

/// The link to Ankaios in the status of a connector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkReport {
    /// The state of the link.
    pub ankaios: AnkaiosLink,
    /// Why the link is not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The status of a connector. It is published when the connector starts and when its link changes,
/// as the will, and before a clean shutdown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectorStatus {
    /// Whether the connector serves requests.
    pub status: Availability,
    /// The version of the connector; empty if it is not a string.
    #[serde(default, deserialize_with = "text_or_empty")]
    pub version: String,
    /// The time when the connector came online, RFC 3339. It is the same in all messages of one
    /// process, and distinguishes them from those of another process with the same name.
    #[serde(default)]
    pub since: Option<String>,
    /// The name of the replica, if there are several connectors for the vehicle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<String>,
    /// The link to Ankaios, while the connector is online.
    #[serde(flatten)]
    pub link: Option<LinkReport>,
}

/// Nothing depends on the version, so an odd one must not make a status unreadable.
fn text_or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value.as_str().unwrap_or_default().to_owned())
}

impl ConnectorStatus {
    /// The payload of the message.
    #[must_use]
    pub fn to_payload(&self) -> Bytes {
        serde_json::to_vec(self).expect("strings always become JSON").into()
    }

    /// Parses a payload; `None` if it is not the status of a connector.
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
    fn a_status_is_parsed_as_it_was_written() {
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
    fn missing_fields_and_unknown_values_are_accepted() {
        let read = ConnectorStatus::from_payload(br#"{"status": "paused"}"#).unwrap();
        assert_eq!(read.status, Availability::Offline);
        assert_eq!((read.replica, read.since, read.link), (None, None, None));
        let read = ConnectorStatus::from_payload(br#"{"status": "online", "ankaios": "new"}"#);
        assert_eq!(read.unwrap().status, Availability::Online);
        for version in ["null", "2", "{}"] {
            let payload = format!("{{\"status\": \"online\", \"version\": {version}}}");
            let read = ConnectorStatus::from_payload(payload.as_bytes()).unwrap();
            assert_eq!((read.status, read.version.as_str()), (Availability::Online, ""));
        }
    }

    #[test]
    fn other_payloads_are_refused() {
        for payload in [&b""[..], b"online", b"{}", b"[]", b"{\"status\": 1}", b"\xff"] {
            assert_eq!(ConnectorStatus::from_payload(payload), None);
        }
    }
}
