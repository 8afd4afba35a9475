//! Agents that connect to the server, and whose connection breaks.

use std::collections::BTreeSet;
use std::time::Instant;

use ankaios_model::proto::ank_base::{AgentAttributes, AgentStatus, Response};

use super::SimulatedServer;
use crate::execution;
use crate::timeline::LifecycleStep;

impl SimulatedServer {
    /// Adds an agent or replaces its attributes. Its new instances start; those that were
    /// disconnected are running again, or are stopped if they were deleted in the meantime.
    pub(crate) fn connect_agent(
        &mut self,
        agent: &str,
        attributes: AgentAttributes,
        now: Instant,
    ) -> Vec<Response> {
        self.agent_tags.insert(agent.to_owned(), attributes.tags.clone());
        let was_connected = self.state.has_agent(agent);
        let mut responses = self.state.set_agent(agent, attributes);
        let (desired, deleted): (Vec<_>, Vec<_>) = self
            .state
            .instances_on(agent)
            .into_iter()
            .partition(|name| self.state.rendered_instance(name).is_some());
        let mut replaced = BTreeSet::new();
        for name in deleted.into_iter().filter(|_| !was_connected) {
            let successor = self.state.instance(&name.workload_name);
            let successor = successor.filter(|successor| successor.agent_name == agent);
            replaced.extend(successor.clone());
            self.plan_stop(name, successor, now);
        }
        for name in desired.into_iter().filter(|name| !replaced.contains(name)) {
            let state = self.state.execution_state(&name);
            if state == Some(execution::agent_disconnected()) {
                responses.extend(self.set_execution_state(&name, execution::running(), now));
            } else if state == Some(execution::initial()) {
                self.timeline.plan(now + self.timing.initial, name, LifecycleStep::Start);
            }
        }
        responses
    }

    /// Sets the load of a connected agent.
    pub(crate) fn set_agent_load(&mut self, agent: &str, status: AgentStatus) -> Vec<Response> {
        self.state.set_agent_load(agent, status)
    }

    /// Removes an agent, as if its connection to the server had broken.
    pub(crate) fn disconnect_agent(&mut self, agent: &str) -> Vec<Response> {
        for name in self.state.instances_on(agent) {
            self.timeline.cancel(&name);
        }
        self.state.remove_agent(agent)
    }
}
