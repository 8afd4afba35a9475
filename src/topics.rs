//! The topics of one vehicle, all below `vehicle/<VIN>/`.

use std::fmt;

/// Longest VIN, or name of a replica, in characters.
const MAX_NAME: usize = 64;

/// Longest topic, in bytes (MQTT 5, 1.5.4).
pub(crate) const MAX_TOPIC: usize = 65_535;

/// Longest Response Topic, in bytes, and the most levels of one. A broker may end the
/// connection over more: Mosquitto takes 200 levels.
const MAX_RESPONSE_TOPIC: usize = 1024;
const MAX_LEVELS: usize = 32;

/// What the log shows of a topic, in characters.
const SHOWN: usize = 200;

/// The VIN cannot be a topic level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no VIN: it needs 1 to 64 of the characters A-Z, a-z, 0-9, _ and -")]
pub struct InvalidVin(String);

/// Why a reply does not go to the Response Topic of its request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidResponseTopic {
    /// It is empty, too long, has too many levels, a wildcard or a control character.
    #[error("it is not a topic name")]
    NotATopic,
    /// A reply must not look like what the connector says by itself.
    #[error("the connector publishes other messages there")]
    Own,
    /// A reply must not become a request.
    #[error("it ends in /req, so the reply would be a request")]
    Request,
    /// Replies stay with the vehicle.
    #[error("it lies neither below {0}/ nor below one of RESPONSE_TOPIC_PREFIXES")]
    Foreign(String),
}

/// Whether a text can be a VIN, or the name of one of several connectors: 1 to 64 of
/// `A-Z`, `a-z`, `0-9`, `_` and `-`.
pub(crate) fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(allowed)
}

/// The beginning of a text that may be as long as a topic, for the log.
pub(crate) fn short(text: &str) -> &str {
    text.char_indices().nth(SHOWN).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// What one can subscribe to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StreamKind {
    /// Changes of the state.
    Events,
    /// Logs of workloads.
    Logs,
}

impl StreamKind {
    const ALL: [Self; 2] = [Self::Events, Self::Logs];

    /// The name in the topics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Logs => "logs",
        }
    }
}

/// Makes and reads the topics of one vehicle.
#[derive(Debug, Clone)]
pub struct Topics {
    base: String,
    response_prefixes: Vec<String>,
}

impl Topics {
    /// `response_prefixes` are topics below which a Response Topic may lie,
    /// apart from the vehicle's own.
    ///
    /// # Errors
    /// The VIN cannot be one level of a topic.
    pub fn new(vin: &str, response_prefixes: Vec<String>) -> Result<Self, InvalidVin> {
        if !is_name(vin) {
            return Err(InvalidVin(vin.chars().take(MAX_NAME + 1).collect()));
        }
        let response_prefixes = response_prefixes
            .into_iter()
            .map(|prefix| prefix.trim_end_matches('/').to_owned())
            .collect();
        Ok(Self { base: format!("vehicle/{vin}"), response_prefixes })
    }

    /// The filters that match all request topics, known or not. A request with
    /// a mistyped operation gets an answer too.
    #[must_use]
    pub fn request_filters(&self) -> [String; 2] {
        [format!("{}/+/req", self.base), format!("{}/+/+/req", self.base)]
    }

