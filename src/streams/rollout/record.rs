//! The retained record of a rollout: enough to resume it after a restart of the connector.
//!
//! Anybody who may publish for the vehicle may retain anything, so a record is checked like a
//! request.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use ankaios_model::InstanceName;
use ankaios_model::is_name;
use ankaios_model::node_limit;
use fleet_contract::rfc3339;
use serde::{Deserialize, Serialize};
use service_kit::clock;

use crate::streams::unusable::Unusable;

/// Maximum size of a record that is resumed, in bytes: that of a rollout of some thousand
/// workloads.
pub(super) const MAX_ROLLOUT_RECORD: usize = 256 * 1024;

/// Maximum length of the request id of a record that is resumed, in bytes.
const MAX_REQUEST_ID: usize = 256;

/// The retained record of a rollout.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RolloutRecord {
    pub(super) request_id: String,
    pub(super) workloads: BTreeSet<InstanceName>,
    /// When it times out, RFC 3339.
    expires_at: String,
    /// The revision whose rollout it is. A connector that keeps revisions knows from its store how
    /// such a rollout is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revision: Option<u64>,
}

impl RolloutRecord {
    /// The record of a rollout that times out after `limit`.
    pub(super) fn new(
        request_id: String,
        workloads: BTreeSet<InstanceName>,
        limit: Duration,
        revision: Option<u64>,
    ) -> Self {
        let expires_at = rfc3339::format(SystemTime::now() + limit);
        Self { request_id, workloads, expires_at, revision }
    }

    /// Reads a record; `id` is that of its topic.
    pub(super) fn read(id: &str, record: &[u8]) -> Result<Self, Unusable> {
        let invalid = |reason: String| Err(Unusable::Invalid(reason));
        if !is_name(id) {
            return invalid("the id in its topic is not one that the connector generates".into());
        }
        let text = match std::str::from_utf8(record) {
            Ok(text) => text,
            Err(error) => return invalid(error.to_string()),
        };
        if let Err(error) = node_limit::check_json(text) {
            return invalid(error.to_string());
        }
        let record: Self = match serde_json::from_str(text) {
            Ok(record) => record,
            Err(error) => return invalid(error.to_string()),
        };
        if record.request_id.len() > MAX_REQUEST_ID {
            return invalid(format!("request_id: it has more than {MAX_REQUEST_ID} bytes"));
        }
        if record.workloads.is_empty() {
            return invalid("workloads: it is empty".into());
        }
        if rfc3339::parse(&record.expires_at).is_none() {
            return invalid(format!("expires_at: {:?} is not an RFC 3339 time", record.expires_at));
        }
        Ok(record)
    }

    /// The time until it times out, at most `limit`.
    pub(super) fn remaining(&self, limit: Duration, now: SystemTime) -> Duration {
        let end = rfc3339::parse(&self.expires_at);
        end.and_then(|end| clock::left_of(limit, end, now)).unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn record() -> Value {
        let instance: InstanceName = "w.1.a".parse().unwrap();
        let record =
            RolloutRecord::new("r".into(), [instance].into(), Duration::from_secs(60), None);
        serde_json::to_value(record).unwrap()
    }

    #[test]
    fn a_written_record_can_be_read() {
        let read = RolloutRecord::read("0a", record().to_string().as_bytes()).unwrap();
        assert_eq!((read.request_id.as_str(), read.workloads.len()), ("r", 1));
        assert!(
            read.remaining(Duration::from_secs(60), SystemTime::now()) > Duration::from_secs(50)
        );
    }

    #[test]
    fn an_invalid_record_is_refused_with_its_field() {
        for (field, value, part) in [
            ("workloads", json!([]), "workloads:"),
            ("workloads", json!([{"workload_name": "w"}]), "missing field"),
            ("expires_at", json!("soon"), "expires_at:"),
            ("request_id", json!("x".repeat(300)), "request_id:"),
            ("other", json!(1), "unknown field"),
        ] {
            let mut forged = record();
            forged.as_object_mut().unwrap().insert(field.into(), value);
            let error = RolloutRecord::read("0a", forged.to_string().as_bytes()).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
        assert!(RolloutRecord::read("a b", record().to_string().as_bytes()).is_err());
    }
}
