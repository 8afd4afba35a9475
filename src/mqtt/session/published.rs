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
        let pending = self.outbox.acknowledged(puback.pkid);
        let mut pending = pending
            .ok_or(ConnectionError::Protocol("it acknowledges a message that was not sent"))?;
        let taken =
            matches!(puback.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
        if taken {
            self.refusals = Refusals::default();
            self.clear_blame();
        } else {
            tracing::error!(
                topic = short(pending.message.topic()),
                reason = ?puback.reason,
                "the broker does not take a message"
            );
            if is_transient(puback.reason) && !self.refusals.are_enough() {
                self.refusals.pause();
                self.outbox.push_again(pending);
                return Ok(());
            }
        }
        let Message::Reply(reply) = &mut pending.message else { return Ok(()) };
        if let Some(topic) = reply.fallback_topic.take().filter(|_| !taken) {
            reply.topic = topic;
            self.outbox.push_again(pending);
            return Ok(());
        }
        self.deliveries.replied(reply.delivery);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::sync::{mpsc, watch};
    use tokio_util::sync::CancellationToken;

    use super::*;
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

    fn reply(delivery: u64) -> Reply {
        Reply {
            delivery,
            topic: "vehicle/1/state/resp".into(),
            fallback_topic: None,
            correlation_data: None,
            request_id: "r".into(),
            payload: Bytes::from_static(b"{}"),
        }
    }

    /// Sends all that waits; returns the packet identifiers and the deliveries.
    fn send_all(session: &mut Session) -> Vec<(u16, u64)> {
        let next = || {
            let Message::Reply(Reply { delivery, .. }) = *session.outbox.next(9)? else {
                return None;
            };
            Some((session.outbox.send(), delivery))
        };
        std::iter::from_fn(next).collect()
    }

    fn acknowledge(session: &mut Session, packet_id: u16, reason: PubAckReason) {
        session.published(&PubAck { pkid: packet_id, reason, properties: None }).unwrap();
    }

    #[tokio::test]
    async fn what_goes_to_its_fallback_topic_keeps_its_place() {
        let mut session = session();
        let usual = Some(reply(1).topic);
        let elsewhere = Reply { topic: "vehicle/1/rr".into(), fallback_topic: usual, ..reply(1) };
        for reply in [elsewhere, reply(2), reply(3)] {
            session.outbox.push(Message::Reply(reply), None);
        }
        assert_eq!(send_all(&mut session), [(1, 1), (2, 2), (3, 3)]);
        acknowledge(&mut session, 2, PubAckReason::QuotaExceeded);
        acknowledge(&mut session, 1, PubAckReason::NotAuthorized);
        acknowledge(&mut session, 3, PubAckReason::QuotaExceeded);
        assert_eq!(send_all(&mut session), [(4, 1), (5, 2), (6, 3)]);
    }
}
