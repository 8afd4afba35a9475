//! How long acknowledgements may wait for something that they go out with
//! (*piggybacking*): one packet on the line, and one piece of work for both sides,
//! instead of two.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// How long any may wait. A timer that is due before the next tick of the kernel (4 ms,
/// often 10 ms) would have to be programmed at each wait for the next packet, which
/// costs more than is saved.
const MAX_WAIT: Duration = Duration::from_millis(20);

/// So many do not wait: a broker that has used up the Receive Maximum sends the next
/// request only when one of them comes.
pub(super) const ENOUGH: usize = 8;

/// Acknowledgements that wait, of one connection.
#[derive(Debug)]
pub(super) struct Piggyback {
    timer: Pin<Box<Sleep>>,
    is_running: bool,
}

impl Piggyback {
    pub(super) fn new() -> Self {
        Self { timer: Box::pin(sleep_until(Instant::now())), is_running: false }
    }

    /// Something waits from now on, or does so already. For many in a row the timer is
    /// set once.
    pub(super) fn wait(&mut self) {
        if !self.is_running {
            self.timer.as_mut().reset(Instant::now() + MAX_WAIT);
            self.is_running = true;
        }
    }

    /// Whether there is a time from which on nothing may wait.
    pub(super) fn is_running(&self) -> bool {
        self.is_running
    }

    /// Waits for that time. Cancelling the future changes nothing.
    pub(super) async fn over(&mut self) {
        self.timer.as_mut().await;
        self.is_running = false;
    }
}
