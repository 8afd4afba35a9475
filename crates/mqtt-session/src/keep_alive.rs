//! When to ping the broker, and when to give it up.
//!
//! A connection can be lost without a FIN or a RST. So the broker is pinged after half the
//! keep-alive time without a byte from it, and given up after the whole. It is also pinged
//! when nothing was sent to it for half the time, because it gives up a silent client in the
//! same way.
//!
//! A slow line is not a dead line. Each received part of a large packet proves that the line
//! is alive. So does room in a send buffer that was full: the other side has taken something.
//! Bytes that the kernel took at once prove nothing, and may still be on their way for a
//! while.

use std::time::Duration;

use tokio::time::Instant;

/// The slowest line that is supported, in bytes per second.
const SLOWEST_LINE: usize = 16 * 1024;

/// Size of the send buffer of the socket, in bytes: these may look sent and not have arrived.
pub(crate) const SEND_BUFFER: usize = 128 * 1024;

/// When bytes went over a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LineActivity {
    /// When the line was last proved to be alive.
    pub(crate) alive: Instant,
    /// When something was last sent.
    pub(crate) sent: Instant,
    /// Packets wait to be sent, and a ping would wait behind them.
    pub(crate) is_blocked: bool,
}

/// The keep-alive timer of one connection.
#[derive(Debug)]
pub(crate) struct KeepAlive {
    interval: Duration,
    pinged: Instant,
}

impl KeepAlive {
    /// `interval` is the keep-alive time that was agreed with the broker.
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, pinged: Instant::now() }
    }

    /// Records that a ping is sent.
    pub(crate) fn pinged(&mut self) {
        self.pinged = Instant::now();
    }

    /// How long nothing may be received or sent before the broker is pinged.
    pub(crate) fn ping_interval(&self) -> Duration {
        self.interval / 2
    }

    /// When to ping the broker; `None` while a ping would not be sent at once.
    pub(crate) fn ping_at(&self, activity: LineActivity) -> Option<Instant> {
        let quiet_since = activity.alive.max(self.pinged).min(activity.sent);
        (!activity.is_blocked).then(|| quiet_since + self.ping_interval())
    }

    /// When to give the connection up. `unacknowledged` is the size of the payloads that were
    /// sent and not acknowledged, in bytes.
    pub(crate) fn give_up_at(&self, activity: LineActivity, unacknowledged: usize) -> Instant {
        let seconds = (unacknowledged.min(SEND_BUFFER) / SLOWEST_LINE) as u64;
        activity.alive + self.interval + Duration::from_secs(seconds)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const KEEP_ALIVE: Duration = Duration::from_secs(30);

    fn activity(is_blocked: bool) -> LineActivity {
        LineActivity { alive: Instant::now(), sent: Instant::now(), is_blocked }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_broker_is_pinged_at_half_time_and_given_up_in_the_end() {
        let start = Instant::now();
        let mut timer = KeepAlive::new(KEEP_ALIVE);
        let mut activity = activity(false);
        assert_eq!(timer.ping_at(activity), Some(start + KEEP_ALIVE / 2));
        advance(KEEP_ALIVE / 2).await;
        timer.pinged();
        activity.sent = Instant::now();
        // The ping itself does not prove that the line is alive.
        assert_eq!(timer.give_up_at(activity, 0), start + KEEP_ALIVE);
        assert_eq!(timer.ping_at(activity), Some(start + KEEP_ALIVE));
        advance(Duration::from_secs(1)).await;
        activity.alive = Instant::now();
        assert_eq!(timer.give_up_at(activity, 0), activity.alive + KEEP_ALIVE);
        assert_eq!(timer.ping_at(activity), Some(start + KEEP_ALIVE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_sends_is_pinged_if_nothing_is_sent_to_it() {
        let start = Instant::now();
        let timer = KeepAlive::new(KEEP_ALIVE);
        let mut activity = activity(false);
        advance(KEEP_ALIVE / 2).await;
        activity.alive = Instant::now();
        assert_eq!(timer.ping_at(activity), Some(start + KEEP_ALIVE / 2));
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_in_the_send_buffer_get_time_to_arrive() {
        let start = Instant::now();
        let timer = KeepAlive::new(KEEP_ALIVE);
        let activity = activity(true);
        assert_eq!(timer.ping_at(activity), None);
        let whole = Duration::from_secs((SEND_BUFFER / SLOWEST_LINE) as u64);
        assert_eq!(timer.give_up_at(activity, 100), start + KEEP_ALIVE);
        assert_eq!(timer.give_up_at(activity, 10_000_000), start + KEEP_ALIVE + whole);
    }
}
