//! What the broker offers and allows: what it says in CONNACK, and what its refusals show.
//!
//! Some brokers say in CONNACK that they do not retain messages, or have no QoS 1. Others only refuse
//! them: with an error in CONNACK (for the last will), in PUBACK or in DISCONNECT. What was learned
//! from a refusal is tried again on a connection that is made an hour later.

use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::ConnAckProperties;
use tokio::time::Instant;

use crate::reason_code::ReasonCode;

/// How long the connector believes a refusal.
const BELIEVED: Duration = Duration::from_hours(1);

/// A feature that a broker may not offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Feature {
    /// Retained messages.
    Retain,
    /// Publishing with QoS 1.
    Qos1,
    /// Subscriptions with wildcards.
    Wildcards,
}

/// Why a feature is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Denied {
    why: String,
    /// When it was learned from a refusal; `None` if CONNACK says so.
    learned: Option<Instant>,
}

/// What the broker offers and allows, as far as it is known.
#[derive(Debug, Default)]
pub(crate) struct Allowed {
    retain: Option<Denied>,
    qos_1: Option<Denied>,
    wildcards: Option<Denied>,
    /// The broker has refused the last connection for a reason that a retained will may be.
    suspects_will: Option<ReasonCode>,
    /// The status is refused whether it is retained or not.
    status_is_refused: bool,
}

impl Allowed {
    /// Why a feature is not used; `None` if it is.
    pub(crate) fn denied(&self, feature: Feature) -> Option<&str> {
        self.of(feature).as_ref().map(|denied| &*denied.why)
    }

    /// Whether a feature is used.
    pub(crate) fn has(&self, feature: Feature) -> bool {
        self.of(feature).is_none()
    }

    /// Whether the will of the next connection is retained.
    pub(crate) fn will_is_retained(&self) -> bool {
        self.has(Feature::Retain) && self.suspects_will.is_none()
    }

    /// A connection is opened: what was learned long ago is tried again.
    pub(crate) fn connecting(&mut self, now: Instant) {
        for feature in [&mut self.retain, &mut self.qos_1, &mut self.wildcards] {
            feature
                .take_if(|denied| denied.learned.is_some_and(|learned| learned + BELIEVED <= now));
        }
    }

    /// The broker has accepted a connection and says this.
    pub(crate) fn connected(&mut self, properties: Option<&ConnAckProperties>, now: Instant) {
        if let Some(code) = self.suspects_will.take() {
            // Without a retained will it accepts the connection.
            self.deny(Feature::Retain, format!("a retained will is refused: {code}"), now);
        }
        let says_no = |value: Option<u8>| value == Some(0);
        for (feature, is_denied, why) in [
            (
                Feature::Retain,
                properties.is_some_and(|all| says_no(all.retain_available)),
                "Retain Available is 0",
            ),
            (Feature::Qos1, properties.is_some_and(|all| says_no(all.max_qos)), "Maximum QoS is 0"),
            (
                Feature::Wildcards,
                properties.is_some_and(|all| says_no(all.wildcard_subscription_available)),
                "Wildcard Subscription Available is 0",
            ),
        ] {
            let known = self.of_mut(feature);
            if is_denied {
                *known = Some(Denied { why: why.into(), learned: None });
            } else {
                known.take_if(|denied| denied.learned.is_none());
            }
        }
    }

    /// The broker has refused a connection.
    pub(crate) fn refused(&mut self, code: ReasonCode, now: Instant) {
        let had_retained_will = self.will_is_retained();
        self.suspects_will = None;
        // Which of several reasons they mean is not known.
        let may_be_will = matches!(code.0, 0x80 | 0x82 | 0x83 | 0x87);
        if may_be_will && had_retained_will {
            self.suspects_will = Some(code);
        } else {
            self.learn(code, now);
        }
    }

    /// The broker has given this reason for ending a connection or for refusing a message. Returns
    /// whether it is a feature that is not used any more.
    pub(crate) fn learn(&mut self, code: ReasonCode, now: Instant) -> bool {
        let feature = match code {
            ReasonCode::RETAIN_NOT_SUPPORTED => Feature::Retain,
            ReasonCode::QOS_NOT_SUPPORTED => Feature::Qos1,
            ReasonCode::WILDCARDS_NOT_SUPPORTED => Feature::Wildcards,
            _ => return false,
        };
        if !self.has(feature) {
            return false;
        }
        self.deny(feature, code.to_string(), now);
        true
    }

    /// The broker has refused a retained message, or the status without retain, for a reason that
    /// does not say whether that is because it is retained. Returns whether to do without retained
    /// messages from now on.
    pub(crate) fn retained_refused(&mut self, why: String, now: Instant) -> bool {
        if self.status_is_refused {
            return false;
        }
        if self.has(Feature::Retain) {
            self.deny(Feature::Retain, why, now);
            return true;
        }
        // It is not because of that, unless something else has shown it.
        self.status_is_refused = true;
        self.retain.take_if(|denied| denied.why == why);
        false
    }

