//! One roll-out: what has become of its instances, and when to tell of it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::doubt::{Deleted, Doubt};
use crate::ankaios::WorkloadStates;
use crate::json::InstanceName;
use crate::proto::ank_base::execution_state::ExecutionStateEnum;
use crate::proto::ank_base::{ExecutionState, Pending};

/// Changes of a roll-out within this time come in one message.
pub(super) const PACE: Duration = Duration::from_millis(250);

/// Begins the additional information of a workload that Ankaios has given up to
/// start.
const NO_MORE_RETRIES: &str = "No more retries";

/// How far a roll-out has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    InProgress,
    Succeeded,
    Failed,
    TimedOut,
    Superseded,
}

/// A roll-out that has not settled.
#[derive(Debug)]
pub(super) struct Following {
    /// Names its record.
    pub(super) id: String,
    pub(super) request_id: String,
    pub(super) instances: BTreeSet<InstanceName>,
    /// Workloads whose instances are followed too, once it is known which there are.
    pub(super) unresolved: BTreeSet<String>,
    /// There is a record of it at the broker.
    pub(super) recorded: bool,
    /// Bytes of the record that it was taken up from; 0 if it has begun here.
    pub(super) restored_size: usize,
    /// When it is given up.
    pub(super) deadline: Instant,
    /// The subscription was made after it had begun: an instance that a snapshot
    /// does not have is gone.
    pub(super) covered: bool,
    /// An instance is gone; the roll-out is superseded if it does not come back by
    /// then.
    pub(super) gone_until: Option<Instant>,
    /// Whose states do not count yet.
    pub(super) doubt: Doubt,
    told: Option<Instant>,
    /// Something has changed since it was told.
    news: bool,
}

impl Following {
    /// A roll-out that begins now.
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
            gone_until: None,
            doubt: Doubt::default(),
            told: None,
            news: false,
        }
    }

    /// Does not believe at once what is known of instances that were there before they
    /// were added: they were deleted just now, or have settled already.
    pub(super) fn doubt_what_was_there(
        &mut self,
        deleted: &Deleted,
        states: &WorkloadStates,
        limit: Duration,
    ) {
        let was_there = |instance: &&InstanceName| {
            deleted.has(instance) || states.get(instance).and_then(outcome).is_some()
        };
        let doubtful = self.instances.iter().filter(was_there).cloned().collect();
        self.doubt = Doubt::new(doubtful, limit);
    }

    /// Whether what has become of an instance is known, but in doubt.
    pub(super) fn is_in_doubt(&self, states: &WorkloadStates) -> bool {
        let settled = |instance: &InstanceName| states.get(instance).and_then(outcome).is_some();
        self.instances.iter().any(|instance| self.doubt.has(instance) && settled(instance))
    }

    /// When it must be looked at even if nothing happens.
    pub(super) fn next_look(&self) -> Instant {
        let looks = [Some(self.deadline), self.gone_until, self.doubt.until(), self.next_message()];
        looks.into_iter().flatten().min().unwrap_or(self.deadline)
    }

    /// When there will be a message of what has changed already.
    fn next_message(&self) -> Option<Instant> {
        self.news.then(|| self.told.map_or_else(Instant::now, |told| told + PACE))
    }

    /// Whether it is time for a message of what has changed.
    pub(super) fn is_due(&self) -> bool {
        self.next_message().is_some_and(|next| next <= Instant::now())
    }

    /// Something has changed.
    pub(super) fn has_news(&mut self) {
        self.news = true;
    }

    /// It was told.
    pub(super) fn was_told(&mut self) {
        self.told = Some(Instant::now());
        self.news = false;
    }

    /// Finds the instances of the workloads that are known by name only. Those that
    /// are on their way out are what others have replaced.
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

    /// Whether there is nothing that could still change.
    pub(super) fn is_empty(&self) -> bool {
        self.instances.is_empty() && self.unresolved.is_empty()
    }

    /// Whether one of these is among what is followed.
    pub(super) fn has_any(&self, instances: &BTreeSet<InstanceName>) -> bool {
        !self.instances.is_disjoint(instances)
            || instances.iter().any(|instance| self.unresolved.contains(&instance.workload_name))
    }

    /// What has become of it.
    pub(super) fn status(&self, states: &WorkloadStates) -> Status {
        let state = |instance| states.get(instance).filter(|_| !self.doubt.has(instance));
        let states = self.instances.iter().map(state);
        let mut status =
            if self.unresolved.is_empty() { Status::Succeeded } else { Status::InProgress };
        for state in states {
            match state.and_then(outcome) {
                None => return Status::InProgress,
                Some(Outcome::Failed) if status == Status::Succeeded => status = Status::Failed,
                Some(_) => {}
            }
        }
        status
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Succeeded,
    Failed,
}

/// What has become of an instance; `None` if it has not settled.
fn outcome(state: &ExecutionState) -> Option<Outcome> {
    match state.execution_state_enum? {
        ExecutionStateEnum::Running(_) | ExecutionStateEnum::Succeeded(_) => {
            Some(Outcome::Succeeded)
        }
        ExecutionStateEnum::Failed(_) => Some(Outcome::Failed),
        ExecutionStateEnum::Pending(substate)
            if substate == i32::from(Pending::StartingFailed)
                && state.additional_info().starts_with(NO_MORE_RETRIES) =>
        {
            Some(Outcome::Failed)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ank_base::{Failed, Running, Stopping, Succeeded};

    fn state(state: ExecutionStateEnum, info: &str) -> ExecutionState {
        ExecutionState { execution_state_enum: Some(state), additional_info: Some(info.into()) }
    }

    #[test]
    fn an_instance_settles_by_running_ending_or_being_given_up() {
        use ExecutionStateEnum as State;
        let failed = State::Pending(Pending::StartingFailed.into());
        for (state, expected) in [
            (state(State::Running(Running::Ok.into()), ""), Some(Outcome::Succeeded)),
            (state(State::Succeeded(Succeeded::Ok.into()), ""), Some(Outcome::Succeeded)),
            (state(State::Failed(Failed::Lost.into()), ""), Some(Outcome::Failed)),
            (state(failed, "No more retries: no such image"), Some(Outcome::Failed)),
            (state(failed, "no such image"), None),
            (state(State::Pending(Pending::Starting.into()), "No more retries"), None),
            (state(State::Stopping(Stopping::Stopping.into()), ""), None),
            (ExecutionState::default(), None),
        ] {
            assert_eq!(outcome(&state), expected, "{state:?}");
        }
    }
}
