//! The calls without an answer: who may answer them, and when they end without one.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::call::{Answer, Call};
use crate::Vin;

/// A call without an answer.
#[derive(Debug)]
struct PendingCall {
    call: Call,
    until: Instant,
    /// The connection was lost after it was sent, and it must not be sent again.
    is_lost: bool,
}

/// The calls without an answer, by their tokens.
#[derive(Debug, Default)]
pub(super) struct PendingCalls(BTreeMap<u64, PendingCall>);

impl PendingCalls {
    /// Adds a call that is made now.
    pub(super) fn add(&mut self, token: u64, call: Call, now: Instant) {
        let until = now + call.timeout;
        self.0.insert(token, PendingCall { call, until, is_lost: false });
    }

    /// The number of calls.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// When the next call ends without an answer.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.values().map(|pending| pending.until).min()
    }

    /// Handles a message on `reply/<session>/resp` of a vehicle. Returns the call that it answers: only
    /// the vehicle that was asked may answer, and once.
    pub(super) fn answered(&mut self, vin: &Vin, correlation: Option<&[u8]>) -> Option<u64> {
        let token = std::str::from_utf8(correlation?).ok()?.parse().ok()?;
        self.0.get(&token).filter(|pending| pending.call.vin == *vin)?;
        self.0.remove(&token);
        Some(token)
    }

    /// Ends a call that the broker cannot deliver. Returns whether there was such a call.
    pub(super) fn remove(&mut self, token: u64) -> bool {
        self.0.remove(&token).is_some()
    }

    /// Ends the first call that nobody has answered in time.
    pub(super) fn expire(&mut self, now: Instant) -> Option<(u64, Answer)> {
        let token = *self.0.iter().find(|(_, pending)| pending.until <= now)?.0;
        let PendingCall { call, is_lost, .. } = self.0.remove(&token)?;
        let reason = if is_lost {
            "the connection was lost before the reply; ank-fleet history says what the vehicle has"
                .to_owned()
        } else {
            format!("no answer within {}", humantime::format_duration(call.timeout))
        };
        Some((token, Answer::None(reason)))
    }

    /// The calls whose replies may be lost, to be sent again, each with the time that is left.
    pub(super) fn to_repeat(&self, now: Instant) -> Vec<(u64, Call, Duration)> {
        let again = self.0.iter().filter(|(_, pending)| !pending.is_lost);
        again
            .map(|(token, PendingCall { call, until, .. })| {
                (*token, call.clone(), until.saturating_duration_since(now))
            })
            .collect()
    }

    /// The connection is lost. A write that was sent may have been made or not. It must not be made
    /// again without a look at what the vehicle has, so it ends now.
    pub(super) fn give_up_writing(&mut self, now: Instant) {
        for pending in self.0.values_mut().filter(|pending| !pending.call.is_reading()) {
            (pending.until, pending.is_lost) = (now, true);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fleet_contract::operation::Operation;

    use super::*;

    fn vin(number: usize) -> Vin {
        format!("V{number}").parse().unwrap()
    }

    /// A read of `V0` with the token 1 and a write of `V1` with the token 2.
    fn calls(now: Instant) -> PendingCalls {
        let mut calls = PendingCalls::default();
        let second = Duration::from_secs(1);
        calls.add(1, Call::new(&vin(0), Operation::State, "", second), now);
        calls.add(2, Call::new(&vin(1), Operation::ManifestApply, "", 2 * second), now);
        calls
    }

    #[test]
    fn only_the_vehicle_that_was_asked_answers_and_once() {
        let mut calls = calls(Instant::now());
        for (number, correlation) in [
            (1, Some(&b"1"[..])),
            (0, Some(b"2")),
            (0, Some(b"7")),
            (0, Some(b"99999999999999999999")),
            (0, Some(b"-1")),
            (0, Some(b"\xff")),
            (0, None),
        ] {
            assert_eq!(calls.answered(&vin(number), correlation), None, "{correlation:?}");
        }
        assert_eq!(calls.answered(&vin(0), Some(b"1")), Some(1));
        assert_eq!(calls.answered(&vin(0), Some(b"1")), None, "it was answered");
        assert_eq!(calls.len(), 1);
    }

    #[test]
    fn a_reply_after_the_deadline_answers_nothing() {
        let now = Instant::now();
        let mut calls = calls(now);
        let deadline = calls.deadline().unwrap();
        assert_eq!(calls.expire(now), None);
        let ended = calls.expire(deadline);
        assert_eq!(ended, Some((1, Answer::None("no answer within 1s".to_owned()))));
        assert_eq!(calls.answered(&vin(0), Some(b"1")), None);
    }

    #[test]
    fn only_reads_are_made_again_on_a_new_connection() {
        let now = Instant::now();
        let mut calls = calls(now);
        calls.give_up_writing(now);
        let again = calls.to_repeat(now);
        assert_eq!(again.iter().map(|(token, ..)| *token).collect::<Vec<_>>(), [1]);
        let (token, answer) = calls.expire(now).unwrap();
        assert!(matches!(answer, Answer::None(reason) if reason.contains("was lost")));
        assert_eq!((token, calls.len()), (2, 1));
    }
}
