//! The connector's own workload is protected under whatever name it runs.

use serde_json::{Value, json};

use crate::support::connector::BASE;
use crate::support::vehicle::Vehicle;
use crate::support::{Broker, Process, Scene, start_connector};

const DELETE: &str = "{apiVersion: v1, workloads: \
                      {fleet_connector: {runtime: podman, agent: agent_A, runtimeConfig: ''}}}";

/// A vehicle whose connector runs as the workload `fleet_connector`.
async fn renamed(settings: &[(&str, &str)]) -> (Broker, Vehicle, Process) {
    let broker = Broker::start().await;
    let vehicle = Vehicle::start_as("fleet_connector").await;
    let connector = start_connector(&broker, vehicle.control_interface(), settings);
    connector.line("the link to Ankaios is up").await;
    (broker, vehicle, connector)
}

async fn request(broker: &Broker, operation: &str, payload: &str, options: &[&str]) -> Value {
    broker.request(&format!("{BASE}/{operation}"), payload, options).await.json()
}

#[tokio::test]
async fn it_is_protected_under_another_name() {
    let (broker, _vehicle, connector) = renamed(&[]).await;
    connector.line("own workload is protected, too").await;
    for operation in ["manifest/apply", "manifest/delete", "manifest/validate"] {
        let reply = request(&broker, operation, DELETE, &[]).await;
        assert_eq!(reply["error"]["code"], json!("forbidden"), "{reply}");
        let details = json!({"rule": "PROTECTED_WORKLOADS", "workload": "fleet_connector",
            "field": "desiredState.workloads.fleet_connector"});
        assert_eq!(reply["error"]["details"], details);
    }
    // The names of the setting are protected as well, and `force` lifts it.
    let named = DELETE.replace("fleet_connector", "fleetconnector");
    let reply = request(&broker, "manifest/delete", &named, &[]).await;
    assert_eq!(reply["error"]["code"], json!("forbidden"), "{reply}");
    let force = ["-V", "5", "-D", "publish", "user-property", "force", "true"];
    let reply = request(&broker, "manifest/delete", DELETE, &force).await;
    assert!(reply.get("error").is_none(), "{reply}");
}

#[tokio::test]
async fn without_protected_workloads_it_is_not() {
    let (broker, _vehicle, _connector) = renamed(&[("PROTECTED_WORKLOADS", "")]).await;
    let reply = request(&broker, "manifest/delete", DELETE, &[]).await;
    assert!(reply.get("error").is_none(), "{reply}");
}

#[tokio::test]
async fn a_vehicle_without_a_protected_workload_is_reported() {
    let scene = Scene::with(&[("PROTECTED_WORKLOADS", "a,b")]).await;
    let mut status = scene.broker.subscribe(&format!("{BASE}/connector/status"), &[]).await;
    let reason = "no workload is named a or b, so";
    let has_reason =
        |status: &Value| status["reason"].as_str().is_some_and(|text| text.starts_with(reason));
    let warned =
        status.find("the status warns", |message| has_reason(&message.json())).await.json();
    assert_eq!((&warned["status"], &warned["ankaios"]), (&json!("online"), &json!("connected")));
    scene.connector.line("the connector's own workload is not protected").await;

    // The workload appears, and goes again.
    let manifest =
        "{apiVersion: v1, workloads: {b: {runtime: x, agent: agent_A, runtimeConfig: ''}}}";
    let force = ["-V", "5", "-D", "publish", "user-property", "force", "true"];
    for (operation, expected) in [("manifest/apply", false), ("manifest/delete", true)] {
        let reply = request(&scene.broker, operation, manifest, &force).await;
        assert!(reply.get("error").is_none(), "{reply}");
        let as_expected = |status: &Value| has_reason(status) == expected;
        status.find("the status follows", |message| as_expected(&message.json())).await;
    }
}
