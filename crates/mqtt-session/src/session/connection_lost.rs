//! What happens to messages when the connection ends; see [`Blame`](crate::blame).

use std::time::Duration;

use tokio::time::Instant;

use super::state::Session;
use crate::application::{Application, Undeliverable};
use crate::blame::AT_ONCE;
use crate::connection_error::{ConnectionError, MessageFault};
use crate::network::NetworkError;
use crate::publication::Outbound;
use crate::reason_code::ReasonCode;
use crate::size_limit::replace;

/// How long no status is published after the broker has closed connections over it.
const WITHHELD: Duration = Duration::from_mins(10);

impl<A: Application> Session<A> {
    /// The connection has ended: messages without an acknowledgement are published again, except
    /// the one that the broker objects to.
    pub(super) fn connection_lost(&mut self, error: &ConnectionError) {
        self.probe.disconnected();
        self.unsubscribed = None;
        if !self.adapt(error) {
            self.give_way(error);
        }
        self.outbox.disconnected();
    }

    /// Does without what the broker does not accept, if the error says so. Returns whether it does.
    fn adapt(&mut self, error: &ConnectionError) -> bool {
        match error {
            ConnectionError::Network(NetworkError::Refused(reason)) => {
                self.allowed.refused(reason.code, Instant::now());
                false
            }
            ConnectionError::Network(NetworkError::Disconnected(reason)) => self.learn(reason.code),
            _ => false,
        }
    }

    fn give_way(&mut self, error: &ConnectionError) {
        if !self.outbox.has_unacknowledged() {
            return self.blame.no_connection();
        }
        let Some(fault) = error.blames_message() else { return self.blame.clear() };
        let Some(entry) = self.outbox.suspect() else { return self.blame.clear() };
        let has_reason = matches!(fault, MessageFault::Reason(_));
        if !has_reason && entry.age() > AT_ONCE {
            return self.blame.clear();
        }
        let reason = match fault {
            MessageFault::Reason(code) => code.to_string(),
            MessageFault::Closed => "it gives no reason".to_owned(),
        };
        let is_retained = entry.message.is_retained();
        let is_refused = is_retained && fault == MessageFault::Reason(ReasonCode::NOT_AUTHORIZED);
        // Each connection has a status of its own.
        let message = (!entry.is_status()).then(|| entry.sequence());
        let is_guilty = self.blame.single(message, has_reason);
        if is_retained && (is_guilty || is_refused) && self.retained_refused(&reason) {
            // The status is published without retain, a record not at all.
            return self.blame.clear();
        }
        if !is_guilty {
            return;
        }
        let Some(entry) = self.outbox.suspect() else { return };
        tracing::error!(
            topic = entry.message.short_topic(),
            reason,
            "the broker closes each connection when it receives this message; it is not sent again"
        );
        let size = entry.message.size();
        let is_too_large = fault == MessageFault::Reason(ReasonCode::PACKET_TOO_LARGE);
        let cause = if is_too_large {
            self.outgoing.lower_max_payload(size / 2);
            Undeliverable::RefusedAsTooLarge { size }
        } else {
            Undeliverable::Rejected { reason }
        };
        match &mut entry.message {
            Outbound::Reply(reply) if self.blame.may_replace(reply.delivery) => {
                if !is_too_large {
                    if let Some(topic) = reply.fallback_topic.take() {
                        reply.topic = topic;
                    }
                    reply.forget_request();
                }
                replace(&mut entry.message, &cause, size / 2, &self.application);
            }
            // A shorter form may be accepted.
            Outbound::Publication(_) if is_too_large && entry.replacements == 0 => {
                entry.replacements += 1;
                if !replace(&mut entry.message, &cause, size / 2, &self.application) {
                    self.outbox.give_up_suspect();
                }
            }
            Outbound::Status { .. } => {
                self.outbox.give_up_suspect();
                self.status_withheld = Some(Instant::now() + WITHHELD);
            }
            _ => {
                if let Some(Outbound::Reply(reply)) = self.outbox.give_up_suspect() {
                    self.deliveries.replied(reply.delivery);
                }
            }
        }
    }
}
