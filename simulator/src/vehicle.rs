//! The server's part of Ankaios: the desired state, the states of the workloads
//! and of the agents, and who wants to hear about changes. How workloads start
//! and stop by themselves is in [`crate::lifecycle`].
//!
//! Nothing here does I/O or looks at a clock: time is handed in, and what the
//! workload is to receive comes out as [`Response`]s in their order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Instant, SystemTime};

use fleet_connector::proto::ank_base::{
    AgentAttributes, AgentStatus, CompleteState, CompleteStateRequest, CompleteStateResponse,
    Error, EventsCancelAccepted, ExecutionState, LogsCancelAccepted, LogsRequest, Request,
    Response, UpdateStateRequest, UpdateStateSuccess, request::RequestContent,
    response::ResponseContent,
};

use crate::conversion::{self, Missing};
use crate::document::Node;
use crate::events::Subscriptions;
use crate::execution;
use crate::instance::InstanceName;
use crate::logs::Logs;
use crate::mask::{self, Mask};
use crate::template;
use crate::timeline::{Step, Timeline, Timing};
use crate::update::{self, Rendered, RenderedWorkloads};

/// The answer to a request and what else it brings about.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Events that reach the workload before the answer.
    pub(crate) before: Vec<Response>,
    pub(crate) answer: Response,
    /// Events and log entries that follow it.
    pub(crate) after: Vec<Response>,
}

/// The state of one simulated vehicle.
pub(crate) struct Vehicle {
    /// The whole state, as one tree.
    pub(crate) state: Node,
    pub(crate) rendered: RenderedWorkloads,
    pub(crate) timing: Timing,
    pub(crate) timeline: Timeline,
    /// Instances whose dependencies are not met yet.
    pub(crate) waiting: BTreeSet<InstanceName>,
    /// Whether the state also shows the workloads with their templates filled in.
    shows_effective_state: bool,
    subscriptions: Subscriptions,
    pub(crate) logs: Logs,
}

impl Vehicle {
    /// A vehicle without workloads and agents.
    pub(crate) fn new(timing: Timing, shows_effective_state: bool) -> Self {
        let mut vehicle = Self {
            state: Node::empty(),
            rendered: RenderedWorkloads::new(),
            timing,
            timeline: Timeline::default(),
            waiting: BTreeSet::new(),
            shows_effective_state,
            subscriptions: Subscriptions::default(),
            logs: Logs::default(),
        };
        vehicle.set_state(CompleteState::default());
        vehicle
    }

    // ------------------------------------------------------------ the state

    /// The whole state.
    pub(crate) fn complete_state(&self) -> CompleteState {
        conversion::to_message(&self.state, Missing::Empty)
    }

    /// Replaces the whole state as it is: nothing is started or stopped, and
    /// templates that can't be filled in are left as they are.
    pub(crate) fn set_state(&mut self, state: CompleteState) {
        let mut state = conversion::to_node(state);
        let empty = [
            (&["desiredState", "apiVersion"][..], Node::text("v1")),
            (&["desiredState", "workloads"], Node::empty()),
            (&["workloadStates"], Node::empty()),
            (&["agents"], Node::empty()),
        ];
        for (path, default) in empty {
            if state.at(path.iter().copied()).is_none() {
                put(&mut state, path, default);
            }
        }
        let desired = state.get("desiredState");
        let configs = desired.and_then(|desired| desired.get("configs"));
        let workloads = desired.and_then(|desired| desired.get("workloads"));
        let workloads = workloads.and_then(Node::fields).into_iter().flatten();
        self.rendered = workloads
            .map(|(name, workload)| {
                let rendered = template::render(name, workload, configs).unwrap_or_else(|_| {
                    let text = |field| workload.get(field).and_then(Node::as_text);
                    let agent = text("agent").unwrap_or_default();
                    let config = text("runtimeConfig").unwrap_or_default();
                    let name = InstanceName::new(name, agent, config);
                    Rendered { name, workload: workload.clone() }
                });
                (name.clone(), rendered.into())
            })
            .collect();
        self.show_effective_state(&mut state);
        self.state = state;
        self.timeline.clear();
        self.waiting.clear();
    }

    fn show_effective_state(&self, state: &mut Node) {
        if self.shows_effective_state {
            let workloads = self.rendered.iter();
            let workloads = workloads.map(|(name, is)| (name.clone(), is.workload.clone()));
            let version = state.at(["desiredState", "apiVersion"]).cloned();
            let version = version.unwrap_or_else(|| Node::text("v1"));
            let effective = [("apiVersion", version), ("workloads", Node::map(workloads))];
            put(state, &["effectiveState"], Node::map(effective));
        }
    }

    fn desired(&self) -> Node {
        self.state.get("desiredState").cloned().unwrap_or_else(Node::empty)
    }

    /// The instance of a workload that the desired state asks for.
    pub(crate) fn instance(&self, workload: &str) -> Option<InstanceName> {
        self.rendered.get(workload).map(|rendered| rendered.name.clone())
    }

