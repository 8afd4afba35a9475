//! One rollout: the states of its instances, and when to publish them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ankaios_control::WorkloadStates;
use ankaios_model::InstanceName;
use ankaios_model::proto::ank_base::execution_state::ExecutionStateEnum;
use ankaios_model::proto::ank_base::{ExecutionState, Pending, RestartPolicy};
use fleet_contract::replies::WorkloadState;
use fleet_contract::rollout::{RolloutProgress, RolloutStatus};
use tokio::time::Instant;

use super::stale::{RecentlyDeleted, StaleStates};

/// The minimum time between two messages of a rollout; changes within it are combined.
pub(super) const MIN_INTERVAL: Duration = Duration::from_millis(250);

/// A rollout that has not settled.
#[derive(Debug)]
pub(super) struct TrackedRollout {
    /// The id of its record.
    pub(super) id: String,
    pub(super) request_id: String,
    pub(super) instances: BTreeSet<InstanceName>,
    /// Workloads whose instances are not known yet.
    pub(super) unresolved: BTreeSet<String>,
    /// Whether its record was published.
    pub(super) recorded: bool,
    /// Size of the record that it was restored from, in bytes; 0 if it started in this process.
    pub(super) restored_size: usize,
    /// When it times out.
    pub(super) deadline: Instant,
    /// Whether the subscription is newer than the rollout. Then an instance that the snapshot does
    /// not contain was removed.
    pub(super) covered: bool,
    /// Set while an instance is missing. The rollout is superseded if it is still missing at that
    /// time.
    pub(super) missing_deadline: Option<Instant>,
    /// Instances whose states do not count yet.
    pub(super) stale: StaleStates,
    published_at: Option<Instant>,
    /// Whether something has changed since the last message.
    has_changed: bool,
    /// Whether status messages are published.
    pub(super) is_published: bool,
    /// The revision whose rollout it is.
    pub(super) revision: Option<u64>,
    /// Whether the revision is taken back if this fails.
    pub(super) is_trial: bool,
    /// The restart policies of the workloads. Those without a policy are not started again.
    pub(super) restart_policies: RestartPolicies,
    /// Set if the workloads must stay up for some time.
    pub(super) stability: Option<Stability>,
    /// Whether its end was published, and it is followed only to find out whether its workloads stay
    /// up.
    pub(super) is_watched: bool,
    /// Why the revision could not be taken back.
    pub(super) reason: Option<String>,
    /// The states at its end, once it has settled.
    pub(super) last_states: Option<Vec<WorkloadState>>,
}

/// The number of ends at which a workload that is started again has failed.
const MAX_ENDS: u32 = 3;

/// The restart policies of workloads.
pub(super) type RestartPolicies = BTreeMap<String, RestartPolicy>;

/// Whether the workloads of a rollout stay up.
#[derive(Debug)]
pub(super) struct Stability {
    time: Duration,
    /// Since when all are up.
    since: Option<Instant>,
    /// How often each instance has ended and is started again, and whether its last known state is
    /// such an end.
    ends: BTreeMap<InstanceName, (u32, bool)>,
}

impl Stability {
    /// The workloads must stay up for `time`.
    pub(super) fn new(time: Duration) -> Self {
        Self { time, since: None, ends: BTreeMap::new() }
    }

    /// The outcome of an instance so far. A workload that is started again has failed only when it
    /// has ended several times.
    fn outcome(
        &self,
        instance: &InstanceName,
        state: &ExecutionState,
        policies: &RestartPolicies,
    ) -> Option<InstanceOutcome> {
        let ends = self.ends.get(instance).map_or(0, |(ends, _)| *ends);
        if ends >= MAX_ENDS {
            return Some(InstanceOutcome::Failed);
        }
        if is_restarted(policies, instance, state) { None } else { outcome(state) }
    }

