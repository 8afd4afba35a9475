//! What the broker offers and allows, and what the session does without.

use std::time::Duration;

use humantime::format_duration;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAckProperties, Filter, Packet, Publish, RetainForwardRule, Subscribe, Unsubscribe,
};
use tokio::time::Instant;

use super::state::{Session, Stage};
use crate::allowed::Feature;
use crate::application::Application;
use crate::connect::seconds;
use crate::connection::Connection;
use crate::connection_error::ConnectionError;
use crate::reason_code::ReasonCode;
use crate::retained_probe::Step;
use crate::shortcomings::Lack;

/// A broker that takes only smaller packets than this is worth a word, in bytes.
const USUAL_PACKET: u32 = 128 * 1024;

impl<A: Application> Session<A> {
    /// Records what the broker says when it accepts a connection. Returns whether it retains messages
    /// again: then records were left out.
    pub(super) fn note_connack(&mut self, properties: Option<&ConnAckProperties>) -> bool {
        let was_without_retain = !self.allowed.has(Feature::Retain);
        self.allowed.connected(properties, Instant::now());
        self.note_features();
        let asked = seconds(self.options.session_expiry);
        let kept = properties.and_then(|all| all.session_expiry_interval).unwrap_or(asked);
        self.reporter.metrics().session_expiry(kept);
        self.note_lack(Lack::SessionExpiry, (kept < asked).then(|| shorter_session(kept, asked)));
        let own = &self.options.client_id;
        let assigned = properties.and_then(|all| all.assigned_client_identifier.as_ref());
        let assigned = assigned.filter(|assigned| *assigned != own).map(|assigned| {
            format!(
                "the broker has assigned the client identifier {assigned:?} instead of {own:?}: if \
                 it assigns another one to each connection, requests that arrive while the vehicle \
                 is offline are lost; set MQTT_CLIENT_ID to one that the broker accepts"
            )
        });
        self.note_lack(Lack::ClientId, assigned);
        let max_packet = properties.and_then(|all| all.max_packet_size);
        let small = max_packet.filter(|max| *max < USUAL_PACKET).map(|max| {
            format!(
                "the broker takes packets of up to {max} bytes: a larger reply becomes an error"
            )
        });
        self.note_lack(Lack::PacketSize, small);
        was_without_retain && self.allowed.has(Feature::Retain)
    }

    /// The broker has given this reason. Returns whether it shows that a feature is missing.
    pub(super) fn learn(&mut self, code: ReasonCode) -> bool {
        let is_new = self.allowed.learn(code, Instant::now());
        if is_new {
            self.note_features();
        }
        is_new
    }

    /// The broker has refused a retained message. Returns whether to do without retained messages.
    pub(super) fn retained_refused(&mut self, why: &str) -> bool {
        let again = self.allowed.retained_refused(why.to_owned(), Instant::now());
        self.note_features();
        again
    }

    fn note_features(&mut self) {
        for (lack, feature, text) in [
            (Lack::Retain, Feature::Retain, "the broker does not retain messages"),
            (
                Lack::Qos,
                Feature::Qos1,
                "the broker takes messages with QoS 0 only, so replies may be lost",
            ),
            (
                Lack::Wildcards,
                Feature::Wildcards,
                "the broker does not allow wildcards in subscriptions",
            ),
        ] {
            let text = self.allowed.denied(feature).map(|why| format!("{text} ({why})"));
            self.note_lack(lack, text);
        }
    }

    /// Asks the broker whether it gives back what it retains, if it is time.
    pub(super) fn probe_retained(
        &mut self,
        connection: &mut Connection,
    ) -> Result<(), ConnectionError> {
        match self.probe.step(Instant::now()) {
            Step::Wait => Ok(()),
            Step::Missing => {
                let text = "the broker sends no retained messages to subscriptions with wildcards";
                self.note_lack(Lack::RetainedForWildcards, Some(text.into()));
                self.unsubscribe_probe(connection)
            }
            Step::Subscribe => {
                let packet_id = self.outbox.next_packet_id();
                self.probe.asked(packet_id);
                let has_wildcards = self.allowed.has(Feature::Wildcards);
                let filter = self.application.retained_probe().filter(|_| has_wildcards);
                let Some(path) = filter.filter(|_| self.stage == Stage::Running) else {
                    return Ok(());
                };
                let filter = Filter {
                    path,
                    // As all subscriptions of the session: RabbitMQ keeps a queue for those with
                    // QoS 0, on one node only, and without this node the session is not resumed.
                    qos: QoS::AtLeastOnce,
                    nolocal: false,
                    preserve_retain: false,
                    retain_forward_rule: RetainForwardRule::OnEverySubscribe,
                };
                let subscribe =
                    Subscribe { pkid: packet_id, ..Subscribe::new_many([filter], None) };
                Ok(connection.network.put(Packet::Subscribe(subscribe))?)
            }
        }
    }

    /// Whether a message is what the question was about.
    pub(super) fn is_probe_answer(&mut self, publish: &Publish) -> bool {
        let is_status = publish.retain
            && self.status_topic.as_ref().is_some_and(|topic| publish.topic == topic.as_bytes());
        is_status && self.probe.found()
    }

    /// The broker has sent the retained status.
    pub(super) fn retained_found(
        &mut self,
        connection: &mut Connection,
    ) -> Result<(), ConnectionError> {
        self.note_lack(Lack::RetainedForWildcards, None);
        self.unsubscribe_probe(connection)
    }

    fn unsubscribe_probe(&mut self, connection: &mut Connection) -> Result<(), ConnectionError> {
        let Some(filter) = self.application.retained_probe() else { return Ok(()) };
        let packet_id = self.outbox.next_packet_id();
        self.unsubscribed = Some(packet_id);
        let unsubscribe = Unsubscribe { pkid: packet_id, filters: vec![filter], properties: None };
        Ok(connection.network.put(Packet::Unsubscribe(unsubscribe))?)
    }
}

fn shorter_session(kept: u32, asked: u32) -> String {
    let asked = match asked {
        u32::MAX => "for ever".to_owned(),
        asked => format!("for {}", format_duration(Duration::from_secs(asked.into()))),
    };
    let kept = match kept {
        0 => "at all".to_owned(),
        kept => format!("for longer than {}", format_duration(Duration::from_secs(kept.into()))),
    };
    format!(
        "the broker does not keep the session {kept} without a connection, instead of {asked} as \
         MQTT_SESSION_EXPIRY says: requests to a vehicle that is offline for longer are lost"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_session_is_named_with_both_times() {
        let text = shorter_session(3600, 86_400);
        assert!(text.contains("for longer than 1h without") && text.contains("for 1day"), "{text}");
        let text = shorter_session(0, u32::MAX);
        assert!(text.contains("the session at all") && text.contains("for ever"), "{text}");
    }
}
