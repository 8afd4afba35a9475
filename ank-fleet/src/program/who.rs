//! When the vehicles of a fleet have answered the question who is there.

use std::time::Duration;

use tokio::time::Instant;

/// How long an answer takes, beyond its random delay.
const ANSWER: Duration = Duration::from_millis(500);

/// How long the broker may take to accept the question: a cluster replicates it to the session of each
/// vehicle first. Three nodes of RabbitMQ on two cores needed 6 s for 1,000 vehicles.
const PATIENCE: Duration = Duration::from_secs(180);

/// Decides how long answers are waited for. They arrive from the time on at which the broker has accepted
/// the question.
#[derive(Debug)]
pub(crate) struct Answers {
    spread: Duration,
    until: Instant,
}

impl Answers {
    /// The question was sent at `now`. Vehicles delay their answers by up to `spread`.
    pub(crate) fn new(now: Instant, spread: Duration) -> Self {
        Self { spread, until: now + Self::expiry(spread) }
    }

    /// The broker has accepted the question.
    pub(crate) fn accepted(&mut self, now: Instant) {
        self.until = self.until.min(now + self.spread + ANSWER);
    }

    /// When the last answer has come.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// How long the broker keeps the question. Vehicles that connect later announce themselves.
    pub(crate) fn expiry(spread: Duration) -> Duration {
        PATIENCE + spread + ANSWER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_waited_for_from_the_time_at_which_the_broker_has_the_question() {
        let (start, spread) = (Instant::now(), Duration::from_secs(1));
        let mut answers = Answers::new(start, spread);
        let slow = start + PATIENCE / 2;
        assert!(answers.until() > slow + spread + ANSWER);
        answers.accepted(slow);
        assert_eq!(answers.until(), slow + spread + ANSWER);
        // The question was asked again on another connection.
        answers.accepted(slow + spread);
        assert_eq!(answers.until(), slow + spread + ANSWER);
        let mut answers = Answers::new(start, spread);
        answers.accepted(start);
        assert_eq!(answers.until(), start + spread + ANSWER);
    }
}