    /// Notes since when all workloads are up.
    fn note(&mut self, all_up: bool) {
        if all_up {
            self.since.get_or_insert_with(Instant::now);
        } else {
            self.since = None;
        }
    }

    /// When the workloads have stayed up long enough.
    fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + self.time)
    }
}

impl TrackedRollout {
    /// A rollout that starts now.
    pub(super) fn new(
        id: String,
        request_id: String,
        instances: BTreeSet<InstanceName>,
        limit: Duration,
    ) -> Self {
        Self {
            id,
            request_id,
            instances,
            unresolved: BTreeSet::new(),
            recorded: false,
            restored_size: 0,
            deadline: Instant::now() + limit,
            covered: false,
            missing_deadline: None,
            stale: StaleStates::default(),
            published_at: None,
            has_changed: false,
            is_published: true,
            revision: None,
            is_trial: false,
            restart_policies: RestartPolicies::new(),
            stability: None,
            is_watched: false,
            reason: None,
            last_states: None,
        }
    }

    /// Whether an earlier process has started it.
    pub(super) fn is_restored(&self) -> bool {
        self.restored_size > 0
    }

    /// Takes over the record of an earlier process.
    pub(super) fn adopt(&mut self, id: String) {
        self.id = id;
        self.recorded = true;
    }

    /// From now on only finds out whether the workloads stay up for `time`, for at most `limit`.
    pub(super) fn watch(&mut self, limit: Duration, time: Duration) {
        self.is_watched = true;
        self.is_published = false;
        self.recorded = false;
        self.deadline = Instant::now() + limit;
        self.stability = Some(Stability::new(time));
    }

    /// Marks as stale the states of instances that existed already before this rollout: those
    /// that were deleted recently, and those that have settled already.
    pub(super) fn mark_stale(
        &mut self,
        deleted: &RecentlyDeleted,
        states: &WorkloadStates,
        limit: Duration,
    ) {
        let was_there = |instance: &&InstanceName| {
            deleted.has(instance) || states.get(instance).and_then(outcome).is_some()
        };
        let stale = self.instances.iter().filter(was_there).cloned().collect();
        self.stale = StaleStates::new(stale, limit);
    }

    /// Whether an instance has settled by a state that may be stale.
    pub(super) fn has_stale_outcome(&self, states: &WorkloadStates) -> bool {
        let settled = |instance: &InstanceName| states.get(instance).and_then(outcome).is_some();
        self.instances.iter().any(|instance| self.stale.has(instance) && settled(instance))
    }

    /// When there is something to do even if no event arrives.
    pub(super) fn next_deadline(&self) -> Instant {
        let stable = self.stability.as_ref().and_then(Stability::deadline);
        let deadlines = [
            Some(self.deadline),
            self.missing_deadline,
            self.stale.until(),
            self.next_message(),
            stable,
        ];
        deadlines.into_iter().flatten().min().unwrap_or(self.deadline)
    }

    /// When to publish the changes.
    fn next_message(&self) -> Option<Instant> {
        self.has_changed.then(|| {
            self.published_at.map_or_else(Instant::now, |published_at| published_at + MIN_INTERVAL)
        })
    }

    /// Whether to publish the changes now.
    pub(super) fn is_due(&self) -> bool {
        self.next_message().is_some_and(|next| next <= Instant::now())
    }

    /// Records a change.
    pub(super) fn mark_changed(&mut self) {
        self.has_changed = true;
    }

    /// Records that a message was published.
    pub(super) fn published(&mut self) {
        self.published_at = Some(Instant::now());
        self.has_changed = false;
    }

    /// Finds the instances of the workloads of which only the names are known. Instances that are
    /// stopping are ignored: others have replaced them.
    pub(super) fn resolve(&mut self, states: &WorkloadStates) {
        let unresolved = std::mem::take(&mut self.unresolved);
        let stays = |state: &ExecutionState| {
            !matches!(
                state.execution_state_enum,
                Some(ExecutionStateEnum::Stopping(_) | ExecutionStateEnum::Removed(_))
            )
        };
        let found = states.iter().filter(|(instance, state)| {
            unresolved.contains(&instance.workload_name) && stays(state)
        });
        self.instances.extend(found.map(|(instance, _)| instance.clone()));
    }

