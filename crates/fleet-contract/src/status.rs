//! The status of a connector, a retained message on `connector/status`.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};

use crate::labels::Labels;
use crate::revision::RevisionStatus;

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
    /// Why the link is not connected, or else what an operator should correct.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Why the changes of operators are not in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreState {
    /// They are about to be put back.
    Pending,
    /// Ankaios or the policy refuses them.
    Refused,
    /// They were put back several times and never succeeded, so earlier ones were taken.
    GivenUp,
}

/// The changes of operators in the status of a connector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionReport {
    /// The number of the current revision.
    pub revision: u64,
    /// The user property `release` of the request that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Its status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RevisionStatus>,
    /// Why it is not in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<RestoreState>,
    /// The reason for that.
    #[serde(skip)]
    pub restore_reason: Option<String>,
}

/// The trust file in the status of a connector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustReport {
    /// The fleet that the vehicle belongs to.
    pub fleet: String,
    /// The version of the trust file.
    pub version: u64,
    /// What an operator should correct, for example a newer file that cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The question of a standby replica to the active one, on `connector/standby`: publish the status
/// again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandbyQuestion {
    /// The name of the standby replica.
    pub replica: String,
    /// Publish also the records of subscriptions and rollouts again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub records: bool,
}

impl StandbyQuestion {
    /// As JSON.
    #[must_use]
    pub fn to_payload(&self) -> Bytes {
        serde_json::to_vec(self).expect("text and flags always become JSON").into()
    }

    /// `None` if it is not such a question.
    #[must_use]
    pub fn from_payload(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
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
    /// The name of the fleet whose questions the connector answers, see [`WhoRequest`].
    ///
    /// [`WhoRequest`]: crate::fleet::WhoRequest
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<String>,
    /// The labels of the vehicle. They are for selecting vehicles, not for allowing anything.
    #[serde(
        default,
        deserialize_with = "labels_or_none",
        skip_serializing_if = "Labels::is_empty"
    )]
    pub labels: Labels,
    /// The link to Ankaios, while the connector is online.
    #[serde(flatten)]
    pub link: Option<LinkReport>,
    /// The changes of operators, if the connector keeps them and is online.
    #[serde(flatten)]
    pub revision: Option<RevisionReport>,
    /// The trust file, if the connector has one and is online.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<TrustReport>,
    /// What the broker does not offer or allow, so that the connector does with less.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<String>,
}

/// Nothing depends on the version, so an odd one must not make a status unreadable.
fn text_or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value.as_str().unwrap_or_default().to_owned())
}

/// Labels that break the rules must not make a status unreadable, either.
fn labels_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Labels, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
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
            fleet: None,
            labels: Labels::default(),
            link,
            revision: None,
            trust: None,
            degraded: Vec::new(),
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
        let degraded = vec!["no retained messages".to_owned()];
        let degraded = ConnectorStatus { degraded, ..status(None, None) };
        assert_eq!(ConnectorStatus::from_payload(&degraded.to_payload()), Some(degraded));
        let alone = status(None, None).to_payload();
        assert_eq!(&*alone, br#"{"status":"offline","version":"1.2.3","since":"now"}"#);
    }

    #[test]
    fn the_revision_is_part_of_the_status() {
        let link = LinkReport { ankaios: AnkaiosLink::Connected, reason: Some("why".into()) };
        let revision = RevisionReport {
            revision: 12,
            release: None,
            rollout: Some(RevisionStatus::Succeeded),
            restore: Some(RestoreState::GivenUp),
            restore_reason: None,
        };
        let status = ConnectorStatus { revision: Some(revision), ..status(None, Some(link)) };
        let payload = status.to_payload();
        let json: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        let fields =
            ["revision", "reason", "rollout", "restore"].map(|name| json.get(name).cloned());
        let expected = [12.into(), "why".into(), "succeeded".into(), "given_up".into()];
        assert_eq!(fields, expected.map(Some));
        assert_eq!(ConnectorStatus::from_payload(&payload), Some(status));
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
    fn labels_are_part_of_the_status_and_bad_ones_are_ignored() {
        let labels: Labels = "region=eu,model=x".parse().unwrap();
        let labelled = ConnectorStatus { labels: labels.clone(), ..status(None, None) };
        let payload = labelled.to_payload();
        let json: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(json.get("labels"), Some(&serde_json::json!({"model": "x", "region": "eu"})));
        assert_eq!(ConnectorStatus::from_payload(&payload), Some(labelled));
        for bad in [r#"{"a b": "1"}"#, "[]", "1", r#"{"a": 1}"#, "null"] {
            let payload = format!("{{\"status\": \"online\", \"labels\": {bad}}}");
            let read = ConnectorStatus::from_payload(payload.as_bytes()).unwrap();
            assert!(read.labels.is_empty() && read.status == Availability::Online, "{bad}");
        }
    }

    #[test]
    fn other_payloads_are_refused() {
        for payload in [&b""[..], b"online", b"{}", b"[]", b"{\"status\": 1}", b"\xff"] {
            assert_eq!(ConnectorStatus::from_payload(payload), None);
        }
    }
}
