//! The server of Ankaios, and what agents do to workloads: how instances pass from one
//! execution state to the next.
//!
//! A new instance is `PENDING_INITIAL`. Its agent leaves it in `PENDING_WAITING_TO_START`
//! until its dependencies are met; then it is `PENDING_STARTING` and `RUNNING_OK`. A deleted
//! instance is `STOPPING_REQUESTED_AT_RUNTIME` before it is removed. A changed workload is
//! stopped and started again. A failed start is final or retried, see [`runtime`]. The server
//! keeps nothing over a restart, see [`restart`].
//!
//! There is no I/O and no clock in here: callers pass the time in, and receive the
//! [`Response`]s for the workload in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ankaios_model::InstanceName;
use ankaios_model::proto::ank_base::{
    AddCondition, CompleteState, ExecutionState, LogsRequest, Response, RestartPolicy, State, Tags,
};

use crate::execution;
use crate::field_mask::FieldMask;
use crate::instance::RenderedWorkload;
use crate::logs::Logs;
use crate::runtime::{self, StartFailure};
use crate::state::AnkaiosState;
use crate::timeline::{LifecycleStep, Timeline, Timing};
use crate::tree::Node;
use crate::update::PlannedUpdate;

#[cfg(test)]
mod tests;

mod agents;
mod restart;

/// The server and its agents, without the session of the workload.
pub(crate) struct SimulatedServer {
    state: AnkaiosState,
    logs: Logs,
    timing: Timing,
    timeline: Timeline,
    /// Instances whose dependencies are not met.
    waiting: BTreeSet<InstanceName>,
    /// The desired state of the server after a restart.
    startup: State,
    /// The tags with which the agents have connected. Tags set by an update do not survive a
    /// restart of the server.
    agent_tags: BTreeMap<String, Option<Tags>>,
    /// Workloads without a container that agents still have although a restarted server does not
    /// know them. Agents only delete those that have a container.
    unknown_to_server: BTreeMap<InstanceName, Arc<RenderedWorkload>>,
    /// The runtimes of workloads that were changed, by agent and workload name. An agent keeps the
    /// runtime of a workload until the workload is deleted.
    first_runtimes: BTreeMap<(String, String), Arc<str>>,
    /// Why the runtimes start no container.
    pub(crate) runtime_error: Option<String>,
}

impl SimulatedServer {
    /// A server without workloads and agents.
    pub(crate) fn new(timing: Timing, has_effective_state: bool) -> Self {
        Self {
            state: AnkaiosState::new(has_effective_state),
            logs: Logs::default(),
            timing,
            timeline: Timeline::default(),
            waiting: BTreeSet::new(),
            startup: State { api_version: "v1".to_owned(), ..State::default() },
            agent_tags: BTreeMap::new(),
            unknown_to_server: BTreeMap::new(),
            first_runtimes: BTreeMap::new(),
            runtime_error: None,
        }
    }

    /// The state.
    pub(crate) fn state(&self) -> &AnkaiosState {
        &self.state
    }

    /// Replaces the complete state. Nothing starts or stops because of it, and there is no
    /// event.
    pub(crate) fn set_state(&mut self, state: CompleteState) {
        let agents = state.agents.iter().flat_map(|agents| &agents.agents);
        self.agent_tags =
            agents.map(|(name, attributes)| (name.clone(), attributes.tags.clone())).collect();
        self.state.set(state);
        self.timeline.clear();
        self.waiting.clear();
        self.unknown_to_server.clear();
        self.first_runtimes.clear();
    }

    // ------------------------------------------------------------ lifecycle

