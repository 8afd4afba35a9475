//! Updates of the state on their way past the guard.
//!
//! An update is handed to Ankaios at once if the guard can judge it at once. If it
//! has to look at the vehicle first, the update takes place in a lane: it reads the
//! state, is judged and handed over, and the updates behind it wait, so that none
//! comes between the reading and it, and their order stays. Other requests do not
//! wait.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::poll;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

use super::{Answer, Context, apart, to_json};
use crate::ankaios::{Call, Client};
use crate::error::{ErrorCode, ErrorReply};
use crate::guard::{Guard, Need, to_value};
use crate::json;
use crate::proto::ank_base::{CompleteState, UpdateStateRequest, UpdateStateSuccess};
use crate::streams::{Applied, Rollout};

/// Where updates wait for each other. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lane {
    place: Arc<Mutex<()>>,
    patience: Duration,
}

impl Lane {
    /// An update waits no longer than `patience` for those before it.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self { place: Arc::default(), patience }
    }
}

/// An update that has been handed over, or waits for it.
enum Updating {
    Sent(Call<UpdateStateSuccess>),
    Waiting(Pin<Box<dyn Future<Output = Result<UpdateStateSuccess, ErrorReply>> + Send>>),
}

impl Updating {
    async fn answer(self) -> Result<UpdateStateSuccess, ErrorReply> {
        match self {
            Self::Sent(call) => Ok(call.answer().await?),
            Self::Waiting(answer) => answer.await,
        }
    }
}

/// Judges an update and hands it over. What becomes of it is followed if it is that
/// of a manifest, `applied`.
///
/// # Errors
/// See [`send`].
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

/// Judges an update and hands it over.
///
/// # Errors
/// The guard refuses it, or it can not be handed over.
async fn send(
    context: &Context,
    update: UpdateStateRequest,
    force: bool,
) -> Result<Updating, ErrorReply> {
    let Context { ankaios, guard, updates, .. } = context;
    let need = guard.need(&update, force)?;
    let update = Guarded { ankaios: ankaios.clone(), guard: guard.clone(), update, force };
    let mut place = Box::pin(Arc::clone(&updates.place).lock_owned());
    // The first look takes a place in the queue.
    if let std::task::Poll::Ready(place) = poll!(&mut place) {
        return update.begin(need, place).await;
    }
    let patience = updates.patience;
    Ok(Updating::Waiting(Box::pin(async move {
        let place = timeout(patience, place).await.map_err(|_| {
            ErrorReply::new(
                ErrorCode::Unavailable,
                "an update before this one waits for Ankaios; nothing was done, try again",
            )
        })?;
        update.begin(need, place).await?.answer().await
    })))
}

struct Guarded {
    ankaios: Client,
    guard: Guard,
    update: UpdateStateRequest,
    force: bool,
}

impl Guarded {
    /// Judges and sends at once, or begins to read the state.
    async fn begin(self, need: Need, place: OwnedMutexGuard<()>) -> Result<Updating, ErrorReply> {
        let state = match need {
            Need::Nothing => None,
            // What is not known is read.
            Need::Known => self.guard.known().ok(),
            Need::Fresh => None,
        };
        if need == Need::Nothing || state.is_some() {
            let ankaios = self.ankaios.clone();
            let update = self.judged(state).await?;
            let call = ankaios.update(update).await?;
            drop(place);
            return Ok(Updating::Sent(call));
        }
        let reading = self.ankaios.state(self.guard.field_masks()).await?;
        Ok(Updating::Waiting(Box::pin(async move {
            let state = reading.answer().await.map_err(unknown)?;
            let ankaios = self.ankaios.clone();
            let update = self.judged_by(state).await?;
            let call = ankaios.update(update).await?;
            drop(place);
            Ok(call.answer().await?)
        })))
    }

    async fn judged_by(self, state: CompleteState) -> Result<UpdateStateRequest, ErrorReply> {
        let state = apart(move || Arc::new(to_value(&state))).await?;
        self.judged(Some(state)).await
    }

    /// The update, if the guard lets it pass.
    async fn judged(
        self,
        state: Option<Arc<serde_json::Value>>,
    ) -> Result<UpdateStateRequest, ErrorReply> {
        let Self { guard, update, force, .. } = self;
        let takes_long = guard.has_policy();
        let judge = move || guard.check(&update, force, state.as_deref()).map(|()| update);
        Ok(if takes_long { apart(judge).await?? } else { judge()? })
    }
}

/// The state that the guard needs could not be read.
fn unknown(error: crate::ankaios::RequestError) -> ErrorReply {
    let reply = ErrorReply::from(error);
    let message = format!(
        "the guard can not judge this request without the state of the vehicle: {}",
        reply.message
    );
    ErrorReply { message, ..reply }
}
