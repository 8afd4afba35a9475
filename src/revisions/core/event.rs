//! What happens to the core, and what it asks for.

use std::time::SystemTime;

use ankaios_control::RequestError;
use ankaios_model::proto::ank_base::{UpdateStateRequest, UpdateStateSuccess};
use fleet_contract::error::ErrorReply;
use fleet_contract::rollout::RolloutStatus;
use serde_json::Value;
use tokio::time::Instant;

use super::job::{Answer, Failure, Follow, Job, JobId};
use crate::revisions::item::Items;
use crate::revisions::marker::Marker;
use crate::revisions::store::{StoreChange, StoreError};

/// The time.
#[derive(Debug, Clone, Copy)]
pub(in crate::revisions) struct Now {
    pub(in crate::revisions) monotonic: Instant,
    pub(in crate::revisions) wall: SystemTime,
}

/// What has happened.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub(in crate::revisions) enum Event {
    /// The link to Ankaios is proven.
    LinkUp,
    /// The link was lost.
    LinkDown,
    /// The session with Ankaios was interrupted: its server may have started anew.
    Interrupted,
    /// Ankaios has this marker.
    Marker(Option<Marker>),
    /// A request, whose answer has this id. It is given up if it does not start in time.
    Requested { id: JobId, job: Job, deadline: Instant },
    /// The answer to [`Action::Read`].
    Read(Result<Value, RequestError>),
    /// The guard has refused the request, instead of the answer to [`Action::Read`] or
    /// [`Action::Save`].
    Refused(ErrorReply),
    /// The answer to [`Action::Load`].
    Loaded(Result<Items, StoreError>),
    /// The answer to [`Action::Save`].
    Saved(Result<(), StoreError>),
    /// The answer to [`Action::Send`].
    Sent(Result<UpdateStateSuccess, SendError>),
    /// The rollout of a revision has ended. `is_stable` says that its workloads have also stayed up.
    RolloutEnded { revision: u64, status: RolloutStatus, is_stable: bool },
    /// The time of `Core::deadline` has come.
    Tick,
}

/// Why an update has no success.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(in crate::revisions) enum SendError {
    /// The guard does not allow it. It was not sent.
    #[error("{0}")]
    Refused(ErrorReply),
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl SendError {
    /// Whether the guard could not read the state to judge the update: Ankaios' agent has lost its
    /// server meanwhile. The state may be too large, or the server has only started anew.
    pub(super) fn is_unread(&self) -> bool {
        matches!(self, Self::Request(RequestError::AnswerTooLarge))
    }

    /// Whether Ankaios may have taken the update nevertheless.
    pub(super) fn is_doubtful(&self) -> bool {
        match self {
            Self::Refused(_) => false,
            Self::Request(error) => match error {
                RequestError::AccessDenied
                | RequestError::Rejected(_)
                | RequestError::TooLarge { .. }
                | RequestError::AnswerTooLarge
                | RequestError::NoMask => false,
                RequestError::Timeout(_)
                | RequestError::Unavailable(_)
                | RequestError::Unexpected(_) => true,
            },
        }
    }
}

/// An update that the guard judges: that of a request, or one of the core itself.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::revisions) struct Judged {
    pub(in crate::revisions) update: UpdateStateRequest,
    pub(in crate::revisions) id: Option<JobId>,
}

/// What to do.
#[derive(Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "there are only a few at a time")]
pub(in crate::revisions) enum Action {
    /// Read these parts of the state. For a request, let the guard judge it afterwards.
    Read { masks: Vec<String>, id: Option<JobId> },
    /// Read the overlay of a revision from the store.
    Load(u64),
    /// Write to the store and sync. With `judge` the guard must allow an update before.
    Save { changes: Vec<StoreChange>, judge: Option<Judged> },
    /// Send an update. With `judge` the guard must allow it before; others were judged already.
    Send { update: UpdateStateRequest, judge: Option<Judged> },
    /// Answer a request.
    Answer { id: JobId, result: Result<Answer, Failure> },
    /// Follow the rollout of a revision.
    Follow(Follow),
    /// The rollout of a revision ended in an earlier process.
    RolloutEnded { revision: u64, status: RolloutStatus },
    /// A revision is being taken back without a request.
    RollingBack { revision: u64, request_id: String },
    /// That is over.
    RolledBack { revision: u64, request_id: String, result: Result<(), String> },
    /// Count an attempt to put the overlay back.
    CountRestoration { outcome: &'static str },
    /// Count a rollback.
    CountRollback { outcome: &'static str },
}
