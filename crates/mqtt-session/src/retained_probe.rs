//! Finds out whether the broker gives back what it retains.
//!
//! CONNACK says whether a broker retains messages, but some send none to subscriptions with
//! wildcards, or only those that were published on the same node. So some time after the status was
//! published as a retained message, the session subscribes to a filter with a wildcard that matches
//! it, and waits for it.

use std::time::Duration;

use tokio::time::Instant;

/// How long after the status was published the question is asked. Requests that waited for the
/// connector come first.
const DELAY: Duration = Duration::from_secs(1);

/// How long the broker may take to send a retained message after it has granted the subscription.
const PATIENCE: Duration = Duration::from_secs(3);

/// How far it has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    /// The status was not published.
    #[default]
    Idle,
    /// The broker has the status; the question is asked then.
    Due(Instant),
    /// SUBSCRIBE was sent with this packet identifier.
    Asked(u16),
    /// The subscription is granted. Until then, the status must arrive.
    Granted(Instant),
    /// The status has arrived before the answer to this SUBSCRIBE.
    Early(u16),
    /// There is an answer, or there will be none.
    Done,
}

/// What there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Wait,
    /// The subscription is to be made.
    Subscribe,
    /// The status did not arrive in time; the subscription is to be removed.
    Missing,
}

/// The question to the broker, once for each session.
#[derive(Debug, Default)]
pub(crate) struct RetainedProbe {
    stage: Stage,
}

impl RetainedProbe {
    /// The broker has accepted the status as a retained message.
    pub(crate) fn status_retained(&mut self, now: Instant) {
        if self.stage == Stage::Idle {
            self.stage = Stage::Due(now + DELAY);
        }
    }

    /// When there is something to do next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Due(at) | Stage::Granted(at) => Some(at),
            Stage::Idle | Stage::Asked(_) | Stage::Early(_) | Stage::Done => None,
        }
    }

    /// What there is to do at `now`.
    pub(crate) fn step(&mut self, now: Instant) -> Step {
        match self.stage {
            Stage::Due(at) if at <= now => Step::Subscribe,
            Stage::Granted(at) if at <= now => {
                self.stage = Stage::Done;
                Step::Missing
            }
            _ => Step::Wait,
        }
    }

    /// SUBSCRIBE was sent.
    pub(crate) fn asked(&mut self, packet_id: u16) {
        self.stage = Stage::Asked(packet_id);
    }

    /// A SUBACK has arrived. Returns whether it was for this question.
    pub(crate) fn answered(&mut self, packet_id: u16, is_granted: bool, now: Instant) -> bool {
        self.stage = match self.stage {
            // A subscription that is not allowed says nothing about retained messages.
            Stage::Asked(id) if id == packet_id && is_granted => Stage::Granted(now + PATIENCE),
            Stage::Asked(id) | Stage::Early(id) if id == packet_id => Stage::Done,
            _ => return false,
        };
        true
    }

    /// The retained status has arrived. Returns whether the subscription is to be removed.
    pub(crate) fn found(&mut self) -> bool {
        self.stage = match self.stage {
            // Some brokers send it before the SUBACK.
            Stage::Asked(id) => Stage::Early(id),
            Stage::Granted(_) => Stage::Done,
            Stage::Idle | Stage::Due(_) | Stage::Early(_) | Stage::Done => return false,
        };
        true
    }

    /// The connection has ended: without an answer, the question is asked on the next one.
    pub(crate) fn disconnected(&mut self) {
        if self.stage != Stage::Done {
            self.stage = Stage::Idle;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A question whose subscription is made at the returned time.
    fn asked() -> (RetainedProbe, Instant) {
        let (mut probe, now) = (RetainedProbe::default(), Instant::now());
        assert_eq!((probe.deadline(), probe.step(now)), (None, Step::Wait));
        probe.status_retained(now);
        assert_eq!((probe.deadline(), probe.step(now)), (Some(now + DELAY), Step::Wait));
        probe.status_retained(now + DELAY / 2);
        let now = now + DELAY;
        assert_eq!(probe.step(now), Step::Subscribe);
        probe.asked(7);
        assert_eq!((probe.deadline(), probe.step(now)), (None, Step::Wait));
        (probe, now)
    }

    #[test]
    fn a_status_that_does_not_arrive_in_time_is_missing_once() {
        let (mut probe, now) = asked();
        assert!(!probe.answered(8, true, now) && probe.answered(7, true, now));
        assert_eq!(probe.deadline(), Some(now + PATIENCE));
        assert_eq!(probe.step(now), Step::Wait);
        assert_eq!(probe.step(now + PATIENCE), Step::Missing);
        assert_eq!((probe.deadline(), probe.step(now + PATIENCE)), (None, Step::Wait));
        probe.disconnected();
        probe.status_retained(now);
        assert_eq!(probe.deadline(), None);
    }

    #[test]
    fn a_status_that_arrives_before_or_after_the_suback_is_found() {
        for is_answered in [true, false] {
            let (mut probe, now) = asked();
            if is_answered {
                assert!(probe.answered(7, true, now));
            }
            assert!(probe.found() && !probe.found());
            assert_eq!(probe.step(now + PATIENCE), Step::Wait);
            assert_eq!(probe.answered(7, true, now), !is_answered);
            assert_eq!(probe.step(now + PATIENCE), Step::Wait);
        }
        assert!(!RetainedProbe::default().found());
    }

    #[test]
    fn a_refused_subscription_says_nothing_and_a_lost_connection_asks_again() {
        let (mut probe, now) = asked();
        assert!(probe.answered(7, false, now));
        assert_eq!(probe.step(now + PATIENCE), Step::Wait);
        let (mut probe, now) = asked();
        probe.disconnected();
        probe.status_retained(now);
        assert_eq!(probe.deadline(), Some(now + DELAY));
    }
}