    /// The execution state of an instance.
    pub(crate) fn execution_state(&self, name: &InstanceName) -> Option<ExecutionState> {
        self.state.at(execution_path(name)).map(conversion::execution_to_message)
    }

    /// Adds an agent, or changes what is known of it. Its workloads start, or
    /// are found running again.
    pub(crate) fn connect_agent(
        &mut self,
        agent: &str,
        attributes: AgentAttributes,
        now: Instant,
    ) -> Vec<Response> {
        let mut new = self.state.clone();
        put(&mut new, &["agents", agent], conversion::agent_to_node(attributes));
        let mut responses = self.replace(new);
        let instances: Vec<InstanceName> = self.instances_of(agent);
        for name in instances {
            let state = self.execution_state(&name);
            if state == Some(execution::agent_disconnected()) {
                responses.extend(self.set_execution_state(&name, execution::running(), now));
            } else if state == Some(execution::initial()) {
                self.timeline.plan(now + self.timing.initial, name, Step::Start);
            }
        }
        responses
    }

    /// Puts the load of a connected agent.
    pub(crate) fn set_agent_load(&mut self, agent: &str, status: AgentStatus) -> Vec<Response> {
        if self.state.at(["agents", agent]).is_none() {
            return Vec::new();
        }
        let mut new = self.state.clone();
        put(&mut new, &["agents", agent, "status"], conversion::status_to_node(status));
        self.replace(new)
    }

    /// Takes an agent away, as if its connection to the server had been lost.
    pub(crate) fn disconnect_agent(&mut self, agent: &str) -> Vec<Response> {
        let mut new = self.state.clone();
        let path = ["agents", agent];
        // Without a map of agents there is nothing to take away.
        let _nothing = new.remove(&path);
        for name in self.instances_of(agent) {
            self.timeline.cancel(&name);
            let state = conversion::execution_to_node(execution::agent_disconnected());
            put(&mut new, &execution_path(&name), state);
        }
        self.replace(new)
    }

    fn instances_of(&self, agent: &str) -> Vec<InstanceName> {
        let workloads = self.state.at(["workloadStates", agent]).and_then(Node::fields);
        let names = workloads.into_iter().flatten().flat_map(|(workload, ids)| {
            let ids = ids.fields().into_iter().flatten();
            ids.map(move |(id, _)| InstanceName {
                workload: workload.to_string(),
                id: id.to_string(),
                agent: agent.to_owned(),
            })
        });
        names.collect()
    }

    /// Replaces the state and tells the subscribers what has changed.
    pub(crate) fn replace(&mut self, new: Node) -> Vec<Response> {
        let old = std::mem::replace(&mut self.state, new);
        self.subscriptions.events(&old, &self.state)
    }

    // ------------------------------------------------------------- requests

    /// Serves one request.
    pub(crate) fn request(&mut self, request: Request, now: Instant) -> Answer {
        let id = request.request_id;
        match request.request_content {
            Some(RequestContent::CompleteStateRequest(request)) => self.read(id, &request),
            Some(RequestContent::UpdateStateRequest(request)) => self.update(id, request, now),
            Some(RequestContent::LogsRequest(request)) => self.read_logs(id, &request),
            Some(RequestContent::LogsCancelRequest(_)) => {
                self.cancel_logs(&id);
                answer(id, ResponseContent::LogsCancelAccepted(LogsCancelAccepted {}))
            }
            Some(RequestContent::EventsCancelRequest(_)) => {
                self.subscriptions.remove(&id);
                answer(id, ResponseContent::EventsCancelAccepted(EventsCancelAccepted {}))
            }
            None => error(id, "The Request does not contain any content"),
        }
    }

    fn read(&mut self, id: String, request: &CompleteStateRequest) -> Answer {
        let masks: Vec<Mask> = request.field_mask.iter().map(|mask| Mask::parse(mask)).collect();
        let missing = if masks.is_empty() { Missing::Empty } else { Missing::Absent };
        let state = conversion::to_message(&mask::select(&self.state, &masks), missing);
        if request.subscribe_for_events && !masks.iter().any(Mask::is_empty) {
            self.subscriptions.add(id.clone(), masks);
        }
        let response = CompleteStateResponse { complete_state: Some(state), altered_fields: None };
        answer(id, ResponseContent::CompleteStateResponse(response))
    }

    fn read_logs(&mut self, id: String, request: &LogsRequest) -> Answer {
        let known = |name: &InstanceName| {
            let rendered = self.rendered.get(&*name.workload)?;
            let state = self.state.at(execution_path(name));
            (rendered.name == *name).then(|| {
                state.is_some_and(|state| {
                    execution::is_running(&conversion::execution_to_message(state))
                })
            })
        };
        let (accepted, after) = self.logs.request(&id, request, known);
        Answer { before: Vec::new(), answer: accepted, after }
    }

