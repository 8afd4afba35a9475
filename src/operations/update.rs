//! Updates of the state: past the guard, to Ankaios.
//!
//! An update that the guard can judge at once is handed to Ankaios at once. If the guard needs
//! the state of the vehicle, the update takes its turn: it reads the state, is judged and handed
//! over, while later updates wait, so that none comes between its reading and its writing, and
//! their order stays. Other requests do not wait.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use ankaios_control::{Call, Client, RequestError};
use ankaios_model::json;
use ankaios_model::proto::ank_base::{CompleteState, UpdateStateRequest, UpdateStateSuccess};
use fleet_contract::error::{ErrorCode, ErrorReply};
use futures_util::poll;
use tokio::time::timeout;

use super::call::{Answer, run_blocking, to_json};
use super::context::Context;
use super::update_queue::Turn;
use crate::errors::request_failed;
use crate::guard::{Guard, Need, to_value};
use crate::streams::{Applied, Rollout};

/// An update that was handed over, or waits for that.
enum Updating {
    Sent(Call<UpdateStateSuccess>),
    Waiting(Pin<Box<dyn Future<Output = Result<UpdateStateSuccess, ErrorReply>> + Send>>),
}

impl Updating {
    async fn answer(self) -> Result<UpdateStateSuccess, ErrorReply> {
        match self {
            Self::Sent(call) => call.answer().await.map_err(request_failed),
            Self::Waiting(answer) => answer.await,
        }
    }
}

/// Judges an update and hands it over. If it is that of a manifest, `applied`, its progress is
/// followed.
///
/// # Errors
/// The guard refuses the update, or it cannot be handed over.
pub(super) async fn start(
    context: &Context,
    applied: Option<Applied>,
    force: bool,
    update: UpdateStateRequest,
) -> Result<Answer, ErrorReply> {
    let updating = send(context, update, force).await?;
    let rollouts = context.rollouts.clone();
    Ok(Box::pin(async move {
        let success = updating.answer().await?;
        let mut reply = to_json(&json::update_state_success(&success))?;
        if let Some(rollouts) = rollouts {
            let rollout = Rollout::new(applied, &success);
            reply.then(async move { rollouts.follow(rollout).await });
        }
        Ok(reply)
    }))
}

async fn send(
    context: &Context,
    update: UpdateStateRequest,
    force: bool,
) -> Result<Updating, ErrorReply> {
    let Context { ankaios, guard, updates, .. } = context;
    let need = guard.need(&update, force)?;
    let update = Guarded { ankaios: ankaios.clone(), guard: guard.clone(), update, force };
    let mut turn = Box::pin(updates.turn());
    // The first poll takes a place in the queue.
    if let Poll::Ready(turn) = poll!(&mut turn) {
        return update.start(need, turn).await;
    }
    let limit = updates.timeout();
    Ok(Updating::Waiting(Box::pin(async move {
        let turn = timeout(limit, turn).await.map_err(|_| {
            ErrorReply::new(
                ErrorCode::Unavailable,
                "an update before this one waits for Ankaios; nothing was done, try again",
            )
        })?;
        update.start(need, turn).await?.answer().await
    })))
}

/// An update that the guard has to judge.
struct Guarded {
    ankaios: Client,
    guard: Guard,
    update: UpdateStateRequest,
    force: bool,
}

impl Guarded {
    /// Judges and sends the update, or first reads the state that the guard needs.
    async fn start(self, need: Need, turn: Turn) -> Result<Updating, ErrorReply> {
        let state = match need {
            Need::Nothing | Need::Fresh => None,
            // It is read if it is not known.
            Need::Known => self.guard.known().ok(),
        };
        if need == Need::Nothing || state.is_some() {
            return self.send(state, turn).await.map(Updating::Sent);
        }
        let reading = self.ankaios.state(self.guard.field_masks()).await.map_err(request_failed)?;
        Ok(Updating::Waiting(Box::pin(async move {
            let state: CompleteState = reading.answer().await.map_err(state_unknown)?;
            let state = run_blocking(move || Arc::new(to_value(&state))).await?;
            let call = self.send(Some(state), turn).await?;
            call.answer().await.map_err(request_failed)
        })))
    }

    /// Hands the update to Ankaios if the guard lets it pass. Its turn is over then.
    async fn send(
        self,
        state: Option<Arc<serde_json::Value>>,
        _turn: Turn,
    ) -> Result<Call<UpdateStateSuccess>, ErrorReply> {
        let Self { ankaios, guard, update, force } = self;
        let is_slow = guard.has_policy();
        let judge = move || guard.check(&update, force, state.as_deref()).map(|()| update);
        let update = if is_slow { run_blocking(judge).await?? } else { judge()? };
        ankaios.update(update).await.map_err(request_failed)
    }
}

/// The guard needs the state of the vehicle, which could not be read.
fn state_unknown(error: RequestError) -> ErrorReply {
    let reply = request_failed(error);
    let message = format!(
        "the guard can not judge this request without the state of the vehicle: {}",
        reply.message
    );
    ErrorReply { message, ..reply }
}
