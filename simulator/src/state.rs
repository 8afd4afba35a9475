//! The state of Ankaios: desired state, workload states and agents.
//!
//! Each change returns the events that subscribers receive because of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ankaios_model::InstanceName;
use ankaios_model::proto::ank_base::{
    AgentAttributes, AgentStatus, CompleteState, ExecutionState, Response, State, Tags,
    UpdateStateRequest,
};

use crate::conversion::{self, Absent};
use crate::events::EventSubscriptions;
use crate::execution;
use crate::field_mask::{self, FieldMask};
use crate::instance::{RenderedWorkload, RenderedWorkloads, instance_name};
use crate::template;
use crate::tree::Node;
use crate::update::{self, PlannedUpdate};

/// The state of Ankaios and the subscriptions to its changes.
pub(crate) struct AnkaiosState {
    /// The complete state.
    tree: Node,
    /// The workloads of the desired state, rendered.
    rendered: RenderedWorkloads,
    /// Whether the complete state has the field `effectiveState`.
    has_effective_state: bool,
    pub(crate) subscriptions: EventSubscriptions,
}

impl AnkaiosState {
    /// A state without workloads and agents.
    pub(crate) fn new(has_effective_state: bool) -> Self {
        let mut state = Self {
            tree: Node::empty(),
            rendered: RenderedWorkloads::new(),
            has_effective_state,
            subscriptions: EventSubscriptions::default(),
        };
        state.set(CompleteState::default());
        state
    }

    /// Replaces the complete state without an event. A workload whose templates cannot be
    /// filled in keeps them as they are.
    pub(crate) fn set(&mut self, state: CompleteState) {
        let mut tree = conversion::to_tree(state);
        let defaults = [
            (&["desiredState", "apiVersion"][..], Node::text("v1")),
            (&["desiredState", "workloads"], Node::empty()),
            (&["workloadStates"], Node::empty()),
            (&["agents"], Node::empty()),
        ];
        for (path, default) in defaults {
            if tree.at(path.iter().copied()).is_none() {
                put(&mut tree, path, default);
            }
        }
        let configs = tree.at(["desiredState", "configs"]);
        let workloads = tree.at(["desiredState", "workloads"]).and_then(Node::fields);
        self.rendered = workloads
            .into_iter()
            .flatten()
            .map(|(name, workload)| {
                let rendered = template::render(name, workload, configs)
                    .unwrap_or_else(|_| unrendered(name, workload));
                (name.clone(), Arc::new(rendered))
            })
            .collect();
        self.put_effective_state(&mut tree);
        self.tree = tree;
    }

    /// The complete state.
    pub(crate) fn complete(&self) -> CompleteState {
        conversion::to_message(&self.tree, Absent::AsEmpty)
    }

    /// The part of the state that the masks select; no masks select all of it.
    pub(crate) fn select(&self, masks: &[FieldMask]) -> CompleteState {
        let absent = if masks.is_empty() { Absent::AsEmpty } else { Absent::AsUnset };
        conversion::to_message(&field_mask::select(&self.tree, masks), absent)
    }

    /// Starts anew with a desired state, as a restarted server does. Its agents have connected
    /// again, with these tags.
    pub(crate) fn restart(&mut self, desired: State, tags: &BTreeMap<String, Option<Tags>>) {
        let mut agents = self.complete().agents;
        for (name, attributes) in agents.iter_mut().flat_map(|agents| &mut agents.agents) {
            attributes.tags = tags.get(name).cloned().flatten();
        }
        let state = CompleteState { desired_state: Some(desired), agents, ..Default::default() };
        self.set(state);
        let names = self.rendered.values().map(|rendered| &rendered.name);
        put_first_states(&mut self.tree, names);
    }

