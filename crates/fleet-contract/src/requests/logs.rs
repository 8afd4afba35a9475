//! `logs/subscribe`: starts a subscription to the logs of workloads.

use serde::{Deserialize, Serialize};

use super::payload::parse;
use crate::error::ErrorReply;
use crate::{Lifetime, SubscriptionId, WorkloadRef, rfc3339};

const EXPECTED: &str = "{\"workloads\": [\"nginx\"]}, and optionally \"id\", \"follow\": true, \
                        \"tail\": 10, \"since\" and \"until\" such as \"2026-01-31T12:00:00Z\", \
                        \"ttl\": \"1h\"";

/// Maximum number of workloads of a subscription.
const MAX_WORKLOADS: usize = 100;

/// Maximum size of all names in a subscription, in bytes.
const MAX_WORKLOADS_SIZE: usize = 64 * 1024;

/// A request for a subscription to logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields")]
pub struct LogsRequest {
    /// The id of the subscription; the connector generates one if it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<SubscriptionId>,
    /// The workloads and instances whose logs are published. Never empty.
    pub workloads: Vec<WorkloadRef>,
    /// Whether future lines are published, too.
    pub follow: bool,
    /// Maximum number of past lines of each instance; the last ones are published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail: Option<i32>,
    /// Publishes only lines after this time, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Publishes only lines before this time, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The lifetime of the subscription.
    pub ttl: Lifetime,
}

/// The fields of a request before the checks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(default)]
    id: Option<SubscriptionId>,
    workloads: Vec<WorkloadRef>,
    #[serde(default)]
    follow: bool,
    #[serde(default)]
    tail: Option<i32>,
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    until: Option<String>,
    #[serde(default)]
    ttl: Lifetime,
}

impl TryFrom<Fields> for LogsRequest {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, String> {
        let Fields { id, workloads, follow, tail, since, until, ttl } = fields;
        let (count, size) =
            (workloads.len(), workloads.iter().map(WorkloadRef::size).sum::<usize>());
        if count == 0 || count > MAX_WORKLOADS || size > MAX_WORKLOADS_SIZE {
            return Err(format!(
                "workloads: {count} with {size} bytes in total; allowed are 1 to {MAX_WORKLOADS}, \
                 with at most {MAX_WORKLOADS_SIZE} bytes"
            ));
        }
        if let Some(tail) = tail.filter(|tail| *tail < 0) {
            return Err(format!("tail: {tail} is negative"));
        }
        for (field, time) in [("since", &since), ("until", &until)] {
            if let Some(time) = time.as_ref().filter(|time| rfc3339::parse(time).is_none()) {
                return Err(format!("{field}: {time:?} is not an RFC 3339 time"));
            }
        }
        Ok(Self { id, workloads, follow, tail, since, until, ttl })
    }
}

impl LogsRequest {
    /// Parses a request.
    ///
    /// # Errors
    /// `invalid_payload`, with what is wrong and what is expected.
    pub fn parse(payload: &[u8]) -> Result<Self, ErrorReply> {
        parse(payload, EXPECTED)
    }
}
