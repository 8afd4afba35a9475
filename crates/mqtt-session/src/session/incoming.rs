//! Packets from the broker.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubComp, PubCompReason, PubRec, PubRecReason, Publish};

use super::state::{Session, Stage};
use crate::application::{Application, Arrival, Qos, Reaction, Routed};
use crate::connect::RECEIVE_MAXIMUM;
use crate::connection::Connection;
use crate::connection_error::ConnectionError;
use crate::deliveries::Accepted;
use crate::incoming_packet::{Received, Unusable};
use crate::message::{Message, Refused};

impl<A: Application> Session<A> {
    /// Handles a packet.
    pub(super) fn incoming(
        &mut self,
        packet: Received,
        connection: &mut Connection,
    ) -> Result<(), ConnectionError> {
        match packet {
            Received::Publish(publish) if publish.qos == QoS::ExactlyOnce => {
                self.skip("PUBLISH", "QoS 2 was not requested");
                // An error ends the exchange of QoS 2 (MQTT 5, 4.3.3).
                let mut pubrec = PubRec::new(publish.pkid, None);
                pubrec.reason = PubRecReason::ImplementationSpecificError;
                Ok(connection.network.put(Packet::PubRec(pubrec))?)
            }
            Received::Publish(publish) if self.is_probe_answer(&publish) => {
                if let Some(delivery) = self.deliver(&publish)? {
                    self.deliveries.replied(delivery);
                }
                self.retained_found(connection)
            }
            Received::Publish(publish) => self.accept(publish, None),
            Received::TooLarge { publish, size } => {
                self.skip("PUBLISH", "it is larger than the Maximum Packet Size that was agreed");
                self.accept(publish, Some(size))
            }
            Received::PubAck(ack) => {
                self.published(&ack);
                Ok(())
            }
            Received::PubRel(packet_id) => {
                // The session has an exchange of QoS 2 of an earlier client.
                let mut pubcomp = PubComp::new(packet_id, None);
                pubcomp.reason = PubCompReason::PacketIdentifierNotFound;
                Ok(connection.network.put(Packet::PubComp(pubcomp))?)
            }
            Received::SubAck { packet_id, codes, .. } => {
                self.subscribed(packet_id, &codes, connection)
            }
            Received::UnsubAck(packet_id) => {
                if self.unsubscribed.take_if(|id| *id == packet_id).is_none() {
                    self.skip("UNSUBACK", "it answers no UNSUBSCRIBE");
                }
                Ok(())
            }
            // Packets are answered in their order.
            Received::PingResp if connection.ready.is_none() => {
                Err(ConnectionError::Protocol("it answers a ping, but not SUBSCRIBE"))
            }
            Received::PingResp => {
                if let Some(acknowledgements) = connection.acknowledged_before_ping.take() {
                    self.deliveries.confirmed(acknowledgements);
                }
                Ok(())
            }
            Received::ConnAck(_) => {
                self.skip("CONNACK", "the connection is accepted already");
                Ok(())
            }
            Received::Unusable(unusable) => self.unusable(&unusable),
            // It ends the connection before it arrives here.
            Received::Disconnect(_) => Ok(()),
        }
    }

    /// Skips a packet. A PUBLISH is acknowledged in its turn: the broker would send it again on each
    /// connection.
    fn unusable(&mut self, unusable: &Unusable) -> Result<(), ConnectionError> {
        self.skip(unusable.name, unusable.problem);
        let Some(packet_id) = unusable.packet_id else { return Ok(()) };
        match self.deliveries.accept(packet_id, false, 0) {
            Accepted::New(delivery) => {
                self.deliveries.replied(delivery);
                Ok(())
            }
            Accepted::Again => Ok(()),
            Accepted::TooMany => Err(ConnectionError::ReceiveMaximum),
        }
    }

