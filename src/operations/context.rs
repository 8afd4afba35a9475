//! The parts that operations use.

use std::sync::Arc;

use ankaios_control::Client;
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::revision::RollbackMode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::call::OperationCall;
use super::update_queue::UpdateQueue;
use crate::guard::Guard;
use crate::revisions::{Origin, Revisions};
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
    /// Keeps what operators have changed; `None` without `STATE_DIR`.
    pub revisions: Option<Revisions>,
    /// When a change is taken back whose request does not say it.
    pub rollback: RollbackMode,
    /// Limits the requests that wait for a workload. A semaphore, because its permits are
    /// returned when requests end, in any order and also by a panic.
    pub wait_permits: Arc<Semaphore>,
    /// Cancelled when no more requests come. Requests that wait for a workload end then.
    pub stopping: CancellationToken,
}

impl OperationContext {
    /// A semaphore for [`OperationContext::wait_permit`].
    pub(crate) fn wait_permits() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(MAX_WAITS))
    }

    /// The revisions of the vehicle.
    ///
    /// # Errors
    /// They are not kept.
    pub(super) fn revisions(&self) -> Result<&Revisions, ErrorReply> {
        self.revisions.as_ref().ok_or_else(|| {
            let message = "this connector keeps no revisions: its setting STATE_DIR is not set";
            ErrorReply::new(ErrorCode::Unavailable, message)
        })
    }

    /// Who makes a change, and what becomes of it.
    ///
    /// # Errors
    /// A user property cannot be used.
    pub(super) fn origin(&self, call: &OperationCall) -> Result<Origin, ErrorReply> {
        let invalid = |message| ErrorReply::new(ErrorCode::InvalidPayload, message);
        if let Some(release) = &call.release
            && !is_release(release)
        {
            return Err(invalid(format!(
                "user property release: {release:?} has not 1 to {MAX_RELEASE} of A-Z, a-z, 0-9, \
                 ., _, + and -"
            )));
        }
        let rollback = match &call.rollback {
            None => self.rollback,
            Some(name) => name
                .parse()
                .map_err(|error| invalid(format!("user property rollback: {name:?}: {error}")))?,
        };
        if rollback != RollbackMode::Off && self.revisions.is_none() {
            return Err(invalid(
                "user property rollback: this connector keeps no revisions to go back to: its \
                 setting STATE_DIR is not set"
                    .into(),
            ));
        }
        if rollback != RollbackMode::Off && self.rollouts.is_none() {
            return Err(invalid(
                "user property rollback: with ROLLOUT_TIMEOUT=0s nobody notices that a change has \
                 failed"
                    .into(),
            ));
        }
        Ok(Origin {
            operation: call.operation.name().to_owned(),
            request_id: call.request_id.clone(),
            release: call.release.clone(),
            rollback,
        })
    }

    /// A permit to wait for a workload; `None` if [`MAX_WAITS`] requests wait already.
    pub(super) fn wait_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.wait_permits).try_acquire_owned().ok()
    }
}

/// Maximum length of the user property `release`, in bytes.
const MAX_RELEASE: usize = 64;

fn is_release(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    (1..=MAX_RELEASE).contains(&text.len()) && text.bytes().all(allowed)
}
