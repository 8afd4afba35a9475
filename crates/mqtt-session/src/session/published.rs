//! What the broker answers to a message that was published.

use tokio::time::Instant;

use super::state::Session;
use crate::allowed::Feature;
use crate::application::{Application, Undeliverable};
use crate::incoming_packet::Acknowledgement;
use crate::outbox::Entry;
use crate::publication::Outbound;
use crate::reason_code::{PublishRule, ReasonCode};
use crate::reconnect_waits::format_wait;
use crate::refusals::{Next, next};
use crate::size_limit::replace;

impl<A: Application> Session<A> {
    /// The broker has acknowledged a message: it has accepted or refused it.
    pub(super) fn published(&mut self, ack: &Acknowledgement) {
        let Some(mut entry) = self.outbox.acknowledged(ack.packet_id) else {
            self.skip("PUBACK", "it acknowledges a message that was not sent");
            return;
        };
        self.deliveries.confirmed(entry.acknowledgements);
        let rule = ack.code.publish_rule();
        if rule == PublishRule::Accepted {
            self.blame.clear();
            self.pause.accepted();
            if entry.is_status() && self.allowed.has(Feature::Retain) {
                self.probe.status_retained(Instant::now());
            }
            if let Outbound::Reply(reply) = &entry.message {
                self.deliveries.replied(reply.delivery);
            }
            return;
        }
        let is_retained = entry.message.is_retained();
        let is_status_refused = entry.is_status() && ack.code == ReasonCode::NOT_AUTHORIZED;
        let may_learn = match ack.code {
            ReasonCode::RETAIN_NOT_SUPPORTED => is_retained,
            ReasonCode::QOS_NOT_SUPPORTED => true,
            _ => false,
        };
        if may_learn && self.learn(ack.code)
            || is_status_refused && self.retained_refused(&ack.code.to_string())
        {
            // In another form.
            self.outbox.push_again(entry);
            return;
        }
        match next(rule, entry.refusals, entry.replacements, is_retained) {
            Next::Later => self.publish_later(entry, ack.code),
            Next::Replaced if self.replace_payload(&mut entry, ack.code) => {
                self.report_rejected(&entry, ack);
                self.outbox.push_again(entry);
            }
            Next::Replaced | Next::Elsewhere => {
                self.report_rejected(&entry, ack);
                self.publish_elsewhere(entry);
            }
        }
    }

    fn publish_later(&mut self, mut entry: Entry, reason: ReasonCode) {
        entry.refusals += 1;
        let topic = entry.message.short_topic();
        if let Some(length) = self.pause.begin()
            && let Some(suppressed) = self.notices.due(&format!("later: {reason} {topic}"))
        {
            tracing::warn!(
                topic,
                %reason,
                retry_in = %format_wait(length),
                suppressed,
                "the broker does not accept a message now; it is published again"
            );
        }
        self.outbox.push_again(entry);
    }

    /// Replaces the payload of a message that was refused. Returns whether that may help.
    fn replace_payload(&self, entry: &mut Entry, reason: ReasonCode) -> bool {
        let size = entry.message.size();
        entry.replacements += 1;
        let cause = if reason.publish_rule() == PublishRule::TooLarge {
            self.outgoing.lower_max_payload(size / 2);
            Undeliverable::RefusedAsTooLarge { size }
        } else {
            Undeliverable::Refused { reason: reason.to_string() }
        };
        if !replace(&mut entry.message, &cause, size / 2, &self.application) {
            return false;
        }
        if entry.replacements == 1 || entry.message.size() < size {
            return true;
        }
        // It is an error already. Once more without what was copied from the request.
        let Outbound::Reply(reply) = &mut entry.message else { return false };
        reply.forget_request()
    }

    /// Publishes a reply on its other topic; drops anything else.
    fn publish_elsewhere(&mut self, mut entry: Entry) {
        let Outbound::Reply(reply) = &mut entry.message else { return };
        if let Some(topic) = reply.fallback_topic.take() {
            reply.topic = topic;
            entry.refusals = 0;
            self.outbox.push_again(entry);
            return;
        }
        self.deliveries.replied(reply.delivery);
    }