    /// A manifest as the server stores it, or the message with which it is refused.
    pub(crate) fn complete_manifest(manifest: State) -> Result<State, String> {
        let state = CompleteState { desired_state: Some(manifest), ..CompleteState::default() };
        let request = UpdateStateRequest { new_state: Some(state), update_mask: Vec::new() };
        let plan = update::plan(&Node::empty(), &RenderedWorkloads::new(), request)?;
        let tree = Node::map([("desiredState", plan.desired)]);
        let state = conversion::to_message(&tree, Absent::AsEmpty);
        Ok(state.desired_state.unwrap_or_default())
    }

    /// The rendered workloads of the desired state.
    pub(crate) fn rendered_workloads(&self) -> &RenderedWorkloads {
        &self.rendered
    }

    /// The rendered workload with this name.
    pub(crate) fn rendered(&self, workload: &str) -> Option<&RenderedWorkload> {
        self.rendered.get(workload).map(|rendered| &**rendered)
    }

    /// The rendered workload, if its present instance has this name.
    pub(crate) fn rendered_instance(&self, name: &InstanceName) -> Option<&RenderedWorkload> {
        self.rendered(&name.workload_name).filter(|rendered| rendered.name == *name)
    }

    /// The name of the instance that the desired state asks for.
    pub(crate) fn instance(&self, workload: &str) -> Option<InstanceName> {
        self.rendered(workload).map(|rendered| rendered.name.clone())
    }

    /// The names of the connected agents.
    pub(crate) fn agents(&self) -> Vec<String> {
        let agents = self.tree.get("agents").and_then(Node::fields);
        agents.into_iter().flatten().map(|(name, _)| name.to_string()).collect()
    }

    /// The names of all instances on an agent that have an execution state.
    pub(crate) fn instances_on(&self, agent: &str) -> Vec<InstanceName> {
        let workloads = self.tree.at(["workloadStates", agent]).and_then(Node::fields);
        let names = workloads.into_iter().flatten().flat_map(|(workload, ids)| {
            ids.fields().into_iter().flatten().map(move |(id, _)| InstanceName {
                agent_name: agent.to_owned(),
                workload_name: workload.to_string(),
                workload_id: id.to_string(),
            })
        });
        names.collect()
    }

    /// The execution state of an instance.
    pub(crate) fn execution_state(&self, name: &InstanceName) -> Option<ExecutionState> {
        self.tree.at(execution_path(name)).map(conversion::execution_to_message)
    }

    /// Sets the execution state of an instance.
    pub(crate) fn set_execution_state(
        &mut self,
        name: &InstanceName,
        state: ExecutionState,
    ) -> Vec<Response> {
        self.change(|tree| {
            put(tree, &execution_path(name), conversion::execution_to_tree(state));
        })
    }

    /// Removes the execution state of an instance.
    pub(crate) fn remove_execution_state(&mut self, name: &InstanceName) -> Vec<Response> {
        self.change(|tree| remove_execution_state(tree, name))
    }

    /// Whether an agent is connected.
    pub(crate) fn has_agent(&self, agent: &str) -> bool {
        self.tree.at(["agents", agent]).is_some()
    }

    /// Adds an agent or replaces its attributes.
    pub(crate) fn set_agent(&mut self, agent: &str, attributes: AgentAttributes) -> Vec<Response> {
        self.change(|tree| {
            put(tree, &["agents", agent], conversion::agent_to_tree(attributes));
        })
    }

    /// Sets the load of an agent. Does nothing if it is not connected.
    pub(crate) fn set_agent_load(&mut self, agent: &str, status: AgentStatus) -> Vec<Response> {
        if !self.has_agent(agent) {
            return Vec::new();
        }
        self.change(|tree| {
            put(tree, &["agents", agent, "status"], conversion::status_to_tree(status));
        })
    }

    /// Removes an agent. Its instances become `AGENT_DISCONNECTED`.
    pub(crate) fn remove_agent(&mut self, agent: &str) -> Vec<Response> {
        let instances = self.instances_on(agent);
        self.change(|tree| {
            // Fails only if there is no map of agents, and then there is nothing to remove.
            let _ = tree.remove(&["agents", agent]);
            for name in instances {
                let state = conversion::execution_to_tree(execution::agent_disconnected());
                put(tree, &execution_path(&name), state);
            }
        })
    }

