//! Whether the connection to the broker is still alive.
//!
//! A connection that is gone without a word shows by silence only. So the
//! broker is pinged after half the keep-alive time without a byte from it, and
//! given up after the whole. It is also pinged when nothing was said to it for
//! so long, because it gives up a silent client in the same way.
//!
//! A slow line is no dead one. Each part of a large packet that comes is a sign
//! of life. So is room for more to be sent after there was none: the broker's
//! side has taken something. What the kernel took at once says nothing, and may
//! take its time.

use std::time::Duration;

use tokio::time::Instant;

/// The slowest line that is waited for, in bytes per second.
const SLOWEST_LINE: usize = 16 * 1024;

/// What the kernel takes at most before the broker has got any of it, in bytes.
pub(super) const SEND_BUFFER: usize = 128 * 1024;

/// What the bytes of a connection tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signs {
    /// When the line was surely alive for the last time.
    pub(super) alive: Instant,
    /// When something was sent for the last time.
    pub(super) sent: Instant,
    /// Something waits for being sent, and a ping would have to wait behind it.
    pub(super) waiting: bool,
}

/// Watches one connection.
#[derive(Debug)]
pub(super) struct Liveness {
    keep_alive: Duration,
    pinged: Instant,
}

impl Liveness {
    /// `keep_alive` is the time that was agreed with the broker.
    pub(super) fn new(keep_alive: Duration) -> Self {
        Self { keep_alive, pinged: Instant::now() }
    }

    /// A ping is sent.
    pub(super) fn pinged(&mut self) {
        self.pinged = Instant::now();
    }

    /// How long nothing may be heard or said before the broker is pinged.
    pub(super) fn ping_interval(&self) -> Duration {
        self.keep_alive / 2
    }

    /// When to ping the broker; `None` while a ping would not be sent at once.
    pub(super) fn ping_at(&self, signs: Signs) -> Option<Instant> {
        let quiet_since = signs.alive.max(self.pinged).min(signs.sent);
        (!signs.waiting).then(|| quiet_since + self.ping_interval())
    }

    /// When the connection is to be given up. `under_way` is the size of what
    /// was sent and not acknowledged, in bytes.
    pub(super) fn give_up_at(&self, signs: Signs, under_way: usize) -> Instant {
        let seconds = (under_way.min(SEND_BUFFER) / SLOWEST_LINE) as u64;
        signs.alive + self.keep_alive + Duration::from_secs(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const KEEP_ALIVE: Duration = Duration::from_secs(30);

    fn signs(waiting: bool) -> Signs {
        Signs { alive: Instant::now(), sent: Instant::now(), waiting }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_pinged_at_half_time_and_given_up_in_the_end() {
        let start = Instant::now();
        let mut liveness = Liveness::new(KEEP_ALIVE);
        let mut signs = signs(false);
        assert_eq!(liveness.ping_at(signs), Some(start + KEEP_ALIVE / 2));
        advance(KEEP_ALIVE / 2).await;
        liveness.pinged();
        signs.sent = Instant::now();
        // The ping itself is no sign of life.
        assert_eq!(liveness.give_up_at(signs, 0), start + KEEP_ALIVE);
        assert_eq!(liveness.ping_at(signs), Some(start + KEEP_ALIVE));
        advance(Duration::from_secs(1)).await;
        signs.alive = Instant::now();
        assert_eq!(liveness.give_up_at(signs, 0), signs.alive + KEEP_ALIVE);
        assert_eq!(liveness.ping_at(signs), Some(start + KEEP_ALIVE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_speaks_is_pinged_if_nothing_is_said_to_it() {
        let start = Instant::now();
        let liveness = Liveness::new(KEEP_ALIVE);
        let mut signs = signs(false);
        advance(KEEP_ALIVE / 2).await;
        signs.alive = Instant::now();
        assert_eq!(liveness.ping_at(signs), Some(start + KEEP_ALIVE / 2));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_kernel_holds_gets_time_to_arrive() {
        let start = Instant::now();
        let liveness = Liveness::new(KEEP_ALIVE);
        let signs = signs(true);
        assert_eq!(liveness.ping_at(signs), None);
        let whole = Duration::from_secs((SEND_BUFFER / SLOWEST_LINE) as u64);
        assert_eq!(liveness.give_up_at(signs, 100), start + KEEP_ALIVE);
        assert_eq!(liveness.give_up_at(signs, 10_000_000), start + KEEP_ALIVE + whole);
    }
}
