//! The progress of what was applied, until it has settled.
//!
//! All roll-outs share one subscription, which lives as long as there are any.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::publisher::{Ended, Publisher};
use crate::ankaios::events::{Event, EventStream};
use crate::ankaios::{Client, RequestError};
use crate::json::{InstanceName, execution_state, instance_states};
use crate::proto::ank_base::execution_state::ExecutionStateEnum;
use crate::proto::ank_base::{CompleteState, ExecutionState, Pending, UpdateStateSuccess};

/// Roll-outs that wait for being followed.
const QUEUE: usize = 64;

/// Roll-outs that are followed at the same time; the oldest gives way.
const MAX_ROLLOUTS: usize = 256;

/// How long to wait before a subscription that has failed is made again.
const RETRY: Duration = Duration::from_secs(1);

/// Begins the additional information of a workload that Ankaios has given up to
/// start.
const NO_MORE_RETRIES: &str = "No more retries";

/// An update of the desired state that Ankaios has accepted.
#[derive(Debug, Clone)]
pub struct Rollout {
    /// The request that is followed; `None` for one that only replaces what
    /// others have added.
    pub request_id: Option<String>,
    /// Added or changed instances.
    pub added: Vec<InstanceName>,
    /// Instances that will be gone.
    pub deleted: Vec<InstanceName>,
}

impl Rollout {
    /// What an update has changed.
    #[must_use]
    pub fn new(request_id: Option<String>, success: &UpdateStateSuccess) -> Self {
        let names = |names: &[String]| names.iter().filter_map(|name| name.parse().ok()).collect();
        Self {
            request_id,
            added: names(&success.added_workloads),
            deleted: names(&success.deleted_workloads),
        }
    }
}

/// Hands updates to the task that follows them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rollouts(mpsc::Sender<Rollout>);

impl Rollouts {
    /// Makes the task, and what hands updates to it. The task ends when all
    /// [`Rollouts`] are gone.
    ///
    /// `limit` is how long a roll-out is followed, `topic` where its progress goes.
    pub fn new(
        ankaios: Client,
        topic: String,
        publisher: Publisher,
        limit: Duration,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let tracker = Tracker {
            ankaios,
            topic,
            publisher,
            limit,
            rollouts: Vec::new(),
            states: BTreeMap::new(),
            events: None,
            subscribe_at: None,
        };
        (Self(sender), tracker.run(receiver))
    }

    /// Follows an update.
    pub(crate) async fn follow(&self, rollout: Rollout) {
        // The task is gone only when the connector stops.
        let _ = self.0.send(rollout).await;
    }
}

/// One roll-out that has not settled.
struct Following {
    request_id: String,
    instances: BTreeSet<InstanceName>,
    deadline: Instant,
}

struct Tracker {
    ankaios: Client,
    topic: String,
    publisher: Publisher,
    limit: Duration,
    rollouts: Vec<Following>,
    /// The states of all instances, while there is a subscription.
    states: BTreeMap<InstanceName, ExecutionState>,
    events: Option<EventStream>,
    /// When to subscribe, if there is something to follow.
    subscribe_at: Option<Instant>,
}

#[derive(Serialize)]
struct Progress<'a> {
    request_id: &'a str,
    status: &'a str,
    workloads: Vec<serde_json::Value>,
}

impl Tracker {
    async fn run(mut self, mut rollouts: mpsc::Receiver<Rollout>) {
        loop {
            let deadline = self.rollouts.iter().map(|rollout| rollout.deadline).min();
            let result = tokio::select! {
                rollout = rollouts.recv() => match rollout {
                    Some(rollout) => self.begin(rollout).await,
                    None => return,
                },
                event = next(&mut self.events) => match event {
                    Ok(event) => self.learn(&event).await,
                    Err(error) => {
                        tracing::warn!(%error, "the progress of roll-outs is not known");
                        Ok(())
                    }
                },
                () = until(deadline) => self.give_up().await,
                () = until(self.subscribe_at) => self.subscribe().await,
            };
            if result.is_err() {
                return;
            }
            if self.rollouts.is_empty() {
                self.events = None;
                self.subscribe_at = None;
                self.states.clear();
            }
        }
    }

