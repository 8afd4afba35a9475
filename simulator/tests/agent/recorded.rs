//! The simulator sends the same messages as a real Ankaios, which are recorded in
//! `tests/golden/recorded`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::workload::{
    RawWorkload, logs_request, start, state_request, state_with, update, workload,
};
use ankaios_model::InstanceName;
use ankaios_model::proto::ank_base::{
    CompleteState, ConfigArray, ConfigItem, ConfigMap, ConfigObject, EventsCancelRequest,
    LogsCancelRequest, LogsRequest, State, Workload, config_item::ConfigItemEnum,
    request::RequestContent, response::ResponseContent,
};
use ankaios_model::proto::control_api::{FromAnkaios, from_ankaios::FromAnkaiosEnum};
use prost::Message;
use vehicle_simulator::{SimulatedVehicle, VehicleOptions, instance_name};

/// The id of the workload `lw` in the recording. Its configuration was not recorded.
const RECORDED_ID: &str = "f1ff876c25a1f36d0ad275e2d10ffc8a85e2c58e0af48499266dfb7dff4deb9f";

const LW: &str = "image: lw";

fn recorded(name: &str) -> FromAnkaiosEnum {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/recorded").join(name);
    let bytes = std::fs::read(path.with_extension("bin")).unwrap();
    FromAnkaios::decode(&bytes[..]).unwrap().from_ankaios_enum.unwrap()
}

