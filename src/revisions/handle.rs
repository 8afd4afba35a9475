//! A handle to the revisions, for operations, the status of the connector and the metrics.

use std::collections::BTreeSet;
use std::sync::Arc;

use ankaios_control::RequestError;
use ankaios_model::proto::ank_base::UpdateStateRequest;
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::revision::{HistoryReply, RevisionReply};
use fleet_contract::status::RevisionReport;
use tokio::sync::{mpsc, oneshot, watch};

use super::core::{Failure, RollbackTarget, Updated};
use super::marker;
use super::revision::Origin;
use crate::errors::request_failed;
use crate::trust::Admission;

/// Maximum number of commands that wait for the keeper.
pub(super) const MAX_COMMANDS: usize = 64;

/// A request to change the desired state.
#[derive(Debug)]
pub(crate) struct ChangeRequest {
    /// Who makes the change.
    pub(crate) origin: Origin,
    pub(crate) update: UpdateStateRequest,
    /// The workloads that the request names.
    pub(crate) named: BTreeSet<String>,
    /// Whether the progress of its rollout is published.
    pub(crate) is_published: bool,
    /// Whether it lifts the protection of workloads.
    pub(crate) force: bool,
    /// What the change waits for, if the request is signed.
    pub(crate) admission: Option<Admission>,
}

/// A request to the keeper.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there are only a few, and most are the largest one")]
pub(super) enum Command {
    Change {
        request: ChangeRequest,
        answer: oneshot::Sender<Result<Updated, ErrorReply>>,
    },
    Rollback {
        origin: Origin,
        target: RollbackTarget,
        force: bool,
        admission: Option<Admission>,
        answer: oneshot::Sender<Result<Updated, ErrorReply>>,
    },
    Confirm {
        revision: u64,
        answer: oneshot::Sender<Result<u64, ErrorReply>>,
    },
    History {
        answer: oneshot::Sender<Result<HistoryReply, ErrorReply>>,
    },
    Revision {
        revision: u64,
        answer: oneshot::Sender<Result<RevisionReply, ErrorReply>>,
    },
}

impl Command {
    /// Takes what the request waits for.
    pub(super) fn take_admission(&mut self) -> Option<Admission> {
        match self {
            Self::Change { request, .. } => request.admission.take(),
            Self::Rollback { admission, .. } => admission.take(),
            Self::Confirm { .. } | Self::History { .. } | Self::Revision { .. } => None,
        }
    }

    /// Answers the request with an error.
    pub(super) fn refuse(self, error: ErrorReply) {
        // Without a receiver the connector is stopping.
        match self {
            Self::Change { answer, .. } | Self::Rollback { answer, .. } => {
                let _ = answer.send(Err(error));
            }
            Self::Confirm { answer, .. } => {
                let _ = answer.send(Err(error));
            }
            Self::History { answer } => {
                let _ = answer.send(Err(error));
            }
            Self::Revision { answer, .. } => {
                let _ = answer.send(Err(error));
            }
        }
    }
}

/// A request that the keeper has in its queue.
#[derive(Debug)]
pub(crate) struct PendingAnswer<T>(oneshot::Receiver<Result<T, ErrorReply>>);

impl<T> PendingAnswer<T> {
    /// Waits for the answer.
    ///
    /// # Errors
    /// The error that is the reply.
    pub(crate) async fn answer(self) -> Result<T, ErrorReply> {
        self.0.await.unwrap_or_else(|_| Err(stopping()))
    }
}

/// What health and status show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RevisionsStatus {
    /// The store is open.
    Open(RevisionReport),
    /// The store cannot be used, for this reason.
    Unusable(Arc<str>),
}

/// A handle to the revisions of the vehicle. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Revisions {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<RevisionsStatus>,
}

/// Refuses an update that names the marker.
///
/// # Errors
/// The error that is the reply.
pub(crate) fn check_masks(update: &UpdateStateRequest) -> Result<(), ErrorReply> {
    let Some(mask) = marker::named_by(&update.update_mask) else { return Ok(()) };
    let message = format!(
        "{mask}: the connector keeps the number of the revision in this config, so nobody else may \
         change it; nothing was done"
    );
    Err(ErrorReply::new(ErrorCode::Forbidden, message).with("field", mask.clone()))
}

