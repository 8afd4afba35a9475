//! The simulated vehicle of the demo: two agents, and workloads that log and crash.

use std::collections::BTreeMap;
use std::time::Duration;

use ankaios_model::proto::ank_base::config_item::ConfigItemEnum;
use ankaios_model::proto::ank_base::{
    AgentStatus, CompleteState, CpuUsage, ExecutionsStatesForId, FreeMemory, RestartPolicy, Tags,
    Workload,
};
use tokio::time::interval;
use vehicle_simulator::{
    CONNECTOR_WORKLOAD, SimulatedVehicle, Timing, VehicleOptions, execution, instance_name,
};

/// Interval between log lines and between changes of the load.
const ACTIVITY_INTERVAL: Duration = Duration::from_secs(2);

/// Interval between checks of the config [`CRASH`].
const CRASH_INTERVAL: Duration = Duration::from_millis(200);

/// The name of the config that makes a workload crash. Its value is the name of the workload.
const CRASH: &str = "crash";

/// A manifest that makes the workload `telemetry` crash.
pub(crate) const CRASH_MANIFEST: &str = "{apiVersion: v1, configs: {crash: telemetry}}";

/// A manifest that breaks the workload `speed-provider`: no agent has this runtime.
pub(crate) const BAD_MANIFEST: &str = "{apiVersion: v1, workloads: {speed-provider: \
     {runtime: docker, agent: agent_A, runtimeConfig: \"image: speed-provider:2.0\"}}}";

/// Name, agent and image of the workloads that run from the start.
const WORKLOADS: [(&str, &str, &str); 3] = [
    ("speed-provider", "agent_A", "ghcr.io/example/speed-provider:1.4"),
    ("telemetry", "agent_A", "ghcr.io/example/telemetry:0.9"),
    ("cabin-display", "agent_B", "ghcr.io/example/cabin-display:2.0"),
];

/// The options of the vehicle. Its timing is slow enough for people to follow.
pub(crate) fn options() -> VehicleOptions {
    VehicleOptions {
        agents: vec!["agent_A".to_owned(), "agent_B".to_owned()],
        timing: Timing {
            initial: Duration::from_millis(200),
            starting: Duration::from_millis(1500),
            deletion: Duration::from_millis(200),
            stopping: Duration::from_secs(1),
            restart: Duration::from_secs(3),
            retry: Duration::from_millis(500),
        },
        ..VehicleOptions::default()
    }
}

/// Adds the workloads to the state of a new vehicle.
pub(crate) fn with_workloads(mut state: CompleteState) -> CompleteState {
    let desired = state.desired_state.get_or_insert_default();
    let states = state.workload_states.get_or_insert_default();
    for (name, agent, image) in WORKLOADS {
        let runtime_config = format!("image: {image}");
        let instance = instance_name(name, agent, &runtime_config);
        let workload = Workload {
            agent: Some(agent.to_owned()),
            restart_policy: Some(RestartPolicy::Always.into()),
            runtime: Some("podman".to_owned()),
            runtime_config: Some(runtime_config),
            tags: Some(Tags { tags: BTreeMap::from([("owner".to_owned(), "demo".to_owned())]) }),
            ..Workload::default()
        };
        let workloads = &mut desired.workloads.get_or_insert_default().workloads;
        workloads.insert(name.to_owned(), workload);
        let ids = ExecutionsStatesForId {
            id_state_map: BTreeMap::from([(instance.workload_id, execution::running())]),
        };
        states
            .agent_state_map
            .entry(agent.to_owned())
            .or_default()
            .wl_name_state_map
            .insert(name.to_owned(), ids);
    }
    state
}

/// The names of the workloads that run from the start, and of the connector.
pub(crate) fn workload_names() -> Vec<&'static str> {
    let own = WORKLOADS.iter().map(|(name, ..)| *name);
    own.chain([CONNECTOR_WORKLOAD]).collect()
}

/// Writes logs, changes the load of the agents, and crashes workloads on request. Never returns.
pub(crate) async fn run(vehicle: &SimulatedVehicle) {
    tokio::join!(simulate_activity(vehicle), crash_on_request(vehicle));
}

async fn simulate_activity(vehicle: &SimulatedVehicle) {
    let mut ticks = interval(ACTIVITY_INTERVAL);
    for tick in 0_u64.. {
        ticks.tick().await;
        let workloads = vehicle.desired_state().workloads.unwrap_or_default().workloads;
        for name in workloads.keys() {
            let instance = vehicle.instance(name);
            let state = instance.and_then(|instance| vehicle.execution_state(&instance));
            if state == Some(execution::running()) {
                let line = format!("{name}: {} km/h, all is well", 50 + (tick * 7) % 80);
                // Fails if the workload has been deleted meanwhile.
                let _ = vehicle.log(name, [line]).await;
            }
        }
        for (number, agent) in ["agent_A", "agent_B"].into_iter().enumerate() {
            let wave = (tick * 5 + number as u64 * 20) % 60;
            let status = AgentStatus {
                cpu_usage: Some(CpuUsage { cpu_usage: 20 + u32::try_from(wave).unwrap_or(0) }),
                free_memory: Some(FreeMemory { free_memory: (4_096 - wave) << 20 }),
            };
            vehicle.set_agent_load(agent, status);
        }
    }
}

/// Crashes the workload that the config names, each time the config is set to another value.
async fn crash_on_request(vehicle: &SimulatedVehicle) {
    let mut ticks = interval(CRASH_INTERVAL);
    let mut previous = None;
    loop {
        ticks.tick().await;
        let configs = vehicle.desired_state().configs.unwrap_or_default().configs;
        let named = match configs.get(CRASH).and_then(|item| item.config_item_enum.as_ref()) {
            Some(ConfigItemEnum::String(name)) => Some(name.clone()),
            _ => None,
        };
        if let Some(name) = named.as_ref().filter(|_| named != previous) {
            // Fails if there is no such workload.
            let _ = vehicle.crash(name);
        }
        previous = named;
    }
}
