//! What the broker says to what was published.

use rumqttc::v5::mqttbytes::v5::{PubAck, PubAckReason};

use super::Session;
use crate::mqtt::connection_error::ConnectionError;
use crate::mqtt::message::Message;
use crate::mqtt::refusals::{MAX_REFUSALS, is_transient};
use crate::topics::short;

impl Session {
    /// The broker has acknowledged a message, which does not mean that it has taken it.
    pub(super) fn published(&mut self, puback: &PubAck) -> Result<(), ConnectionError> {
        let mut entry = self
            .outbox
            .acknowledged(puback.pkid)
            .ok_or(ConnectionError::Protocol("it acknowledges a message that was not sent"))?;
        self.deliveries.got(entry.acknowledgements);
        let taken =
            matches!(puback.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
        if taken {
            self.clear_blame();
        } else {
            tracing::error!(
                topic = short(entry.message.topic()),
                reason = ?puback.reason,
                "the broker does not take a message"
            );
            if is_transient(puback.reason) && entry.refusals < MAX_REFUSALS {
                entry.refusals += 1;
                self.pause.begin();
                self.outbox.push_again(entry);
                return Ok(());
            }
        }
        let Message::Reply(reply) = &mut entry.message else { return Ok(()) };
        if let Some(topic) = reply.fallback_topic.take().filter(|_| !taken) {
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
    use std::time::Duration;

    use tokio::sync::{mpsc, watch};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::mqtt::deliveries::Accepted;
    use crate::mqtt::{Options, Presence, Reply, Reporter, queue};
    use crate::topics::Topics;

    fn session() -> Session {
        let options = Options {
            host: "localhost".into(),
            port: 1883,
            tls: None,
            login: None,
            client_id: "fleet-connector-1".into(),
            session_expiry: Duration::from_hours(24),
            keep_alive: Duration::from_secs(30),
            max_payload: 1024,
            replica: None,
        };
        let topics = Topics::new("1", Vec::new()).unwrap();
        let presence = Presence { ankaios: "connected".into(), reason: None };
        let (_, presence) = watch::channel(presence);
        let (requests, _) = mpsc::channel(1);
        let (_, outgoing) = queue();
        let stop = CancellationToken::new();
        Session::new(options, topics, presence, requests, outgoing, stop, Reporter::default())
    }

    /// A reply to a *Response Topic*.
    fn elsewhere(delivery: u64) -> Reply {
        let reply = Reply::to(delivery);
        Reply { fallback_topic: Some(reply.topic), topic: "vehicle/1/rr".into(), ..reply }
    }

    /// Sends all that waits; returns the packet identifiers and the deliveries.
    fn send_all(session: &mut Session) -> Vec<(u16, u64)> {
        let next = || {
            let Message::Reply(Reply { delivery, .. }) = *session.outbox.next(9)? else {
                return None;
            };
            Some((session.outbox.send(0), delivery))
        };
        std::iter::from_fn(next).collect()
    }

    fn acknowledge(session: &mut Session, packet_id: u16, reason: PubAckReason) {
        session.published(&PubAck { pkid: packet_id, reason, properties: None }).unwrap();
    }

    #[tokio::test]
    async fn what_goes_to_its_fallback_topic_keeps_its_place() {
        let mut session = session();
        for reply in [elsewhere(1), Reply::to(2), Reply::to(3)] {
            session.outbox.push(Message::Reply(reply), None);
        }
        assert_eq!(send_all(&mut session), [(1, 1), (2, 2), (3, 3)]);
        acknowledge(&mut session, 2, PubAckReason::QuotaExceeded);
        acknowledge(&mut session, 1, PubAckReason::NotAuthorized);
        acknowledge(&mut session, 3, PubAckReason::QuotaExceeded);
        assert_eq!(send_all(&mut session), [(4, 1), (5, 2), (6, 3)]);
    }

    /// The broker refuses all that waits.
    fn refuse_all(session: &mut Session) {
        for (packet_id, _) in send_all(session) {
            acknowledge(session, packet_id, PubAckReason::QuotaExceeded);
        }
    }

    #[tokio::test]
    async fn a_reply_that_is_always_refused_is_given_up_while_others_are_taken() {
        let mut session = session();
        assert_eq!(session.deliveries.accept(7, false, 0), Accepted::New(1));
        session.outbox.push(Message::Reply(Reply::to(1)), None);
        for _ in 0..=MAX_REFUSALS {
            assert_eq!(session.deliveries.next_acknowledgement(), None);
            session.outbox.push(Message::Reply(Reply::to(2)), None);
            let sent = send_all(&mut session);
            assert_eq!(sent.iter().map(|(_, delivery)| *delivery).collect::<Vec<_>>(), [1, 2]);
            acknowledge(&mut session, sent[0].0, PubAckReason::QuotaExceeded);
            acknowledge(&mut session, sent[1].0, PubAckReason::Success);
        }
        assert!(session.outbox.is_empty());
        assert_eq!(session.deliveries.next_acknowledgement(), Some(7));
    }

    #[tokio::test]
    async fn a_broker_that_takes_nothing_costs_only_what_was_refused_often() {
        let mut session = session();
        session.outbox.push(Message::Reply(Reply::to(1)), None);
        (0..MAX_REFUSALS).for_each(|_| refuse_all(&mut session));
        session.outbox.push(Message::Reply(Reply::to(2)), None);
        refuse_all(&mut session);
        let kept = send_all(&mut session);
        assert_eq!(kept.iter().map(|(_, delivery)| *delivery).collect::<Vec<_>>(), [2]);
    }

    #[tokio::test]
    async fn the_fallback_topic_is_tried_as_often() {
        let mut session = session();
        session.outbox.push(Message::Reply(elsewhere(1)), None);
        (0..=MAX_REFUSALS).for_each(|_| refuse_all(&mut session));
        for _ in 0..=MAX_REFUSALS {
            let next = session.outbox.next(1).map(|message| message.topic().to_owned());
            assert_eq!(next, Some(Reply::to(1).topic));
            refuse_all(&mut session);
        }
        assert!(session.outbox.is_empty());
    }
}
