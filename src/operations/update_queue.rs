//! The order of updates, which the guard checks one at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};

/// Gives updates their turns in the order of arrival. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct UpdateQueue {
    /// The update that holds the lock has its turn. A lock, because Tokio's mutex is a fair
    /// queue of its waiters.
    turn: Arc<Mutex<()>>,
    timeout: Duration,
}

impl UpdateQueue {
    /// An update waits at most `timeout` for its turn.
    #[must_use]
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { turn: Arc::default(), timeout }
    }

    /// Waits for a turn. The first poll puts the caller into the queue.
    pub(super) fn turn(&self) -> impl Future<Output = UpdateTurn> + Send + use<> {
        Arc::clone(&self.turn).lock_owned()
    }

    /// How long an update may wait for its turn.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }
}

/// The turn of an update. Dropping it ends the turn.
pub(super) type UpdateTurn = OwnedMutexGuard<()>;
