//! The two lanes to the broker, and how much may wait on each stage of the way.
//!
//! | stage | replies | streams | bounds |
//! |---|---|---|---|
//! | [`Writer`](crate::Writer): serialised, no room yet | 4 messages | 4 messages | memory: a message is not serialised before it has a permit |
//! | queue of the lane | 64 messages | 64 messages | memory |
//! | from the queue until the broker has acknowledged | 32 MiB | 16 MiB | memory while the uplink is slow or down |
//! | outbox: taken from the queue, not sent | below 64 | below 8 | how much a reply waits for |
//! | send buffer of the connection | 64 KiB together | | how much a reply waits for |
//! | sent, not acknowledged | 100 together | | the broker's memory; less if its *Receive Maximum* is less |
//!
//! A sender that exceeds a bound waits. The outbox keeps its order, because retained messages and replies
//! that belong together must keep theirs, so it is where a reply can no longer overtake. Hence
//! a stream message is admitted only while fewer than 8 messages are unsent: enough to fill
//! the connection without a gap, and few enough for a reply that comes next. Replies are
//! admitted up to 64, which is *Receive Maximum*: more requests are rarely in flight.

/// A way to the broker. Replies overtake streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// For replies, and for messages that a reply promises: they are published in their order
    /// with the replies.
    Replies,
    /// For messages of streams.
    Streams,
}

/// Messages that are serialised at the same time and have no room yet, of each lane.
pub(crate) const MAX_WRITERS: usize = 4;

/// Messages in the queue of each lane.
pub(crate) const MAX_QUEUED: usize = 64;

/// Bytes in the send buffer of the connection beyond which no packet is added.
pub(crate) const MAX_SEND_BUFFER: usize = 64 * 1024;

/// Messages that are sent without an acknowledgement.
pub(crate) const MAX_UNACKNOWLEDGED: u16 = 100;

impl Lane {
    /// Payloads from the queue until the broker has acknowledged them, in KiB.
    pub(crate) fn max_kib(self) -> u32 {
        match self {
            Self::Replies => 32 * 1024,
            Self::Streams => 16 * 1024,
        }
    }

    /// Whether a message of this lane is taken from the queue while the outbox has `unsent`
    /// messages that are not sent.
    pub(crate) fn admits(self, unsent: usize) -> bool {
        match self {
            Self::Replies => unsent < 64,
            Self::Streams => unsent < 8,
        }
    }
}