    /// The broker has refused a feature.
    fn deny(&mut self, feature: Feature, why: String, now: Instant) {
        self.of_mut(feature).get_or_insert(Denied { why, learned: Some(now) });
    }

    fn of(&self, feature: Feature) -> &Option<Denied> {
        match feature {
            Feature::Retain => &self.retain,
            Feature::Qos1 => &self.qos_1,
            Feature::Wildcards => &self.wildcards,
        }
    }

    fn of_mut(&mut self, feature: Feature) -> &mut Option<Denied> {
        match feature {
            Feature::Retain => &mut self.retain,
            Feature::Qos1 => &mut self.qos_1,
            Feature::Wildcards => &mut self.wildcards,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_AUTHORIZED: ReasonCode = ReasonCode::NOT_AUTHORIZED;

    fn says(retain: Option<u8>, max_qos: Option<u8>) -> ConnAckProperties {
        let mut properties = empty();
        (properties.retain_available, properties.max_qos) = (retain, max_qos);
        properties
    }

    fn empty() -> ConnAckProperties {
        ConnAckProperties {
            session_expiry_interval: None,
            receive_max: None,
            max_qos: None,
            retain_available: None,
            max_packet_size: None,
            assigned_client_identifier: None,
            topic_alias_max: None,
            reason_string: None,
            user_properties: Vec::new(),
            wildcard_subscription_available: None,
            subscription_identifiers_available: None,
            shared_subscription_available: None,
            server_keep_alive: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        }
    }

    #[test]
    fn what_connack_says_holds_for_its_connection() {
        let (mut allowed, now) = (Allowed::default(), Instant::now());
        allowed.connected(Some(&says(Some(0), Some(0))), now);
        assert!(!allowed.has(Feature::Retain) && !allowed.has(Feature::Qos1));
        assert!(!allowed.will_is_retained() && allowed.has(Feature::Wildcards));
        assert_eq!(allowed.denied(Feature::Retain), Some("Retain Available is 0"));
        for properties in [says(Some(1), Some(1)), empty()] {
            allowed.connected(Some(&properties), now);
            assert!(allowed.has(Feature::Retain) && allowed.has(Feature::Qos1));
        }
        allowed.connected(None, now);
        assert!(allowed.will_is_retained());
    }

    #[test]
    fn what_a_refusal_shows_is_believed_for_some_time() {
        let (mut allowed, now) = (Allowed::default(), Instant::now());
        allowed.refused(ReasonCode::RETAIN_NOT_SUPPORTED, now);
        assert!(
            allowed.learn(ReasonCode::QOS_NOT_SUPPORTED, now)
                && !allowed.learn(ReasonCode::QOS_NOT_SUPPORTED, now)
        );
        assert!(
            allowed.learn(ReasonCode::WILDCARDS_NOT_SUPPORTED, now)
                && !allowed.learn(NOT_AUTHORIZED, now)
        );
        // CONNACK does not mention it.
        allowed.connecting(now + BELIEVED / 2);
        allowed.connected(None, now);
        let all = [Feature::Retain, Feature::Qos1, Feature::Wildcards];
        assert!(all.iter().all(|feature| !allowed.has(*feature)));
        allowed.connecting(now + BELIEVED);
        assert!(all.iter().all(|feature| allowed.has(*feature)));
    }

    #[test]
    fn a_retained_will_that_is_not_authorized_is_found_out() {
        let (mut allowed, now) = (Allowed::default(), Instant::now());
        allowed.refused(NOT_AUTHORIZED, now);
        assert!(!allowed.will_is_retained() && allowed.has(Feature::Retain));
        // It is not the will: both are tried in turn.
        allowed.refused(NOT_AUTHORIZED, now);
        assert!(allowed.will_is_retained());
        allowed.refused(NOT_AUTHORIZED, now);
        assert!(!allowed.will_is_retained());
        allowed.connected(None, now);
        let why = "a retained will is refused: NotAuthorized (0x87)";
        assert_eq!(allowed.denied(Feature::Retain), Some(why));
    }

    #[test]
    fn a_status_that_is_refused_in_both_forms_says_nothing_about_retained_messages() {
        let (mut allowed, now) = (Allowed::default(), Instant::now());
        assert!(allowed.retained_refused("no".into(), now));
        assert_eq!(allowed.denied(Feature::Retain), Some("no"));
        for _ in 0..2 {
            assert!(!allowed.retained_refused("no".into(), now));
            assert!(allowed.has(Feature::Retain));
        }
    }

    #[test]
    fn other_reasons_show_nothing() {
        let (mut allowed, now) = (Allowed::default(), Instant::now());
        for code in (0..=u8::MAX).map(ReasonCode) {
            if !matches!(code.0, 0x80 | 0x82 | 0x83 | 0x87 | 0x9a | 0x9b | 0xa2) {
                allowed.refused(code, now);
                assert!(allowed.will_is_retained() && allowed.has(Feature::Qos1), "{code}");
            }
        }
    }
}
