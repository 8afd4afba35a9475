//! What the broker answers to a message that was published.

use rumqttc::v5::mqttbytes::v5::{PubAck, PubAckReason};

use super::state::Session;
use crate::application::Application;
use crate::connection_error::ConnectionError;
use crate::publication::Outbound;
use crate::refusals::{MAX_REFUSALS, is_transient};

impl<A: Application> Session<A> {
    /// The broker has acknowledged a message: it has accepted or refused it.
    pub(super) fn published(&mut self, puback: &PubAck) -> Result<(), ConnectionError> {
        let mut entry = self
            .outbox
            .acknowledged(puback.pkid)
            .ok_or(ConnectionError::Protocol("it acknowledges a message that was not sent"))?;
        self.deliveries.confirmed(entry.acknowledgements);
        let accepted =
            matches!(puback.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
        if accepted {
            self.blame.clear();
        } else {
            tracing::error!(
                topic = entry.message.short_topic(),
                reason = ?puback.reason,
                "the broker rejected a message"
            );
            if is_transient(puback.reason) && entry.refusals < MAX_REFUSALS {
                entry.refusals += 1;
                self.pause.begin();
                self.outbox.push_again(entry);
                return Ok(());
            }
        }
        let Outbound::Reply(reply) = &mut entry.message else { return Ok(()) };
        if let Some(topic) = reply.fallback_topic.take().filter(|_| !accepted) {
            reply.topic = topic;
            entry.refusals = 0;
            self.outbox.push_again(entry);
            return Ok(());
        }
        self.deliveries.replied(reply.delivery);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::application::testing::NoApplication;
    use crate::deliveries::Accepted;
    use crate::options::SessionOptions;
    use crate::publication::Reply;
    use crate::queue::queue;
    use crate::reporter::Reporter;

    fn session() -> Session<NoApplication> {
        let (consumer, _) = mpsc::channel(1);
        let (_, outgoing) = queue();
        let (options, stop) = (SessionOptions::for_tests(), CancellationToken::new());
        Session::new(options, NoApplication, consumer, outgoing, stop, Reporter::default())
    }

    /// A reply to a *Response Topic*.
    fn elsewhere(delivery: u64) -> Reply {
        let reply = Reply::to(delivery);
        Reply { fallback_topic: Some(reply.topic), topic: "vehicle/1/rr".into(), ..reply }
    }

    /// Sends all that waits; returns the packet identifiers and the deliveries.
    fn send_all(session: &mut Session<NoApplication>) -> Vec<(u16, u64)> {
        let next = || {
            let Outbound::Reply(Reply { delivery, .. }) = *session.outbox.next(9)? else {
                return None;
            };
            Some((session.outbox.send(0), delivery))
        };
        std::iter::from_fn(next).collect()
    }

    fn acknowledge(session: &mut Session<NoApplication>, packet_id: u16, reason: PubAckReason) {
        session.published(&PubAck { pkid: packet_id, reason, properties: None }).unwrap();
    }

    #[tokio::test]
    async fn a_reply_to_its_fallback_topic_keeps_its_position() {
        let mut session = session();
        for reply in [elsewhere(1), Reply::to(2), Reply::to(3)] {
            session.outbox.push(Outbound::Reply(reply), None);
        }
        assert_eq!(send_all(&mut session), [(1, 1), (2, 2), (3, 3)]);
        acknowledge(&mut session, 2, PubAckReason::QuotaExceeded);
        acknowledge(&mut session, 1, PubAckReason::NotAuthorized);
        acknowledge(&mut session, 3, PubAckReason::QuotaExceeded);
        assert_eq!(send_all(&mut session), [(4, 1), (5, 2), (6, 3)]);
    }

    /// The broker refuses all that waits.
    fn refuse_all(session: &mut Session<NoApplication>) {
        for (packet_id, _) in send_all(session) {
            acknowledge(session, packet_id, PubAckReason::QuotaExceeded);
        }
    }

    #[tokio::test]
    async fn a_reply_that_is_always_refused_is_given_up_while_others_are_accepted() {
        let mut session = session();
        assert_eq!(session.deliveries.accept(7, false, 0), Accepted::New(1));
        session.outbox.push(Outbound::Reply(Reply::to(1)), None);
        for _ in 0..=MAX_REFUSALS {
            assert_eq!(session.deliveries.next_acknowledgement(), None);
            session.outbox.push(Outbound::Reply(Reply::to(2)), None);
            let sent = send_all(&mut session);
            assert_eq!(sent.iter().map(|(_, delivery)| *delivery).collect::<Vec<_>>(), [1, 2]);
            acknowledge(&mut session, sent[0].0, PubAckReason::QuotaExceeded);
            acknowledge(&mut session, sent[1].0, PubAckReason::Success);
        }
        assert!(session.outbox.is_empty());
        assert_eq!(session.deliveries.next_acknowledgement(), Some(7));
    }

    #[tokio::test]
    async fn a_broker_that_accepts_nothing_costs_only_the_messages_that_were_refused_often() {
        let mut session = session();
        session.outbox.push(Outbound::Reply(Reply::to(1)), None);
        (0..MAX_REFUSALS).for_each(|_| refuse_all(&mut session));
        session.outbox.push(Outbound::Reply(Reply::to(2)), None);
        refuse_all(&mut session);
        let kept = send_all(&mut session);
        assert_eq!(kept.iter().map(|(_, delivery)| *delivery).collect::<Vec<_>>(), [2]);
    }

    #[tokio::test]
    async fn the_fallback_topic_is_tried_as_often() {
        let mut session = session();
        session.outbox.push(Outbound::Reply(elsewhere(1)), None);
        (0..=MAX_REFUSALS).for_each(|_| refuse_all(&mut session));
        for _ in 0..=MAX_REFUSALS {
            let next = session.outbox.next(1).map(|message| message.topic().to_owned());
            assert_eq!(next, Some(Reply::to(1).topic));
            refuse_all(&mut session);
        }
        assert!(session.outbox.is_empty());
    }
}
