//! Event subscriptions, followed logs and rollouts go on, whichever node the connector is on.

use serde_json::{Value, json};

use super::cluster::{LOST_WITH_NODE, NODES, is_beyond_rmqtt, own, shared};
use super::support::requester::Answer;
use super::support::scene::workload;
use super::support::{DEADLINE, Requester, eventually};
use super::vehicle::{PATIENCE, Role, Vehicle, reply};

/// What the broker does not offer, as the status shows it.
const NOT_RETAINED: &str = "the broker sends no retained messages to subscriptions with wildcards";

fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.payload).unwrap()
}

/// Subscribes to a config and to the log of a workload, and sees both.
pub(super) async fn subscribe(vehicle: &Vehicle, operator: &Requester) {
    let masks = r#"{"id": "door", "field_masks": ["desiredState.configs.door"], "ttl": "0s"}"#;
    reply(operator, 1, "events/subscribe", masks).await;
    reply(operator, 2, "manifest/apply", workload("talker", "localhost/talker")).await;
    let wait = r#"{"workload_name": "talker", "state": "RUNNING"}"#;
    reply(operator, 3, "workload/wait", wait).await;
    let follow = r#"{"id": "talk", "workloads": ["talker"], "follow": true, "ttl": "0s"}"#;
    let followed = reply(operator, 4, "logs/subscribe", follow).await;
    assert_eq!(followed["id"], "talk", "{followed}");
    go_on(vehicle, operator, 10).await;
}

/// Both streams must show what happens from now on. `number` is that of a request.
async fn go_on(vehicle: &Vehicle, operator: &Requester, number: u32) {
    let opened = format!("open {number}");
    let manifest = format!("apiVersion: v1\nconfigs:\n  door: '{opened}'\n");
    reply(operator, number, "manifest/apply", manifest).await;
    eventually("the event", PATIENCE, async || {
        let shows = |event: &Answer| {
            json_of(event)["complete_state"]["desired_state"]["configs"]["door"] == json!(opened)
        };
        operator.events().iter().any(shows).then_some(())
    })
    .await;
    vehicle.ankaios.log("talker", [opened.clone()]).await.unwrap();
    eventually("the line", PATIENCE, async || {
        let shows = |message: &Answer| json_of(message).to_string().contains(&opened);
        operator.logs_from(0).iter().any(shows).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_go_on_when_the_connector_starts_on_another_node() {
    let test = "streams_go_on_when_the_connector_starts_on_another_node";
    let Some(cluster) = shared(test).await else { return };
    let mut vehicle = Vehicle::start(&cluster, Role::Keeping, &[1]).await;
    let operator = cluster.operator(&vehicle.vin, &[2]).await;
    subscribe(&vehicle, &operator).await;
    for (number, node) in [(20, 3), (30, 2), (40, 1)] {
        vehicle.connector.kill().await;
        vehicle.start_again(&cluster, &[node]).await;
        go_on(&vehicle, &operator, number).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_go_on_when_a_node_is_killed() {
    let test = "streams_go_on_when_a_node_is_killed";
    if is_beyond_rmqtt(test, LOST_WITH_NODE) {
        return;
    }
    let Some(cluster) = own(test).await else { return };
    let vehicle = Vehicle::start(&cluster, Role::Keeping, &NODES).await;
    let operator = vehicle.operator(&cluster).await;
    subscribe(&vehicle, &operator).await;
    let node = vehicle.node(&cluster);
    cluster.kill(node).await;
    go_on(&vehicle, &operator, 20).await;
    cluster.start(node).await;
    go_on(&vehicle, &operator, 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_goes_on_when_the_connector_starts_on_another_node() {
    let test = "a_rollout_goes_on_when_the_connector_starts_on_another_node";
    let Some(cluster) = shared(test).await else { return };
    let mut vehicle = Vehicle::start(&cluster, Role::Keeping, &[1]).await;
    let mut progress = cluster.client(2, &vehicle.topic("manifest/apply/status")).await;
    let operator = cluster.operator(&vehicle.vin, &[2]).await;
    vehicle.ankaios.set_runtime_error(Some("no such image"));
    let applied = reply(&operator, 1, "manifest/apply", workload("slow", "localhost/slow")).await;
    assert_eq!(applied["added_workloads"][0]["workload_name"], "slow", "{applied}");
    let mut next = async || -> Value {
        let message = progress.next_within(PATIENCE).await.expect("a message");
        serde_json::from_slice(&message.payload).unwrap()
    };
    assert_eq!(next().await["status"], "in_progress");
    vehicle.connector.kill().await;
    vehicle.start_again(&cluster, &[3]).await;
    vehicle.ankaios.set_runtime_error(None);
    loop {
        let message = next().await;
        if message["status"] != "in_progress" {
            assert_eq!(message["status"], "succeeded", "{message}");
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_the_status_says_that_streams_end_with_the_connector() {
    let test = "without_a_store_the_status_says_that_streams_end_with_the_connector";
    if is_beyond_rmqtt(test, "RMQTT sends retained messages to all subscriptions on all nodes") {
        return;
    }
    let Some(cluster) = shared(test).await else { return };
    for (role, consequence) in [
        (Role::Forgetful, "without STATE_DIR"),
        (Role::Keeping, "without STATE_DIR"),
        (Role::Replica("a"), "no standby is connected"),
    ] {
        let vehicle = Vehicle::launch(&cluster, &super::vehicle::new_vin(), role, &[1]).await;
        // On this node the status is retained, but another one shows it only when it is published.
        let mut status = cluster.client(2, &vehicle.topic("connector/status")).await;
        let degraded = loop {
            let message = status.next_within(DEADLINE).await.expect("a status");
            let status: Value = serde_json::from_slice(&message.payload).unwrap();
            if let Some(degraded) = status["degraded"].as_array() {
                break degraded[0].as_str().unwrap().to_owned();
            }
        };
        assert!(degraded.starts_with(NOT_RETAINED), "{degraded}");
        assert!(degraded.contains(consequence), "{degraded}");
    }
}
