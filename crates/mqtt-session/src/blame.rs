//! Which message makes the broker end the connection.
//!
//! A message that the broker objects to would be published again on every connection, and
//! nothing would ever be published after it. So when the broker ends a connection over a
//! packet, the messages without an acknowledgement are published again one by one, until it
//! is clear which one it is; that one is replaced or dropped.

/// How often a message must be the only one without an acknowledgement: the broker may object
/// to a packet of another kind.
const MAX_BLAMES: u32 = 3;

/// Counts the connections that ended with a single message unacknowledged.
#[derive(Debug, Default)]
pub(crate) struct Blame {
    /// How many in a row.
    count: u32,
    /// The delivery whose reply was replaced last.
    replaced: Option<u64>,
}

impl Blame {
    /// A connection has ended with a single message unacknowledged. Returns whether the message
    /// must give way.
    pub(crate) fn single(&mut self) -> bool {
        self.count += 1;
        if self.count < MAX_BLAMES {
            return false;
        }
        self.count = 0;
        true
    }

    /// It cannot be known which message it was, or the broker has accepted one.
    pub(crate) fn clear(&mut self) {
        self.count = 0;
    }

    /// Whether the reply of a delivery may be replaced: not twice.
    pub(crate) fn may_replace(&mut self, delivery: u64) -> bool {
        self.replaced.replace(delivery) != Some(delivery)
    }
}
