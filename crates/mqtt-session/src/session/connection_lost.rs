//! What happens to messages when the connection ends; see [`Blame`](crate::blame).

use super::state::Session;
use crate::application::{Application, Undeliverable};
use crate::connection_error::ConnectionError;
use crate::publication::Outbound;

impl<A: Application> Session<A> {
    /// The connection has ended: messages without an acknowledgement are published again, except
    /// the one that the broker objects to.
    pub(super) fn connection_lost(&mut self, error: &ConnectionError) {
        self.give_way(error);
        self.outbox.disconnected();
    }

    fn give_way(&mut self, error: &ConnectionError) {
        let Some(reason) = error.packet_rejection() else { return };
        let Some(message) = self.outbox.suspect() else {
            self.blame.clear();
            return;
        };
        if !self.blame.single() {
            return;
        }
        tracing::error!(
            topic = message.short_topic(),
            ?reason,
            "the broker closes each connection when it receives this message; it is not sent again"
        );
        if let Outbound::Reply(reply) = message
            && self.blame.may_replace(reply.delivery)
        {
            let cause = Undeliverable::Rejected { reason: format!("{reason:?}") };
            reply.payload = self.application.undeliverable(&cause);
            if let Some(topic) = reply.fallback_topic.take() {
                reply.topic = topic;
            }
            reply.forget_request();
        } else if let Some(Outbound::Reply(reply)) = self.outbox.give_up_suspect() {
            self.deliveries.replied(reply.delivery);
        }
    }
}
