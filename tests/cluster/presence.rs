//! Who is there: the retained statuses cannot be had on each node, so operators ask.

use super::ank_fleet::AnkFleet;
use super::cluster::{NODES, own, shared};
use super::support::{DEADLINE, eventually};
use super::vehicle::{FLEET, PATIENCE, Role, Vehicle};

#[tokio::test(flavor = "multi_thread")]
async fn vehicles_of_all_nodes_are_seen_from_each_node() {
    let Some(cluster) = shared("vehicles_of_all_nodes_are_seen_from_each_node").await else {
        return;
    };
    let mut vehicles = Vec::new();
    for node in NODES {
        vehicles.push(Vehicle::start(&cluster, Role::Keeping, &[node]).await);
    }
    for node in NODES {
        let operator = AnkFleet::new(&cluster, &[node]).await;
        for vehicle in &vehicles {
            assert_eq!(operator.status(&vehicle.vin).await.as_deref(), Some("online"));
        }
    }
    // Any client can ask.
    let mut statuses = cluster.client(1, "vehicle/+/connector/status").await;
    let asking = cluster.client(2, "none").await;
    asking.publish(&format!("fleet/{FLEET}/who"), r#"{"spread": "1s"}"#).await;
    let mut missing: Vec<String> =
        vehicles.iter().map(|vehicle| vehicle.topic("connector/status")).collect();
    while !missing.is_empty() {
        let message = statuses.next_within(DEADLINE).await;
        let message = message.unwrap_or_else(|| panic!("no answer: {missing:?}"));
        missing.retain(|topic| message.topic != *topic.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vehicle_without_a_last_will_is_missed_by_asking() {
    let test = "a_vehicle_without_a_last_will_is_missed_by_asking";
    let Some(cluster) = own(test).await else { return };
    let mut lost = Vehicle::start(&cluster, Role::Keeping, &[1]).await;
    let other = Vehicle::start(&cluster, Role::Keeping, &[2]).await;
    let operator = AnkFleet::new(&cluster, &[2, 3]).await;
    assert_eq!(operator.status(&lost.vin).await.as_deref(), Some("online"));
    // A node that is killed publishes no last will.
    cluster.suspend(1).await;
    lost.connector.kill().await;
    cluster.kill(1).await;
    // The cluster may need a moment.
    eventually("the other one is online", PATIENCE, async || {
        (operator.status(&other.vin).await.as_deref() == Some("online")).then_some(())
    })
    .await;
    assert_ne!(operator.status(&lost.vin).await.as_deref(), Some("online"));
    lost.start_again(&cluster, &[3]).await;
    eventually("it is back", PATIENCE, async || {
        (operator.status(&lost.vin).await.as_deref() == Some("online")).then_some(())
    })
    .await;
    cluster.start(1).await;
}
