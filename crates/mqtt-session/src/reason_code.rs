//! The reason codes of MQTT 5 (2.4), and what the session does about each.
//!
//! The table is data: `docs/mqtt-reason-codes.md` shows it, and a test compares both. A code that
//! is not in the table is one that a later version or a faulty broker sends; it is handled by its
//! range: below 0x80 it says success, from there on an error.

use std::fmt;

/// A reason code as it was received, known or not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReasonCode(pub u8);

/// What the broker's answer to a PUBLISH means for the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishRule {
    /// The broker has the message.
    Accepted,
    /// The message may be accepted later.
    Retry,
    /// A smaller message may be accepted.
    TooLarge,
    /// Another payload may be accepted.
    Payload,
    /// Another topic may be accepted.
    Topic,
}

/// What the broker's answer to a SUBSCRIBE means for one filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscribeRule {
    /// It is granted with this QoS, which may be lower than was asked for.
    Granted(u8),
    /// It is refused, and asked for again later.
    Refused,
}

/// What is done when the broker refuses or ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndRule {
    /// When the next connection is made.
    pub pace: Pace,
    /// Whether a message without an acknowledgement may be the cause.
    pub blames_message: bool,
    /// What people can do about it.
    pub help: Option<Help>,
}

/// When the next connection is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// With the usual backoff, from 0.1 s on.
    Usual,
    /// With the usual backoff, but not within 5 s: the broker asks for fewer connections, or
    /// nothing changes until somebody does something.
    Slow,
}

/// What people can do about the end of a connection. The texts are in
/// [`ConnectionError::help`](crate::ConnectionError::help), because some name settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Help {
    /// The broker has to speak MQTT 5.
    Version,
    /// `MQTT_CLIENT_ID`, login and the policy of the broker.
    Login,
    /// Another client has the same client identifier.
    SameClientId,
    /// Another server.
    OtherServer,
    /// A limit of the broker.
    Limit,
    /// A larger keep-alive time.
    KeepAlive,
    /// A feature that the broker does not have or allow.
    Feature,
    /// The access list of the broker.
    Access,
    /// The client was banned or removed by an administrator.
    Administrator,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The code.
    pub code: u8,
    /// Its name, as the log shows it.
    pub name: &'static str,
    /// In CONNACK.
    pub connack: Option<EndRule>,
    /// In PUBACK.
    pub puback: Option<PublishRule>,
    /// In SUBACK.
    pub suback: Option<SubscribeRule>,
    /// In DISCONNECT.
    pub disconnect: Option<EndRule>,
    /// Whether MQTT 5 has it in a packet that has no effect here: UNSUBACK, PUBREC, PUBREL, PUBCOMP
    /// and AUTH.
    pub elsewhere: bool,
}

const USUAL: EndRule = EndRule { pace: Pace::Usual, blames_message: false, help: None };
const SLOW: EndRule = EndRule { pace: Pace::Slow, ..USUAL };
const BLAME: EndRule = EndRule { blames_message: true, ..USUAL };

const fn with(rule: EndRule, help: Help) -> EndRule {
    EndRule { help: Some(help), ..rule }
}

const fn row(code: u8, name: &'static str) -> Row {
    Row {
        code,
        name,
        connack: None,
        puback: None,
        suback: None,
        disconnect: None,
        elsewhere: false,
    }
}

impl Row {
    const fn connack(self, rule: EndRule) -> Self {
        Self { connack: Some(rule), ..self }
    }

    const fn puback(self, rule: PublishRule) -> Self {
        Self { puback: Some(rule), ..self }
    }

    const fn suback(self, rule: SubscribeRule) -> Self {
        Self { suback: Some(rule), ..self }
    }

    const fn disconnect(self, rule: EndRule) -> Self {
        Self { disconnect: Some(rule), ..self }
    }

    const fn elsewhere(self) -> Self {
        Self { elsewhere: true, ..self }
    }
}

