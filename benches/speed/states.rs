//! States that result in replies of a given size.

use std::collections::BTreeMap;

use ankaios_model::proto::ank_base::{
    CompleteState, ExecutionsStatesForId, ExecutionsStatesOfWorkload, State, Tags, Workload,
    WorkloadMap, WorkloadStatesMap,
};
use vehicle_simulator::{execution, instance_name};

const AGENT: &str = "agent_A";

/// With this length, a workload and its state take about 1,000 bytes of JSON.
const RUNTIME_CONFIG: &str = "image: registry.example.com/fleet/telemetry-collector:2.14.0\n\
    commandOptions:\n  - --net=host\n  - --memory=256m\n  - --volume=/var/lib/telemetry:/data:ro\n\
    commandArgs:\n  - --endpoint=https://ingest.example.com/v2/vehicles\n  - --interval=30s\n\
    \x20 - --buffer=/data/buffer.db\n  - --topics=speed,position,battery/state,battery/temperature\n\
    \x20 - --filter=changed\n  - --compression=zstd\n  - --batch=500\n  - --retry=exponential\n\
    \x20 - --log-format=json\n  - --tls-ca=/etc/ssl/certs/fleet-ca.pem\n";

/// A state with this many running workloads.
pub(crate) fn state(workloads: usize) -> CompleteState {
    let mut desired = BTreeMap::new();
    let mut running = BTreeMap::new();
    for number in 0..workloads {
        let name = format!("telemetry-collector-{number:05}");
        let instance = instance_name(&name, AGENT, RUNTIME_CONFIG);
        desired.insert(name.clone(), workload());
        let states = BTreeMap::from([(instance.workload_id, execution::running())]);
        running.insert(name, ExecutionsStatesForId { id_state_map: states });
    }
    let running = ExecutionsStatesOfWorkload { wl_name_state_map: running };
    CompleteState {
        desired_state: Some(State {
            api_version: "v1".into(),
            workloads: Some(WorkloadMap { workloads: desired }),
            configs: None,
        }),
        workload_states: Some(WorkloadStatesMap {
            agent_state_map: BTreeMap::from([(AGENT.into(), running)]),
        }),
        ..CompleteState::default()
    }
}

fn workload() -> Workload {
    let tags = [("owner", "telemetry team"), ("stage", "production"), ("tier", "2")];
    let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Workload {
        agent: Some(AGENT.into()),
        restart_policy: Some(2),
        runtime: Some("podman".into()),
        runtime_config: Some(RUNTIME_CONFIG.into()),
        tags: Some(Tags { tags: BTreeMap::from(tags) }),
        ..Workload::default()
    }
}
