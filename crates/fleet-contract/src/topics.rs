//! The topics of a vehicle, all below `vehicle/<VIN>/`.

use std::fmt;

use ankaios_model::is_identifier;

use crate::operation::Operation;

/// Begins all topics.
const VEHICLE: &str = "vehicle/";

/// Maximum length of a VIN and of the name of a replica, in characters.
const MAX_VIN: usize = 64;

/// Maximum length of a topic, in bytes (MQTT 5, 1.5.4).
pub const MAX_TOPIC: usize = 65_535;

/// Maximum length of a Response Topic, in bytes.
const MAX_RESPONSE_TOPIC: usize = 1024;

/// Maximum number of levels of a Response Topic. Brokers have such limits, too, and close the
/// connection if a topic exceeds them: that of Mosquitto is 200.
const MAX_LEVELS: usize = 32;

/// Maximum length of a topic in the log, in characters.
const MAX_LOGGED: usize = 200;

/// The error for text that is not a VIN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid VIN; use 1 to 64 of A-Z, a-z, 0-9, _ and -")]
pub struct InvalidVin(String);

/// Why a reply does not go to the Response Topic of its request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidResponseTopic {
    /// It is empty or too long, or has too many levels, a wildcard, or a control character.
    #[error("it is not a topic name")]
    NotATopic,
    /// The connector publishes other messages to this topic. A reply must not look like one of
    /// them.
    #[error("the connector publishes other messages there")]
    Own,
    /// It is a request topic. A reply must not become a request.
    #[error("it ends in /req, so the reply would be a request")]
    Request,
    /// It is outside of the topics that are allowed for replies. The field is the base of the
    /// vehicle's topics.
    #[error("it is neither below {0}/ nor below one of RESPONSE_TOPIC_PREFIXES")]
    Foreign(String),
}

/// Whether the text can be a VIN or the name of a replica: 1 to 64 of `A-Z`, `a-z`, `0-9`, `_` and
/// `-`.
#[must_use]
pub fn is_vin(text: &str) -> bool {
    is_identifier(text, MAX_VIN)
}

/// The first 200 characters of a text, to limit the length of topics in the log.
#[must_use]
pub fn short(text: &str) -> &str {
    text.char_indices().nth(MAX_LOGGED).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// The kinds of streams that operators can subscribe to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StreamKind {
    /// Changes of the state.
    Events,
    /// Logs of workloads.
    Logs,
}

impl StreamKind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::Events, Self::Logs];

    /// The name in topics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Logs => "logs",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The meaning of a topic for the connector of a vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicKind<'a> {
    /// The topic of a request.
    Request {
        /// The name of the operation in the topic.
        name: &'a str,
        /// The operation with this name; `None` if there is none.
        operation: Option<Operation>,
    },
    /// The topic of the retained record of a subscription.
    Subscription {
        /// The stream that is subscribed to.
        kind: StreamKind,
        /// The id of the subscription. It is not checked, because any client may publish to the
        /// topic.
        id: &'a str,
    },
    /// The topic of the retained record of a rollout.
    Rollout {
        /// The id of the rollout, not checked.
        id: &'a str,
    },
    /// The topic of the status of a connector.
    Status,
    /// The topic on which a standby replica asks the active one for its status.
    Standby,
    /// Another topic directly below `connector/`. All of them are reserved for connectors.
    Connector,
    /// Any other topic.
    Other,
}

/// Creates and parses the topics of a vehicle.
#[derive(Debug, Clone)]
pub struct Topics {
    base: String,
    response_prefixes: Vec<String>,
}

impl Topics {
    /// The topics of the vehicle with this VIN. A Response Topic must be below one of
    /// `response_prefixes` or below the vehicle's own topic.
    ///
    /// # Errors
    /// The VIN is invalid.
    pub fn new(vin: &str, response_prefixes: Vec<String>) -> Result<Self, InvalidVin> {
        if !is_vin(vin) {
            return Err(InvalidVin(vin.chars().take(MAX_VIN + 1).collect()));
        }
        let response_prefixes = response_prefixes
            .into_iter()
            .map(|prefix| prefix.trim_end_matches('/').to_owned())
            .collect();
        Ok(Self { base: format!("{VEHICLE}{vin}"), response_prefixes })
    }

    /// The VIN of the vehicle.
    #[must_use]
    pub fn vin(&self) -> &str {
        self.base.strip_prefix(VEHICLE).unwrap_or(&self.base)
    }

    /// The topic filters of all request topics. They also match unknown operations, so that a
    /// request with a misspelled operation gets a reply.
    #[must_use]
    pub fn request_filters(&self) -> [String; 2] {
        [format!("{}/+/req", self.base), format!("{}/+/+/req", self.base)]
    }

