//! When instances of workloads change their execution state.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ankaios_model::InstanceName;

/// How long the steps in the lifecycle of a workload take.
#[derive(Clone, Debug)]
pub struct Timing {
    /// From `PENDING_INITIAL` to `PENDING_STARTING`.
    pub initial: Duration,
    /// From `PENDING_STARTING` to `RUNNING_OK`, and between attempts to start.
    pub starting: Duration,
    /// From the deletion to `STOPPING_REQUESTED_AT_RUNTIME`.
    pub deletion: Duration,
    /// From `STOPPING_REQUESTED_AT_RUNTIME` to removal.
    pub stopping: Duration,
    /// From the end of a workload to its restart, if its restart policy requires one.
    pub restart: Duration,
    /// Attempts to start a workload before `PENDING_STARTING_FAILED`.
    pub attempts: u32,
}

/// Short enough for fast tests, long enough to observe each state.
impl Default for Timing {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(2),
            starting: Duration::from_millis(5),
            deletion: Duration::from_millis(2),
            stopping: Duration::from_millis(5),
            restart: Duration::from_millis(20),
            attempts: 2,
        }
    }
}

/// The next step in the lifecycle of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LifecycleStep {
    /// The agent starts it, once its dependencies are met.
    Start,
    /// The runtime has started it or failed to.
    Run {
        /// Starts at 1.
        attempt: u32,
    },
    /// The agent stops it.
    Stop {
        /// The instance that replaces it.
        successor: Option<InstanceName>,
    },
    /// It no longer exists.
    Remove {
        /// The instance that replaces it.
        successor: Option<InstanceName>,
    },
}

/// The planned steps. Each instance has at most one.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    steps: BTreeMap<(Instant, u64), (InstanceName, LifecycleStep)>,
    next_of: BTreeMap<InstanceName, (Instant, u64)>,
    /// Keeps steps that are due at the same time in the order of planning.
    count: u64,
}

impl Timeline {
    /// Plans the next step of an instance. Replaces the step planned before.
    pub(crate) fn plan(&mut self, due: Instant, name: InstanceName, step: LifecycleStep) {
        self.cancel(&name);
        self.count += 1;
        let key = (due, self.count);
        self.next_of.insert(name.clone(), key);
        self.steps.insert(key, (name, step));
    }

    /// Cancels the next step of an instance.
    pub(crate) fn cancel(&mut self, name: &InstanceName) {
        if let Some(key) = self.next_of.remove(name) {
            self.steps.remove(&key);
        }
    }

    /// When the next step is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.steps.keys().next().map(|(due, _)| *due)
    }

    /// Removes and returns the next step that is due, with its planned time.
    pub(crate) fn take_due(
        &mut self,
        now: Instant,
    ) -> Option<(Instant, InstanceName, LifecycleStep)> {
        let entry = self.steps.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((due, _), (name, step)) = entry.remove_entry();
        self.next_of.remove(&name);
        Some((due, name, step))
    }

    /// Cancels all steps.
    pub(crate) fn clear(&mut self) {
        self.steps.clear();
        self.next_of.clear();
    }
}
