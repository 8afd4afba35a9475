//! The commands to the rollout tracker.

use std::collections::BTreeSet;

use ankaios_model::InstanceName;
use ankaios_model::proto::ank_base::UpdateStateSuccess;

use super::record::RolloutRecord;

/// An update of the desired state that Ankaios has accepted.
#[derive(Debug, Clone)]
pub(crate) struct AcceptedUpdate {
    /// The manifest, if the update applies one and its progress is followed.
    pub applied: Option<AppliedManifest>,
    /// Added or changed instances.
    pub added: Vec<InstanceName>,
    /// Deleted instances.
    pub deleted: Vec<InstanceName>,
}

/// A manifest that was applied by a request.
#[derive(Debug, Clone)]
pub(crate) struct AppliedManifest {
    /// The id of the request.
    pub request_id: String,
    /// The names of the manifest's workloads.
    pub workloads: BTreeSet<String>,
}

impl AcceptedUpdate {
    /// The changes of an update.
    #[must_use]
    pub(crate) fn new(applied: Option<AppliedManifest>, success: &UpdateStateSuccess) -> Self {
        let names = |names: &[String]| names.iter().filter_map(|name| name.parse().ok()).collect();
        Self {
            applied,
            added: names(&success.added_workloads),
            deleted: names(&success.deleted_workloads),
        }
    }

    /// Whether Ankaios has changed nothing.
    pub(super) fn has_changed_nothing(&self) -> bool {
        self.added.is_empty() && self.deleted.is_empty()
    }
}

/// A command to the task.
#[derive(Debug)]
pub(super) enum RolloutCommand {
    Update(AcceptedUpdate),
    Restored { id: String, record: RolloutRecord, size: usize },
}
