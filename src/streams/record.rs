//! What is retained of a subscription at the broker: enough to take it up again
//! after a restart of the connector, and for people to list what there is.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::{Map, Value};

use super::id::SubscriptionId;
use super::subscription::Subscription;
use super::time::parse_rfc3339;
use super::unusable::Unusable;
use crate::json::fields;
use crate::topics::StreamKind;

const EXPIRES_AT: &str = "expires_at";
const RESUME_AT: &str = "resume_at";

/// A subscription, and when it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Record<T> {
    /// The subscription itself.
    #[serde(flatten)]
    pub(super) subscription: T,
    /// Of followed logs: what was written before this time has been published. RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resume_at: Option<String>,
    /// When it ends, RFC 3339; `None` is never.
    expires_at: Option<String>,
}

impl<T: Subscription> Record<T> {
    /// The record of a subscription that begins now.
    pub(super) fn new(subscription: T) -> Self {
        let (resume_at, expires_at) = (subscription.resume_at(), subscription.ttl().end());
        Self { subscription, resume_at, expires_at }
    }

    /// Reads a record; `id` is that of its topic. Gives how long the subscription still
    /// lives, too; `None` is for ever.
    ///
    /// Whoever may publish for the vehicle may retain anything, so a record must be
    /// valid as a request must be.
    pub(super) fn read(id: &str, payload: &[u8]) -> Result<(Self, Option<Duration>), Unusable> {
        Self::try_read(id, payload).map_err(Unusable::Invalid).and_then(|record| {
            let remaining = record.remaining().map_err(|()| Unusable::Over)?;
            // The clock of a vehicle may be wrong when it starts.
            let remaining = remaining.zip(record.subscription.ttl().duration());
            Ok((record, remaining.map(|(remaining, ttl)| remaining.min(ttl))))
        })
    }

    fn try_read(id: &str, payload: &[u8]) -> Result<Self, String> {
        SubscriptionId::try_from(id.to_owned()).map_err(|error| error.to_string())?;
        let mut fields: Map<String, Value> =
            serde_json::from_slice(payload).map_err(|error| error.to_string())?;
        if !fields.contains_key("id") {
            return Err("missing field `id`".into());
        }
        let mut expires_at = fields.remove(EXPIRES_AT);
        let expires_at = match &mut expires_at {
            None => return Err(format!("missing field `{EXPIRES_AT}`")),
            expires_at => time(EXPIRES_AT, expires_at.take())?,
        };
        let resume_at = match T::KIND {
            StreamKind::Logs => time(RESUME_AT, fields.remove(RESUME_AT))?,
            StreamKind::Events => None,
        };
        let subscription: T = fields::from(Value::Object(fields))?;
        if subscription.id().as_str() != id {
            return Err(format!("id: it is not that of its topic, {id:?}"));
        }
        let ttl = subscription.ttl();
        if ttl.duration().is_some() != expires_at.is_some() {
            return Err(format!("{EXPIRES_AT}: {expires_at:?} does not go with the ttl {ttl}"));
        }
        Ok(Self { subscription, resume_at, expires_at })
    }
}

impl<T> Record<T> {
    /// How long it still lives: `Ok(None)` is for ever, and `Err` that it is over.
    pub(super) fn remaining(&self) -> Result<Option<Duration>, ()> {
        let Some(end) = &self.expires_at else { return Ok(None) };
        let end = parse_rfc3339(end).ok_or(())?;
        end.duration_since(SystemTime::now()).map(Some).map_err(drop)
    }
}

