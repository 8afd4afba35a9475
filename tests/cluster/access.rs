//! The permissions that `docs/brokers.md` gives a vehicle are enough, and no other vehicle has them.

use super::ank_fleet::AnkFleet;
use super::cluster::{USER, is_beyond_rmqtt, shared};
use super::vehicle::{Role, Vehicle, all_answered, ask, new_vin};

const BROKERS: &str = include_str!("../../docs/brokers.md");

/// The vehicle in the document.
const EXAMPLE: &str = "WDB0412";

#[tokio::test(flavor = "multi_thread")]
async fn a_vehicle_needs_only_the_documented_permissions() {
    let test = "a_vehicle_needs_only_the_documented_permissions";
    if is_beyond_rmqtt(test, "the permissions are those of RabbitMQ") {
        return;
    }
    let Some(cluster) = shared(test).await else { return };
    let blocks = BROKERS.split("```shell\n").filter_map(|block| Some(block.split_once("```")?.0));
    let mut blocks = blocks.filter(|block| block.contains("set_topic_permissions"));
    let vin = new_vin();
    let permissions = blocks.next().unwrap().replace(EXAMPLE, &vin);
    cluster.shell(&format!("rabbitmqctl add_user {vin} {USER}\n{permissions}")).await;

    let login = [("MQTT_USERNAME", vin.as_str())];
    let vehicle = Vehicle::launch_with(&cluster, &vin, Role::Keeping, &[1], &login).await;
    vehicle.ready().await;
    let operator = cluster.operator(&vin, &[2]).await;
    for number in 0..10 {
        ask(&operator, number).await;
    }
    all_answered(&operator, 0).await;
    let fleet = AnkFleet::new(&cluster, &[3]).await;
    assert_eq!(fleet.status(&vin).await.as_deref(), Some("online"));

    let other = Vehicle::launch_with(&cluster, &new_vin(), Role::Keeping, &[1], &login).await;
    other.connector.line("no connection to the MQTT broker").await;
    let output = other.connector.output();
    assert!(!output.iter().any(|line| line.contains("ready for requests")), "it is served");
}
