//! The parts that operations use.

use std::sync::Arc;

use ankaios_control::Client;
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::operation::Operation;
use fleet_contract::revision::RollbackMode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::call::OperationCall;
use super::update_queue::UpdateQueue;
use crate::guard::Guard;
use crate::revisions::{Origin, OriginSignature, RequestSerial, Revisions};
use crate::streams::{Rollouts, Subscriptions};
use crate::trust::{Admission, Opened, Scope, Signed, Trust, is_bundle, not_configured};

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
    /// Verifies signed requests; `None` without `TRUST_FILE`.
    pub trust: Option<Trust>,
    /// The name of this replica; `None` if it is the only connector of its vehicle.
    pub replica: Option<Arc<str>>,
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

    /// The trust of the vehicle.
    ///
    /// # Errors
    /// There is no trust file.
    pub(super) fn trust(&self) -> Result<&Trust, ErrorReply> {
        self.trust.as_ref().ok_or_else(|| {
            let message = "this connector has no trust file: its setting TRUST_FILE is not set";
            ErrorReply::new(ErrorCode::Unavailable, message)
        })
    }

    /// Verifies a signed request, and takes from it what only its signatures may say.
    ///
    /// # Errors
    /// The error that is the reply.
    pub(super) fn open(&self, call: OperationCall) -> Result<OperationCall, ErrorReply> {
        if let Some(trust) = &self.trust {
            // The disk is the usual reason why the trust file is not known.
            let why = self.revisions.as_ref().and_then(Revisions::unusable);
            trust.check_loaded(why.as_deref())?;
        }
        // The root keys sign it, and the keeper of the trust file verifies it.
        if call.operation == Operation::TrustUpdate {
            return Ok(call);
        }
        let Some(trust) = &self.trust else {
            return if is_bundle(&call.payload) { Err(not_configured()) } else { Ok(call) };
        };
        let opened = trust.open(call.operation, &call.payload, &call.request_id)?;
        Ok(match opened {
            None => call,
            Some(Opened { payload, force, rollback, release, signed }) => {
                OperationCall { payload, force, rollback, release, signed: Some(signed), ..call }
            }
        })
    }

    /// What a signed request waits for before it does anything. Must be called in the order of
    /// arrival.
    ///
    /// # Errors
    /// The connector is stopping.
    pub(super) async fn admission(
        &self,
        signed: Option<&Signed>,
        scope: Scope,
    ) -> Result<Option<Admission>, ErrorReply> {
        match (&self.trust, signed) {
            (Some(trust), Some(signed)) => trust.admit(scope, signed.clone()).await.map(Some),
            _ => Ok(None),
        }
    }

    /// Who makes a change, and what becomes of it.
    ///
    /// # Errors
    /// A user property, or a field of the signed statement, cannot be used.
    pub(super) fn origin(&self, call: &OperationCall) -> Result<Origin, ErrorReply> {
        let source = if call.signed.is_some() { "signed statement" } else { "user property" };
        let invalid = |message| ErrorReply::new(ErrorCode::InvalidPayload, message);
        if let Some(release) = &call.release
            && !is_release(release)
        {
            return Err(invalid(format!(
                "{source} release: {release:?} has not 1 to {MAX_RELEASE} of A-Z, a-z, 0-9, ., _, + \
                 and -"
            )));
        }
        let rollback = match &call.rollback {
            None => self.rollback,
            Some(name) => name
                .parse()
                .map_err(|error| invalid(format!("{source} rollback: {name:?}: {error}")))?,
        };
        if rollback != RollbackMode::Off && self.revisions.is_none() {
            return Err(invalid(format!(
                "{source} rollback: this connector keeps no revisions to go back to: its setting \
                 STATE_DIR is not set"
            )));
        }
        if rollback != RollbackMode::Off && self.rollouts.is_none() {
            return Err(invalid(format!(
                "{source} rollback: with ROLLOUT_TIMEOUT=0s nobody notices that a change has failed"
            )));
        }
        Ok(Origin {
            operation: call.operation.name().to_owned(),
            request_id: call.request_id.clone(),
            release: call.release.clone(),
            signed: call.signed.as_ref().map(signature),
            rollback,
        })
    }

    /// A permit to wait for a workload; `None` if [`MAX_WAITS`] requests wait already.
    pub(super) fn wait_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.wait_permits).try_acquire_owned().ok()
    }
}

/// The signatures of a request, as they are kept with the revision.
fn signature(signed: &Signed) -> OriginSignature {
    let digest = signed.digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let serial = RequestSerial { serial: signed.serial, digest };
    OriginSignature { serial, signed_by: signed.signed_by.clone() }
}

/// Maximum length of `release`, in bytes.
const MAX_RELEASE: usize = 64;

fn is_release(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    (1..=MAX_RELEASE).contains(&text.len()) && text.bytes().all(allowed)
}
