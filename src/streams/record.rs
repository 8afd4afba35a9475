//! What is retained of a subscription at the broker: enough to take it up again
//! after a restart of the connector, and for people to list what there is.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::time::Instant;

use super::publisher::Publisher;
use super::time::format_rfc3339;
use crate::json::InstanceName;
use crate::mqtt::SessionEnded;
use crate::schema::is_name;
use crate::topics::StreamKind;

/// Longest id of a subscription, in characters.
const MAX_ID: usize = 63;

/// Longest name of a workload, in bytes. Ankaios' own limit is far below.
const MAX_NAME: usize = 256;

/// How often the position in followed logs is noted. So much of them may come
/// twice after a restart of the connector.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(10);

/// A subscription without a `ttl` lives so long.
const DEFAULT_TTL: Duration = Duration::from_secs(3600);

/// The id of a subscription: 1 to 63 of `A-Z`, `a-z`, `0-9`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct SubscriptionId(String);

/// A text that is no [`SubscriptionId`].
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no id, which has 1 to {MAX_ID} of the characters A-Z, a-z, 0-9, _ and -")]
pub struct InvalidId(String);

impl TryFrom<String> for SubscriptionId {
    type Error = InvalidId;

    fn try_from(id: String) -> Result<Self, InvalidId> {
        if !is_name(&id) {
            return Err(InvalidId(id.chars().take(MAX_ID + 1).collect()));
        }
        Ok(Self(id))
    }
}

impl SubscriptionId {
    /// An id that nobody has used before.
    #[must_use]
    pub fn made_up() -> Self {
        Self(crate::random::hex())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// How long a subscription lives: so long, or for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Option<String>", into = "String")]
pub struct Lifetime(Option<Duration>);

impl Default for Lifetime {
    fn default() -> Self {
        Self(Some(DEFAULT_TTL))
    }
}

impl Lifetime {
    /// How long from now on; `None` is for ever.
    #[must_use]
    pub fn duration(self) -> Option<Duration> {
        self.0
    }

    /// The end of a subscription that begins now, RFC 3339.
    fn end(self) -> Option<String> {
        let end = SystemTime::now().checked_add(self.0?)?;
        Some(humantime::format_rfc3339_seconds(end).to_string())
    }
}

impl TryFrom<Option<String>> for Lifetime {
    type Error = String;

    fn try_from(text: Option<String>) -> Result<Self, String> {
        /// More would be beyond the calendar of RFC 3339.
        const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
        let Some(text) = text else { return Ok(Self::default()) };
        let ttl = humantime::parse_duration(&text).map_err(|error| {
            format!("{text:?}: {error}; write it as 30s, 10m or 24h, or 0s for ever")
        })?;
        if ttl > LONGEST {
            return Err(format!("{text:?} is more than 100 years; write 0s for ever"));
        }
        Ok(Self(Some(ttl).filter(|ttl| !ttl.is_zero())))
    }
}

impl From<Lifetime> for String {
    fn from(lifetime: Lifetime) -> Self {
        humantime::format_duration(lifetime.0.unwrap_or_default()).to_string()
    }
}

/// A subscription to events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsSubscription {
    /// Its id.
    pub id: SubscriptionId,
    /// The parts of the state whose changes are wanted.
    pub field_masks: Vec<String>,
    /// How long it lives.
    #[serde(default)]
    pub ttl: Lifetime,
}

/// A workload by its name, or one instance of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum WorkloadRef {
    /// All instances of a workload, also those that will be.
    Name(String),
    /// One instance.
    Instance(InstanceName),
}

impl WorkloadRef {
    /// The workload, or that of the instance.
    #[must_use]
    pub fn workload_name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Instance(instance) => &instance.workload_name,
        }
    }

    /// The name becomes a part of a field mask.
    fn check<E: de::Error>(self) -> Result<Self, E> {
        let name = self.workload_name();
        if name.is_empty() || name.len() > MAX_NAME || name.contains(['.', '*']) {
            let name: String = name.chars().take(MAX_NAME).collect();
            return Err(E::custom(format!("{name:?} is no name of a workload")));
        }
        Ok(self)
    }
}

/// By hand, so that an error says what is wrong and where, and not only that no
/// variant fits.
impl<'de> Deserialize<'de> for WorkloadRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RefVisitor;

        impl<'de> Visitor<'de> for RefVisitor {
            type Value = WorkloadRef;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the name of a workload, or an instance name as an object")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<WorkloadRef, E> {
                WorkloadRef::Name(name.into()).check()
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WorkloadRef, A::Error> {
                let instance = InstanceName::deserialize(MapAccessDeserializer::new(map))?;
                WorkloadRef::Instance(instance).check()
            }
        }

        deserializer.deserialize_any(RefVisitor)
    }
}

/// A subscription to logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsSubscription {
    /// Its id.
    pub id: SubscriptionId,
    /// Whose logs are wanted.
    pub workloads: Vec<WorkloadRef>,
    /// Go on with what is logged from now on.
    #[serde(default)]
    pub follow: bool,
    /// Only so many of the last lines of each instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<i32>,
    /// Only lines after this time, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Only lines before this time, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// How long it lives.
    #[serde(default)]
    pub ttl: Lifetime,
    /// Of followed logs: what had arrived at this time has been published.
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_at: Option<String>,
}

