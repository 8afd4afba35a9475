//! The options of a simulated vehicle.

use std::collections::BTreeMap;

use ankaios_model::proto::ank_base::{
    AgentAttributes, AgentMap, AgentStatus, CompleteState, ControlInterfaceAccess, CpuUsage,
    ExecutionsStatesForId, ExecutionsStatesOfWorkload, FreeMemory, State, Tags, Workload,
    WorkloadMap, WorkloadStatesMap,
};

use crate::access;
use crate::execution;
use crate::instance::instance_name;
use crate::timeline::Timing;

/// The name of the workload whose control interface is simulated: that of the connector.
pub const CONNECTOR_WORKLOAD: &str = "fleetconnector";

/// The options of a simulated vehicle.
#[derive(Clone, Debug)]
pub struct VehicleOptions {
    /// The connected agents. The first one runs the workload of the connector.
    pub agents: Vec<String>,
    /// Whether the agent runs and the FIFOs exist from the start.
    pub create_fifos: bool,
    /// The access rules of the workload of the connector.
    pub access: ControlInterfaceAccess,
    /// How long workloads take to start and stop.
    pub timing: Timing,
    /// Whether the complete state has the field `effectiveState`, as in newer versions of Ankaios.
    pub effective_state: bool,
}

/// One agent `agent_A`; the FIFOs exist, and all requests are allowed.
impl Default for VehicleOptions {
    fn default() -> Self {
        Self {
            agents: vec!["agent_A".to_owned()],
            create_fifos: true,
            access: access::allow_all(),
            timing: Timing::default(),
            effective_state: false,
        }
    }
}

impl VehicleOptions {
    /// A state in which the workload of the connector runs on the first agent.
    pub(crate) fn initial_state(&self) -> CompleteState {
        let agent = self.agents.first().cloned().unwrap_or_default();
        let runtime_config = "image: localhost/fleet-connector:latest".to_owned();
        let instance = instance_name(CONNECTOR_WORKLOAD, &agent, &runtime_config);
        let workload = Workload {
            agent: Some(agent.clone()),
            restart_policy: Some(0),
            runtime: Some("podman".to_owned()),
            runtime_config: Some(runtime_config),
            control_interface_access: Some(self.access.clone()),
            ..Workload::default()
        };
        let states = ExecutionsStatesForId {
            id_state_map: BTreeMap::from([(instance.workload_id, execution::running())]),
        };
        let states = ExecutionsStatesOfWorkload {
            wl_name_state_map: BTreeMap::from([(CONNECTOR_WORKLOAD.to_owned(), states)]),
        };
        CompleteState {
            desired_state: Some(State {
                api_version: "v1".to_owned(),
                workloads: Some(WorkloadMap {
                    workloads: BTreeMap::from([(CONNECTOR_WORKLOAD.to_owned(), workload)]),
                }),
                configs: None,
            }),
            workload_states: Some(WorkloadStatesMap {
                agent_state_map: BTreeMap::from([(agent, states)]),
            }),
            agents: Some(AgentMap {
                agents: self.agents.iter().map(|name| (name.clone(), agent_attributes())).collect(),
            }),
            effective_state: None,
        }
    }
}

/// The attributes of an agent with some load and without tags.
pub fn agent_attributes() -> AgentAttributes {
    AgentAttributes {
        status: Some(AgentStatus {
            cpu_usage: Some(CpuUsage { cpu_usage: 44 }),
            free_memory: Some(FreeMemory { free_memory: 24_908_308_480 }),
        }),
        tags: Some(Tags::default()),
    }
}
