//! The options of the rollout tracker, the commands to it, and what it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ankaios_model::InstanceName;
use ankaios_model::proto::ank_base::{RestartPolicy, UpdateStateSuccess};
use fleet_contract::rollout::RolloutStatus;

use super::record::RolloutRecord;

/// How rollouts are followed.
#[derive(Debug, Clone)]
pub(crate) struct RolloutOptions {
    /// How long a rollout is followed.
    pub limit: Duration,
    /// How long workloads must stay up where that matters.
    pub stable_time: Duration,
    /// Whether the connector keeps revisions. Then their rollouts are resumed from the store.
    pub keeps_revisions: bool,
}

/// An update of the desired state that Ankaios has accepted, and how its rollout is followed.
#[derive(Debug, Clone, Default)]
pub(crate) struct FollowedUpdate {
    /// The id of the request.
    pub request_id: String,
    /// Whether status messages are published.
    pub is_published: bool,
    /// The names of the workloads that the request adds or changes.
    pub named: BTreeSet<String>,
    pub changes: ChangedInstances,
    /// The revision whose rollout it is.
    pub revision: Option<u64>,
    /// Whether the revision is taken back if the rollout fails: then its end is not published, but
    /// that of the rollback.
    pub is_trial: bool,
    /// Whether the workloads must stay up for some time before the rollout has succeeded.
    pub must_be_stable: bool,
    /// The restart policies of the workloads, without those that are never started again.
    pub restarted: BTreeMap<String, RestartPolicy>,
}

/// The instances that an update has changed.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChangedInstances {
    /// Added or changed instances.
    pub added: Vec<InstanceName>,
    /// Deleted instances.
    pub deleted: Vec<InstanceName>,
}

impl ChangedInstances {
    /// The changes of an update.
    #[must_use]
    pub(crate) fn new(success: &UpdateStateSuccess) -> Self {
        let names = |names: &[String]| names.iter().filter_map(|name| name.parse().ok()).collect();
        Self { added: names(&success.added_workloads), deleted: names(&success.deleted_workloads) }
    }

    /// Whether Ankaios has changed nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.deleted.is_empty()
    }
}

/// The end of the rollout of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RolloutEnded {
    pub revision: u64,
    pub status: RolloutStatus,
    /// Whether its workloads have also stayed up for [`RolloutOptions::stable_time`]. A rollout that
    /// has succeeded without that is reported once more when they have.
    pub is_stable: bool,
}

/// A command to the task.
#[derive(Debug)]
pub(super) enum RolloutCommand {
    Update(FollowedUpdate),
    Restored {
        id: String,
        record: RolloutRecord,
        size: usize,
    },
    /// The broker has retained a record that must not be used.
    Untrusted {
        /// Its id, which may be invalid.
        id: String,
        reason: &'static str,
    },
    /// The rollout of a revision ended in an earlier process.
    Ended {
        revision: u64,
        status: RolloutStatus,
    },
    RollingBack {
        revision: u64,
        request_id: String,
    },
    RolledBack {
        revision: u64,
        request_id: String,
        result: Result<(), String>,
    },
}
