//! A restart of the server, and what its agents do then.
//!
//! The server keeps nothing. After it has read its startup manifest, all workloads of that are
//! `PENDING_INITIAL`. The agents connect again and receive them. Each agent compares them with the
//! containers that it finds:
//!
//! | the agent has | in the manifest | otherwise |
//! |---|---|---|
//! | the same instance, running | `RUNNING_OK` | |
//! | a container | stops it, removes it, starts the instance of the manifest | stops and removes it |
//! | a start that failed for good | the same | keeps it, and does not report it |
//! | a start that it retries | the same | goes on, and reports it to the server |
//! | nothing | starts it | |

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use ankaios_model::proto::ank_base::execution_state::ExecutionStateEnum;
use ankaios_model::proto::ank_base::{ExecutionState, Pending, State};

use super::{SimulatedServer, workload_key};
use crate::execution;
use crate::state::AnkaiosState;
use crate::timeline::LifecycleStep;

/// What an agent has of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holding {
    /// Nothing that would have to be removed.
    Nothing,
    /// A workload without a container, because its start has failed for good.
    FailedStart,
    /// A workload without a container, which it tries to start.
    Retries,
    /// A container, which may have ended.
    Container,
}

impl Holding {
    fn of(state: &ExecutionState, is_retried: bool) -> Self {
        match state.execution_state_enum {
            Some(ExecutionStateEnum::Pending(pending)) => match Pending::try_from(pending) {
                Ok(Pending::StartingFailed) => Self::FailedStart,
                Ok(Pending::Starting) if is_retried => Self::Retries,
                Ok(Pending::Starting) => Self::Container,
                _ => Self::Nothing,
            },
            None | Some(ExecutionStateEnum::NotScheduled(_)) => Self::Nothing,
            Some(_) => Self::Container,
        }
    }
}

impl SimulatedServer {
    /// Sets the desired state of the server after its next restarts, or returns why it would not
    /// start with it.
    pub(crate) fn set_startup_manifest(&mut self, manifest: State) -> Result<(), String> {
        self.startup = AnkaiosState::complete_manifest(manifest)?;
        Ok(())
    }

    /// The desired state of the server after a restart.
    pub(crate) fn startup_manifest(&self) -> &State {
        &self.startup
    }

    /// Starts the server anew. Its agents connect again at once.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.end_session();
        let instances = self.state.agents().into_iter().flat_map(|agent| {
            let names = self.state.instances_on(&agent);
            names.into_iter().map(|name| (self.state.execution_state(&name), name))
        });
        let former: Vec<_> =
            instances.filter_map(|(state, name)| state.map(|state| (name, state))).collect();
        let workloads = self.state.rendered_workloads().clone();
        self.state.restart(self.startup.clone(), &self.agent_tags);
        self.waiting.clear();
        let retried = self.timeline.keep_retries();

        let mut replaced = BTreeSet::new();
        for (name, state) in former {
            let successor = self.state.instance(&name.workload_name).filter(|successor| {
                successor.agent_name == name.agent_name && !replaced.contains(successor)
            });
            let holding = Holding::of(&state, retried.contains(&name));
            let rendered = workloads.get(&*name.workload_name);
            let rendered = rendered.filter(|rendered| rendered.name == name);
            match (holding, successor) {
                (Holding::Nothing, _) => {}
                (Holding::Container, Some(successor))
                    if successor == name && execution::is_running(&state) =>
                {
                    self.timeline.plan(now + self.timing.initial, name, LifecycleStep::Resume);
                    replaced.insert(successor);
                }
                (_, Some(successor)) => {
                    self.keep_runtime(&name, rendered.and_then(|rendered| rendered.runtime()));
                    self.plan_stop(name, Some(successor.clone()), now);
                    replaced.insert(successor);
                }
                (Holding::Container, None) => {
                    self.first_runtimes.remove(&workload_key(&name));
                    self.plan_stop(name, None, now);
                }
                (Holding::FailedStart | Holding::Retries, None) => {
                    if let Some(rendered) = rendered {
                        self.unknown_to_server.insert(name, Arc::clone(rendered));
                    }
                }
            }
        }
        let startup: Vec<_> = self.state.rendered_workloads().values().cloned().collect();
        for rendered in startup.iter().filter(|rendered| !replaced.contains(&rendered.name)) {
            let name = rendered.name.clone();
            self.timeline.plan(now + self.timing.initial, name, LifecycleStep::Start);
        }
    }
}
