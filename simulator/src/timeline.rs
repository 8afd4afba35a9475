//! When things happen by themselves: the steps to come in the lives of the
//! workloads.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::instance::InstanceName;

/// How long the steps in the life of a workload take.
#[derive(Clone, Debug)]
pub struct Timing {
    /// From `PENDING_INITIAL` to `PENDING_STARTING`.
    pub initial: Duration,
    /// From `PENDING_STARTING` to `RUNNING_OK`, and between attempts to start.
    pub starting: Duration,
    /// From a deletion to `STOPPING_REQUESTED_AT_RUNTIME`.
    pub deletion: Duration,
    /// From `STOPPING_REQUESTED_AT_RUNTIME` to being gone.
    pub stopping: Duration,
    /// From the end of a workload to its restart, if its policy asks for one.
    pub restart: Duration,
    /// Attempts to start a workload before `PENDING_STARTING_FAILED`.
    pub attempts: u32,
}

/// Short enough for tests, long enough for each state to be seen.
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

/// What happens to an instance next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The agent takes it on, once its dependencies are met.
    Start,
    /// The runtime has started it, or failed to.
    Run {
        /// Counted from one.
        attempt: u32,
    },
    /// The agent begins to stop it.
    Stop {
        /// The instance that takes its place.
        successor: Option<InstanceName>,
    },
    /// It is gone.
    Remove {
        /// The instance that takes its place.
        successor: Option<InstanceName>,
    },
}

/// The steps to come; each instance has at most one.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    steps: BTreeMap<(Instant, u64), (InstanceName, Step)>,
    next_of: BTreeMap<InstanceName, (Instant, u64)>,
    count: u64,
}

impl Timeline {
    /// Plans the next step of an instance, in place of the one planned before.
    pub(crate) fn plan(&mut self, due: Instant, name: InstanceName, step: Step) {
        self.cancel(&name);
        self.count += 1;
        let key = (due, self.count);
        self.next_of.insert(name.clone(), key);
        self.steps.insert(key, (name, step));
    }

    /// Drops the next step of an instance.
    pub(crate) fn cancel(&mut self, name: &InstanceName) {
        if let Some(key) = self.next_of.remove(name) {
            self.steps.remove(&key);
        }
    }

    /// When the next step is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.steps.keys().next().map(|(due, _)| *due)
    }

    /// Takes the next step that is due, with the time it was planned for.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(Instant, InstanceName, Step)> {
        let entry = self.steps.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((due, _), (name, step)) = entry.remove_entry();
        self.next_of.remove(&name);
        Some((due, name, step))
    }

    /// Drops all steps.
    pub(crate) fn clear(&mut self) {
        self.steps.clear();
        self.next_of.clear();
    }
}