    /// Whether there is nothing to follow.
    pub(super) fn is_empty(&self) -> bool {
        self.instances.is_empty() && self.unresolved.is_empty()
    }

    /// Whether one of these instances is followed.
    pub(super) fn has_any(&self, instances: &BTreeSet<InstanceName>) -> bool {
        !self.instances.is_disjoint(instances)
            || instances.iter().any(|instance| self.unresolved.contains(&instance.workload_name))
    }

    /// The message about its progress.
    pub(super) fn progress(
        &self,
        status: RolloutStatus,
        states: &WorkloadStates,
    ) -> RolloutProgress {
        // Ankaios has not reported the state of a new instance yet.
        let initial = ExecutionState {
            execution_state_enum: Some(ExecutionStateEnum::Pending(Pending::Initial.into())),
            additional_info: None,
        };
        let workloads = self.instances.iter().map(|instance| WorkloadState {
            instance: instance.clone(),
            execution_state: states.get(instance).unwrap_or(&initial).into(),
        });
        RolloutProgress {
            request_id: self.request_id.clone(),
            status,
            workloads: self.last_states.clone().unwrap_or_else(|| workloads.collect()),
            reason: self.reason.clone(),
            omitted_workloads: None,
        }
    }

    /// Counts the ends of workloads that are started again, and notes since when all are up.
    pub(super) fn note_ends(&mut self, states: &WorkloadStates) {
        let Some(stability) = &mut self.stability else { return };
        for instance in self.instances.iter().filter(|one| !self.stale.has(one)) {
            let policies = &self.restart_policies;
            let ended =
                states.get(instance).is_some_and(|one| is_restarted(policies, instance, one));
            let (ends, was_ended) = stability.ends.entry(instance.clone()).or_default();
            if ended && !*was_ended {
                *ends += 1;
            }
            *was_ended = ended;
        }
    }

