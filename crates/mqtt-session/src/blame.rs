//! Which message makes the broker end the connection.
//!
//! A message that the broker objects to would be published again on every connection, and
//! nothing would ever be published after it. So when the broker ends a connection over a
//! packet, the messages without an acknowledgement are published again one by one, until it
//! is clear which one it is; that one is replaced or dropped.
//!
//! A broker may give no reason and just close the connection, which a network that fails looks
//! like, too. Then a message is blamed only if each of several connections was closed at once after
//! this message, and none failed in another way in between.

use std::time::Duration;

/// How often in a row a message must be the only one without an acknowledgement when the broker
/// ends the connection with a reason: it may object to a packet of another kind.
const MAX_BLAMES: u32 = 3;

/// How often that must be if the broker just closes the connection.
const MAX_CLOSES: u32 = 4;

/// A connection that is closed later after a message was sent says nothing about the message.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(2);

/// Counts the connections that ended with a single message unacknowledged.
#[derive(Debug, Default)]
pub(crate) struct Blame {
    /// That message.
    single: Option<Suspect>,
    /// The delivery whose reply was replaced last.
    replaced: Option<u64>,
}

/// A message that was alone without an acknowledgement when connections ended.
#[derive(Debug, Clone, Copy)]
struct Suspect {
    /// Its position in the order of publishing; `None` if it is the status.
    message: Option<u64>,
    /// How many connections in a row the broker has ended with a reason.
    reasons: u32,
    /// How many it has just closed.
    closes: u32,
}

impl Blame {
    /// A connection has ended with a single message unacknowledged. Returns whether the message
    /// must give way. `has_reason` says whether the broker has given a reason.
    pub(crate) fn single(&mut self, message: Option<u64>, has_reason: bool) -> bool {
        let before = self.single.filter(|other| other.message == message);
        let mut suspect = before.unwrap_or(Suspect { message, reasons: 0, closes: 0 });
        *(if has_reason { &mut suspect.reasons } else { &mut suspect.closes }) += 1;
        let is_guilty = suspect.reasons >= MAX_BLAMES || suspect.closes >= MAX_CLOSES;
        self.single = (!is_guilty).then_some(suspect);
        is_guilty
    }

    /// A connection could not be made: perhaps the network fails.
    pub(crate) fn no_connection(&mut self) {
        if let Some(suspect) = &mut self.single {
            suspect.closes = 0;
        }
    }

    /// It cannot be known which message it was, or the broker has accepted one.
    pub(crate) fn clear(&mut self) {
        self.single = None;
    }

    /// Whether the reply of a delivery may be replaced: not twice.
    pub(crate) fn may_replace(&mut self, delivery: u64) -> bool {
        self.replaced.replace(delivery) != Some(delivery)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_message_is_blamed_when_it_was_alone_several_times_in_a_row() {
        for (has_reason, needed) in [(true, MAX_BLAMES), (false, MAX_CLOSES)] {
            let mut blame = Blame::default();
            for _ in 0..2 {
                assert!((1..needed).all(|_| !blame.single(None, has_reason)));
                assert!(blame.single(None, has_reason));
            }
            // Another message, or one that was accepted.
            assert!((1..needed).all(|_| !blame.single(None, has_reason)));
            assert!(!blame.single(Some(2), has_reason));
            assert!((2..needed).all(|_| !blame.single(Some(2), has_reason)));
            blame.clear();
            assert!(!blame.single(Some(2), has_reason));
            // A network that fails in between may be why connections are closed.
            assert!((2..needed).all(|_| !blame.single(Some(2), has_reason)));
            blame.no_connection();
            assert_eq!(blame.single(Some(2), has_reason), has_reason);
        }
    }
}