impl Revisions {
    pub(super) fn new(
        commands: mpsc::Sender<Command>,
        status: watch::Receiver<RevisionsStatus>,
    ) -> Self {
        Self { commands, status }
    }

    /// What health and status show, and its changes.
    pub(crate) fn status(&self) -> watch::Receiver<RevisionsStatus> {
        self.status.clone()
    }

    /// Why the store cannot be used at the moment.
    pub(crate) fn unusable(&self) -> Option<Arc<str>> {
        match &*self.status.borrow() {
            RevisionsStatus::Open(_) => None,
            RevisionsStatus::Unusable(reason) => Some(Arc::clone(reason)),
        }
    }

    /// Queues a change. Must be called in the order of arrival.
    ///
    /// # Errors
    /// The connector is stopping.
    pub(crate) async fn change(
        &self,
        request: ChangeRequest,
    ) -> Result<PendingAnswer<Updated>, ErrorReply> {
        let mut request = request;
        marker::remove_from(&mut request.update);
        self.ask(|answer| Command::Change { request, answer }).await
    }

    /// Queues a rollback. Must be called in the order of arrival.
    ///
    /// # Errors
    /// The connector is stopping.
    pub(crate) async fn rollback(
        &self,
        origin: Origin,
        target: RollbackTarget,
        force: bool,
        admission: Option<Admission>,
    ) -> Result<PendingAnswer<Updated>, ErrorReply> {
        self.ask(|answer| Command::Rollback { origin, target, force, admission, answer }).await
    }

    /// Keeps a revision that would be taken back otherwise.
    ///
    /// # Errors
    /// The connector is stopping.
    pub(crate) async fn confirm(&self, revision: u64) -> Result<PendingAnswer<u64>, ErrorReply> {
        self.ask(|answer| Command::Confirm { revision, answer }).await
    }

    /// Lists the revisions.
    ///
    /// # Errors
    /// The connector is stopping.
    pub(crate) async fn history(&self) -> Result<PendingAnswer<HistoryReply>, ErrorReply> {
        self.ask(|answer| Command::History { answer }).await
    }

    /// Reads a revision.
    ///
    /// # Errors
    /// The connector is stopping.
    pub(crate) async fn revision(
        &self,
        revision: u64,
    ) -> Result<PendingAnswer<RevisionReply>, ErrorReply> {
        self.ask(|answer| Command::Revision { revision, answer }).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, ErrorReply>>) -> Command,
    ) -> Result<PendingAnswer<T>, ErrorReply> {
        let (sender, answer) = oneshot::channel();
        self.commands.send(command(sender)).await.map_err(|_| stopping())?;
        Ok(PendingAnswer(answer))
    }
}

fn stopping() -> ErrorReply {
    ErrorReply::new(ErrorCode::Unavailable, "the connector is stopping")
}

/// The reply to a request that has failed.
pub(super) fn failed(failure: Failure) -> ErrorReply {
    let message = failure.to_string();
    let code = match failure {
        Failure::Request(error @ RequestError::AccessDenied) => {
            let reply = request_failed(error);
            let message = format!(
                "{}. With STATE_DIR, each update also writes {}, so the rules must allow that, too",
                reply.message,
                marker::MASK
            );
            return ErrorReply { message, ..reply };
        }
        Failure::Request(error) => return request_failed(error),
        Failure::Refused(reply) => return reply,
        Failure::Expired | Failure::Store(_) | Failure::Unsaved(_) | Failure::StartupUnknown(_) => {
            ErrorCode::Unavailable
        }
        Failure::NotFound(_) => ErrorCode::NotFound,
        Failure::Rejected(_) | Failure::Invalid(_) => ErrorCode::Rejected,
        Failure::TooLarge { size, max } => {
            return ErrorReply::new(ErrorCode::PayloadTooLarge, message)
                .with("size", size)
                .with("max_size", max);
        }
    };
    ErrorReply::new(code, message)
}