    /// Whether its workloads have stayed up long enough.
    pub(super) fn is_stable(&self, now: Instant) -> bool {
        let deadline = self.stability.as_ref().and_then(Stability::deadline);
        deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Its status, according to the states of its instances.
    pub(super) fn status(&mut self, states: &WorkloadStates) -> RolloutStatus {
        let status = self.outcome(states);
        let Some(stability) = &mut self.stability else { return status };
        stability.note(status == RolloutStatus::Succeeded && !self.instances.is_empty());
        match status {
            // The time passes first.
            RolloutStatus::Succeeded if !self.instances.is_empty() => RolloutStatus::InProgress,
            status => status,
        }
    }

    /// Its status, without the time for which its workloads must stay up. With such a time, the
    /// first failure is final: nothing is waited for that does not change it.
    fn outcome(&self, states: &WorkloadStates) -> RolloutStatus {
        let outcomes = self.instances.iter().map(|instance| {
            let state = states.get(instance).filter(|_| !self.stale.has(instance))?;
            match &self.stability {
                Some(stability) => stability.outcome(instance, state, &self.restart_policies),
                None => outcome(state),
            }
        });
        let outcomes: Vec<_> = outcomes.collect();
        if self.stability.is_some() && outcomes.contains(&Some(InstanceOutcome::Failed)) {
            return RolloutStatus::Failed;
        }
        let mut status = if self.unresolved.is_empty() {
            RolloutStatus::Succeeded
        } else {
            RolloutStatus::InProgress
        };
        for outcome in outcomes {
            match outcome {
                None => return RolloutStatus::InProgress,
                Some(InstanceOutcome::Failed) if status == RolloutStatus::Succeeded => {
                    status = RolloutStatus::Failed
                }
                Some(_) => {}
            }
        }
        status
    }
}

/// Whether an instance has ended, and its agent starts it again.
fn is_restarted(
    policies: &RestartPolicies,
    instance: &InstanceName,
    state: &ExecutionState,
) -> bool {
    let Some(end) = &state.execution_state_enum else { return false };
    match policies.get(&instance.workload_name) {
        Some(RestartPolicy::Always) => {
            matches!(end, ExecutionStateEnum::Failed(_) | ExecutionStateEnum::Succeeded(_))
        }
        Some(RestartPolicy::OnFailure) => matches!(end, ExecutionStateEnum::Failed(_)),
        Some(RestartPolicy::Never) | None => false,
    }
}

/// How an instance has settled.
#[derive(Debug, PartialEq, Eq)]
enum InstanceOutcome {
    Succeeded,
    Failed,
}

/// The outcome of an instance; `None` if it has not settled.
///
/// `PENDING_STARTING_FAILED` is final, whatever its text: an agent reports it if the runtime is
/// unsupported, or if the runtime configuration or a file is invalid. A start that it retries stays
/// `PENDING_STARTING`.
fn outcome(state: &ExecutionState) -> Option<InstanceOutcome> {
    match state.execution_state_enum? {
        ExecutionStateEnum::Running(_) | ExecutionStateEnum::Succeeded(_) => {
            Some(InstanceOutcome::Succeeded)
        }
        ExecutionStateEnum::Failed(_) => Some(InstanceOutcome::Failed),
        ExecutionStateEnum::Pending(substate) if substate == i32::from(Pending::StartingFailed) => {
            Some(InstanceOutcome::Failed)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ankaios_model::proto::ank_base::{Failed, Running, Stopping, Succeeded};

    use super::*;

    fn state(state: ExecutionStateEnum, info: &str) -> ExecutionState {
        ExecutionState { execution_state_enum: Some(state), additional_info: Some(info.into()) }
    }

    #[test]
    fn an_instance_settles_when_it_runs_or_ends_or_its_start_has_failed_for_good() {
        use ExecutionStateEnum as State;
        let starting = State::Pending(Pending::Starting.into());
        for (state, expected) in [
            (state(State::Running(Running::Ok.into()), ""), Some(InstanceOutcome::Succeeded)),
            (state(State::Succeeded(Succeeded::Ok.into()), ""), Some(InstanceOutcome::Succeeded)),
            (state(State::Failed(Failed::Lost.into()), ""), Some(InstanceOutcome::Failed)),
            (state(starting, "Triggered at runtime."), None),
            (state(starting, "Retry 1: unable to pull x: manifest unknown"), None),
            (state(starting, "Retry 99: unable to pull x: manifest unknown"), None),
            (state(starting, "No more retries"), None),
            (state(State::Stopping(Stopping::Stopping.into()), ""), None),
            (ExecutionState::default(), None),
        ] {
            assert_eq!(outcome(&state), expected, "{state:?}");
        }
    }

    /// The texts of an agent of Ankaios 1.0.1, and the one that `ank` expects.
    #[test]
    fn a_start_that_has_failed_for_good_is_a_failure_whatever_its_text() {
        let failed = ExecutionStateEnum::Pending(Pending::StartingFailed.into());
        for info in [
            "Unsupported Runtime",
            "missing field `image`",
            "commandOptions: invalid type: string \"--network=host\", expected a sequence at line 2 \
             column 17",
            "Failed to create workload file: 'invalid base64 data in '/etc/app/key.bin': 'Invalid \
             symbol 32, offset 3.''",
            "Workload files are not supported for podman-kube runtime. Use ConfigMaps instead.",
            "Control interface target not specified in runtime config.",
            "No more retries: no such image",
            "no such image",
            "",
        ] {
            assert_eq!(outcome(&state(failed, info)), Some(InstanceOutcome::Failed), "{info}");
        }
    }
}