use PublishRule::{Accepted, Payload, Retry, TooLarge, Topic};
use SubscribeRule::{Granted, Refused};

/// All codes that MQTT 5 names. Rules are given for all packets that MQTT 5 allows the code in, and
/// for those that brokers send it in nevertheless, such as PUBACK 0x95 of Mosquitto.
pub const TABLE: &[Row] = &[
    row(0x00, "Success").puback(Accepted).suback(Granted(0)).disconnect(USUAL).elsewhere(),
    row(0x01, "GrantedQoS1").suback(Granted(1)),
    row(0x02, "GrantedQoS2").suback(Granted(2)),
    row(0x04, "DisconnectWithWillMessage").disconnect(USUAL),
    row(0x10, "NoMatchingSubscribers").puback(Accepted).elsewhere(),
    row(0x11, "NoSubscriptionExisted").elsewhere(),
    row(0x18, "ContinueAuthentication").elsewhere(),
    row(0x19, "ReAuthenticate").elsewhere(),
    row(0x80, "UnspecifiedError")
        .connack(USUAL)
        .puback(Retry)
        .suback(Refused)
        .disconnect(BLAME)
        .elsewhere(),
    row(0x81, "MalformedPacket").connack(SLOW).disconnect(BLAME),
    row(0x82, "ProtocolError").connack(SLOW).disconnect(BLAME),
    row(0x83, "ImplementationSpecificError")
        .connack(USUAL)
        .puback(Retry)
        .suback(Refused)
        .disconnect(BLAME)
        .elsewhere(),
    row(0x84, "UnsupportedProtocolVersion")
        .connack(with(SLOW, Help::Version))
        .disconnect(with(SLOW, Help::Version)),
    row(0x85, "ClientIdentifierNotValid").connack(with(USUAL, Help::Login)),
    row(0x86, "BadUserNamePassword").connack(with(USUAL, Help::Login)),
    row(0x87, "NotAuthorized")
        .connack(with(USUAL, Help::Login))
        .puback(Topic)
        .suback(Refused)
        .disconnect(with(BLAME, Help::Access))
        .elsewhere(),
    row(0x88, "ServerUnavailable").connack(USUAL).puback(Retry).disconnect(USUAL),
    row(0x89, "ServerBusy").connack(SLOW).puback(Retry).disconnect(SLOW),
    row(0x8a, "Banned")
        .connack(with(SLOW, Help::Administrator))
        .disconnect(with(SLOW, Help::Administrator)),
    row(0x8b, "ServerShuttingDown").connack(USUAL).disconnect(USUAL),
    row(0x8c, "BadAuthenticationMethod").connack(with(SLOW, Help::Login)).elsewhere(),
    row(0x8d, "KeepAliveTimeout").disconnect(with(USUAL, Help::KeepAlive)),
    row(0x8e, "SessionTakenOver").disconnect(with(USUAL, Help::SameClientId)),
    row(0x8f, "TopicFilterInvalid")
        .suback(Refused)
        .disconnect(with(USUAL, Help::Feature))
        .elsewhere(),
    row(0x90, "TopicNameInvalid").connack(SLOW).puback(Topic).disconnect(BLAME).elsewhere(),
    row(0x91, "PacketIdentifierInUse").puback(Retry).suback(Refused).disconnect(USUAL).elsewhere(),
    row(0x92, "PacketIdentifierNotFound").disconnect(USUAL).elsewhere(),
    row(0x93, "ReceiveMaximumExceeded").disconnect(USUAL),
    row(0x94, "TopicAliasInvalid").disconnect(BLAME),
    row(0x95, "PacketTooLarge")
        .connack(with(SLOW, Help::Limit))
        .puback(TooLarge)
        .disconnect(with(BLAME, Help::Limit)),
    row(0x96, "MessageRateTooHigh").puback(Retry).disconnect(with(SLOW, Help::Limit)),
    row(0x97, "QuotaExceeded")
        .connack(with(SLOW, Help::Limit))
        .puback(Retry)
        .suback(Refused)
        .disconnect(EndRule { pace: Pace::Slow, ..with(BLAME, Help::Limit) })
        .elsewhere(),
    row(0x98, "AdministrativeAction").disconnect(with(SLOW, Help::Administrator)),
    row(0x99, "PayloadFormatInvalid").connack(SLOW).puback(Payload).disconnect(BLAME).elsewhere(),
    row(0x9a, "RetainNotSupported")
        .connack(with(USUAL, Help::Feature))
        .puback(Topic)
        .disconnect(with(BLAME, Help::Feature)),
    row(0x9b, "QoSNotSupported")
        .connack(with(USUAL, Help::Feature))
        .puback(Topic)
        .disconnect(with(BLAME, Help::Feature)),
    row(0x9c, "UseAnotherServer")
        .connack(with(SLOW, Help::OtherServer))
        .disconnect(with(SLOW, Help::OtherServer)),
    row(0x9d, "ServerMoved")
        .connack(with(SLOW, Help::OtherServer))
        .disconnect(with(SLOW, Help::OtherServer)),
    row(0x9e, "SharedSubscriptionsNotSupported")
        .suback(Refused)
        .disconnect(with(USUAL, Help::Feature)),
    row(0x9f, "ConnectionRateExceeded")
        .connack(with(SLOW, Help::Limit))
        .puback(Retry)
        .disconnect(with(SLOW, Help::Limit)),
    row(0xa0, "MaximumConnectTime").disconnect(USUAL),
    row(0xa1, "SubscriptionIdentifiersNotSupported")
        .suback(Refused)
        .disconnect(with(USUAL, Help::Feature)),
    row(0xa2, "WildcardSubscriptionsNotSupported")
        .suback(Refused)
        .disconnect(with(USUAL, Help::Feature)),
];

