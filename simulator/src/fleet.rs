//! The vehicle of the demo: two agents and a few workloads that live.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet_connector::proto::ank_base::config_item::ConfigItemEnum;
use fleet_connector::proto::ank_base::{
    AgentStatus, CompleteState, CpuUsage, ExecutionsStatesForId, FreeMemory, RestartPolicy, Tags,
    Workload,
};
use tokio::time::interval;
use vehicle_simulator::{InstanceName, Options, SimulatedVehicle, Timing, execution};

/// Between two signs of life.
const TICK: Duration = Duration::from_secs(2);

/// How often the config [`CRASH`] is looked at.
const CRASH_TICK: Duration = Duration::from_millis(200);

/// A workload crashes when a config of this name is given its name.
const CRASH: &str = "crash";

/// Lets a workload crash.
pub(crate) const CRASH_MANIFEST: &str = "{apiVersion: v1, configs: {crash: telemetry}}";

/// Name, agent and image of what runs from the start.
const WORKLOADS: [(&str, &str, &str); 3] = [
    ("speed-provider", "agent_A", "ghcr.io/example/speed-provider:1.4"),
    ("telemetry", "agent_A", "ghcr.io/example/telemetry:0.9"),
    ("cabin-display", "agent_B", "ghcr.io/example/cabin-display:2.0"),
];

/// Slow enough to be followed by eye.
pub(crate) fn options() -> Options {
    Options {
        agents: vec!["agent_A".to_owned(), "agent_B".to_owned()],
        timing: Timing {
            initial: Duration::from_millis(200),
            starting: Duration::from_millis(1500),
            deletion: Duration::from_millis(200),
            stopping: Duration::from_secs(1),
            restart: Duration::from_secs(3),
            attempts: 3,
        },
        ..Options::default()
    }
}

/// Adds the workloads to what a new vehicle has.
pub(crate) fn with_workloads(mut state: CompleteState) -> CompleteState {
    let desired = state.desired_state.get_or_insert_default();
    let states = state.workload_states.get_or_insert_default();
    for (name, agent, image) in WORKLOADS {
        let runtime_config = format!("image: {image}");
        let instance = InstanceName::new(name, agent, &runtime_config);
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
            id_state_map: BTreeMap::from([(instance.id, execution::running())]),
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

/// Lets the workloads log, the load of the agents change, and workloads crash on
/// request. Never ends by itself.
pub(crate) async fn live(vehicle: &SimulatedVehicle) {
    tokio::join!(work(vehicle), crash_on_request(vehicle));
}

async fn work(vehicle: &SimulatedVehicle) {
    let mut ticks = interval(TICK);
    for tick in 0_u64.. {
        ticks.tick().await;
        let workloads = vehicle.desired_state().workloads.unwrap_or_default().workloads;
        for name in workloads.keys() {
            let instance = vehicle.instance(name);
            let state = instance.and_then(|instance| vehicle.execution_state(&instance));
            if state == Some(execution::running()) {
                let line = format!("{name}: {} km/h, all is well", 50 + (tick * 7) % 80);
                // Between looking and logging it may have been deleted.
                let _gone = vehicle.log(name, [line]).await;
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

/// The workload that the config names crashes once; it does so again after the
/// config was deleted, or has named another one.
async fn crash_on_request(vehicle: &SimulatedVehicle) {
    let mut ticks = interval(CRASH_TICK);
    let mut former = None;
    loop {
        ticks.tick().await;
        let configs = vehicle.desired_state().configs.unwrap_or_default().configs;
        let named = match configs.get(CRASH).and_then(|item| item.config_item_enum.as_ref()) {
            Some(ConfigItemEnum::String(name)) => Some(name.clone()),
            _ => None,
        };
        if let Some(name) = named.as_ref().filter(|_| named != former) {
            // There may be no such workload.
            let _unknown = vehicle.crash(name);
        }
        former = named;
    }
}
