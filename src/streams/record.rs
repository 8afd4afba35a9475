//! The retained record of a subscription: enough to resume it after a restart of the
//! connector, and to list the subscriptions of a vehicle.

use std::time::{Duration, SystemTime};

use ankaios_model::node_limit;
use fleet_contract::topics::StreamKind;
use fleet_contract::{SubscriptionId, fields, rfc3339};
use serde::Serialize;
use serde_json::{Map, Value};
use service_kit::clock;

use super::spec::Spec;
use super::unusable::Unusable;

/// Maximum size of a record that is read back from the broker, in bytes: that of the largest
/// subscription if each of its characters has to be escaped. A record can be larger than the
/// request that it was made from.
pub(crate) const MAX_RECORD: usize = 512 * 1024;

const ID: &str = "id";
const EXPIRES_AT: &str = "expires_at";
const RESUME_AT: &str = "resume_at";

/// The record of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SubscriptionRecord<T> {
    pub(crate) id: SubscriptionId,
    /// The request without its id.
    #[serde(flatten)]
    pub(crate) spec: T,
    /// For followed logs: everything before this time has been published. RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resume_at: Option<String>,
    /// When it ends by the system clock of the vehicle, RFC 3339; `None` means never. For people:
    /// the clock may be wrong.
    expires_at: Option<String>,
}

/// A subscription that is resumed from its record.
#[derive(Debug)]
pub(super) struct FoundSubscription<T> {
    pub(super) record: SubscriptionRecord<T>,
    /// Its remaining lifetime; `None` means without end.
    pub(super) left: Option<Duration>,
    /// Whether the record differs from the one that was found: the system clock was set.
    pub(super) is_changed: bool,
}

impl<T: Spec> SubscriptionRecord<T> {
    /// The record of a subscription that starts now. `spec` is its request without the id.
    pub(crate) fn new(id: SubscriptionId, spec: T) -> Self {
        let (left, resume_at) = (spec.ttl().duration(), spec.resume_at());
        let mut record = Self { id, spec, resume_at, expires_at: None };
        record.set_end(left, SystemTime::now());
        record
    }

    /// Reads a record; `id` is that of its topic, `left` what the broker has left of its *Message
    /// Expiry Interval*, if it says so.
    ///
    /// Anybody who may publish for the vehicle may retain anything, so a record is checked like a
    /// request.
    pub(super) fn read(
        id: &str,
        payload: &[u8],
        left: Option<Duration>,
        now: SystemTime,
    ) -> Result<FoundSubscription<T>, Unusable> {
        let mut record = Self::try_read(id, payload).map_err(Unusable::Invalid)?;
        let left = match (record.spec.ttl().duration(), left) {
            (None, _) => None,
            (Some(ttl), Some(left)) => Some(left.min(ttl)),
            (Some(ttl), None) => Some(record.left_by_clock(ttl, now)?),
        };
        let is_changed = record.set_end(left, now);
        Ok(FoundSubscription { record, left, is_changed })
    }

    /// The remaining lifetime by the system clock. If that was not set when the record was written,
    /// or is not set now, nobody knows how much of `ttl` has passed.
    fn left_by_clock(&self, ttl: Duration, now: SystemTime) -> Result<Duration, Unusable> {
        let end = self.expires_at.as_deref().and_then(rfc3339::parse).ok_or(Unusable::Expired)?;
        clock::left_of(ttl, end, now).ok_or(Unusable::Expired)
    }

    /// Writes into the record when the subscription ends by the system clock, unless that is not
    /// set. Returns whether that is another time than before.
    pub(super) fn set_end(&mut self, left: Option<Duration>, now: SystemTime) -> bool {
        /// The clock runs a little faster or slower than the lifetime.
        const TOLERANCE: Duration = Duration::from_secs(60);
        let is_first = self.expires_at.is_none();
        if left.is_none() || (!is_first && !clock::is_set(now)) {
            return false;
        }
        let end = left.and_then(|left| now.checked_add(left));
        let written = self.expires_at.as_deref().and_then(rfc3339::parse);
        let difference = end.zip(written).map(|(end, written)| {
            end.duration_since(written).unwrap_or_else(|error| error.duration())
        });
        let is_changed = difference.is_none_or(|difference| difference > TOLERANCE);
        if is_changed {
            self.expires_at = end.map(rfc3339::format_seconds);
        }
        is_changed
    }

