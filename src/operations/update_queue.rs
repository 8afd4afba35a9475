//! The order of updates that the guard has to judge one at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};

/// Gives updates their turns in the order of arrival. Cheap to clone.
#[derive(Debug, Clone)]
pub struct UpdateQueue {
    /// A lock, because its waiters are a fair queue: whoever holds it has its turn.
    turn: Arc<Mutex<()>>,
    timeout: Duration,
}

impl UpdateQueue {
    /// An update waits at most `timeout` for its turn.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { turn: Arc::default(), timeout }
    }

    /// Waits for a turn. The first poll takes a place in the queue.
    pub(super) fn turn(&self) -> impl Future<Output = Turn> + Send + use<> {
        Arc::clone(&self.turn).lock_owned()
    }

    /// How long an update may wait for its turn.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }
}

/// The turn of an update, until it is dropped.
pub(super) type Turn = OwnedMutexGuard<()>;