    /// Events caused by workloads that come or go precede the answer, those of
    /// other changes follow it.
    fn update(&mut self, id: String, request: UpdateStateRequest, now: Instant) -> Answer {
        let desired = self.desired();
        let update = match update::plan(&desired, &self.rendered, request) {
            Ok(update) => update,
            Err(message) => return error(id, message),
        };
        let mut new = self.state.clone();
        put(&mut new, &["desiredState"], update.desired);
        for (agent, tags) in &update.agent_tags {
            if new.at(["agents", agent]).is_some() {
                put(&mut new, &["agents", agent, "tags"], tags.clone().unwrap_or_else(Node::empty));
            }
        }
        for name in &update.added {
            if new.at(execution_path(name)).is_none() {
                let state = if name.agent.is_empty() {
                    execution::not_scheduled()
                } else {
                    execution::initial()
                };
                put(&mut new, &execution_path(name), conversion::execution_to_node(state));
            }
        }
        self.rendered = update.rendered;
        self.show_effective_state(&mut new);
        self.plan_changes(&mut new, &update.added, &update.deleted, now);

        let events = self.replace(new);
        let names =
            |instances: &[InstanceName]| instances.iter().map(ToString::to_string).collect();
        let success = UpdateStateSuccess {
            added_workloads: names(&update.added),
            deleted_workloads: names(&update.deleted),
        };
        let no_change = update.added.is_empty() && update.deleted.is_empty();
        let mut answer = answer(id, ResponseContent::UpdateStateSuccess(success));
        if no_change {
            answer.after = events;
        } else {
            answer.before = events;
        }
        answer
    }

    /// Deleted instances are stopped, added ones started. One that takes the
    /// place of another on the same agent starts when that is gone.
    fn plan_changes(
        &mut self,
        new: &mut Node,
        added: &[InstanceName],
        deleted: &[InstanceName],
        now: Instant,
    ) {
        let mut succeeding = BTreeSet::new();
        for name in deleted {
            let waits = self.waiting.remove(name);
            let successor = added
                .iter()
                .find(|added| added.workload == name.workload && added.agent == name.agent);
            let connected = new.at(["agents", &name.agent]).is_some();
            if !connected && self.execution_state(name) == Some(execution::initial())
                || name.agent.is_empty()
            {
                self.timeline.cancel(name);
                if successor != Some(name) {
                    remove_execution_state(new, name);
                }
                continue;
            }
            succeeding.extend(successor.cloned());
            let successor = successor.cloned();
            let step = if waits { Step::Remove { successor } } else { Step::Stop { successor } };
            self.timeline.plan(now + self.timing.deletion, name.clone(), step);
        }
        for name in added.iter().filter(|name| !succeeding.contains(*name)) {
            self.timeline.plan(now + self.timing.initial, name.clone(), Step::Start);
        }
    }

    // ------------------------------------------------------ logs and session

    /// Writes to the log of a workload.
    pub(crate) fn write_log(
        &mut self,
        workload: &str,
        messages: Vec<String>,
        written: SystemTime,
    ) -> Option<Vec<Response>> {
        let name = self.instance(workload)?;
        Some(self.logs.write(&name, messages, written))
    }

    /// The request ids of the live event subscriptions and log streams.
    pub(crate) fn streams(&self) -> BTreeMap<&'static str, Vec<String>> {
        BTreeMap::from([("events", self.subscriptions.ids()), ("logs", self.logs.streams())])
    }

    /// Ends a log stream.
    pub(crate) fn cancel_logs(&mut self, request_id: &str) {
        self.logs.cancel(request_id);
    }

    /// The instances that a log stream follows.
    pub(crate) fn followed(&self, request_id: &str) -> Vec<InstanceName> {
        self.logs.followed(request_id)
    }

    /// Ends the subscriptions and streams of a session that is over.
    pub(crate) fn end_session(&mut self) {
        self.subscriptions.clear();
        self.logs.clear_streams();
    }
}

pub(crate) fn execution_path(name: &InstanceName) -> [&str; 4] {
    ["workloadStates", &name.agent, &name.workload, &name.id]
}

/// Removes the state of an instance and the maps that this leaves empty.
pub(crate) fn remove_execution_state(state: &mut Node, name: &InstanceName) {
    let path = execution_path(name);
    for length in (2..=path.len()).rev() {
        let Some(path) = path.get(..length) else {
            return;
        };
        if length < 4 && !state.at(path.iter().copied()).is_some_and(Node::is_empty_map) {
            return;
        }
        // What is not there need not be removed.
        let _gone = state.remove(path);
    }
}

/// The maps of the state are maps by construction.
pub(crate) fn put(state: &mut Node, path: &[&str], value: Node) {
    let done = state.set(path, value);
    debug_assert_eq!(done, Ok(()), "{path:?} leads through a value that is no map");
}

fn answer(request_id: String, content: ResponseContent) -> Answer {
    let answer = Response { request_id, response_content: Some(content) };
    Answer { before: Vec::new(), answer, after: Vec::new() }
}

/// An error response.
pub(crate) fn error(request_id: String, message: impl Into<String>) -> Answer {
    answer(request_id, ResponseContent::Error(Error { message: message.into() }))
}