fn recorded_state() -> CompleteState {
    match recorded("02-state-all") {
        FromAnkaiosEnum::Response(response) => match response.response_content {
            Some(ResponseContent::CompleteStateResponse(response)) => {
                response.complete_state.unwrap()
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// A vehicle in the recorded state.
async fn recorded_vehicle() -> (tempfile::TempDir, SimulatedVehicle, RawWorkload) {
    let (temp, _dir, vehicle, mut workload) = start(VehicleOptions::default()).await;
    vehicle.set_state(recorded_state());
    workload.hello().await;
    (temp, vehicle, workload)
}

/// Checks that the next message is the recorded one, apart from the id of `lw`.
async fn assert_next_is(workload: &mut RawWorkload, vehicle: &SimulatedVehicle, name: &str) {
    let id = vehicle.instance("lw").map_or_else(String::new, |instance| instance.workload_id);
    assert_next_is_with_id(workload, &id, name).await;
}

async fn assert_next_is_with_id(workload: &mut RawWorkload, id: &str, name: &str) {
    let received = format!("{:#?}", workload.next().await.unwrap());
    let expected = format!("{:#?}", recorded(name)).replace(RECORDED_ID, id);
    assert_eq!(received, expected, "{name}");
}

fn lw() -> Workload {
    workload(LW)
}

/// The config in the recording: `{k: line, list: [a, {b: c}]}`.
fn config() -> ConfigMap {
    fn text(text: &str) -> ConfigItem {
        ConfigItem { config_item_enum: Some(ConfigItemEnum::String(text.to_owned())) }
    }
    fn object<const N: usize>(fields: [(&str, ConfigItem); N]) -> ConfigItem {
        let fields = fields.map(|(name, item)| (name.to_owned(), item)).into();
        let object = ConfigObject { fields };
        ConfigItem { config_item_enum: Some(ConfigItemEnum::Object(object)) }
    }
    let values = vec![text("a"), object([("b", text("c"))])];
    let list = ConfigItemEnum::Array(ConfigArray { values });
    let list = ConfigItem { config_item_enum: Some(list) };
    let config = object([("k", text("line")), ("list", list)]);
    ConfigMap { configs: BTreeMap::from([("cfg".to_owned(), config)]) }
}

const MASKS: [&str; 2] = ["workloadStates.*.*.*.state", "desiredState.configs"];
const UPDATE: [&str; 2] = ["desiredState.workloads.lw", "desiredState.configs.cfg"];

/// Subscribes, adds the workload and its config, and waits until it runs.
async fn with_workload() -> (tempfile::TempDir, SimulatedVehicle, RawWorkload) {
    let (temp, vehicle, mut workload) = recorded_vehicle().await;
    workload.request("ev", state_request(&MASKS, true)).await;
    assert_next_is(&mut workload, &vehicle, "05-events-initial").await;
    let state = State { configs: Some(config()), ..state_with([("lw", lw())]) };
    workload.request("u1", update(state, &UPDATE)).await;
    for name in ["06-event", "07-update-success", "08-event"] {
        let id = instance_name("lw", "agent_A", LW).workload_id;
        assert_next_is_with_id(&mut workload, &id, name).await;
    }
    (temp, vehicle, workload)
}

#[tokio::test]
async fn states() {
    let (_temp, vehicle, mut workload) = recorded_vehicle().await;
    workload.ask_state("s0", &[]).await;
    assert_next_is(&mut workload, &vehicle, "02-state-all").await;
    workload.ask_state("s1", &["workloadStates"]).await;
    assert_next_is(&mut workload, &vehicle, "03-state-workload-states").await;
    workload.ask_state("s2", &["desiredState.workloads.nobody"]).await;
    assert_next_is(&mut workload, &vehicle, "04-state-unknown-mask").await;
}

#[tokio::test]
async fn events_of_a_workload_that_is_added_and_fails() {
    let (_temp, vehicle, mut workload) = with_workload().await;
    vehicle.crash("lw").unwrap();
    assert_next_is(&mut workload, &vehicle, "14-event-failed").await;
}

#[tokio::test]
async fn events_of_a_workload_that_is_deleted() {
    let (_temp, vehicle, mut workload) = with_workload().await;
    let id = vehicle.instance("lw").unwrap().workload_id;
    workload.request("d1", update(state_with([]), &UPDATE)).await;
    for name in ["15-event-delete", "16-delete-success", "17-event-delete", "18-event-delete"] {
        assert_next_is_with_id(&mut workload, &id, name).await;
    }
    workload.request("ev", RequestContent::EventsCancelRequest(EventsCancelRequest {})).await;
    assert_next_is(&mut workload, &vehicle, "19-events-cancel-accepted").await;
    assert!(vehicle.streams()["events"].is_empty());
}

#[tokio::test]
async fn logs() {
    let (_temp, vehicle, mut workload) = with_workload().await;
    vehicle.log("lw", (1..=11).map(|number| format!("line {number}"))).await.unwrap();
    let instance = vehicle.instance("lw").unwrap();
    let request = LogsRequest {
        workload_names: vec![instance.into()],
        follow: Some(true),
        tail: Some(1),
        ..LogsRequest::default()
    };
    workload.request("lg", logs_request(request)).await;
    for name in ["09-logsRequestAccepted", "10-logEntriesResponse"] {
        assert_next_is(&mut workload, &vehicle, name).await;
    }
    vehicle.log("lw", ["line 12"]).await.unwrap();
    vehicle.log("lw", ["line 13", "line 14"]).await.unwrap();
    vehicle.crash("lw").unwrap();
    for name in
        ["11-logEntriesResponse", "12-logEntriesResponse", "13-logsStopResponse", "14-event-failed"]
    {
        assert_next_is(&mut workload, &vehicle, name).await;
    }
    workload.request("lg", RequestContent::LogsCancelRequest(LogsCancelRequest {})).await;
    assert_next_is(&mut workload, &vehicle, "20-logs-cancel-accepted").await;
}

#[tokio::test]
async fn rejections() {
    let (_temp, vehicle, mut workload) = recorded_vehicle().await;
    let incomplete = Workload { runtime: None, ..lw() };
    let state = state_with([("bad", incomplete)]);
    workload.request("e1", update(state, &["desiredState.workloads.bad"])).await;
    assert_next_is(&mut workload, &vehicle, "21-error-update-rejected").await;

    let state = State { api_version: "v9".to_owned(), ..state_with([("bad", lw())]) };
    workload.request("e2", update(state, &["desiredState.workloads.bad"])).await;
    let FromAnkaiosEnum::Response(expected) = recorded("22-error-api-version") else { panic!() };
    let Some(ResponseContent::UpdateStateSuccess(expected)) = expected.response_content else {
        panic!("{expected:?}");
    };
    let Some(ResponseContent::UpdateStateSuccess(received)) =
        workload.response().await.response_content
    else {
        panic!("the version of a state in an update with masks counts");
    };
    let shape = |names: &[String]| -> Vec<(String, usize, String)> {
        let parse = |name: &String| name.parse::<InstanceName>().unwrap();
        let names = names.iter().map(parse);
        names.map(|name| (name.workload_name, name.workload_id.len(), name.agent_name)).collect()
    };
    assert_eq!(shape(&received.added_workloads), shape(&expected.added_workloads));
    assert_eq!(received.deleted_workloads, expected.deleted_workloads);
}
