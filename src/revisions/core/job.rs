//! What the core is asked to do, and what it answers.

use std::collections::{BTreeMap, BTreeSet};

use ankaios_control::RequestError;
use ankaios_model::json::ankaios::StateError;
use ankaios_model::proto::ank_base::{RestartPolicy, UpdateStateRequest, UpdateStateSuccess};
use fleet_contract::error::ErrorReply;
use fleet_contract::revision::RollbackMode;
use fleet_contract::rollout::RolloutStatus;
use tokio::time::Instant;

use crate::revisions::revision::Origin;
use crate::revisions::store::StoreError;

/// Identifies a request whose answer is awaited.
pub(in crate::revisions) type JobId = u64;

/// Something to do.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "there are only a few, and most are the largest one")]
pub(in crate::revisions) enum Job {
    /// Change the desired state. `named` are the workloads that the request names.
    Change {
        origin: Origin,
        update: UpdateStateRequest,
        named: BTreeSet<String>,
        is_published: bool,
    },
    /// Go back, because an operator asks for it.
    Rollback { origin: Origin, target: RollbackTarget },
    /// Keep a change that would be taken back otherwise.
    Confirm { revision: u64 },
    /// Take a revision back that has failed or was not confirmed.
    TakeBack { revision: u64 },
    /// Record the end of a rollout.
    Settle { revision: u64, status: RolloutStatus, is_stable: bool },
}

/// What `manifest/rollback` asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RollbackTarget {
    /// The revision to go back to. `None` means the one before the current one.
    pub(crate) revision: Option<u64>,
    /// Only if this is the current revision.
    pub(crate) if_current: Option<u64>,
    /// Only if the current revision was made by a request whose id begins with this and `/`.
    pub(crate) rollout: Option<String>,
}

/// A job that waits.
#[derive(Debug, Clone)]
pub(super) struct Queued {
    pub(super) id: Option<JobId>,
    /// When it is given up.
    pub(super) deadline: Option<Instant>,
    /// When it is tried again, after an attempt that has failed.
    pub(super) retry_at: Option<Instant>,
    pub(super) job: Job,
}

impl Queued {
    /// A job of the core itself.
    pub(super) fn internal(job: Job) -> Self {
        Self { id: None, deadline: None, retry_at: None, job }
    }
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::revisions) enum Answer {
    /// Ankaios has taken the update.
    Updated(Box<Updated>),
    /// This revision is kept.
    Confirmed { revision: u64 },
}

/// An update that Ankaios has taken.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Updated {
    /// The current revision afterwards.
    pub(crate) revision: u64,
    /// The rollout, to be followed after the reply.
    pub(crate) follow: Follow,
}

/// Why a request has failed. Nothing has changed, except after some [`RequestError`]s.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("an earlier update still waits for Ankaios; nothing was done, try again")]
    Expired,
    #[error("the change cannot be kept, so it was not made: {0}")]
    Store(#[from] StoreError),
    #[error(
        "the change was made, but the store does not know it yet, so it is lost if Ankaios starts \
         anew now; send it again later: {0}"
    )]
    Unsaved(StoreError),
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The guard has refused it.
    #[error("{0}")]
    Refused(ErrorReply),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Rejected(String),
    #[error("the update cannot be made, so nothing was done: {0}")]
    Invalid(#[from] StateError),
    #[error(
        "all changes of operators together would need an update of {size} bytes, but Ankaios can \
         be sent {max} at a time, so they could not be put back after a restart; nothing was done"
    )]
    TooLarge { size: usize, max: usize },
    #[error(
        "the value of {0} in the startup manifest is not known; it is read when ank-server starts \
         the next time"
    )]
    StartupUnknown(String),
}

/// A rollout to follow. By default there is none.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Follow {
    /// The revision whose status it is; `None` if the update has made none.
    pub(crate) revision: Option<u64>,
    pub(crate) request_id: String,
    /// Whether status messages are published.
    pub(crate) is_published: bool,
    /// The workloads that the request names.
    pub(crate) named: BTreeSet<String>,
    pub(crate) success: UpdateStateSuccess,
    /// When the revision is taken back.
    pub(crate) rollback: RollbackMode,
    /// Whether the workloads must stay up for `STABLE_TIME`.
    pub(crate) must_be_stable: bool,
    /// Which workloads are started again when they end.
    pub(crate) restarted: BTreeMap<String, RestartPolicy>,
}