    /// The topics of all operations, for brokers without wildcards.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        let topic = |operation: Operation| format!("{}/{}/req", self.base, operation.name());
        Operation::ALL.into_iter().map(topic).collect()
    }

    /// A filter that matches the topic of the status, and no other topic of the contract.
    #[must_use]
    pub fn status_filter(&self) -> String {
        format!("{}/+/status", self.base)
    }

    /// Parses a topic.
    #[must_use]
    pub fn kind<'a>(&self, topic: &'a str) -> TopicKind<'a> {
        let path = topic.strip_prefix(&self.base).and_then(|path| path.strip_prefix('/'));
        let Some(path) = path else { return TopicKind::Other };
        if let Some(name) = path.strip_suffix("/req") {
            return TopicKind::Request { name, operation: Operation::from_name(name) };
        }
        match path.split('/').collect::<Vec<_>>()[..] {
            ["connector", "status"] => TopicKind::Status,
            ["connector", "standby"] => TopicKind::Standby,
            ["connector", _] => TopicKind::Connector,
            ["manifest", "apply", id, "rollout"] => TopicKind::Rollout { id },
            [kind, id, "subscription"] => StreamKind::from_name(kind)
                .map_or(TopicKind::Other, |kind| TopicKind::Subscription { kind, id }),
            _ => TopicKind::Other,
        }
    }

    /// The topic filters of the retained records of all subscriptions and rollouts.
    #[must_use]
    pub fn record_filters(&self) -> [String; 3] {
        let [events, logs] = StreamKind::ALL.map(|kind| self.record(kind, "+"));
        [events, logs, self.rollout("+")]
    }

    /// The topic of the messages of a subscription.
    #[must_use]
    pub fn stream(&self, kind: StreamKind, id: &str) -> String {
        format!("{}/{}/{id}", self.base, kind.name())
    }

    /// The topic of the retained record of a subscription.
    #[must_use]
    pub fn record(&self, kind: StreamKind, id: &str) -> String {
        format!("{}/subscription", self.stream(kind, id))
    }

    /// The topic of the progress of rollouts.
    #[must_use]
    pub fn apply_status(&self) -> String {
        format!("{}/manifest/apply/status", self.base)
    }

    /// The topic of the retained record of a rollout that has not settled.
    #[must_use]
    pub fn rollout(&self, id: &str) -> String {
        format!("{}/manifest/apply/{id}/rollout", self.base)
    }

    /// The topic of replies to requests that have no Response Topic.
    #[must_use]
    pub fn reply(&self, operation: &str) -> String {
        format!("{}/{operation}/resp", self.base)
    }

    /// The topic of the status of the connector.
    #[must_use]
    pub fn status(&self) -> String {
        format!("{}/connector/status", self.base)
    }

    /// The topic on which a standby replica asks the active one for its status.
    #[must_use]
    pub fn standby(&self) -> String {
        format!("{}/connector/standby", self.base)
    }

    /// Whether the connector publishes messages other than replies to this topic.
    fn is_own(&self, topic: &str) -> bool {
        let path_below = |stream: &str| {
            let rest = topic.strip_prefix(&self.base)?.strip_prefix('/')?.strip_prefix(stream)?;
            rest.starts_with('/').then_some(rest)
        };
        let is_reply = |rest: &str| matches!(rest, "/subscribe/resp" | "/unsubscribe/resp");
        matches!(
            self.kind(topic),
            TopicKind::Status
                | TopicKind::Standby
                | TopicKind::Connector
                | TopicKind::Rollout { .. }
        ) || topic == self.apply_status()
            || StreamKind::ALL
                .iter()
                .any(|kind| path_below(kind.name()).is_some_and(|rest| !is_reply(rest)))
    }

    /// Checks that a reply may be published to a Response Topic (MQTT 5, 4.10.1). Without this
    /// check, a client that may send requests could publish with the rights of the connector.
    ///
    /// # Errors
    /// Why a reply may not be published there.
    pub fn check_response_topic(&self, topic: &str) -> Result<(), InvalidResponseTopic> {
        let is_forbidden = |c: char| matches!(c, '+' | '#') || c.is_control();
        if topic.is_empty()
            || topic.len() > MAX_RESPONSE_TOPIC
            || topic.split('/').count() > MAX_LEVELS
            || topic.contains(is_forbidden)
        {
            return Err(InvalidResponseTopic::NotATopic);
        }
        if self.is_own(topic) {
            return Err(InvalidResponseTopic::Own);
        }
        if topic.ends_with("/req") {
            return Err(InvalidResponseTopic::Request);
        }
        let is_below = |prefix: &str| {
            topic.strip_prefix(prefix).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
        };
        if is_below(&self.base) || self.response_prefixes.iter().any(|prefix| is_below(prefix)) {
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
    fn topics_are_parsed() {
        let topics = topics();
        let request = |name| TopicKind::Request { name, operation: Operation::from_name(name) };
        let apply = topics.kind("vehicle/1/manifest/apply/req");
        assert_eq!(apply, request("manifest/apply"));
        assert!(matches!(apply, TopicKind::Request { operation: Some(_), .. }));
        assert_eq!(topics.kind("vehicle/1/state/req"), request("state"));
        assert_eq!(topics.kind("vehicle/1/no/such/req"), request("no/such"));
        assert_eq!(topics.kind("vehicle/1/connector/status/req"), request("connector/status"));
        for kind in StreamKind::ALL {
            let id = "x-1";
            let record = topics.record(kind, id);
            assert_eq!(topics.kind(&record), TopicKind::Subscription { kind, id });
        }
        assert_eq!(topics.kind(&topics.rollout("r")), TopicKind::Rollout { id: "r" });
        assert_eq!(topics.kind(&topics.status()), TopicKind::Status);
        assert_eq!(topics.kind(&topics.standby()), TopicKind::Standby);
        assert_eq!(topics.kind("vehicle/1/connector/x"), TopicKind::Connector);
        for other in [
            "vehicle/12/state/req",
            "vehicle/2/events/x/subscription",
            "vehicle/2/connector/status",
            "vehicle/1/state/resp",
            "vehicle/1/req",
            "vehicle/1/events/x",
            "vehicle/1/a/b/c",
            "vehicle/1/a/b/subscription",
            "vehicle/1/manifest/apply/a/b/rollout",
            "connector/status",
            "x",
            "",
        ] {
            assert_eq!(topics.kind(other), TopicKind::Other, "{other}");
        }
        assert_eq!(topics.reply("manifest/apply"), "vehicle/1/manifest/apply/resp");
    }

    #[test]
    fn response_topics_below_the_vehicle_or_a_prefix_are_accepted() {
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
            ("vehicle/1/connector/x", Own),
            ("vehicle/1/manifest/apply/x/rollout", Own),
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
