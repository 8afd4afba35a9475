//! Messages that the broker refuses now and may accept later.

use std::time::Duration;

use tokio::time::Instant;

use crate::reason_code::PublishRule;

/// How often a message that the broker refuses is published again. This is counted for each
/// message: the broker may accept all others, and never this one.
pub(crate) const MAX_REFUSALS: u32 = 10;

/// The same for a retained message. The broker may have a limit for these that is reached for good,
/// and each refusal delays all other messages.
pub(crate) const MAX_REFUSALS_RETAINED: u32 = 3;

/// How often the payload of a message is replaced. Each replacement of one that is too large has at
/// most half its size, so a few are enough for any limit.
pub(crate) const MAX_REPLACEMENTS: u32 = 12;

/// How long nothing is published after a refusal. Pauses in a row become longer as long as the
/// broker accepts nothing.
const LENGTH: Duration = Duration::from_secs(1);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(16);

/// What happens to a message that the broker has refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is published again after a pause.
    Later,
    /// It is published again with another payload: a shorter form, or an error.
    Replaced,
    /// It is published on another topic, if there is one; otherwise it is dropped.
    Elsewhere,
}

/// Decides what happens to a message that was refused.
pub(crate) fn next(rule: PublishRule, refusals: u32, replacements: u32, is_retained: bool) -> Next {
    let max_refusals = if is_retained { MAX_REFUSALS_RETAINED } else { MAX_REFUSALS };
    match rule {
        PublishRule::Retry if refusals < max_refusals => Next::Later,
        PublishRule::TooLarge if replacements < MAX_REPLACEMENTS => Next::Replaced,
        // The same error once more would not help.
        PublishRule::Payload if replacements == 0 => Next::Replaced,
        _ => Next::Elsewhere,
    }
}

/// A time in which nothing is published, because the broker has refused a message that it may
/// accept later. It does not end when the broker accepts a message that was sent before.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    until: Option<Instant>,
    /// How many pauses there were since the broker has accepted something.
    in_a_row: u32,
}

impl Pause {
    /// Begins a pause; refusals during it do not make it longer. Returns its length if it is new.
    pub(crate) fn begin(&mut self) -> Option<Duration> {
        if self.until.is_some() {
            return None;
        }
        let length = LENGTH.saturating_mul(1 << self.in_a_row.min(8)).min(LONGEST);
        self.in_a_row += 1;
        self.until = Some(Instant::now() + length);
        Some(length)
    }

    /// The broker has accepted a message: the next pause is short.
    pub(crate) fn accepted(&mut self) {
        self.in_a_row = 0;
    }

    pub(crate) fn is_running(&self) -> bool {
        self.until.is_some()
    }

    pub(crate) fn until(&self) -> Instant {
        self.until.unwrap_or_else(Instant::now)
    }

    pub(crate) fn end(&mut self) {
        self.until = None;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_does_not_become_longer_by_refusals_during_it() {
        let mut pause = Pause::default();
        assert!(!pause.is_running());
        pause.begin();
        let until = pause.until();
        advance(LENGTH / 2).await;
        pause.begin();
        assert!(pause.is_running() && pause.until() == until);
        pause.end();
        pause.accepted();
        pause.begin();
        assert_eq!(pause.until(), until + LENGTH / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_become_longer_while_the_broker_accepts_nothing() {
        let mut pause = Pause::default();
        let mut length = || {
            let length = pause.begin();
            pause.end();
            length.map(|length| length.as_secs())
        };
        assert_eq!([(); 6].map(|()| length()), [1, 2, 4, 8, 16, 16].map(Some));
        pause.accepted();
        assert_eq!(pause.begin(), Some(LENGTH));
        assert_eq!(pause.begin(), None);
    }

    #[test]
    fn each_refusal_comes_to_an_end() {
        for rule in [
            PublishRule::Retry,
            PublishRule::TooLarge,
            PublishRule::Payload,
            PublishRule::Topic,
            PublishRule::Accepted,
        ] {
            let (mut refusals, mut replacements) = (0, 0);
            while let step @ (Next::Later | Next::Replaced) =
                next(rule, refusals, replacements, false)
            {
                match step {
                    Next::Later => refusals += 1,
                    _ => replacements += 1,
                }
            }
            assert!(refusals <= MAX_REFUSALS && replacements <= MAX_REPLACEMENTS);
        }
        assert_eq!(next(PublishRule::Topic, 0, 0, false), Next::Elsewhere);
        assert_eq!(next(PublishRule::Payload, 0, 0, false), Next::Replaced);
        assert_eq!(next(PublishRule::Retry, MAX_REFUSALS_RETAINED, 0, true), Next::Elsewhere);
    }
}