    fn report_rejected(&mut self, entry: &Entry, ack: &Acknowledgement) {
        let (topic, reason) = (entry.message.short_topic(), ack.code);
        let Some(suppressed) = self.notices.due(&format!("rejected: {reason} {topic}")) else {
            tracing::debug!(topic, %reason, text = ack.text, "the broker has rejected a message");
            return;
        };
        let base = &self.options.base_topic;
        let help = match reason.publish_rule() {
            PublishRule::TooLarge => {
                "raise the broker's limit for messages (Mosquitto: message_size_limit), or request \
                 less"
                    .to_owned()
            }
            PublishRule::Topic if reason == ReasonCode::NOT_AUTHORIZED => {
                format!("allow the client to write below {base}/ in the access list of the broker")
            }
            PublishRule::Topic => format!("allow such topics and messages below {base}/"),
            PublishRule::Retry => "raise the limits of the broker: it has accepted the message at \
                                   no attempt"
                .to_owned(),
            _ => "see the log of the broker".to_owned(),
        };
        tracing::error!(
            topic,
            %reason,
            text = ack.text,
            size = entry.message.size(),
            help,
            suppressed,
            "the broker rejected a message"
        );
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::application::testing::NoApplication;
    use crate::deliveries::Accepted;
    use crate::options::SessionOptions;
    use crate::publication::{Publication, Reply};
    use crate::queue::queue;
    use crate::refusals::MAX_REFUSALS;
    use crate::reporter::Reporter;

    const SUCCESS: u8 = 0x00;
    const NOT_AUTHORIZED: u8 = 0x87;
    const QUOTA_EXCEEDED: u8 = 0x97;

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

    fn acknowledge(session: &mut Session<NoApplication>, packet_id: u16, reason: u8) {
        session.published(&Acknowledgement {
            packet_id,
            code: ReasonCode(reason),
            text: String::new(),
        });
    }

    #[tokio::test]
    async fn a_reply_to_its_fallback_topic_keeps_its_position() {
        let mut session = session();
        for reply in [elsewhere(1), Reply::to(2), Reply::to(3)] {
            session.outbox.push(Outbound::Reply(reply), None);
        }
        assert_eq!(send_all(&mut session), [(1, 1), (2, 2), (3, 3)]);
        acknowledge(&mut session, 2, QUOTA_EXCEEDED);
        acknowledge(&mut session, 1, NOT_AUTHORIZED);
        acknowledge(&mut session, 3, QUOTA_EXCEEDED);
        assert_eq!(send_all(&mut session), [(4, 1), (5, 2), (6, 3)]);
    }

    /// The broker refuses all that waits.
    fn refuse_all(session: &mut Session<NoApplication>) {
        for (packet_id, _) in send_all(session) {
            acknowledge(session, packet_id, QUOTA_EXCEEDED);
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
            acknowledge(&mut session, sent[0].0, QUOTA_EXCEEDED);
            acknowledge(&mut session, sent[1].0, SUCCESS);
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

    /// Sends all that waits, as packet identifiers and payloads.
    fn payloads(session: &mut Session<NoApplication>) -> Vec<(u16, String)> {
        let next = || {
            let message = session.outbox.next(9)?;
            let payload = String::from_utf8(message.payload().to_vec()).unwrap();
            Some((session.outbox.send(0), payload))
        };
        std::iter::from_fn(next).collect()
    }

    /// Refuses all that is published with this code, until nothing is; returns the payloads.
    fn refuse_with(session: &mut Session<NoApplication>, code: u8) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let sent = payloads(session);
            if sent.is_empty() {
                return all;
            }
            for (packet_id, payload) in sent {
                all.push(payload);
                acknowledge(session, packet_id, code);
            }
            session.pause.end();
            assert!(all.len() < 100, "{all:?}");
        }
    }

    #[tokio::test]
    async fn every_code_comes_to_an_end_for_every_kind_of_message() {
        for code in 0..=u8::MAX {
            let mut session = session();
            assert_eq!(session.deliveries.accept(7, false, 0), Accepted::New(1));
            let publication = |retain| {
                let (topic, payload) = ("t".to_owned(), "x".repeat(100).into());
                Outbound::Publication(Publication { topic, payload, retain, expiry: None })
            };
            let status = Outbound::Status { topic: "s".into(), payload: "{}".into() };
            let reply = Outbound::Reply(elsewhere(1));
            for message in [reply, publication(true), publication(false), status] {
                session.outbox.push(message, None);
            }
            let sent = refuse_with(&mut session, code);
            assert!(session.outbox.is_empty());
            assert_eq!(session.deliveries.next_acknowledgement(), Some(7), "{code:x}");
            assert_eq!(sent.len() == 4, code < 0x80, "{code:x}: {sent:?}");
        }
    }

    #[tokio::test]
    async fn a_reply_that_is_too_large_becomes_a_small_error_to_the_same_requester() {
        let mut session = session();
        let large = Reply { payload: "x".repeat(5000).into(), ..Reply::to(1) };
        session.outbox.push(Outbound::Reply(large.clone()), None);
        let sent = payloads(&mut session);
        acknowledge(&mut session, sent[0].0, 0x95);
        let Some(Outbound::Reply(error)) = session.outbox.next(1) else { panic!() };
        assert_eq!((&error.topic, &error.user_properties), (&large.topic, &large.user_properties));
        assert_eq!(error.payload, r#"{"error"}"#);
        assert!(!session.pause.is_running());
        // The error is refused, too.
        assert_eq!(refuse_with(&mut session, 0x95).len(), 2);
        assert!(session.outbox.is_empty());
    }

    #[tokio::test]
    async fn a_status_that_is_too_large_is_shortened() {
        let mut session = session();
        let status = Outbound::Status { topic: "s".into(), payload: "x".repeat(5000).into() };
        session.outbox.push(status, None);
        assert_eq!(refuse_with(&mut session, 0x95)[1..], ["short"]);
    }

    #[tokio::test]
    async fn an_acknowledgement_of_nothing_is_skipped() {
        let mut session = session();
        session.outbox.push(Outbound::Reply(Reply::to(1)), None);
        let sent = send_all(&mut session);
        acknowledge(&mut session, 99, 0x95);
        acknowledge(&mut session, sent[0].0, SUCCESS);
        assert!(session.outbox.is_empty());
    }
}