impl ReasonCode {
    /// *Success*.
    pub const SUCCESS: Self = Self(0x00);
    /// *No matching subscribers*.
    pub const NO_MATCHING_SUBSCRIBERS: Self = Self(0x10);
    /// *Not authorized*.
    pub const NOT_AUTHORIZED: Self = Self(0x87);
    /// *Session taken over*.
    pub const SESSION_TAKEN_OVER: Self = Self(0x8e);
    /// *Retain not supported*.
    pub const RETAIN_NOT_SUPPORTED: Self = Self(0x9a);
    /// *QoS not supported*.
    pub const QOS_NOT_SUPPORTED: Self = Self(0x9b);
    /// *Wildcard Subscriptions not supported*.
    pub const WILDCARDS_NOT_SUPPORTED: Self = Self(0xa2);
    /// *Packet too large*.
    pub const PACKET_TOO_LARGE: Self = Self(0x95);

    /// Whether it says that something has failed.
    #[must_use]
    pub fn is_error(self) -> bool {
        self.0 >= 0x80
    }

    fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.code == self.0)
    }

    /// What it means in a PUBACK.
    #[must_use]
    pub fn publish_rule(self) -> PublishRule {
        let known = self.row().and_then(|row| row.puback);
        known.unwrap_or(if self.is_error() { Payload } else { Accepted })
    }

    /// What it means in a SUBACK.
    #[must_use]
    pub fn subscribe_rule(self) -> SubscribeRule {
        self.row().and_then(|row| row.suback).unwrap_or(Refused)
    }

    /// What it means in a CONNACK that refuses the connection.
    #[must_use]
    pub fn connack_rule(self) -> EndRule {
        // MQTT 3.1.1 has codes of its own: 1 is a protocol version that the broker does not speak.
        self.row().and_then(|row| row.connack).unwrap_or(SLOW)
    }

    /// What it means in a DISCONNECT.
    #[must_use]
    pub fn disconnect_rule(self) -> EndRule {
        let known = self.row().and_then(|row| row.disconnect);
        known.unwrap_or(if self.is_error() { BLAME } else { USUAL })
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.row().map_or("unknown reason", |row| row.name);
        write!(f, "{name} (0x{:02X})", self.0)
    }
}