    /// Accepts a message; `size` is that of its payload if that was skipped.
    fn accept(&mut self, publish: Publish, size: Option<usize>) -> Result<(), ConnectionError> {
        let qos = match publish.qos {
            QoS::AtMostOnce => Qos::AtMostOnce,
            QoS::AtLeastOnce => Qos::AtLeastOnce,
            QoS::ExactlyOnce => return Err(ConnectionError::Protocol("QoS 2 was not requested")),
        };
        let Some(delivery) = self.deliver(&publish)? else { return Ok(()) };
        if publish.topic.is_empty() {
            self.skip("PUBLISH", "topic aliases were not allowed");
            self.deliveries.replied(delivery);
            return Ok(());
        }
        let Ok(topic) = std::str::from_utf8(&publish.topic) else {
            self.skip("PUBLISH", "its topic is not UTF-8");
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
        let topic_size = publish.topic.len();
        let names = self.options.user_properties;
        let mut message = Message::new(publish, delivery, route, max_payload, names);
        if let Some(size) = size {
            message.payload = Err(Refused::TooLarge { size });
        }
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
            Reaction::Announce => self.announce_again(),
            Reaction::AnnounceAll => {
                if self.stage == Stage::Running {
                    self.publish_retained();
                }
                self.announce_again();
            }
            Reaction::TakenOver => return Err(ConnectionError::TakenOver),
        }
        Ok(())
    }

    fn announce_again(&mut self) {
        if self.stage == Stage::Running && !self.outbox.has_status() {
            let status = self.application.online();
            self.announce(status);
        }
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
            session.accept(publish(topic, QoS::AtLeastOnce, packet_id), None).unwrap();
        }
        session.accept(publish("a/nothing", QoS::AtMostOnce, 0), None).unwrap();
        session.accept(publish("b", QoS::AtMostOnce, 0), None).unwrap();
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
            session.accept(publish("a/announce", QoS::AtMostOnce, 0), None).unwrap();
        }
        assert!(session.outbox.has_status());
        assert_eq!(session.outbox.unsent(), 1, "one that is being published is enough");
        let ended = session.accept(publish("a/taken-over", QoS::AtMostOnce, 0), None).unwrap_err();
        assert!(ended.is_takeover());
        session.drain();
        session.outbox.disconnected();
        session.accept(publish("a/announce", QoS::AtMostOnce, 0), None).unwrap();
        assert!(!session.outbox.has_status(), "it is being stopped");
    }

    #[tokio::test]
    async fn a_topic_that_is_not_utf_8_is_acknowledged_and_skipped() {
        let (mut session, _messages) = session();
        let mut broken = publish("a", QoS::AtLeastOnce, 1);
        broken.topic = bytes::Bytes::from_static(b"\xff");
        session.accept(broken, None).unwrap();
        assert!(!session.inbox.is_waiting());
        assert_eq!(session.deliveries.next_acknowledgement(), Some(1));
    }

    #[tokio::test]
    async fn a_message_that_cannot_be_read_is_acknowledged_in_its_turn() {
        let (mut session, mut messages) = session();
        session.accept(publish("a", QoS::AtLeastOnce, 1), None).unwrap();
        let unusable = Unusable { name: "PUBLISH", problem: "p", packet_id: Some(2) };
        session.unusable(&unusable).unwrap();
        session.accept(publish("", QoS::AtLeastOnce, 3), None).unwrap();
        session.unusable(&Unusable { packet_id: None, ..unusable }).unwrap();
        session.inbox.hand_over();
        let first = messages.try_recv().unwrap();
        assert!(messages.try_recv().is_err());
        assert_eq!(session.deliveries.next_acknowledgement(), None);
        session.deliveries.replied(first.delivery);
        for packet_id in [1, 2, 3] {
            assert_eq!(session.deliveries.next_acknowledgement(), Some(packet_id));
            session.deliveries.acknowledged();
        }
    }

    #[tokio::test]
    async fn a_message_whose_payload_was_skipped_is_handed_over_without_it() {
        let (mut session, mut messages) = session();
        session.accept(publish("a", QoS::AtLeastOnce, 1), Some(5000)).unwrap();
        session.inbox.hand_over();
        let message = messages.try_recv().unwrap();
        assert_eq!(message.payload, Err(Refused::TooLarge { size: 5000 }));
    }
}