    /// The operation of a request topic, such as `manifest/apply`.
    #[must_use]
    pub fn operation<'a>(&self, topic: &'a str) -> Option<&'a str> {
        topic.strip_prefix(&self.base)?.strip_prefix('/')?.strip_suffix("/req")
    }

    /// The filters that match the retained records of all subscriptions and
    /// roll-outs.
    #[must_use]
    pub fn record_filters(&self) -> [String; 3] {
        let [events, logs] = StreamKind::ALL.map(|kind| self.record(kind, "+"));
        [events, logs, self.rollout("+")]
    }

    /// The subscription that a record belongs to.
    #[must_use]
    pub fn record_of<'a>(&self, topic: &'a str) -> Option<(StreamKind, &'a str)> {
        let path = topic.strip_prefix(&self.base)?.strip_prefix('/')?;
        let (kind, id) = path.strip_suffix("/subscription")?.split_once('/')?;
        Some((StreamKind::ALL.into_iter().find(|known| known.name() == kind)?, id))
    }

    /// Where the messages of a subscription go.
    #[must_use]
    pub fn stream(&self, kind: StreamKind, id: &str) -> String {
        format!("{}/{}/{id}", self.base, kind.name())
    }

    /// Where the retained record of a subscription is kept.
    #[must_use]
    pub fn record(&self, kind: StreamKind, id: &str) -> String {
        format!("{}/subscription", self.stream(kind, id))
    }

    /// Where the progress of what was applied goes.
    #[must_use]
    pub fn apply_status(&self) -> String {
        format!("{}/manifest/apply/status", self.base)
    }

    /// Where the retained record of a roll-out is kept, until it has settled.
    #[must_use]
    pub fn rollout(&self, id: &str) -> String {
        format!("{}/manifest/apply/{id}/rollout", self.base)
    }

    /// The roll-out that a record belongs to.
    #[must_use]
    pub fn rollout_of<'a>(&self, topic: &'a str) -> Option<&'a str> {
        let path = topic.strip_prefix(&self.base)?.strip_prefix("/manifest/apply/")?;
        path.strip_suffix("/rollout").filter(|id| !id.contains('/'))
    }

    /// Where replies go that have no Response Topic.
    #[must_use]
    pub fn reply(&self, operation: &str) -> String {
        format!("{}/{operation}/resp", self.base)
    }

    /// Where the connector tells whether it is there.
    #[must_use]
    pub fn status(&self) -> String {
        format!("{}/connector/status", self.base)
    }

    /// Where a standby replica asks whether the active one is still there.
    #[must_use]
    pub fn standby(&self) -> String {
        format!("{}/connector/standby", self.base)
    }

    /// The filter that matches the two topics on which replicas tell of each other.
    #[must_use]
    pub fn replica_filter(&self) -> String {
        format!("{}/connector/+", self.base)
    }

    /// Whether [`Topics::replica_filter`] matches. No request is published there.
    #[must_use]
    pub fn is_of_replicas(&self, topic: &str) -> bool {
        let path = topic.strip_prefix(&self.base).and_then(|path| path.strip_prefix("/connector/"));
        path.is_some_and(|name| !name.contains('/'))
    }

    /// Whether the connector publishes there by itself.
    fn is_own(&self, topic: &str) -> bool {
        let below = |stream: &str| {
            let rest = topic.strip_prefix(&self.base)?.strip_prefix('/')?.strip_prefix(stream)?;
            rest.starts_with('/').then_some(rest)
        };
        let reply = |rest: &str| matches!(rest, "/subscribe/resp" | "/unsubscribe/resp");
        self.is_of_replicas(topic)
            || topic == self.apply_status()
            || self.rollout_of(topic).is_some()
            || StreamKind::ALL
                .iter()
                .any(|kind| below(kind.name()).is_some_and(|rest| !reply(rest)))
    }

    /// Whether a reply may go to a Response Topic (MQTT 5, 4.10.1). Otherwise
    /// whoever may send requests could publish with the rights of the connector.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check_response_topic(&self, topic: &str) -> Result<(), InvalidResponseTopic> {
        let bad = |c: char| matches!(c, '+' | '#') || c.is_control();
        if topic.is_empty()
            || topic.len() > MAX_RESPONSE_TOPIC
            || topic.split('/').count() > MAX_LEVELS
            || topic.contains(bad)
        {
            return Err(InvalidResponseTopic::NotATopic);
        }
        if self.is_own(topic) {
            return Err(InvalidResponseTopic::Own);
        }
        if topic.ends_with("/req") {
            return Err(InvalidResponseTopic::Request);
        }
        let below = |prefix: &str| {
            topic.strip_prefix(prefix).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
        };
        if below(&self.base) || self.response_prefixes.iter().any(|prefix| below(prefix)) {
            Ok(())
        } else {
            Err(InvalidResponseTopic::Foreign(self.base.clone()))
        }
    }
}