impl fmt::Debug for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PublishRule {
    /// What happens to the message, for the documents.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Accepted => "accepted",
            Retry => "later",
            TooLarge => "too large",
            Payload => "payload",
            Topic => "topic",
        }
    }
}

impl SubscribeRule {
    /// What happens to the filter, for the documents.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Granted(0) => "QoS 0",
            Granted(_) => "granted",
            Refused => "refused",
        }
    }
}

impl EndRule {
    /// What happens, for the documents.
    #[must_use]
    pub fn description(self) -> String {
        let pace = match self.pace {
            Pace::Usual => "soon",
            Pace::Slow => "5 s",
        };
        let blame = if self.blames_message { ", suspects" } else { "" };
        let help = self.help.map(|help| format!("; *{}*", help.name())).unwrap_or_default();
        format!("{pace}{blame}{help}")
    }
}

impl Help {
    /// A word for it, for the documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Login => "login",
            Self::SameClientId => "same client",
            Self::OtherServer => "other server",
            Self::Limit => "limit",
            Self::KeepAlive => "keep-alive",
            Self::Feature => "feature",
            Self::Access => "access",
            Self::Administrator => "administrator",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = ReasonCode> {
        (0..=u8::MAX).map(ReasonCode)
    }

    #[test]
    fn the_table_has_each_code_of_mqtt_5_once_and_in_order() {
        let codes: Vec<_> = TABLE.iter().map(|row| row.code).collect();
        assert!(codes.is_sorted_by(|one, next| one < next), "{codes:?}");
        let low = [0x00, 0x01, 0x02, 0x04, 0x10, 0x11, 0x18, 0x19];
        assert_eq!(codes, low.into_iter().chain(0x80..=0xa2).collect::<Vec<_>>());
    }

    #[test]
    fn all_256_codes_have_a_rule_in_each_packet() {
        for code in all() {
            let accepted = code.publish_rule() == Accepted;
            assert_eq!(accepted, !code.is_error(), "PUBACK {code}");
            let granted = matches!(code.subscribe_rule(), Granted(_));
            assert_eq!(granted, code.0 <= 2, "SUBACK {code}");
            // A message is blamed for an error only.
            let blames = code.disconnect_rule().blames_message;
            assert!(code.is_error() || !blames, "DISCONNECT {code}");
            assert!(!code.connack_rule().blames_message, "CONNACK {code}");
            let shown = code.to_string();
            assert!(shown.ends_with(&format!("(0x{:02X})", code.0)), "{shown}");
        }
    }

    #[test]
    fn unknown_errors_replace_the_message_and_blame_it() {
        let unknown: Vec<_> = all().filter(|code| code.row().is_none()).collect();
        assert_eq!(unknown.len(), 256 - TABLE.len());
        for code in unknown {
            let rule = if code.is_error() { Payload } else { Accepted };
            assert_eq!(code.publish_rule(), rule, "{code}");
            assert_eq!(code.disconnect_rule().blames_message, code.is_error(), "{code}");
            assert_eq!(code.subscribe_rule(), Refused, "{code}");
        }
    }

    #[test]
    fn what_only_a_person_can_change_is_not_tried_at_once() {
        for code in [0x84, 0x8a, 0x89, 0x97, 0x9c, 0x9d, 0x9f].map(ReasonCode) {
            assert_eq!(code.connack_rule().pace, Pace::Slow, "{code}");
        }
        for code in [0x88, 0x8b].map(ReasonCode) {
            assert_eq!(code.connack_rule().pace, Pace::Usual, "{code}");
        }
        for code in [0x8b, 0x8e, 0x93, 0xa0].map(ReasonCode) {
            assert_eq!(code.disconnect_rule().pace, Pace::Usual, "{code}");
            assert!(!code.disconnect_rule().blames_message, "{code}");
        }
    }
}
