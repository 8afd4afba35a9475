//! Tests with a real Ankaios that nothing that is accepted makes the vehicle unreachable, and that a
//! vehicle with too large a state can still be served.

use bytes::Bytes;
use serde_json::{Value, json};

use super::support::connector::BASE;
use super::support::scene::payload;
use super::support::{Client, eventually};
use super::vehicle::{PATIENCE, STATE, Vehicle, adapt, needs};

/// Size of one large config, in bytes.
const LARGE: usize = 900_000;

/// All steps share one deployment, because a start of Ankaios and Podman takes seconds.
#[tokio::test(flavor = "multi_thread")]
async fn stays_reachable_whatever_is_accepted() {
    let Some((programs, podman)) = needs("stays_reachable_whatever_is_accepted") else { return };
    let protected = r#"- "PROTECTED_WORKLOADS=another"
        - "-e"
        - "STATE_DIR="#;
    let manifest = adapt(STATE, &[(r#"- "STATE_DIR="#, protected)]);
    let mut vehicle = Vehicle::deploy(programs, podman, &manifest).await;

    vehicle.step("deployed", Vehicle::is_served).await;
    vehicle.step("own name", protects_the_connector_whose_name_is_not_set).await;
    vehicle.step("long errors", counts_what_agents_report).await;
    vehicle.step("full", serves_a_state_of_the_largest_size).await;
    vehicle.step("too much", survives_a_state_that_no_reply_can_carry).await;
    vehicle.step("many masks", is_not_kept_busy_by_many_masks).await;
}

/// The path of the control interface tells the name of the connector's workload.
async fn protects_the_connector_whose_name_is_not_set(vehicle: &mut Vehicle) {
    let workload = json!({"runtime": "podman", "agent": "a", "runtimeConfig": ""});
    let manifest = json!({"apiVersion": "v1", "workloads": {"fleetconnector": workload}});
    let reply = vehicle.request("manifest/delete", &manifest.to_string()).await;
    assert_eq!(reply["error"]["code"], json!("forbidden"), "{reply}");
    assert_eq!(reply["error"]["details"]["workload"], json!("fleetconnector"), "{reply}");
}

/// Options that are no YAML map are part of the error that Ankaios reports.
async fn counts_what_agents_report(vehicle: &mut Vehicle) {
    let options = "x".repeat(100_000);
    let workload = |options: &str| {
        let agent = vehicle.ankaios.agent_name();
        let wrong = json!({"runtime": "podman", "agent": agent, "runtimeConfig": options});
        json!({"apiVersion": "v1", "workloads": {"wrong": wrong}}).to_string()
    };
    let applied = vehicle.ask("manifest/apply", workload(&options)).await;
    let instance = vehicle.only_instance(&applied, "added_workloads", "wrong");
    let id = instance["workload_id"].as_str().unwrap();
    let path = format!(
        "/workload_states/{}/wrong/{id}/additional_info",
        instance["agent_name"].as_str().unwrap()
    );
    eventually("the error is reported", PATIENCE, async || {
        let state = vehicle.ask("state", r#"["workloadStates"]"#).await;
        let text = state.pointer(&path)?.as_str()?;
        text.contains(&options).then_some(())
    })
    .await;
    vehicle.ask("manifest/delete", workload("x")).await;
}

/// The state is filled up to the limit. It is read as a whole, and the agent can connect again.
async fn serves_a_state_of_the_largest_size(vehicle: &mut Vehicle) {
    for name in ["a", "b", "c", "d"] {
        vehicle.set_by_others(name);
    }
    let refused = vehicle.ask("manifest/apply", config("e", LARGE)).await;
    assert_eq!(refused["error"]["details"]["rule"], json!("capacity"), "{refused}");
    // "… could have N bytes, … (now N), and more than N are not allowed: …"
    let message = refused["error"]["message"].as_str().unwrap();
    let number = |before: &str| -> usize {
        let rest = message.split_once(before).unwrap().1;
        rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    let (now, max) = (number("(now "), number("more than "));
    let reply = vehicle.ask("manifest/apply", config("e", max - now - 5_000)).await;
    assert!(reply.get("error").is_none(), "{reply}");
    for _ in 0..2 {
        let state = vehicle.ask("state", "[]").await;
        assert!(state["desired_state"]["configs"]["e"].is_string());
        vehicle.ankaios.kill_agent().await;
        vehicle.ankaios.start_agent().await;
        vehicle.is_served().await;
    }
    vehicle.ask("manifest/delete", config("e", 1)).await;
}

/// The answer to a request for the whole state breaks the connection of the agent to its server.
/// The connector does not request it again.
async fn survives_a_state_that_no_reply_can_carry(vehicle: &mut Vehicle) {
    vehicle.set_by_others("e");
    for masks in [r#"["desiredState"]"#, "[]"] {
        let reply = vehicle.ask("state", masks).await;
        assert_eq!(reply["error"]["code"], json!("payload_too_large"), "{reply}");
    }
    vehicle.is_served().await;
    let reply = vehicle.ask("manifest/apply", config("more", 10)).await;
    assert_eq!(reply["error"]["code"], json!("payload_too_large"), "{reply}");
    for name in ["a", "b", "c", "d", "e"] {
        let reply = vehicle.ask("manifest/delete", config(name, 1)).await;
        assert!(reply.get("error").is_none(), "{reply}");
    }
    let reply = vehicle.ask("state", "[]").await;
    assert!(reply["desired_state"]["workloads"]["fleetconnector"].is_object(), "{reply}");
    let reply = vehicle.ask("manifest/apply", config("more", 10)).await;
    assert!(reply.get("error").is_none(), "{reply}");
}

/// Many masks are answered, or refused, and the next request is served.
async fn is_not_kept_busy_by_many_masks(vehicle: &mut Vehicle) {
    let plain: Vec<_> = (0..20_000).map(|n| format!("desiredState.configs.c{n}")).collect();
    let reply = vehicle.ask("state", json!(plain).to_string()).await;
    assert!(reply.get("desired_state").is_some(), "{reply}");
    let deep = json!([format!("desiredState{}", ".a".repeat(300_000))]);
    let reply = vehicle.ask("state", deep.to_string()).await;
    assert!(reply.get("desired_state").is_some(), "{reply}");
    let update = json!({"update_mask": deep, "state": {}});
    vehicle.ask("state/update", update.to_string()).await;
    let wild = json!(vec!["workloadStates.*.*.*"; 40_000]);
    let reply = vehicle.ask("state", wild.to_string()).await;
    assert_eq!(reply["error"]["code"], json!("invalid_payload"), "{reply}");
    vehicle.is_served().await;
}

fn config(name: &str, size: usize) -> String {
    json!({"apiVersion": "v1", "configs": {name: "x".repeat(size)}}).to_string()
}

impl Vehicle {
    /// Sends a request, which may be too large for a command line, and returns the reply.
    async fn ask(&self, operation: &str, request: impl Into<Bytes>) -> Value {
        let reply_topic = format!("{BASE}/large/resp");
        let mut client = Client::connect(self.broker.port(), &reply_topic).await;
        client.request(&format!("{BASE}/{operation}/req"), request, &reply_topic, 1).await;
        payload(&client.next().await)
    }

    /// Adds a large config by other means than the connector.
    fn set_by_others(&self, name: &str) {
        let manifest = self.ankaios.write_manifest("large.yaml", &config(name, LARGE));
        let output = self.ankaios.ank(&["apply", manifest.to_str().unwrap()]);
        assert!(output.contains("Apply successful"), "{output}");
    }
}
