//! Packets from the broker.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};

use super::state::{Session, Stage};
use crate::application::{Application, Arrival, Qos, Reaction, Routed};
use crate::connect::RECEIVE_MAXIMUM;
use crate::connection::Connection;
use crate::connection_error::ConnectionError;
use crate::deliveries::Accepted;
use crate::message::Message;

impl<A: Application> Session<A> {
    /// Handles a packet.
    pub(super) fn incoming(
        &mut self,
        packet: Packet,
        connection: &mut Connection,
    ) -> Result<(), ConnectionError> {
        match packet {
            Packet::Publish(publish) => self.accept(publish),
            Packet::PubAck(puback) => {
                self.published(&puback)?;
                self.release_memory();
                Ok(())
            }
            Packet::SubAck(suback) => self.subscribed(suback, connection),
            // Packets are answered in their order.
            Packet::PingResp(_) if connection.ready.is_none() => {
                Err(ConnectionError::Protocol("it answers a ping, but not SUBSCRIBE"))
            }
            Packet::PingResp(_) => {
                if let Some(acknowledgements) = connection.acknowledged_before_ping.take() {
                    self.deliveries.confirmed(acknowledgements);
                }
                Ok(())
            }
            _ => Err(ConnectionError::Protocol("it sends an unexpected packet")),
        }
    }

    fn accept(&mut self, publish: Publish) -> Result<(), ConnectionError> {
        let qos = match publish.qos {
            QoS::AtMostOnce => Qos::AtMostOnce,
            QoS::AtLeastOnce => Qos::AtLeastOnce,
            QoS::ExactlyOnce => return Err(ConnectionError::Protocol("QoS 2 was not requested")),
        };
        let properties = publish.properties.as_ref();
        if publish.topic.is_empty() || properties.is_some_and(|all| all.topic_alias.is_some()) {
            return Err(ConnectionError::Protocol("topic aliases were not allowed"));
        }
        let Some(delivery) = self.deliver(&publish)? else { return Ok(()) };
        let Ok(topic) = std::str::from_utf8(&publish.topic) else {
            tracing::warn!("a message is skipped: its topic is not UTF-8");
            self.deliveries.replied(delivery);
            return Ok(());
        };
        let (payload, retained) = (&*publish.payload, publish.retain);
        let arrival = Arrival { topic, payload, qos, retained };
        let (route, max_payload) = match self.application.route(&arrival) {
            Routed::Message { route, max_payload } => (route, max_payload),
            Routed::Handled(reaction) => {
                self.deliveries.replied(delivery);
                return self.react(reaction);
            }
        };
        self.note_size(publish.payload.len());
        let topic_size = publish.topic.len();
        let names = self.options.user_properties;
        let message = Message::new(publish, delivery, route, max_payload, names);
        match qos {
            Qos::AtLeastOnce => {
                let max_bytes = max_payload.saturating_mul(RECEIVE_MAXIMUM.into());
                self.inbox.push(message, topic_size, max_bytes);
            }
            Qos::AtMostOnce => {
                if let Err(dropped) = self.inbox.push_within_limits(message, topic_size) {
                    tracing::warn!(
                        dropped,
                        "requests with QoS 0 arrive faster than they can be served"
                    );
                }
            }
        }
        Ok(())
    }

    /// Gives a message its number; `None` if it is being served already.
    fn deliver(&mut self, publish: &Publish) -> Result<Option<u64>, ConnectionError> {
        if publish.qos == QoS::AtMostOnce {
            return Ok(Some(self.deliveries.next_number()));
        }
        if self.deliveries.unacknowledged() == usize::from(RECEIVE_MAXIMUM) {
            tracing::debug!("the broker ignores Receive Maximum");
        }
        let fingerprint = self.fingerprints.of(publish);
        match self.deliveries.accept(publish.pkid, publish.dup, fingerprint) {
            Accepted::New(delivery) => Ok(Some(delivery)),
            Accepted::Again => Ok(None),
            Accepted::TooMany => Err(ConnectionError::ReceiveMaximum),
        }
    }

    fn react(&mut self, reaction: Reaction) -> Result<(), ConnectionError> {
        match reaction {
            Reaction::Nothing => {}
            Reaction::Announce => {
                if self.stage == Stage::Running && !self.outbox.has_status() {
                    let status = self.application.online();
                    self.announce(status);
                }
            }
            Reaction::TakenOver => return Err(ConnectionError::TakenOver),
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::application::testing::NoApplication;
    use crate::options::SessionOptions;
    use crate::queue::queue;
    use crate::reporter::Reporter;

    fn session() -> (Session<NoApplication>, mpsc::Receiver<Message<String>>) {
        let (consumer, messages) = mpsc::channel(10);
        let (_, outgoing) = queue();
        let (options, stop) = (SessionOptions::for_tests(), CancellationToken::new());
        let reporter = Reporter::default();
        (Session::new(options, NoApplication, consumer, outgoing, stop, reporter), messages)
    }

    fn publish(topic: &str, qos: QoS, packet_id: u16) -> Publish {
        let mut publish = Publish::new(topic, qos, "x", None);
        publish.pkid = packet_id;
        publish
    }

    #[tokio::test]
    async fn a_message_that_the_application_handles_is_acknowledged_and_not_handed_over() {
        let (mut session, mut messages) = session();
        for (topic, packet_id) in [("a", 1), ("a/nothing", 2)] {
            session.accept(publish(topic, QoS::AtLeastOnce, packet_id)).unwrap();
        }
        session.accept(publish("a/nothing", QoS::AtMostOnce, 0)).unwrap();
        session.accept(publish("b", QoS::AtMostOnce, 0)).unwrap();
        assert!(session.inbox.hand_over());
        let [first, second] = [(); 2].map(|()| messages.try_recv().unwrap());
        assert_eq!((first.route.as_str(), second.route.as_str()), ("a", "b"));
        assert!(messages.try_recv().is_err());
        assert_eq!(session.deliveries.next_acknowledgement(), None);
        session.deliveries.replied(first.delivery);
        for packet_id in [1, 2] {
            assert_eq!(session.deliveries.next_acknowledgement(), Some(packet_id));
            session.deliveries.acknowledged();
        }
    }

    #[tokio::test]
    async fn the_application_can_announce_itself_and_give_the_session_up() {
        let (mut session, _messages) = session();
        for _ in 0..2 {
            session.accept(publish("a/announce", QoS::AtMostOnce, 0)).unwrap();
        }
        assert!(session.outbox.has_status());
        assert_eq!(session.outbox.unsent(), 1, "one that is being published is enough");
        let ended = session.accept(publish("a/taken-over", QoS::AtMostOnce, 0)).unwrap_err();
        assert!(ended.is_takeover());
        session.drain();
        session.outbox.disconnected();
        session.accept(publish("a/announce", QoS::AtMostOnce, 0)).unwrap();
        assert!(!session.outbox.has_status(), "it is being stopped");
    }

    #[tokio::test]
    async fn a_topic_that_is_not_utf_8_is_acknowledged_and_skipped() {
        let (mut session, _messages) = session();
        let mut broken = publish("a", QoS::AtLeastOnce, 1);
        broken.topic = bytes::Bytes::from_static(b"\xff");
        session.accept(broken).unwrap();
        assert!(!session.inbox.is_waiting());
        assert_eq!(session.deliveries.next_acknowledgement(), Some(1));
    }
}
