//! Large states, events and logs over the FIFOs.

use crate::workload::{
    LIMIT, RawWorkload, connected, logs_request, state_request, state_with, update, workload,
};
use ankaios_model::proto::ank_base::{
    AgentStatus, CpuUsage, LogsCancelRequest, LogsRequest, LogsStopResponse,
    request::RequestContent, response::ResponseContent,
};
use prost::Message;
use vehicle_simulator::{Problem, SimulatedVehicle, agent_attributes, execution};

fn follow(vehicle: &SimulatedVehicle, workload: &str) -> RequestContent {
    logs_request(LogsRequest {
        workload_names: vec![vehicle.instance(workload).unwrap().into()],
        follow: Some(true),
        ..LogsRequest::default()
    })
}

async fn expect_accepted(workload: &mut RawWorkload) {
    let response = workload.response().await;
    assert!(
        matches!(response.response_content, Some(ResponseContent::LogsRequestAccepted(_))),
        "{response:?}"
    );
}

/// The lines of the next batch. `None` at the end of the stream.
async fn lines(workload: &mut RawWorkload) -> Option<Vec<String>> {
    match workload.response().await.response_content {
        Some(ResponseContent::LogEntriesResponse(entries)) => {
            Some(entries.log_entries.into_iter().map(|entry| entry.message).collect())
        }
        Some(ResponseContent::LogsStopResponse(_)) => None,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_state_of_ten_megabytes_is_read_and_updated() {
    let (_temp, _dir, vehicle, mut raw) = connected().await;
    let mut state = vehicle.state();
    let workloads = state.desired_state.as_mut().unwrap().workloads.as_mut().unwrap();
    for number in 0..5_000 {
        let config = format!("{number} {}", "x".repeat(2_000));
        workloads.workloads.insert(format!("w{number}"), workload(&config));
    }
    vehicle.set_state(state);

    raw.ask_state("all", &[]).await;
    let response = raw.state().await;
    assert!(response.encoded_len() > 10_000_000, "{}", response.encoded_len());
    assert_eq!(response.complete_state.unwrap(), vehicle.state());

    let new = state_with([("one", workload("image: x"))]);
    raw.request("u", update(new, &["desiredState.workloads.one"])).await;
    let response = raw.response().await;
    let Some(ResponseContent::UpdateStateSuccess(success)) = response.response_content else {
        panic!("{response:?}");
    };
    assert_eq!(success.added_workloads, [vehicle.instance("one").unwrap().to_string()]);
    assert_eq!(success.deleted_workloads, [""; 0]);
    assert_eq!(vehicle.desired_state().workloads.unwrap().workloads.len(), 5_002);
}

#[tokio::test]
async fn changes_by_the_handle_are_reported() {
    let (_temp, _dir, vehicle, mut raw) = connected().await;
    raw.request("ev", state_request(&["agents", "workloadStates"], true)).await;
    raw.state().await;

    let load = AgentStatus { cpu_usage: Some(CpuUsage { cpu_usage: 7 }), free_memory: None };
    vehicle.set_agent_load("agent_A", load);
    let altered = raw.state().await.altered_fields.unwrap();
    assert_eq!(altered.updated_fields, ["agents.agent_A.status.cpuUsage"]);
    assert_eq!(altered.removed_fields, ["agents.agent_A.status.freeMemory"]);

    vehicle.connect_agent("agent_B", agent_attributes());
    let event = raw.state().await;
    assert_eq!(event.altered_fields.unwrap().added_fields, ["agents.agent_B"]);
    let agents = event.complete_state.unwrap().agents.unwrap().agents;
    assert_eq!(agents.keys().collect::<Vec<_>>(), ["agent_B"]);

    let instance = vehicle.instance("fleetconnector").unwrap();
    vehicle.set_execution_state(&instance, execution::failed(3));
    let updated = raw.state().await.altered_fields.unwrap().updated_fields;
    let prefix = format!("workloadStates.agent_A.fleetconnector.{}", instance.workload_id);
    let fields = ["additionalInfo", "state", "subState"];
    assert_eq!(updated, fields.map(|field| format!("{prefix}.{field}")));

    vehicle.disconnect_agent("agent_B");
    let removed = raw.state().await.altered_fields.unwrap().removed_fields;
    assert_eq!(removed, ["agents.agent_B"]);
}

#[tokio::test]
async fn streams_end_with_their_session() {
    let (_temp, dir, vehicle, mut raw) = connected().await;
    raw.request("ev", state_request(&[], true)).await;
    raw.state().await;
    raw.request("lg", follow(&vehicle, "fleetconnector")).await;
    expect_accepted(&mut raw).await;
    assert_eq!(vehicle.streams()["logs"], ["lg"]);

    vehicle.kill_agent().await.unwrap();
    assert!(vehicle.streams().values().all(Vec::is_empty));
    vehicle.start_agent().await.unwrap();
    let mut raw = RawWorkload::open(&dir);
    raw.hello().await;
    vehicle.log("fleetconnector", ["unheard"]).await.unwrap();
    raw.assert_silent().await;
}

#[tokio::test]
async fn all_lines_of_a_busy_log_arrive_in_order() {
    let (_temp, _dir, vehicle, mut raw) = connected().await;
    raw.request("lg", follow(&vehicle, "fleetconnector")).await;
    expect_accepted(&mut raw).await;
    let count = 5_000;
    let write = async {
        for number in 0..count {
            vehicle.log("fleetconnector", [number.to_string()]).await.unwrap();
        }
    };
    let read = async {
        let mut read = Vec::new();
        while read.len() < count {
            read.extend(lines(&mut raw).await.unwrap());
        }
        read
    };
    let ((), read) = tokio::join!(write, read);
    assert_eq!(read, (0..count).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn entries_can_follow_the_end_of_a_cancelled_stream() {
    let (_temp, _dir, vehicle, mut raw) = connected().await;
    vehicle.set_entries_after_cancel(2);
    raw.request("lg", follow(&vehicle, "fleetconnector")).await;
    expect_accepted(&mut raw).await;
    raw.request("lg", RequestContent::LogsCancelRequest(LogsCancelRequest {})).await;
    let response = raw.response().await;
    assert!(matches!(response.response_content, Some(ResponseContent::LogsCancelAccepted(_))));
    for _ in 0..2 {
        assert_eq!(lines(&mut raw).await.unwrap().len(), 1);
    }
    vehicle.log("fleetconnector", ["unheard"]).await.unwrap();
    raw.assert_silent().await;
}

#[tokio::test]
async fn a_stream_ends_when_its_workload_does() {
    let (_temp, _dir, vehicle, mut raw) = connected().await;
    raw.request("lg", follow(&vehicle, "fleetconnector")).await;
    expect_accepted(&mut raw).await;
    vehicle.log("fleetconnector", ["last words"]).await.unwrap();
    vehicle.finish("fleetconnector").unwrap();
    assert_eq!(lines(&mut raw).await, Some(vec!["last words".to_owned()]));
    let stop = raw.response().await.response_content;
    let workload_name = Some(vehicle.instance("fleetconnector").unwrap().into());
    let expected = ResponseContent::LogsStopResponse(LogsStopResponse { workload_name });
    assert_eq!(stop, Some(expected));
    assert!(vehicle.log("nobody", ["x"]).await.is_err());
    assert!(vehicle.crash("nobody").is_err());
}

#[tokio::test]
async fn a_workload_that_reads_a_log_too_slowly_does_not_get_the_rest() {
    let (_temp, _dir, vehicle, mut raw) = connected().await;
    raw.request("lg", follow(&vehicle, "fleetconnector")).await;
    expect_accepted(&mut raw).await;
    vehicle.log("fleetconnector", ["x".repeat(300_000)]).await.unwrap();
    vehicle.wait_for(LIMIT, |counters| counters.problems == 1).await.unwrap();
    assert!(matches!(vehicle.problems()[..], [Problem::SlowReader { .. }]));
    assert!(vehicle.streams()["logs"].is_empty());
}
