//! Tests the shipped image and manifests with a real Ankaios and Podman. Requires the
//! environment variable `ANKAIOS_BIN_DIR`, the path of a directory with `ank-server`,
//! `ank-agent` and `ank`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod fleet;
mod limits;
mod replicas;
mod revisions;
#[path = "../support/mod.rs"]
mod support;
mod trust;
mod vehicle;

use std::time::{Duration, Instant};

use serde_json::json;
use support::connector::BASE;
use support::{Message, Subscription, eventually, say};
use vehicle::{
    FORCE, PATIENCE, RUNTIME_CONFIG, STATE, Vehicle, adapt, needs, with_expiry,
    with_narrow_deny_rule,
};

const SENDER: &str = include_str!("../../manifests/vehicle-data-sender.yaml");
const SENDER_CONFIG: &str = include_str!("../../manifests/vehicle-data-sender-config.yaml");
const DASHBOARD: &str = include_str!("../../manifests/dashboard.yaml");

/// All steps share one deployment, because a start of Ankaios and Podman takes seconds.
#[tokio::test(flavor = "multi_thread")]
async fn serves_the_tutorial_and_survives_restarts() {
    let Some((programs, podman)) = needs("serves_the_tutorial_and_survives_restarts") else {
        return;
    };
    let mut vehicle = Vehicle::deploy(programs, podman, STATE).await;

    vehicle.step("deployed", Vehicle::is_served).await;
    vehicle.step("workload", applies_and_deletes_a_workload).await;
    vehicle.step("streams", reports_the_progress_of_a_workload).await;
    vehicle.step("sender", changes_the_interval_of_the_sender).await;
    vehicle.step("dashboard", shows_a_table_in_the_log).await;
    vehicle.step("errors", explains_what_is_wrong).await;
    vehicle.step("denied", denies_changes_of_the_connector_itself).await;
    vehicle.step("updated", updates_the_connector_through_itself).await;
    vehicle.step("connector killed", survives_a_kill_of_the_connector).await;
    vehicle.step("agent killed", survives_a_restart_of_the_agent).await;
    vehicle.step("connector stopped", survives_a_stop_of_the_connector).await;
    vehicle.step("server killed", survives_a_restart_of_the_server).await;
    vehicle.step("still works", applies_and_deletes_a_workload).await;
}

/// Tutorial: a workload is applied, becomes running and is deleted.
async fn applies_and_deletes_a_workload(vehicle: &mut Vehicle) {
    let manifest = vehicle.nginx();

    let valid = vehicle.request("manifest/validate", &manifest).await;
    assert_eq!(valid["valid"], json!(true), "{valid}");
    assert_eq!(valid["workloads"], json!(["nginx"]), "{valid}");

    let applied = vehicle.request("manifest/apply", &manifest).await;
    let added = vehicle.only_instance(&applied, "added_workloads", "nginx");
    assert_eq!(applied["deleted_workloads"], json!([]), "{applied}");
    vehicle.becomes("nginx", &added, "RUNNING").await;
    assert!(vehicle.ankaios.container("nginx").is_some());

    let masks = r#"["desiredState.workloads.nginx"]"#;
    let state = vehicle.request("state", masks).await;
    let nginx = &state["desired_state"]["workloads"]["nginx"];
    assert_eq!(nginx["runtime"], json!("podman"), "{state}");
    assert_eq!(nginx["restartPolicy"], json!("ALWAYS"), "{state}");

    let deleted = vehicle.request("manifest/delete", &manifest).await;
    let gone = vehicle.only_instance(&deleted, "deleted_workloads", "nginx");
    assert_eq!(gone, added);
    eventually("the container of nginx is gone", PATIENCE, async || {
        vehicle.ankaios.container("nginx").is_none().then_some(())
    })
    .await;
}

