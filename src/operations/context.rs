//! What the operations work with.

use std::sync::Arc;

use ankaios_control::Client;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::update_queue::UpdateQueue;
use crate::guard::Guard;
use crate::streams::{Rollouts, Subscriptions};

/// Maximum number of requests that wait for a workload at the same time.
pub(super) const MAX_WAITS: usize = 32;

/// What the operations work with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    /// The vehicle.
    pub ankaios: Client,
    /// What requests may do to it.
    pub guard: Guard,
    /// Gives updates their turns.
    pub updates: UpdateQueue,
    /// The subscriptions of operators.
    pub subscriptions: Subscriptions,
    /// Follows what is applied; `None` if `ROLLOUT_TIMEOUT` is `0s`.
    pub rollouts: Option<Rollouts>,
    /// Places for requests that wait for a workload.
    waits: Arc<Semaphore>,
    /// Cancelled when no more requests come: waits end then.
    pub stopping: CancellationToken,
}

impl Context {
    /// A context without requests yet.
    #[must_use]
    pub fn new(
        ankaios: Client,
        guard: Guard,
        updates: UpdateQueue,
        subscriptions: Subscriptions,
        rollouts: Option<Rollouts>,
        stopping: CancellationToken,
    ) -> Self {
        let waits = Arc::new(Semaphore::new(MAX_WAITS));
        Self { ankaios, guard, updates, subscriptions, rollouts, waits, stopping }
    }

    /// A place for one more request that waits for a workload, if there is any.
    pub(super) fn wait(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        Arc::clone(&self.waits).try_acquire_owned().ok()
    }
}