    /// When the next step is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.timeline.next_due()
    }

    /// Carries out all steps that are due.
    pub(crate) fn advance(&mut self, now: Instant) -> Vec<Response> {
        let mut responses = Vec::new();
        while let Some((due, name, step)) = self.timeline.take_due(now) {
            responses.extend(self.step(&name, step, due));
        }
        responses
    }

    fn step(&mut self, name: &InstanceName, step: LifecycleStep, now: Instant) -> Vec<Response> {
        match step {
            LifecycleStep::Start => self.start(name, now),
            LifecycleStep::Run { attempt } => self.run(name, attempt, now),
            LifecycleStep::Resume => self.set_execution_state(name, execution::running(), now),
            LifecycleStep::Stop { successor } => {
                let mut responses = self.logs.end(name);
                let stopping = execution::stopping_requested();
                responses.extend(self.set_execution_state(name, stopping, now));
                let due = now + self.timing.stopping;
                self.timeline.plan(due, name.clone(), LifecycleStep::Remove { successor });
                responses
            }
            LifecycleStep::Remove { successor } => {
                self.unknown_to_server.remove(name);
                let mut responses = self.state.remove_execution_state(name);
                match successor {
                    Some(successor) => responses.extend(self.start(&successor, now)),
                    None => self.logs.remove(name),
                }
                responses
            }
        }
    }

    fn start(&mut self, name: &InstanceName, now: Instant) -> Vec<Response> {
        let Some(rendered) = self.state.rendered_instance(name) else {
            return Vec::new();
        };
        if !self.state.has_agent(&name.agent_name) {
            return Vec::new();
        }
        if !self.dependencies_met(&rendered.workload) {
            self.waiting.insert(name.clone());
            return self.set_execution_state(name, execution::waiting_to_start(), now);
        }
        self.waiting.remove(name);
        let starting = execution::starting("Triggered at runtime.");
        let responses = self.set_execution_state(name, starting, now);
        let due = now + self.timing.starting;
        self.timeline.plan(due, name.clone(), LifecycleStep::Run { attempt: 1 });
        responses
    }

    fn run(&mut self, name: &InstanceName, attempt: u32, now: Instant) -> Vec<Response> {
        let unknown = self.unknown_to_server.get(name).map(|rendered| &**rendered);
        let Some(rendered) = self.state.rendered_instance(name).or(unknown) else {
            return Vec::new();
        };
        let first = self.first_runtimes.get(&workload_key(name)).map(|runtime| &**runtime);
        match runtime::start(&rendered.workload, first, self.runtime_error.as_deref()) {
            Ok(()) => self.set_execution_state(name, execution::running(), now),
            Err(StartFailure::Final(reason)) => {
                self.set_execution_state(name, execution::starting_failed(reason), now)
            }
            Err(StartFailure::Retried(reason)) => {
                let info = format!("Retry {attempt}: {reason}");
                let responses = self.set_execution_state(name, execution::starting(info), now);
                let step = LifecycleStep::Run { attempt: attempt.saturating_add(1) };
                let due = now + self.timing.pause_after(attempt);
                self.timeline.plan(due, name.clone(), step);
                responses
            }
        }
    }

    fn dependencies_met(&self, workload: &Node) -> bool {
        let dependencies = workload.get("dependencies").and_then(Node::fields);
        dependencies.into_iter().flatten().all(|(dependency, condition)| {
            let condition =
                condition.as_text().and_then(AddCondition::from_str_name).unwrap_or_default();
            self.state
                .instance(dependency)
                .and_then(|name| self.state.execution_state(&name))
                .is_some_and(|state| execution::fulfils(&state, condition))
        })
    }

    /// Sets the execution state of an instance, and starts those whose dependencies it meets.
    pub(crate) fn set_execution_state(
        &mut self,
        name: &InstanceName,
        state: ExecutionState,
        now: Instant,
    ) -> Vec<Response> {
        self.timeline.cancel(name);
        let responses = self.state.set_execution_state(name, state);
        let can_start = |name: &&InstanceName| {
            let rendered = self.state.rendered(&name.workload_name);
            rendered.is_some_and(|rendered| self.dependencies_met(&rendered.workload))
        };
        let ready: Vec<_> = self.waiting.iter().filter(can_start).cloned().collect();
        for name in ready {
            self.waiting.remove(&name);
            self.timeline.plan(now, name, LifecycleStep::Start);
        }
        responses
    }

    /// Ends a workload with an exit code. Its restart policy decides what follows. `None` if
    /// there is no such workload.
    pub(crate) fn end_workload(
        &mut self,
        workload: &str,
        exit_code: i32,
        now: Instant,
    ) -> Option<Vec<Response>> {
        let rendered = self.state.rendered(workload)?;
        let name = rendered.name.clone();
        let policy = rendered.workload.get("restartPolicy").and_then(Node::as_text);
        let policy = policy.and_then(RestartPolicy::from_str_name).unwrap_or_default();
        let (state, restart) = if exit_code == 0 {
            let restart = (policy == RestartPolicy::Always).then_some(LifecycleStep::Start);
            (execution::succeeded(), restart)
        } else {
            let successor = Some(name.clone());
            let stop = LifecycleStep::Stop { successor };
            (execution::failed(exit_code), (policy != RestartPolicy::Never).then_some(stop))
        };
        let mut responses = self.logs.end(&name);
        responses.extend(self.set_execution_state(&name, state, now));
        if let Some(step) = restart {
            self.timeline.plan(now + self.timing.restart, name, step);
        }
        Some(responses)
    }

    // -------------------------------------------------------------- updates

    /// Applies an update: stops deleted instances and starts added ones.
    pub(crate) fn apply_update(&mut self, update: PlannedUpdate, now: Instant) -> Vec<Response> {
        let removed = self.plan_lifecycles(&update.added, &update.deleted, now);
        self.state.apply_update(update, &removed)
    }

    /// Plans the next step of added and deleted instances. An added instance that replaces a
    /// deleted one on the same agent starts once that is removed. Returns the deleted instances
    /// that no agent has to stop.
    fn plan_lifecycles(
        &mut self,
        added: &[InstanceName],
        deleted: &[InstanceName],
        now: Instant,
    ) -> Vec<InstanceName> {
        let mut removed = Vec::new();
        let mut successors = BTreeSet::new();
        for name in deleted {
            let was_waiting = self.waiting.remove(name);
            let successor = added.iter().find(|added| {
                added.workload_name == name.workload_name && added.agent_name == name.agent_name
            });
            let unknown_to_agent = !self.state.has_agent(&name.agent_name)
                && self.state.execution_state(name) == Some(execution::initial());
            if unknown_to_agent || name.agent_name.is_empty() {
                self.timeline.cancel(name);
                if successor != Some(name) {
                    removed.push(name.clone());
                }
                continue;
            }
            if !self.state.has_agent(&name.agent_name) {
                // The agent stops it when it has connected again.
                self.timeline.cancel(name);
                self.waiting.remove(name);
                continue;
            }
            successors.extend(successor.cloned());
            let successor = successor.cloned();
            let was_started = self.state.execution_state(name) != Some(execution::initial());
            if successor.is_none() {
                self.first_runtimes.remove(&workload_key(name));
            } else if was_started && !was_waiting {
                let rendered = self.state.rendered(&name.workload_name);
                let runtime = rendered.and_then(RenderedWorkload::runtime);
                self.keep_runtime(name, runtime);
            }
            let step = if was_waiting {
                LifecycleStep::Remove { successor }
            } else {
                LifecycleStep::Stop { successor }
            };
            self.timeline.plan(now + self.timing.deletion, name.clone(), step);
        }
        for name in added.iter().filter(|name| !successors.contains(*name)) {
            if let Some(unknown) = self.unknown_predecessor(name) {
                let step = LifecycleStep::Stop { successor: Some(name.clone()) };
                self.timeline.plan(now + self.timing.deletion, unknown, step);
            } else if !self.timeline.start_after_removal(name) {
                self.timeline.plan(now + self.timing.initial, name.clone(), LifecycleStep::Start);
            }
        }
        removed
    }

    /// Lets the agent stop an instance. The one that replaces it starts afterwards.
    fn plan_stop(&mut self, name: InstanceName, successor: Option<InstanceName>, now: Instant) {
        let due = now + self.timing.deletion;
        self.timeline.plan(due, name, LifecycleStep::Stop { successor });
    }

    /// Records the runtime of a workload that is changed, unless it was changed before.
    fn keep_runtime(&mut self, name: &InstanceName, runtime: Option<Arc<str>>) {
        if let Some(runtime) = runtime {
            self.first_runtimes.entry(workload_key(name)).or_insert(runtime);
        }
    }

    /// The instance that an agent still has although the server does not know it, and that it
    /// replaces by this one, because the workload has the same name.
    fn unknown_predecessor(&self, name: &InstanceName) -> Option<InstanceName> {
        let mut unknown = self.unknown_to_server.keys();
        unknown
            .find(|unknown| {
                unknown.workload_name == name.workload_name && unknown.agent_name == name.agent_name
            })
            .cloned()
    }

    // ---------------------------------------------------- events, logs, session

    /// Starts an event subscription, or replaces the one with the same id.
    pub(crate) fn subscribe(&mut self, request_id: String, masks: Vec<FieldMask>) {
        self.state.subscriptions.add(request_id, masks);
    }

    /// Ends an event subscription.
    pub(crate) fn unsubscribe(&mut self, request_id: &str) {
        self.state.subscriptions.remove(request_id);
    }

    /// Serves a logs request: the answer, and what follows it.
    pub(crate) fn read_logs(
        &mut self,
        request_id: &str,
        request: &LogsRequest,
    ) -> (Response, Vec<Response>) {
        let state = &self.state;
        self.logs.request(request_id, request, |name| {
            state.rendered_instance(name)?;
            Some(state.execution_state(name).is_some_and(|state| execution::is_running(&state)))
        })
    }

    /// Writes to the log of a workload. `None` if there is no such workload.
    pub(crate) fn write_log(
        &mut self,
        workload: &str,
        messages: Vec<String>,
        written: SystemTime,
    ) -> Option<Vec<Response>> {
        let name = self.state.instance(workload)?;
        Some(self.logs.write(&name, messages, written))
    }

    /// Ends a log stream.
    pub(crate) fn cancel_logs(&mut self, request_id: &str) {
        self.logs.cancel(request_id);
    }

    /// The instances that a log stream follows.
    pub(crate) fn followed(&self, request_id: &str) -> Vec<InstanceName> {
        self.logs.followed(request_id)
    }

    /// The request ids of the active event subscriptions and log streams.
    pub(crate) fn streams(&self) -> BTreeMap<&'static str, Vec<String>> {
        BTreeMap::from([("events", self.state.subscriptions.ids()), ("logs", self.logs.streams())])
    }

    /// Ends all subscriptions and log streams, as the end of a session does.
    pub(crate) fn end_session(&mut self) {
        self.state.subscriptions.clear();
        self.logs.clear_streams();
    }
}

/// What an agent knows a workload by.
fn workload_key(name: &InstanceName) -> (String, String) {
    (name.agent_name.clone(), name.workload_name.clone())
}
