//! The parts that operations use.

use std::sync::Arc;

use ankaios_control::Client;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::update_queue::UpdateQueue;
use crate::guard::Guard;
use crate::streams::{Rollouts, Subscriptions};

/// Maximum number of requests that wait for a workload at the same time.
pub(super) const MAX_WAITS: usize = 32;

/// The parts that operations use. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct OperationContext {
    /// The client of Ankaios.
    pub ankaios: Client,
    /// Decides what requests may do to the vehicle.
    pub guard: Guard,
    /// The order of updates.
    pub updates: UpdateQueue,
    /// The subscriptions of operators.
    pub subscriptions: Subscriptions,
    /// Follows applied manifests; `None` if `ROLLOUT_TIMEOUT` is `0s`.
    pub rollouts: Option<Rollouts>,
    /// Limits the requests that wait for a workload. A semaphore, because its permits are
    /// returned when requests end, in any order and also by a panic.
    wait_permits: Arc<Semaphore>,
    /// Cancelled when no more requests come. Requests that wait for a workload end then.
    pub stopping: CancellationToken,
}

impl OperationContext {
    /// A context for one activation of the connector.
    #[must_use]
    pub(crate) fn new(
        ankaios: Client,
        guard: Guard,
        updates: UpdateQueue,
        subscriptions: Subscriptions,
        rollouts: Option<Rollouts>,
        stopping: CancellationToken,
    ) -> Self {
        let wait_permits = Arc::new(Semaphore::new(MAX_WAITS));
        Self { ankaios, guard, updates, subscriptions, rollouts, wait_permits, stopping }
    }

    /// A permit to wait for a workload; `None` if [`MAX_WAITS`] requests wait already.
    pub(super) fn wait_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.wait_permits).try_acquire_owned().ok()
    }
}
