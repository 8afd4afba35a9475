//! Which states may be from before an update.
//!
//! The name of an instance is made of its configuration. One that is deleted and added
//! again at once has the same name, and Ankaios keeps its state until the agent tells
//! another. So at first it seems to run already, in each snapshot too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::json::InstanceName;

/// Within this time after an update the agent has told what it does. Most often that is
/// a matter of milliseconds.
pub(super) const DOUBTFUL: Duration = Duration::from_secs(3);

/// Deleted instances that are remembered.
pub(super) const MAX_DELETED: usize = 4096;

/// The instances that were deleted a short time ago.
#[derive(Debug, Default)]
pub(super) struct Deleted(BTreeMap<InstanceName, Instant>);

impl Deleted {
    /// These are deleted now.
    pub(super) fn add(&mut self, instances: &BTreeSet<InstanceName>) {
        let now = Instant::now();
        self.0.retain(|_, deleted| now < *deleted + DOUBTFUL);
        let room = MAX_DELETED.saturating_sub(self.0.len());
        self.0.extend(instances.iter().take(room).map(|instance| (instance.clone(), now)));
    }

    /// Whether this is one of them.
    pub(super) fn has(&self, instance: &InstanceName) -> bool {
        self.0.get(instance).is_some_and(|deleted| Instant::now() < *deleted + DOUBTFUL)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The instances of a roll-out whose states may be from before it. What has become of
/// one counts once an event has told of it, or a snapshot from after that time.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    instances: BTreeSet<InstanceName>,
    /// `None`: the time is over, and the next snapshot counts.
    until: Option<Instant>,
}

impl Doubt {
    /// Doubts the states of these, for a part of the time that they are followed.
    pub(super) fn new(instances: BTreeSet<InstanceName>, limit: Duration) -> Self {
        Self { instances, until: Some(Instant::now() + DOUBTFUL.min(limit / 2)) }
    }

    pub(super) fn has(&self, instance: &InstanceName) -> bool {
        self.instances.contains(instance)
    }

    /// When its time is over, if it is not yet.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until.filter(|_| !self.instances.is_empty())
    }

    /// Takes note of its end if its time is over now.
    pub(super) fn ends(&mut self, now: Instant) -> bool {
        let ends = self.until().is_some_and(|until| until <= now);
        if ends {
            self.until = None;
        }
        ends
    }

    /// An event has told of these.
    pub(super) fn told(&mut self, changed: &BTreeSet<InstanceName>) {
        self.instances.retain(|instance| !changed.contains(instance));
    }

    /// Whether only a new snapshot is missing.
    pub(super) fn is_over(&self) -> bool {
        self.until.is_none()
    }
}