/// Notes in the retained record of followed logs how far they have come.
#[derive(Debug)]
pub(super) struct Bookmark {
    topic: String,
    record: Record<LogsSubscription>,
    publisher: Publisher,
    noted: Instant,
}

impl Bookmark {
    /// `topic` is that of the record.
    pub(super) fn new(
        topic: String,
        record: Record<LogsSubscription>,
        publisher: Publisher,
    ) -> Self {
        Self { topic, record, publisher, noted: Instant::now() }
    }

    /// Everything that had arrived at that time has been published. Not each time
    /// is noted.
    pub(super) async fn put(&mut self, arrived: SystemTime) -> Result<(), SessionEnded> {
        if self.noted.elapsed() < BOOKMARK_INTERVAL {
            return Ok(());
        }
        self.noted = Instant::now();
        self.record.subscription.resume_at = Some(format_rfc3339(arrived));
        // A subscription whose time is over is being ended.
        let Ok(remaining) = self.record.remaining() else { return Ok(()) };
        self.publisher.retain(&self.topic, &self.record, remaining).await
    }
}

/// A subscription, and when it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record<T> {
    /// The subscription itself.
    #[serde(flatten)]
    pub subscription: T,
    /// When it ends, RFC 3339; `None` is never.
    pub expires_at: Option<String>,
}

impl<T> Record<T> {
    /// The record of a subscription that begins now.
    pub(super) fn new(subscription: T) -> Self
    where
        T: Subscription,
    {
        let expires_at = subscription.ttl().end();
        Self { subscription, expires_at }
    }

    /// How long it still lives: `Ok(None)` is for ever, and `Err` that it is over,
    /// or that the end cannot be read.
    pub(super) fn remaining(&self) -> Result<Option<Duration>, ()> {
        let Some(end) = &self.expires_at else { return Ok(None) };
        let end = humantime::parse_rfc3339_weak(end).map_err(drop)?;
        end.duration_since(SystemTime::now()).map(Some).map_err(drop)
    }
}

/// What has a record and a stream of its own.
pub(crate) trait Subscription: Serialize {
    /// What it is a subscription to.
    const KIND: StreamKind;

    /// Its id.
    fn id(&self) -> &SubscriptionId;

    /// How long it lives.
    fn ttl(&self) -> Lifetime;
}

impl Subscription for EventsSubscription {
    const KIND: StreamKind = StreamKind::Events;

    fn id(&self) -> &SubscriptionId {
        &self.id
    }

    fn ttl(&self) -> Lifetime {
        self.ttl
    }
}

impl Subscription for LogsSubscription {
    const KIND: StreamKind = StreamKind::Logs;

    fn id(&self) -> &SubscriptionId {
        &self.id
    }

    fn ttl(&self) -> Lifetime {
        self.ttl
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ids_are_topic_levels() {
        for id in ["a", "A-1_b", &"x".repeat(63)] {
            assert!(SubscriptionId::try_from(id.to_owned()).is_ok(), "{id}");
        }
        for id in ["", "a/b", "+", "a b", "ü", &"x".repeat(64)] {
            assert!(SubscriptionId::try_from(id.to_owned()).is_err(), "{id}");
        }
        assert!(SubscriptionId::try_from(SubscriptionId::made_up().0).is_ok());
    }

    #[test]
    fn a_ttl_is_a_duration_and_zero_is_for_ever() {
        let ttl = |ttl: Option<&str>| Lifetime::try_from(ttl.map(str::to_owned));
        assert_eq!(ttl(None).unwrap().0, Some(DEFAULT_TTL));
        assert_eq!(ttl(Some("0s")).unwrap().0, None);
        assert_eq!(ttl(Some("90s")).unwrap().0, Some(Duration::from_secs(90)));
        for wrong in ["", "-1s", "soon", "1", "10000years"] {
            assert!(ttl(Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_record_can_be_read_again() {
        let record = Record {
            subscription: LogsSubscription {
                id: SubscriptionId("x".into()),
                workloads: vec![WorkloadRef::Name("nginx".into())],
                follow: true,
                tail: Some(5),
                since: None,
                until: None,
                ttl: Lifetime(None),
                resume_at: None,
            },
            expires_at: None,
        };
        let written = serde_json::to_value(&record).unwrap();
        assert_eq!(
            written,
            json!({"id": "x", "workloads": ["nginx"], "follow": true, "tail": 5, "ttl": "0s",
                "expires_at": null})
        );
        assert_eq!(serde_json::from_value::<Record<LogsSubscription>>(written).unwrap(), record);
    }

    #[test]
    fn a_record_knows_when_it_is_over() {
        let record = |expires_at: Option<&str>| Record {
            subscription: (),
            expires_at: expires_at.map(str::to_owned),
        };
        assert_eq!(record(None).remaining(), Ok(None));
        assert!(record(Some("2999-01-01T00:00:00Z")).remaining().unwrap().is_some());
        for over in ["2020-01-01T00:00:00Z", "yesterday", ""] {
            assert!(record(Some(over)).remaining().is_err(), "{over}");
        }
    }
}
