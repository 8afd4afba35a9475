//! What the broker sends.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};

use super::{LARGE, Session};
use crate::mqtt::connect::RECEIVE_MAXIMUM;
use crate::mqtt::connection::Connection;
use crate::mqtt::connection_error::ConnectionError;
use crate::mqtt::deliveries::Accepted;
use crate::mqtt::request::{MAX_RECORD, Request};

impl Session {
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
                self.give_back_memory();
                Ok(())
            }
            Packet::SubAck(suback) => self.subscribed(&suback, connection),
            // Packets are answered in their order.
            Packet::PingResp(_) if connection.ready.is_none() => {
                Err(ConnectionError::Protocol("it answers a ping, but not SUBSCRIBE"))
            }
            Packet::PingResp(_) => {
                if let Some(acknowledgements) = connection.pinged_after.take() {
                    self.deliveries.got(acknowledgements);
                }
                Ok(())
            }
            _ => Err(ConnectionError::Protocol("it sends a packet that is not expected")),
        }
    }

    fn accept(&mut self, publish: Publish) -> Result<(), ConnectionError> {
        if publish.qos == QoS::ExactlyOnce {
            return Err(ConnectionError::Protocol("QoS 2 was not asked for"));
        }
        let properties = publish.properties.as_ref();
        if publish.topic.is_empty() || properties.is_some_and(|all| all.topic_alias.is_some()) {
            return Err(ConnectionError::Protocol("topic aliases were not allowed"));
        }
        if self.heard_of_replicas(&publish)? {
            return Ok(());
        }
        let acknowledged = publish.qos != QoS::AtMostOnce;
        if self.deliveries.unacknowledged() == usize::from(RECEIVE_MAXIMUM) {
            tracing::debug!("the broker takes no notice of Receive Maximum");
        }
        let delivery = if acknowledged {
            let fingerprint = self.fingerprints.of(&publish);
            match self.deliveries.accept(publish.pkid, publish.dup, fingerprint) {
                Accepted::New(delivery) => delivery,
                Accepted::Again => return Ok(()),
                Accepted::TooMany => return Err(ConnectionError::ReceiveMaximum),
            }
        } else {
            self.deliveries.next_number()
        };
        let Ok(topic) = String::from_utf8(publish.topic.to_vec()) else {
            tracing::warn!("a message is skipped: its topic is not UTF-8");
            self.deliveries.replied(delivery);
            return Ok(());
        };
        self.had_large |= publish.payload.len() >= LARGE;
        // A record can be larger than the request that it was made of.
        let max_payload = match self.topics.operation(&topic) {
            Some(_) => self.options.max_payload,
            None => self.options.max_payload.max(MAX_RECORD),
        };
        let request = Request::new(publish, topic, delivery, max_payload);
        let max_waiting = max_payload.saturating_mul(RECEIVE_MAXIMUM.into());
        if acknowledged {
            self.waiting.push(request, max_waiting);
        } else if let Err(dropped) = self.waiting.push_within_limits(request) {
            tracing::warn!(dropped, "requests with QoS 0 come faster than they can be served");
        }
        Ok(())
    }
}