    async fn begin(&mut self, rollout: Rollout) -> Result<(), Ended> {
        let deleted: BTreeSet<_> = rollout.deleted.into_iter().collect();
        let superseded = |following: &mut Following| !following.instances.is_disjoint(&deleted);
        let superseded: Vec<_> = self.rollouts.extract_if(.., superseded).collect();
        for following in superseded {
            self.tell(&following, "superseded").await?;
        }
        let Some(request_id) = rollout.request_id else { return Ok(()) };
        let following = Following {
            request_id,
            instances: rollout.added.into_iter().collect(),
            deadline: Instant::now() + self.limit,
        };
        if following.instances.is_empty() {
            return self.tell(&following, "succeeded").await;
        }
        if self.rollouts.len() >= MAX_ROLLOUTS {
            let oldest = self.rollouts.remove(0);
            self.tell(&oldest, "timed_out").await?;
        }
        if self.events.is_none() && self.subscribe_at.is_none() {
            self.subscribe_at = Some(Instant::now());
        }
        let known = following.instances.iter().any(|one| self.states.contains_key(one));
        let unsettled = following.instances.clone();
        self.rollouts.push(following);
        if known { self.report(&unsettled).await } else { Ok(()) }
    }

    async fn subscribe(&mut self) -> Result<(), Ended> {
        let masks = vec!["workloadStates".into()];
        let answer = match self.ankaios.subscribe(masks).await {
            Ok(subscribing) => subscribing.answer().await,
            Err(error) => Err(error),
        };
        match answer {
            Ok((state, events)) => {
                self.events = Some(events);
                self.subscribe_at = None;
                self.learn_snapshot(&state).await
            }
            Err(error) => {
                tracing::warn!(%error, "the progress of roll-outs is not known yet");
                self.subscribe_at = Some(Instant::now() + RETRY);
                Ok(())
            }
        }
    }

    async fn learn_snapshot(&mut self, state: &CompleteState) -> Result<(), Ended> {
        let states = instance_states(state).map(|(instance, state)| (instance, state.clone()));
        self.states = states.collect();
        let all = self.rollouts.iter().flat_map(|following| following.instances.clone()).collect();
        self.report(&all).await
    }

    async fn learn(&mut self, event: &Event) -> Result<(), Ended> {
        let Some(state) = &event.response.complete_state else { return Ok(()) };
        if event.resynced {
            return self.learn_snapshot(state).await;
        }
        let mut changed = BTreeSet::new();
        for (instance, state) in instance_states(state) {
            self.states.insert(instance.clone(), state.clone());
            changed.insert(instance);
        }
        let removed =
            event.response.altered_fields.iter().flat_map(|fields| &fields.removed_fields);
        for instance in removed.filter_map(|field| InstanceName::from_state_path(field)) {
            self.states.remove(&instance);
            // Somebody else has deleted or changed it.
            let gone = |following: &mut Following| following.instances.contains(&instance);
            let superseded: Vec<_> = self.rollouts.extract_if(.., gone).collect();
            for following in superseded {
                self.tell(&following, "superseded").await?;
            }
        }
        self.report(&changed).await
    }

    /// Tells of all roll-outs that have one of these instances.
    async fn report(&mut self, changed: &BTreeSet<InstanceName>) -> Result<(), Ended> {
        let rollouts = std::mem::take(&mut self.rollouts);
        for following in rollouts {
            if following.instances.is_disjoint(changed) {
                self.rollouts.push(following);
                continue;
            }
            let status = self.status(&following);
            self.tell(&following, status).await?;
            if status == "in_progress" {
                self.rollouts.push(following);
            }
        }
        Ok(())
    }

    fn status(&self, following: &Following) -> &'static str {
        let states = following.instances.iter().map(|instance| self.states.get(instance));
        let outcomes: Vec<_> = states.map(|state| state.and_then(outcome)).collect();
        if outcomes.contains(&None) {
            "in_progress"
        } else if outcomes.contains(&Some(Outcome::Failed)) {
            "failed"
        } else {
            "succeeded"
        }
    }

    async fn give_up(&mut self) -> Result<(), Ended> {
        let now = Instant::now();
        let late: Vec<_> = self.rollouts.extract_if(.., |one| one.deadline <= now).collect();
        for following in late {
            self.tell(&following, "timed_out").await?;
        }
        Ok(())
    }

    async fn tell(&self, following: &Following, status: &str) -> Result<(), Ended> {
        #[derive(Serialize)]
        struct Workload<'a, S> {
            #[serde(flatten)]
            instance: &'a InstanceName,
            execution_state: S,
        }
        let begin = ExecutionState {
            execution_state_enum: Some(ExecutionStateEnum::Pending(Pending::Initial.into())),
            additional_info: None,
        };
        let workloads = following.instances.iter().map(|instance| {
            let state = self.states.get(instance).unwrap_or(&begin);
            serde_json::to_value(Workload { instance, execution_state: execution_state(state) })
                .unwrap_or_default()
        });
        let workloads = workloads.collect();
        let progress = Progress { request_id: &following.request_id, status, workloads };
        tracing::info!(request_id = following.request_id, status, "roll-out");
        self.publisher.send(&self.topic, &progress).await
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

async fn next(events: &mut Option<EventStream>) -> Result<Event, RequestError> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
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
