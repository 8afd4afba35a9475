//! Stale states: states that may be older than an update.
//!
//! The name of an instance is derived from its configuration. An instance that is deleted and
//! added again at once has the same name, and Ankaios keeps its state until the agent reports a
//! new one. So at first it seems to run already, in snapshots, too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ankaios_model::InstanceName;
use tokio::time::Instant;

/// How long states may be stale after an update. Usually the agent reports the new ones
/// within milliseconds.
pub(super) const STALE_FOR: Duration = Duration::from_secs(3);

/// Maximum number of deleted instances that are remembered.
pub(super) const MAX_DELETED: usize = 4096;

/// The instances that were deleted within [`STALE_FOR`].
#[derive(Debug, Default)]
pub(super) struct RecentlyDeleted(BTreeMap<InstanceName, Instant>);

impl RecentlyDeleted {
    /// Adds instances that are deleted now.
    pub(super) fn add(&mut self, instances: &BTreeSet<InstanceName>) {
        let now = Instant::now();
        self.0.retain(|_, deleted| now < *deleted + STALE_FOR);
        let room = MAX_DELETED.saturating_sub(self.0.len());
        self.0.extend(instances.iter().take(room).map(|instance| (instance.clone(), now)));
    }

    /// Whether an instance was deleted within [`STALE_FOR`].
    pub(super) fn has(&self, instance: &InstanceName) -> bool {
        self.0.get(instance).is_some_and(|deleted| Instant::now() < *deleted + STALE_FOR)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The instances of a rollout whose states may be older than the rollout. A state counts after
/// an event has reported it, or a snapshot that was requested after [`STALE_FOR`].
#[derive(Debug, Default)]
pub(super) struct StaleStates {
    instances: BTreeSet<InstanceName>,
    /// `None` means that the time has passed, and the next snapshot counts.
    until: Option<Instant>,
}

impl StaleStates {
    /// The states of these instances may be stale, for at most half of the time for which the
    /// rollout is followed.
    pub(super) fn new(instances: BTreeSet<InstanceName>, limit: Duration) -> Self {
        Self { instances, until: Some(Instant::now() + STALE_FOR.min(limit / 2)) }
    }

    pub(super) fn has(&self, instance: &InstanceName) -> bool {
        self.instances.contains(instance)
    }

    /// Until when the states may be stale, if that time has not passed.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until.filter(|_| !self.instances.is_empty())
    }

    /// Records that the time has passed, if it has. Returns whether it has passed now.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let ends = self.until().is_some_and(|until| until <= now);
        if ends {
            self.until = None;
        }
        ends
    }

    /// Records that an event has reported the states of these instances.
    pub(super) fn reported(&mut self, changed: &BTreeSet<InstanceName>) {
        self.instances.retain(|instance| !changed.contains(instance));
    }

    /// Whether the time has passed, so that the next snapshot counts.
    pub(super) fn is_over(&self) -> bool {
        self.until.is_none()
    }
}
