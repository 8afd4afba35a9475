//! Messages over which the broker ends the connection.
//!
//! They would be published again in every connection, and nothing would ever come
//! after them. So when the broker blames a packet, those under way are published
//! again one by one, until it is clear which one it is; that one gives way.

use rumqttc::v5::mqttbytes::v5::DisconnectReasonCode;

use super::Session;
use crate::error::{ErrorCode, ErrorReply};
use crate::mqtt::connection_error::ConnectionError;
use crate::mqtt::message::Message;
use crate::mqtt::network::NetworkError;
use crate::topics::short;

/// How often a message must be the only one under way when the broker blames a
/// packet: it may mean one of the other kinds.
const MAX_BLAMES: u32 = 3;

/// Whom the broker blames.
#[derive(Debug, Default)]
pub(super) struct Blame {
    /// How often in a row a single message was under way.
    count: u32,
    /// The delivery whose reply has given way to an error.
    replaced: Option<u64>,
}

impl Session {
    /// A connection has ended with messages under way.
    pub(super) fn blame(&mut self, error: &ConnectionError) {
        let Some(reason) = blamed(error) else { return };
        let Some(message) = self.outbox.suspect() else {
            self.blame.count = 0;
            return;
        };
        self.blame.count += 1;
        if self.blame.count < MAX_BLAMES {
            return;
        }
        self.blame.count = 0;
        tracing::error!(
            topic = short(message.topic()),
            ?reason,
            "the broker ends each connection over a message; it is given up"
        );
        if let Message::Reply(reply) = message
            && self.blame.replaced.replace(reply.delivery) != Some(reply.delivery)
        {
            reply.payload = ErrorReply::new(
                ErrorCode::Internal,
                format!("the broker ends the connection over the reply: {reason:?}"),
            )
            .to_payload();
            if let Some(topic) = reply.fallback_topic.take() {
                reply.topic = topic;
            }
            reply.forget_request();
        } else if let Some(Message::Reply(reply)) = self.outbox.give_up_suspect() {
            self.deliveries.replied(reply.delivery);
        }
    }

    /// The broker has taken a message.
    pub(super) fn clear_blame(&mut self) {
        self.blame.count = 0;
    }
}

/// The reason by which a broker says that a packet was wrong (MQTT 5, 3.14.2.1).
fn blamed(error: &ConnectionError) -> Option<DisconnectReasonCode> {
    match error {
        ConnectionError::Network(NetworkError::Disconnected { reason, .. }) => matches!(
            reason,
            DisconnectReasonCode::MalformedPacket
                | DisconnectReasonCode::ProtocolError
                | DisconnectReasonCode::ImplementationSpecificError
                | DisconnectReasonCode::TopicNameInvalid
                | DisconnectReasonCode::PacketTooLarge
                | DisconnectReasonCode::PayloadFormatInvalid
                | DisconnectReasonCode::RetainNotSupported
                | DisconnectReasonCode::QoSNotSupported
        )
        .then_some(*reason),
        _ => None,
    }
}