    /// What an update would do, or the message with which Ankaios rejects it.
    pub(crate) fn plan_update(&self, request: UpdateStateRequest) -> Result<PlannedUpdate, String> {
        let desired = self.tree.get("desiredState").cloned().unwrap_or_else(Node::empty);
        update::plan(&desired, &self.rendered, request)
    }

    /// Replaces the desired state and sets the tags of agents. Added instances get their first
    /// execution state; those in `removed` lose theirs.
    pub(crate) fn apply_update(
        &mut self,
        update: PlannedUpdate,
        removed: &[InstanceName],
    ) -> Vec<Response> {
        let mut tree = self.tree.clone();
        put(&mut tree, &["desiredState"], update.desired);
        for (agent, tags) in update.agent_tags {
            if tree.at(["agents", &agent]).is_some() {
                put(&mut tree, &["agents", &agent, "tags"], tags.unwrap_or_else(Node::empty));
            }
        }
        put_first_states(&mut tree, &update.added);
        for name in removed {
            remove_execution_state(&mut tree, name);
        }
        self.rendered = update.rendered;
        self.put_effective_state(&mut tree);
        self.replace(tree)
    }

    fn put_effective_state(&self, tree: &mut Node) {
        if self.has_effective_state {
            let workloads = self.rendered.iter();
            let workloads = workloads.map(|(name, is)| (name.clone(), is.workload.clone()));
            let version = tree.at(["desiredState", "apiVersion"]).cloned();
            let version = version.unwrap_or_else(|| Node::text("v1"));
            let effective = [("apiVersion", version), ("workloads", Node::map(workloads))];
            put(tree, &["effectiveState"], Node::map(effective));
        }
    }

    fn change(&mut self, edit: impl FnOnce(&mut Node)) -> Vec<Response> {
        let mut tree = self.tree.clone();
        edit(&mut tree);
        self.replace(tree)
    }

    fn replace(&mut self, tree: Node) -> Vec<Response> {
        let old = std::mem::replace(&mut self.tree, tree);
        self.subscriptions.events(&old, &self.tree)
    }
}

fn unrendered(name: &str, workload: &Node) -> RenderedWorkload {
    let text = |field| workload.get(field).and_then(Node::as_text).unwrap_or_default();
    let name = instance_name(name, text("agent"), text("runtimeConfig"));
    RenderedWorkload { name, workload: workload.clone() }
}

fn execution_path(name: &InstanceName) -> [&str; 4] {
    ["workloadStates", &name.agent_name, &name.workload_name, &name.workload_id]
}

/// Adds the first execution states of instances that have none.
fn put_first_states<'a>(tree: &mut Node, names: impl IntoIterator<Item = &'a InstanceName>) {
    for name in names {
        if tree.at(execution_path(name)).is_none() {
            let state = if name.agent_name.is_empty() {
                execution::not_scheduled()
            } else {
                execution::initial()
            };
            put(tree, &execution_path(name), conversion::execution_to_tree(state));
        }
    }
}

/// Removes the execution state of an instance and the maps that become empty.
fn remove_execution_state(tree: &mut Node, name: &InstanceName) {
    let path = execution_path(name);
    for length in (2..=path.len()).rev() {
        let Some(path) = path.get(..length) else {
            return;
        };
        if length < 4 && !tree.at(path.iter().copied()).is_some_and(Node::is_empty_map) {
            return;
        }
        // Fails only if a map on the way is missing, and then there is nothing to remove.
        let _ = tree.remove(path);
    }
}

/// Sets a value. The paths used here lead through maps only.
fn put(tree: &mut Node, path: &[&str], value: Node) {
    let done = tree.set(path, value);
    debug_assert_eq!(done, Ok(()), "{path:?} leads through a value that is no map");
}
