//! Updates of the desired state: checked by the guard and sent to Ankaios.
//!
//! Updates are sent in the order of arrival. An update that the guard can check at once is sent
//! at once. If the guard needs the state of the vehicle, later updates wait while the state is
//! read and the update is checked and sent. So no update is sent between the two, and the order
//! is kept. Other requests do not wait.
//!
//! If revisions are kept, updates go to their keeper instead, which does all this and more.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use ankaios_control::{Call, Client, RequestError};
use ankaios_model::json;
use ankaios_model::proto::ank_base::{UpdateStateRequest, UpdateStateSuccess};
use fleet_contract::error::{ErrorCode, ErrorReply};
use futures_util::poll;
use serde::Serialize;
use tokio::time::timeout;

use super::call::{PendingOutcome, run_blocking, to_json};
use super::context::OperationContext;
use super::update_queue::UpdateTurn;
use crate::errors::request_failed;
use crate::guard::{Guard, RequiredState, to_value};
use crate::revisions::{ChangeRequest, Origin, PendingAnswer, Updated, check_masks};
use crate::streams::{ChangedInstances, FollowedUpdate};
use crate::trust::{Scope, Signed};

/// An update that was sent to Ankaios, or that waits to be sent.
enum PendingUpdate {
    Sent(Call<UpdateStateSuccess>),
    Waiting(Pin<Box<dyn Future<Output = Result<UpdateStateSuccess, ErrorReply>> + Send>>),
}

impl PendingUpdate {
    async fn answer(self) -> Result<UpdateStateSuccess, ErrorReply> {
        match self {
            Self::Sent(call) => call.answer().await.map_err(request_failed),
            Self::Waiting(answer) => answer.await,
        }
    }
}

/// An update that a request asks for.
pub(super) struct RequestedUpdate {
    /// The request.
    pub(super) origin: Origin,
    /// Whether it lifts the protection of workloads.
    pub(super) force: bool,
    /// The signatures, if it is signed.
    pub(super) signed: Option<Signed>,
    /// Whether its progress is published.
    pub(super) is_published: bool,
    /// The workloads that it adds or changes.
    pub(super) workloads: BTreeSet<String>,
    pub(super) update: UpdateStateRequest,
}

/// Checks and sends an update, and follows its rollout.
///
/// # Errors
/// The guard refuses the update, or it cannot be sent.
pub(super) async fn start(
    context: &OperationContext,
    request: RequestedUpdate,
) -> Result<PendingOutcome, ErrorReply> {
    // Without revisions, too: they may be kept later.
    check_masks(&request.update)?;
    if let Some(revisions) = &context.revisions {
        context.guard.required_state(&request.update, request.force)?;
        let is_published = request.is_published;
        let admission = match &request.signed {
            Some(signed) => {
                let scope = Scope::of_update(signed.operation, &request.update.update_mask);
                context.admission(Some(signed), scope).await?
            }
            None => None,
        };
        let change = ChangeRequest {
            origin: request.origin,
            update: request.update,
            named: request.workloads,
            is_published,
            force: request.force,
            admission,
        };
        let pending = revisions.change(change).await?;
        return Ok(reply_with_revision(context, pending));
    }
    // Requests are signed only where revisions are kept.
    let RequestedUpdate { origin, force, signed: _, is_published, workloads, update } = request;
    let updating = send(context, update, force).await?;
    let rollouts = context.rollouts.clone();
    Ok(Box::pin(async move {
        let success = updating.answer().await?;
        let mut reply = to_json(&json::update_state_success(&success))?;
        if let Some(rollouts) = rollouts {
            let followed = FollowedUpdate {
                request_id: origin.request_id,
                is_published,
                named: workloads,
                changes: ChangedInstances::new(&success),
                ..FollowedUpdate::default()
            };
            reply.set_follow_up(async move { rollouts.follow(followed).await });
        }
        Ok(reply)
    }))
}

