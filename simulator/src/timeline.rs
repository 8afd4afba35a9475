//! When instances of workloads change their execution state.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ankaios_model::InstanceName;

/// How long the steps in the lifecycle of a workload take.
#[derive(Clone, Debug)]
pub struct Timing {
    /// From `PENDING_INITIAL` to `PENDING_STARTING`.
    pub initial: Duration,
    /// From `PENDING_STARTING` to `RUNNING_OK`.
    pub starting: Duration,
    /// From the deletion to `STOPPING_REQUESTED_AT_RUNTIME`.
    pub deletion: Duration,
    /// From `STOPPING_REQUESTED_AT_RUNTIME` to removal.
    pub stopping: Duration,
    /// From the end of a workload to its restart, if its restart policy requires one.
    pub restart: Duration,
    /// The pause after the first failed start. Each further pause is twice as long, up to 5
    /// minutes. Those of a real agent are random: between zero and such a limit, which begins at
    /// 500 ms.
    pub retry: Duration,
}

/// The longest pause between two attempts to start a workload.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(300);

impl Timing {
    /// The pause after this many failed attempts to start a workload.
    pub(crate) fn pause_after(&self, failures: u32) -> Duration {
        let factor = 2_u32.saturating_pow(failures.saturating_sub(1));
        self.retry.saturating_mul(factor).min(MAX_RETRY_PAUSE)
    }
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
            retry: Duration::from_millis(5),
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
    /// The agent reports to a restarted server that it still runs.
    Resume,
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

    /// Lets an instance start again after its planned removal. Returns whether one is planned.
    pub(crate) fn start_after_removal(&mut self, name: &InstanceName) -> bool {
        let key = self.next_of.get(name);
        match key.and_then(|key| self.steps.get_mut(key)) {
            Some((
                _,
                LifecycleStep::Stop { successor: successor @ None }
                | LifecycleStep::Remove { successor: successor @ None },
            )) => {
                *successor = Some(name.clone());
                true
            }
            _ => false,
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

    /// Cancels all steps except further attempts to start. Returns the instances of these.
    pub(crate) fn keep_retries(&mut self) -> BTreeSet<InstanceName> {
        self.steps
            .retain(|_, (_, step)| matches!(step, LifecycleStep::Run { attempt } if *attempt > 1));
        self.next_of.retain(|_, key| self.steps.contains_key(key));
        self.next_of.keys().cloned().collect()
    }
}