/// Follows a workload from the apply to the deletion: progress, events, logs that continue
/// after a restart of the container, and waiting for the removal.
async fn reports_the_progress_of_a_workload(vehicle: &mut Vehicle) {
    let manifest = vehicle.nginx();
    let subscribe =
        async |topic: &str| vehicle.broker.subscribe(&format!("{BASE}/{topic}"), &[]).await;
    let mut status = subscribe("manifest/apply/status").await;
    let mut events = subscribe("events/real").await;
    let mut logs = subscribe("logs/real").await;
    let request = r#"{"id": "real", "field_masks": ["workloadStates.*.nginx"]}"#;
    let subscribed = vehicle.request("events/subscribe", request).await;
    assert_eq!(subscribed["topic"], json!(format!("{BASE}/events/real")), "{subscribed}");

    let applied = vehicle.request("manifest/apply", &manifest).await;
    let instance = vehicle.only_instance(&applied, "added_workloads", "nginx");
    let settled = |message: &Message| message.json()["status"] != "in_progress";
    let settled = status.find("it has settled", settled).await.json();
    assert_eq!(settled["status"], json!("succeeded"), "{settled}");
    assert_eq!(settled["workloads"][0]["execution_state"]["state"], json!("RUNNING"));
    assert_eq!(settled["workloads"][0]["workload_id"], instance["workload_id"]);
    let running = |message: &Message| {
        let id = instance["workload_id"].as_str().unwrap();
        let states = &message.json()["complete_state"]["workload_states"];
        states[vehicle.ankaios.agent_name()]["nginx"][id]["state"] == "RUNNING"
    };
    events.find("it runs", running).await;

    let request = r#"{"id": "real", "workloads": ["nginx"], "follow": true}"#;
    let subscribed = vehicle.request("logs/subscribe", request).await;
    assert_eq!(subscribed["workloads"], json!([instance]), "{subscribed}");
    let has_line = |message: &Message, line: &str| {
        let entries = message.json()["entries"].as_array().cloned().unwrap_or_default();
        entries.iter().any(|entry| entry["message"].as_str().unwrap().trim_end() == line)
    };
    logs.find("a line", |message| has_line(message, "tick 2")).await;
    let container = vehicle.ankaios.container("nginx").unwrap();
    vehicle.podman.run(["kill", &container]);
    logs.find("the end of the container", |message| message.json()["stopped"].is_object()).await;
    logs.find("the first line of another", |message| has_line(message, "tick 1")).await;

    let wait = r#"{"workload_name": "nginx", "state": "REMOVED", "timeout": "60s"}"#;
    let (removed, deleted) = tokio::join!(
        vehicle.request("workload/wait", wait),
        vehicle.request("manifest/delete", &manifest)
    );
    vehicle.only_instance(&deleted, "deleted_workloads", "nginx");
    assert_eq!(removed["execution_state"]["state"], json!("REMOVED"), "{removed}");
    assert_eq!(removed["workload_id"], instance["workload_id"]);
    let gone = |message: &Message| {
        message.json()["removed_fields"].as_array().is_some_and(|fields| !fields.is_empty())
    };
    let event = events.find("it is gone", gone).await;
    say(&format!("real Ankaios: removed fields: {}\n", event.json()["removed_fields"]));
    vehicle.request("logs/unsubscribe", r#"{"id": "real"}"#).await;
    vehicle.request("events/unsubscribe", r#"{"id": "real"}"#).await;
    logs.find("the end", |message| message.json()["ended"] == json!(true)).await;
}

/// Tutorial: the workload publishes a speed, and its settings are changed without its manifest.
/// Ankaios renders its options again and replaces the container.
async fn changes_the_interval_of_the_sender(vehicle: &mut Vehicle) {
    let port = format!("value: \"{}\"", vehicle.broker.port());
    let broker = ("value: \"1883\"", port.as_str());
    let agent = vehicle.agent();
    let image = vehicle.podman.build_sender_image();
    let replacements = [
        ("agent: agent_A", agent.as_str()),
        ("localhost/vehicle-data-sender:0.1.0", &image),
        broker,
    ];
    let sender = adapt(SENDER, &replacements);
    let name = "vehicle-data-sender";
    let mut speeds = vehicle.broker.subscribe(&format!("{BASE}/sensors/speed"), &[]).await;

    let applied = vehicle.request("manifest/apply", &sender).await;
    let first = vehicle.only_instance(&applied, "added_workloads", name);
    vehicle.becomes(name, &first, "RUNNING").await;
    let second = Duration::from_secs(1);
    speed(&mut speeds).await;
    for _ in 0..3 {
        let pause = speed(&mut speeds).await;
        assert!(pause > second / 2 && pause < 2 * second, "{pause:?}");
    }

    let applied = vehicle.request("manifest/apply", &adapt(SENDER_CONFIG, &[broker])).await;
    let other = vehicle.only_instance(&applied, "added_workloads", name);
    let replaced = vehicle.only_instance(&applied, "deleted_workloads", name);
    assert_eq!(replaced, first);
    vehicle.becomes(name, &other, "RUNNING").await;
    assert_eq!(vehicle.has_variable(name, "INTERVAL=10"), Some(true));
    // The last speeds of the former container, and the first one of the new container.
    let mut pause = Duration::ZERO;
    for _ in 0..5 {
        pause = speed(&mut speeds).await;
        if pause > 5 * second {
            break;
        }
    }
    assert!(pause > 9 * second && pause < 12 * second, "{pause:?}");

    let deleted = vehicle.request("manifest/delete", &sender).await;
    vehicle.only_instance(&deleted, "deleted_workloads", name);
    let mut state = vehicle.request("state", r#"["desiredState.configs"]"#).await;
    let configs = state["desired_state"]["configs"].as_object_mut().unwrap();
    assert!(configs.remove(revisions::MARKER).is_some(), "{configs:?}");
    assert_eq!(state["desired_state"]["configs"], json!({}), "{state}");
}

/// Waits for the next speed and returns the waiting time.
async fn speed(speeds: &mut Subscription) -> Duration {
    let begin = Instant::now();
    let speed = speeds.next().await;
    let speed: u8 = speed.payload.unwrap().parse().unwrap();
    assert!(speed <= 100, "{speed}");
    begin.elapsed()
}

/// The dashboard, the second use of the image, prints a table into the log of its workload, at
/// its start and at each change.
async fn shows_a_table_in_the_log(vehicle: &mut Vehicle) {
    let agent = vehicle.agent();
    let image = vehicle.image.clone();
    let dashboard = adapt(
        DASHBOARD,
        &[("agent: agent_A", &agent), ("localhost/fleet-connector:0.1.0", &image)],
    );
    let manifest = vehicle.ankaios.write_manifest("dashboard.yaml", &dashboard);
    vehicle.ankaios.ank(&["apply", manifest.to_str().unwrap()]);

    vehicle
        .table("itself and the connector", |table| {
            state(table, "dashboard") == Some("Running(Ok)")
                && state(table, "fleetconnector") == Some("Running(Ok)")
        })
        .await;
    let nginx = vehicle.nginx();
    vehicle.request("manifest/apply", &nginx).await;
    let table = vehicle
        .table("another workload", |table| state(table, "nginx") == Some("Running(Ok)"))
        .await;
    say(&format!("real Ankaios: the dashboard:\n{}\n", table.join("\n")));
    vehicle.request("manifest/delete", &nginx).await;
    vehicle.table("it is gone", |table| state(table, "nginx").is_none()).await;

    let deleted = vehicle.request("manifest/delete", &dashboard).await;
    vehicle.only_instance(&deleted, "deleted_workloads", "dashboard");
}

/// The state of a workload in a table of the dashboard.
fn state<'a>(table: &'a [String], workload: &str) -> Option<&'a str> {
    let row = table.iter().map(|row| row.split_whitespace().collect::<Vec<_>>());
    row.filter(|row| row.first() == Some(&workload)).find_map(|row| row.get(3).copied())
}

/// Errors of the connector and of Ankaios reach the operator.
async fn explains_what_is_wrong(vehicle: &mut Vehicle) {
    let reply = vehicle.request("manifest/apply", "workloads: [").await;
    assert_eq!(reply["error"]["code"], json!("invalid_manifest"), "{reply}");

    let reply = vehicle.request("state", "workloadStates").await;
    assert_eq!(reply["error"]["code"], json!("invalid_payload"), "{reply}");

    let agent = vehicle.agent();
    let lost = format!(
        "apiVersion: v1\nworkloads:\n  lost:\n    runtime: podman\n    {agent}\n    \
         runtimeConfig: \"{{{{c.image}}}}\"\n    configs: {{c: nowhere}}\n"
    );
    let reply = vehicle.request("manifest/apply", &lost).await;
    assert_eq!(reply["error"]["code"], json!("rejected"), "{reply}");
    let message = reply["error"]["message"].as_str().unwrap();
    assert!(message.contains("nowhere"), "{message}");
}

/// The deny rule of the shipped manifest also applies to requests with `force`, and to masks
/// with a wildcard, which Ankaios treats as a literal name.
async fn denies_changes_of_the_connector_itself(vehicle: &mut Vehicle) {
    let before = vehicle.ankaios.container("fleetconnector");
    let update = |mask: &str| json!({"update_mask": [mask], "state": {}}).to_string();
    for (operation, payload) in [
        ("manifest/apply", vehicle.state.clone()),
        ("manifest/delete", vehicle.state.clone()),
        ("state/update", update(RUNTIME_CONFIG)),
        ("state/update", update("desiredState.workloads")),
    ] {
        let reply = vehicle.request_with(operation, &payload, &FORCE).await;
        assert_eq!(reply["error"]["code"], json!("access_denied"), "{operation}: {reply}");
    }
    let wildcard = update("desiredState.workloads.*");
    let reply = vehicle.request_with("state/update", &wildcard, &FORCE).await;
    assert_eq!(reply["deleted_workloads"], json!([]), "{reply}");
    assert_eq!(vehicle.ankaios.container("fleetconnector"), before);
}

/// With the other deny rule that the manifest documents, one field may be changed. Ankaios
/// stops the connector before it has replied; its successor receives the request again.
async fn updates_the_connector_through_itself(vehicle: &mut Vehicle) {
    let shipped = vehicle.state.clone();
    vehicle.redeploy(&with_narrow_deny_rule(&shipped)).await;

    let mut reply = vehicle.update_connector("LOG_LEVEL=debug").await;
    let revision = reply.as_object_mut().unwrap().remove("revision");
    // For the successor, the change has already been made.
    assert_eq!(reply, json!({"added_workloads": [], "deleted_workloads": []}));
    vehicle.is_served().await;
    assert_eq!(vehicle.has_variable("fleetconnector", "LOG_LEVEL=debug"), Some(true));
    let reply = vehicle.request_with("manifest/delete", &shipped, &FORCE).await;
    assert_eq!(reply["error"]["code"], json!("access_denied"), "{reply}");

    let before = revision.unwrap().as_u64().unwrap() - 1;
    let rollback = json!({"revision": before}).to_string();
    let reply = vehicle.request_with("manifest/rollback", &rollback, &with_expiry()).await;
    assert_eq!(reply["revision"], json!(before + 2), "{reply}");
    vehicle.is_served().await;
    assert_eq!(vehicle.has_variable("fleetconnector", "LOG_LEVEL=debug"), Some(false));

    vehicle.redeploy(&shipped).await;
}

/// Ankaios restarts the container, and a request sent in the meantime is served.
async fn survives_a_kill_of_the_connector(vehicle: &mut Vehicle) {
    let topic = format!("{BASE}/state/resp");
    let mut replies = vehicle.broker.subscribe(&topic, &[]).await;
    let container = vehicle.ankaios.container("fleetconnector").unwrap();
    vehicle.podman.run(["kill", &container]);
    let request = format!("{BASE}/state/req");
    vehicle.broker.publish(&request, r#"["agents"]"#, &[]).await;

    let reply = replies.next_within(PATIENCE).await.unwrap().json();
    let agent = vehicle.ankaios.agent_name();
    assert!(reply["agents"][agent].is_object(), "{reply}");
    vehicle.is_served().await;
}

/// The connector detects the restart without any request.
async fn survives_a_restart_of_the_agent(vehicle: &mut Vehicle) {
    let before = vehicle.ankaios.container("fleetconnector");
    let mut status = vehicle.broker.subscribe(&format!("{BASE}/connector/status"), &[]).await;
    vehicle.ankaios.kill_agent().await;
    let lost = |message: &Message| message.json()["ankaios"] == "disconnected";
    status.find("the link is lost", lost).await;
    vehicle.ankaios.start_agent().await;
    let back = |message: &Message| message.json()["ankaios"] == "connected";
    status.find("the link is back", back).await;
    vehicle.is_served().await;
    let after = vehicle.ankaios.container("fleetconnector");
    assert_eq!(after, before, "Ankaios replaced the container");
}

/// After a restart of the agent, Ankaios restarts a container that has exited with code 0
/// unchanged. It replaces one that has failed, but without the control interface, so this case
/// is not tested.
async fn survives_a_stop_of_the_connector(vehicle: &mut Vehicle) {
    let mut status = vehicle.broker.subscribe(&format!("{BASE}/connector/status"), &[]).await;
    let container = vehicle.ankaios.container("fleetconnector").unwrap();
    vehicle.podman.run(["kill", "--signal=TERM", &container]);
    let offline = |message: &Message| message.json()["status"] == "offline";
    status.find("offline", offline).await;
    vehicle.is_served().await;
    assert_eq!(vehicle.ankaios.container("fleetconnector"), Some(container));
}

async fn survives_a_restart_of_the_server(vehicle: &mut Vehicle) {
    vehicle.ankaios.kill_server().await;
    vehicle.ankaios.start_server().await;
    vehicle.is_served().await;
}