/// The reply to an update that the keeper of the revisions has in its queue.
pub(super) fn reply_with_revision(
    context: &OperationContext,
    pending: PendingAnswer<Updated>,
) -> PendingOutcome {
    let rollouts = context.rollouts.clone();
    Box::pin(async move {
        let Updated { revision, follow } = pending.answer().await?;
        let changes = json::update_state_success(&follow.success);
        let mut reply = to_json(&WithRevision { changes, revision })?;
        if let Some(rollouts) = rollouts {
            reply.set_follow_up(async move { rollouts.follow(follow.into()).await });
        }
        Ok(reply)
    })
}

/// The result of an update, with the current revision.
#[derive(Serialize)]
struct WithRevision<T> {
    #[serde(flatten)]
    changes: T,
    revision: u64,
}

async fn send(
    context: &OperationContext,
    update: UpdateStateRequest,
    force: bool,
) -> Result<PendingUpdate, ErrorReply> {
    let OperationContext { ankaios, guard, updates, .. } = context;
    guard.required_state(&update, force)?;
    let update = GuardedUpdate { ankaios: ankaios.clone(), guard: guard.clone(), update, force };
    let mut turn = Box::pin(updates.turn());
    // The first poll puts the update into the queue.
    if let Poll::Ready(turn) = poll!(&mut turn) {
        return update.start(turn).await;
    }
    let limit = updates.timeout();
    Ok(PendingUpdate::Waiting(Box::pin(async move {
        let turn = timeout(limit, turn).await.map_err(|_| {
            ErrorReply::new(
                ErrorCode::Unavailable,
                "an earlier update still waits for Ankaios; nothing was done, try again",
            )
        })?;
        update.start(turn).await?.answer().await
    })))
}

/// An update that the guard has to check.
struct GuardedUpdate {
    ankaios: Client,
    guard: Guard,
    update: UpdateStateRequest,
    force: bool,
}

impl GuardedUpdate {
    /// Checks and sends the update. Reads the state before, if the guard needs it.
    async fn start(self, turn: UpdateTurn) -> Result<PendingUpdate, ErrorReply> {
        // Only now, because it depends on the updates before this one.
        let required = self.guard.required_to_send(&self.update, self.force)?;
        let state = match required {
            RequiredState::Nothing | RequiredState::Fresh | RequiredState::Whole => None,
            // If it is not known, it is read below.
            RequiredState::LastKnown => self.guard.last_known_state().ok(),
        };
        if required == RequiredState::Nothing || state.is_some() {
            return self.send(required, state, turn).await.map(PendingUpdate::Sent);
        }
        Ok(PendingUpdate::Waiting(Box::pin(async move {
            let reading = self.guard.read(&self.ankaios, required, Vec::new());
            let (required, state) = reading.await.map_err(state_unknown)?;
            let state = run_blocking(move || Arc::new(to_value(&state))).await?;
            let call = self.send(required, Some(state), turn).await?;
            call.answer().await.map_err(request_failed)
        })))
    }

    /// Sends the update to Ankaios if the guard allows it. Its turn ends afterwards.
    async fn send(
        self,
        required: RequiredState,
        state: Option<Arc<serde_json::Value>>,
        _turn: UpdateTurn,
    ) -> Result<Call<UpdateStateSuccess>, ErrorReply> {
        let Self { ankaios, guard, update, force } = self;
        let is_slow = guard.has_policy() || required == RequiredState::Whole;
        let check = move || {
            guard.check_to_send(&update, force, required, state.as_deref()).map(|()| update)
        };
        let update = if is_slow { run_blocking(check).await?? } else { check()? };
        ankaios.update(update).await.map_err(request_failed)
    }
}

/// The reply if the state that the guard needs cannot be read.
fn state_unknown(error: RequestError) -> ErrorReply {
    let reply = request_failed(error);
    let message = format!(
        "this request cannot be checked because the state of the vehicle is not available: {}",
        reply.message
    );
    ErrorReply { message, ..reply }
}