    fn try_read(id: &str, payload: &[u8]) -> Result<Self, String> {
        let id = SubscriptionId::try_from(id.to_owned()).map_err(|error| error.to_string())?;
        let text = std::str::from_utf8(payload).map_err(|error| error.to_string())?;
        node_limit::check_json(text).map_err(|error| error.to_string())?;
        let mut fields: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        if !fields.contains_key(ID) {
            return Err(format!("missing field `{ID}`"));
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
        let mut spec: T = fields::from(Value::Object(fields))?;
        if spec.take_id().as_ref() != Some(&id) {
            return Err(format!("id: it is not the id in its topic, {:?}", id.as_str()));
        }
        let ttl = spec.ttl();
        if ttl.duration().is_some() != expires_at.is_some() {
            return Err(format!("{EXPIRES_AT}: {expires_at:?} does not match the ttl {ttl}"));
        }
        Ok(Self { id, spec, resume_at, expires_at })
    }
}

/// Reads a field that contains a time of RFC 3339 or is absent.
fn time(field: &str, value: Option<Value>) -> Result<Option<String>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if rfc3339::parse(&text).is_some() => Ok(Some(text)),
        Some(other) => {
            let other: String = other.to_string().chars().take(100).collect();
            Err(format!("{field}: {other} is not an RFC 3339 time"))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use fleet_contract::requests::{EventsRequest, LogsRequest};
    use serde_json::json;

    use super::*;

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

    fn read_at<T: Spec>(
        id: &str,
        payload: &[u8],
        left: Option<Duration>,
        now: SystemTime,
    ) -> Result<(SubscriptionRecord<T>, Option<Duration>), Unusable> {
        let found = SubscriptionRecord::read(id, payload, left, now)?;
        Ok((found.record, found.left))
    }

    fn read<T: Spec>(
        record: &Value,
    ) -> Result<(SubscriptionRecord<T>, Option<Duration>), Unusable> {
        read_at("x", record.to_string().as_bytes(), None, SystemTime::now())
    }

    #[test]
    fn a_written_record_can_be_read() {
        let request = json!({"id": "x", "workloads": ["nginx"], "follow": true, "tail": 5});
        let mut subscription: LogsRequest = serde_json::from_value(request.clone()).unwrap();
        let id = subscription.take_id().unwrap();
        let record = SubscriptionRecord::new(id, subscription);
        let written = serde_json::to_value(&record).unwrap();
        assert!(written["expires_at"].is_string() && written["resume_at"].is_string());
        let (read, remaining) = read::<LogsRequest>(&written).unwrap();
        assert_eq!(read, record);
        assert!(remaining.unwrap() > Duration::from_secs(3590));
        let written = events(json!({}));
        let (record, remaining) = self::read::<EventsRequest>(&written).unwrap();
        assert_eq!((serde_json::to_value(&record).unwrap(), remaining), (written, None));
    }

    #[test]
    fn a_record_is_checked_like_a_request() {
        let many = vec!["a"; 101];
        for (changes, part) in [
            (json!({"field_masks": []}), "field_masks: it is empty"),
            (json!({"field_masks": ["a..b"]}), "field_masks: the mask \"a..b\" has an empty part"),
            (json!({"field_masks": many}), "field_masks: 101 with"),
            (json!({"field_masks": ["a", 1]}), "field_masks[1]: invalid type"),
            (json!({"ttl": "10000years", "expires_at": LATER}), "ttl: "),
            (json!({"ttl": "1h"}), "expires_at: None does not match the ttl 1h"),
            (json!({"expires_at": LATER}), "does not match the ttl 0s"),
            (json!({"expires_at": "soon"}), "expires_at: \"soon\" is not an RFC 3339 time"),
            (json!({"expires_at": 5}), "expires_at: 5 is not an RFC 3339 time"),
            (json!({"resume_at": null}), "unknown field"),
            (json!({"id": "y"}), "id: it is not the id in its topic"),
        ] {
            match read::<EventsRequest>(&events(changes)) {
                Err(Unusable::Invalid(reason)) => assert!(reason.contains(part), "{reason}"),
                other => panic!("{part}: {other:?}"),
            }
        }
        for (changes, part) in [
            (json!({"workloads": []}), "workloads: 0 with"),
            (json!({"workloads": many}), "workloads: 101 with"),
            (json!({"workloads": ["a.b"]}), "workloads[0]: "),
            (
                json!({"workloads": [{"workload_name": "w", "agent_name": "x".repeat(70_000), "workload_id": ""}]}),
                "workloads: 1 with 70001 bytes",
            ),
            (json!({"tail": -1}), "tail: -1 is negative"),
            (json!({"since": "yesterday"}), "since: "),
            (json!({"until": "1"}), "until: "),
            (json!({"resume_at": "x"}), "resume_at: "),
            (json!({"more": 1}), "unknown field"),
        ] {
            match read::<LogsRequest>(&logs(changes)) {
                Err(Unusable::Invalid(reason)) => assert!(reason.contains(part), "{reason}"),
                other => panic!("{part}: {other:?}"),
            }
        }
        for record in
            [json!({"id": "x", "field_masks": ["a"]}), json!({"expires_at": null}), json!([])]
        {
            assert!(matches!(read::<EventsRequest>(&record), Err(Unusable::Invalid(_))));
        }
        let record = json!({"id": "a b", "field_masks": ["a"], "expires_at": null}).to_string();
        let read = read_at::<EventsRequest>("a b", record.as_bytes(), None, SystemTime::now());
        assert!(matches!(read, Err(Unusable::Invalid(_))));
    }

    #[test]
    fn a_record_lives_until_its_end_and_no_longer_than_its_ttl() {
        let (_, remaining) = read::<LogsRequest>(&logs(json!({}))).unwrap();
        assert_eq!(remaining, Some(Duration::from_secs(3600)));
        let over = logs(json!({"expires_at": "2020-01-01T00:00:00Z"}));
        assert_eq!(read::<LogsRequest>(&over).unwrap_err(), Unusable::Expired);
    }

    fn clock(text: &str) -> SystemTime {
        rfc3339::parse(text).unwrap()
    }

    /// The remaining lifetime and the end that the record has then, of one for an hour that was
    /// written to end at `end`.
    fn resumed(end: &str, left: Option<u64>, now: &str) -> Option<(u64, String)> {
        let record = logs(json!({"expires_at": end})).to_string();
        let left = left.map(Duration::from_secs);
        match read_at::<LogsRequest>("x", record.as_bytes(), left, clock(now)) {
            Ok((record, left)) => Some((left.unwrap().as_secs(), record.expires_at.unwrap())),
            Err(error) => {
                assert_eq!(error, Unusable::Expired);
                None
            }
        }
    }

    #[test]
    fn the_broker_knows_how_long_a_record_lives_whatever_the_clock_says() {
        // Written in 1970, then the clock was set; the other way round; and years ahead.
        for (end, now, expected_end) in [
            ("1970-01-01T01:00:30Z", "2026-11-26T08:00:00Z", "2026-11-26T08:50:00Z"),
            ("2026-11-26T09:00:00Z", "1970-01-01T00:00:30Z", "2026-11-26T09:00:00Z"),
            ("2031-11-26T09:00:00Z", "2026-11-26T08:00:00Z", "2026-11-26T08:50:00Z"),
            ("2026-11-26T09:00:00Z", "2031-11-26T08:00:00Z", "2031-11-26T08:50:00Z"),
        ] {
            assert_eq!(resumed(end, Some(3000), now), Some((3000, expected_end.into())), "{end}");
        }
        // It is not prolonged, and its end is not rewritten for each second.
        let end = "2026-11-26T09:00:00Z";
        assert_eq!(resumed(end, Some(9000), "2026-11-26T08:00:00Z"), Some((3600, end.into())));
        assert_eq!(resumed(end, Some(3001), "2026-11-26T08:10:00Z"), Some((3001, end.into())));
    }

    #[test]
    fn without_the_broker_a_clock_that_was_not_set_ends_nothing() {
        for (end, now, expected) in [
            ("2026-11-26T09:00:00Z", "2026-11-26T08:50:00Z", Some(600)),
            ("2026-11-26T09:00:00Z", "2026-11-26T09:10:00Z", None),
            ("1970-01-01T01:00:30Z", "2026-11-26T08:00:00Z", Some(3600)),
            ("1970-01-01T01:00:30Z", "1970-01-01T09:00:00Z", Some(3600)),
            ("1970-01-01T00:00:30Z", "2026-11-26T08:00:00Z", Some(3600)),
            ("2026-11-26T09:00:00Z", "1970-01-01T00:00:30Z", Some(3600)),
            ("2031-11-26T09:00:00Z", "2026-11-26T08:00:00Z", Some(3600)),
        ] {
            assert_eq!(resumed(end, None, now).map(|(left, _)| left), expected, "{end} {now}");
        }
    }
}
