//! What the task that follows roll-outs is told.

use std::collections::BTreeSet;

use ankaios_model::InstanceName;
use ankaios_model::proto::ank_base::UpdateStateSuccess;

use super::record::RolloutRecord;

/// An update of the desired state that Ankaios has accepted.
#[derive(Debug, Clone)]
pub struct Rollout {
    /// The manifest, if it is followed.
    pub applied: Option<Applied>,
    /// Added or changed instances.
    pub added: Vec<InstanceName>,
    /// Deleted instances.
    pub deleted: Vec<InstanceName>,
}

/// A manifest that was applied.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The id of the request.
    pub request_id: String,
    /// The names of its workloads.
    pub workloads: BTreeSet<String>,
}

impl Rollout {
    /// The changes of an update.
    #[must_use]
    pub fn new(applied: Option<Applied>, success: &UpdateStateSuccess) -> Self {
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
pub(super) enum Command {
    Update(Rollout),
    Restored { id: String, record: RolloutRecord, size: usize },
}
