//! What the broker says to what was published.

use rumqttc::v5::mqttbytes::v5::{PubAck, PubAckReason};

use super::Session;
use crate::mqtt::connection_error::ConnectionError;
use crate::mqtt::outbox::Message;
use crate::mqtt::refusals::{Refusals, is_transient};
use crate::topics::short;

impl Session {
    /// The broker has acknowledged a message, which does not mean that it has taken it.
    pub(super) fn published(&mut self, puback: &PubAck) -> Result<(), ConnectionError> {
        let placed = self.outbox.acknowledged(puback.pkid);
        let (message, place) = placed
            .ok_or(ConnectionError::Protocol("it acknowledges a message that was not sent"))?;
        let taken =
            matches!(puback.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
        if taken {
            self.refusals = Refusals::default();
            self.clear_blame();
        } else {
            tracing::error!(
                topic = short(message.topic()),
                reason = ?puback.reason,
                "the broker does not take a message"
            );
            if is_transient(puback.reason) && !self.refusals.are_enough() {
                self.refusals.pause();
                self.outbox.push_again(puback.pkid, (message, place));
                return Ok(());
            }
        }
        let Message::Reply(mut reply) = message else { return Ok(()) };
        if let Some(topic) = reply.fallback_topic.take().filter(|_| !taken) {
            reply.topic = topic;
            self.outbox.push_front((Message::Reply(reply), place));
            return Ok(());
        }
        self.deliveries.replied(reply.delivery);
        Ok(())
    }
}
