//! When the vehicles of a fleet have answered the question who is there.

use std::time::Duration;

use tokio::time::Instant;

/// How long an answer takes, beyond its random delay.
const ANSWER: Duration = Duration::from_millis(500);

/// How long the broker may take to accept the question: a cluster replicates it to the session of each
/// vehicle first. Three nodes of RabbitMQ on two cores needed 6 s for 1,000 vehicles, and 34 s for 10,000.
const PATIENCE: Duration = Duration::from_secs(180);

/// A broker that was slow with the question is slow with the answers, too: the pauses between them are
/// shorter than this part of the time that it took for the question, and all of them shorter than that
/// time.
const PAUSE: u32 = 4;

/// Decides how long answers are waited for. They arrive from the time on at which the broker has accepted
/// the question.
#[derive(Debug, Clone)]
pub(crate) struct Answers {
    spread: Duration,
    asked: Instant,
    /// Known when the broker has accepted the question.
    accepted: Option<Accepted>,
    until: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Accepted {
    /// How long after an answer the next one may take.
    pause: Duration,
    /// When the last answer has come in any case: vehicles publish their status also unasked.
    latest: Instant,
}

impl Answers {
    /// The question was sent at `now`. Vehicles delay their answers by up to `spread`.
    pub(crate) fn new(now: Instant, spread: Duration) -> Self {
        Self { spread, asked: now, accepted: None, until: now + Self::expiry(spread) }
    }

    /// The broker has accepted the question.
    pub(crate) fn accepted(&mut self, now: Instant) {
        if self.accepted.is_none() {
            let took = now - self.asked;
            let pause = ANSWER.max(took / PAUSE);
            let latest = now + self.spread + ANSWER.max(took);
            self.accepted = Some(Accepted { pause, latest });
            self.until = now + self.spread + pause;
        }
    }

    /// The broker does not take the question.
    pub(crate) fn refused(&mut self, now: Instant) {
        self.until = now;
    }

    /// A status has arrived.
    pub(crate) fn answered(&mut self, now: Instant) {
        if let Some(Accepted { pause, latest }) = self.accepted {
            self.until = self.until.max(now + pause).min(latest);
        }
    }

    /// When the last answer has come, or none will.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// Whether the answers are complete: the broker has accepted the question, and the time has passed.
    pub(crate) fn are_complete(&self, now: Instant) -> bool {
        self.accepted.is_some() && self.until <= now
    }

    /// How long the broker keeps the question. Vehicles that connect later announce themselves.
    pub(crate) fn expiry(spread: Duration) -> Duration {
        PATIENCE + spread + ANSWER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPREAD: Duration = Duration::from_secs(1);

    #[test]
    fn answers_are_waited_for_from_the_time_at_which_the_broker_has_the_question() {
        let start = Instant::now();
        let mut answers = Answers::new(start, SPREAD);
        let slow = start + PATIENCE / 2;
        assert!(answers.until() > slow + SPREAD + PATIENCE / 2 / PAUSE);
        answers.accepted(slow);
        let until = slow + SPREAD + PATIENCE / 2 / PAUSE;
        assert_eq!(answers.until(), until);
        answers.accepted(slow + SPREAD);
        assert_eq!(answers.until(), until);
        let mut answers = Answers::new(start, SPREAD);
        answers.accepted(start);
        assert_eq!(answers.until(), start + SPREAD + ANSWER);
        assert!(!answers.are_complete(start + SPREAD));
        assert!(answers.are_complete(start + SPREAD + ANSWER));
    }

    #[test]
    fn while_answers_arrive_others_are_waited_for() {
        let start = Instant::now();
        let mut answers = Answers::new(start, SPREAD);
        answers.answered(start);
        let accepted = start + 10 * ANSWER;
        answers.accepted(accepted);
        let pause = 10 * ANSWER / PAUSE;
        answers.answered(accepted);
        assert_eq!(answers.until(), accepted + SPREAD + pause);
        answers.answered(accepted + SPREAD);
        answers.answered(accepted + SPREAD + pause / 2);
        assert_eq!(answers.until(), accepted + SPREAD + pause / 2 + pause);
        answers.answered(accepted + PATIENCE);
        assert_eq!(answers.until(), accepted + SPREAD + 10 * ANSWER, "not for ever");
        // Usually all of them come at once.
        let mut answers = Answers::new(start, SPREAD);
        answers.accepted(start);
        answers.answered(start + SPREAD + ANSWER / 2);
        assert_eq!(answers.until(), start + SPREAD + ANSWER);
    }

    #[test]
    fn nobody_has_answered_a_question_that_the_broker_has_not_accepted() {
        let start = Instant::now();
        let mut answers = Answers::new(start, SPREAD);
        assert!(!answers.are_complete(start + 2 * PATIENCE));
        answers.refused(start);
        assert_eq!(answers.until(), start);
        assert!(!answers.are_complete(start + PATIENCE));
    }
}