impl fmt::Display for Topics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.base)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn topics() -> Topics {
        Topics::new("1", vec!["backend/replies/".into(), "rr".into()]).unwrap()
    }

    #[test]
    fn a_vin_is_one_topic_level() {
        for vin in ["1", "WVWZZZ1JZXW000001", "a_b-c", &"x".repeat(64)] {
            assert!(Topics::new(vin, vec![]).is_ok(), "{vin}");
        }
        for vin in ["", "a/b", "+", "#", "a b", "ü", "a\0", &"x".repeat(65)] {
            assert!(Topics::new(vin, vec![]).is_err(), "{vin}");
        }
    }

    #[test]
    fn the_operation_is_read_from_the_topic() {
        let topics = topics();
        assert_eq!(topics.operation("vehicle/1/manifest/apply/req"), Some("manifest/apply"));
        assert_eq!(topics.operation("vehicle/1/state/req"), Some("state"));
        for other in ["vehicle/12/state/req", "vehicle/1/state/resp", "vehicle/1/req", "x"] {
            assert_eq!(topics.operation(other), None, "{other}");
        }
        assert_eq!(topics.reply("manifest/apply"), "vehicle/1/manifest/apply/resp");
    }

    #[test]
    fn the_subscription_is_read_from_the_topic_of_its_record() {
        let topics = topics();
        for kind in StreamKind::ALL {
            assert_eq!(topics.record_of(&topics.record(kind, "x-1")), Some((kind, "x-1")));
        }
        for other in ["vehicle/2/events/x/subscription", "vehicle/1/events/x", "vehicle/1/a/b/c"] {
            assert_eq!(topics.record_of(other), None, "{other}");
        }
    }

    #[test]
    fn replicas_meet_on_two_topics_that_are_no_requests() {
        let topics = topics();
        for topic in [topics.status(), topics.standby()] {
            assert!(topics.is_of_replicas(&topic) && topics.operation(&topic).is_none(), "{topic}");
        }
        for other in ["vehicle/1/connector/status/req", "vehicle/2/connector/status", "connector/x"]
        {
            assert!(!topics.is_of_replicas(other), "{other}");
        }
    }

    #[test]
    fn a_response_topic_below_the_vehicle_or_a_prefix_is_taken() {
        for topic in [
            "vehicle/1/rr/7",
            "vehicle/1/state/resp",
            "backend/replies/x",
            "rr/x/y",
            "vehicle/1/events/subscribe/resp",
        ] {
            assert_eq!(topics().check_response_topic(topic), Ok(()), "{topic}");
        }
    }

    #[test]
    fn other_response_topics_are_refused() {
        use InvalidResponseTopic::{Foreign, NotATopic, Own, Request};
        let foreign = || Foreign("vehicle/1".into());
        for (topic, reason) in [
            ("", NotATopic),
            ("vehicle/1/+", NotATopic),
            ("vehicle/1/#", NotATopic),
            ("vehicle/1/a\0", NotATopic),
            (&format!("vehicle/1/{}", "x".repeat(1020)), NotATopic),
            (&format!("vehicle/1/{}", "a/".repeat(40)), NotATopic),
            ("vehicle/1/\u{1b}[0m", NotATopic),
            ("vehicle/1/connector/status", Own),
            ("vehicle/1/connector/standby", Own),
            ("vehicle/1/manifest/apply/status", Own),
            ("vehicle/1/events/x", Own),
            ("vehicle/1/logs/x/subscription", Own),
            ("vehicle/1/manifest/delete/req", Request),
            ("backend/replies/x/req", Request),
            ("vehicle/1", foreign()),
            ("vehicle/1/", foreign()),
            ("vehicle/12/state/resp", foreign()),
            ("backend/repliesx", foreign()),
            ("rrx/y", foreign()),
            ("$SYS/x", foreign()),
        ] {
            assert_eq!(topics().check_response_topic(topic), Err(reason), "{topic}");
        }
    }
}