/// A field that is a time of RFC 3339, or nothing.
fn time(field: &str, value: Option<Value>) -> Result<Option<String>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if parse_rfc3339(&text).is_some() => Ok(Some(text)),
        Some(other) => {
            let other: String = other.to_string().chars().take(100).collect();
            Err(format!("{field}: {other} is no time of RFC 3339"))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use crate::streams::{EventsSubscription, LogsSubscription};
    use serde_json::json;

    const LATER: &str = "2999-01-01T00:00:00Z";

    fn logs(changes: Value) -> Value {
        let mut record =
            json!({"id": "x", "workloads": ["nginx"], "ttl": "1h", "expires_at": LATER});
        record.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        record
    }

    fn events(changes: Value) -> Value {
        let mut record =
            json!({"id": "x", "field_masks": ["a.b"], "ttl": "0s", "expires_at": null});
        record.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        record
    }

    fn read<T: Subscription>(record: &Value) -> Result<(Record<T>, Option<Duration>), Unusable> {
        Record::read("x", record.to_string().as_bytes())
    }

    #[test]
    fn what_was_written_can_be_read() {
        let request = json!({"id": "x", "workloads": ["nginx"], "follow": true, "tail": 5});
        let subscription: LogsSubscription = serde_json::from_value(request.clone()).unwrap();
        let record = Record::new(subscription);
        let written = serde_json::to_value(&record).unwrap();
        assert!(written["expires_at"].is_string() && written["resume_at"].is_string());
        let (read, remaining) = read::<LogsSubscription>(&written).unwrap();
        assert_eq!(read, record);
        assert!(remaining.unwrap() > Duration::from_secs(3590));
        let written = events(json!({}));
        let (record, remaining) = self::read::<EventsSubscription>(&written).unwrap();
        assert_eq!((serde_json::to_value(&record).unwrap(), remaining), (written, None));
    }

    #[test]
    fn a_record_is_checked_like_a_request() {
        let many = vec!["a"; 101];
        for (changes, part) in [
            (json!({"field_masks": []}), "field_masks: there is none"),
            (json!({"field_masks": ["a..b"]}), "field_masks: the mask \"a..b\" has an empty part"),
            (json!({"field_masks": many}), "field_masks: 101 of"),
            (json!({"field_masks": ["a", 1]}), "field_masks[1]: invalid type"),
            (json!({"ttl": "10000years", "expires_at": LATER}), "ttl: "),
            (json!({"ttl": "1h"}), "expires_at: None does not go with the ttl 1h"),
            (json!({"expires_at": LATER}), "does not go with the ttl 0s"),
            (json!({"expires_at": "soon"}), "expires_at: \"soon\" is no time"),
            (json!({"expires_at": 5}), "expires_at: 5 is no time"),
            (json!({"resume_at": null}), "unknown field"),
            (json!({"id": "y"}), "id: it is not that of its topic"),
        ] {
            match read::<EventsSubscription>(&events(changes)) {
                Err(Unusable::Invalid(reason)) => assert!(reason.contains(part), "{reason}"),
                other => panic!("{part}: {other:?}"),
            }
        }
        for (changes, part) in [
            (json!({"workloads": []}), "workloads: 0 of"),
            (json!({"workloads": many}), "workloads: 101 of"),
            (json!({"workloads": ["a.b"]}), "workloads[0]: "),
            (
                json!({"workloads": [{"workload_name": "w", "agent_name": "x".repeat(70_000), "workload_id": ""}]}),
                "workloads: 1 of 70001 bytes",
            ),
            (json!({"tail": -1}), "tail: -1 is negative"),
            (json!({"since": "yesterday"}), "since: "),
            (json!({"until": "1"}), "until: "),
            (json!({"resume_at": "x"}), "resume_at: "),
            (json!({"more": 1}), "unknown field"),
        ] {
            match read::<LogsSubscription>(&logs(changes)) {
                Err(Unusable::Invalid(reason)) => assert!(reason.contains(part), "{reason}"),
                other => panic!("{part}: {other:?}"),
            }
        }
        for record in
            [json!({"id": "x", "field_masks": ["a"]}), json!({"expires_at": null}), json!([])]
        {
            assert!(matches!(read::<EventsSubscription>(&record), Err(Unusable::Invalid(_))));
        }
        let record = json!({"id": "a b", "field_masks": ["a"], "expires_at": null}).to_string();
        let read = Record::<EventsSubscription>::read("a b", record.as_bytes());
        assert!(matches!(read, Err(Unusable::Invalid(_))));
    }

    #[test]
    fn a_record_lives_until_its_end_and_no_longer_than_its_ttl() {
        let (_, remaining) = read::<LogsSubscription>(&logs(json!({}))).unwrap();
        assert_eq!(remaining, Some(Duration::from_secs(3600)));
        let over = logs(json!({"expires_at": "2020-01-01T00:00:00Z"}));
        assert_eq!(read::<LogsSubscription>(&over).unwrap_err(), Unusable::Over);
    }
}
