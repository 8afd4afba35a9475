//! A handle to the rollout tracker.

use ankaios_control::Client;
use bytes::Bytes;
use fleet_contract::rollout::RolloutStatus;
use fleet_contract::topics::{self, Topics};
use mqtt_session::Refused;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::record::{MAX_ROLLOUT_RECORD, RolloutRecord};
use super::reports::{Report, Reports};
use super::tracker::Tracker;
use super::update::{FollowedUpdate, RolloutCommand, RolloutEnded, RolloutOptions};
use crate::streams::kept_records::KeptRecords;
use crate::streams::publisher::Publisher;
use crate::streams::unusable::{self, RetainedUse, Unusable};

/// Maximum number of commands that wait for the task.
const MAX_COMMANDS: usize = 64;

/// A handle to the rollout tracker. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Rollouts {
    commands: mpsc::Sender<RolloutCommand>,
    reports: Reports,
}

impl Rollouts {
    /// Creates a handle and its task, which ends when all handles are dropped. The ends of the
    /// rollouts of revisions go to `ended`.
    pub(crate) fn new(
        ankaios: Client,
        options: RolloutOptions,
        ended: mpsc::Sender<RolloutEnded>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
        let reports = Reports::default();
        let tracker = Tracker::new(ankaios, reports.clone(), options, ended);
        (Self { commands, reports }, tracker.run(receiver))
    }

    /// Publishes messages about rollouts until the session ends, `stop` is cancelled, or the future
    /// is dropped. Records are retained and `kept`.
    pub(crate) fn publish(
        &self,
        topics: Topics,
        publisher: Publisher,
        kept: KeptRecords,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        self.reports.activate().publish(topics, publisher, kept, stop)
    }

    /// Follows the rollout of an update.
    pub(crate) async fn follow(&self, update: FollowedUpdate) {
        self.tell(RolloutCommand::Update(update)).await;
    }

    /// Says how the rollout of a revision ended in an earlier process, which may not have published
    /// it.
    pub(crate) async fn ended(&self, revision: u64, status: RolloutStatus) {
        self.tell(RolloutCommand::Ended { revision, status }).await;
    }

    /// Reports that a revision is being taken back.
    pub(crate) async fn rolling_back(&self, revision: u64, request_id: String) {
        self.tell(RolloutCommand::RollingBack { revision, request_id }).await;
    }

    /// Reports that a revision was taken back, or why it was not.
    pub(crate) async fn rolled_back(
        &self,
        revision: u64,
        request_id: String,
        result: Result<(), String>,
    ) {
        self.tell(RolloutCommand::RolledBack { revision, request_id, result }).await;
    }

    async fn tell(&self, command: RolloutCommand) {
        // The task has ended only if the connector is stopping.
        let _ = self.commands.send(command).await;
    }

    /// Resumes the rollouts whose records are kept in the store.
    pub(crate) async fn restore_kept(&self, kept: &KeptRecords) {
        for (id, record) in kept.load_rollouts().await {
            self.clone().restore(id, Ok(record), RetainedUse::Allowed).await;
        }
    }

    /// Resumes a rollout of an earlier process. A record that cannot be used is removed from the
    /// broker and the store, one that must not be used from the broker, unless its rollout is
    /// followed.
    pub(crate) async fn restore(
        self,
        id: String,
        record: Result<Bytes, Refused>,
        allowed: RetainedUse,
    ) {
        // The record is parsed only when the task can take it, which limits the memory.
        let Ok(permit) = self.commands.reserve().await else { return };
        let size = record.as_ref().map_or(0, Bytes::len);
        let bytes = allowed.check().and_then(|()| unusable::bytes(record, MAX_ROLLOUT_RECORD));
        match bytes.and_then(|bytes| RolloutRecord::read(&id, &bytes)) {
            Ok(record) => permit.send(RolloutCommand::Restored { id, record, size }),
            Err(Unusable::Untrusted(reason)) => {
                permit.send(RolloutCommand::Untrusted { id, reason });
            }
            Err(reason) => {
                drop(permit);
                let short = topics::short(&id);
                tracing::warn!(%reason, id = short, "a rollout is not resumed");
                if !matches!(reason, Unusable::NotNow(_)) {
                    self.reports.add(&id, Report::RemoveRecord);
                }
            }
        }
    }
}
