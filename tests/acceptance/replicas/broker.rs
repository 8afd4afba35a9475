//! The broker restarts, or another client publishes a status.

use std::time::Duration;

use serde_json::json;

use super::fleet::Fleet;
use super::replica::BECOMES_ACTIVE;
use super::statuses::Statuses;
use crate::support::connector::BASE;
use crate::support::{self, Broker, DEADLINE};

#[tokio::test]
async fn after_a_restart_of_the_broker_with_its_store_one_replica_is_active() {
    let broker = Broker::persistent().await;
    let (mut fleet, _) = Fleet::with_broker(broker, &["a", "b"]).await;
    let flow = fleet.flow(1000);
    fleet.time_to_reply(1).await;
    fleet.broker.stop().await;
    fleet.broker.start_again().await;
    fleet.has_one_active(900_000).await;
    fleet.all_answered(flow).await;
}

#[tokio::test]
async fn after_a_restart_of_the_broker_without_its_store_one_replica_is_active() {
    let (mut fleet, _) = Fleet::start(&["a", "b"]).await;
    for pause in [0, 3] {
        fleet.broker.kill().await;
        tokio::time::sleep(Duration::from_secs(pause)).await;
        fleet.broker.start_again().await;
        let statuses = Statuses::watch(fleet.broker.port()).await;
        statuses.online(0, &["a", "b"]).await;
    }
    fleet.has_one_active(900_000).await;
}

#[tokio::test]
async fn an_active_replica_that_died_while_the_broker_was_down_is_replaced() {
    let broker = Broker::persistent().await;
    let (mut fleet, active) = Fleet::with_broker(broker, &["a", "b"]).await;
    // Only the log of the broker shows that it has saved its store.
    fleet.time_to_reply(1).await;
    let store = fleet.broker.process().line_from(0, DEADLINE, |line| line.contains("Saving")).await;
    assert!(store.is_some());
    fleet.time_to_reply(2).await;
    // A killed broker publishes no last will.
    fleet.broker.kill().await;
    fleet.replicas[active].connector.kill().await;
    fleet.broker.start_again().await;
    let next = &fleet.replicas[1 - active];
    next.connector.line("the active replica does not respond").await;
    let statuses = Statuses::watch(fleet.broker.port()).await;
    statuses.online(0, &[next.name]).await;
    fleet.time_to_reply(3).await;
}

#[tokio::test]
async fn an_offline_status_from_another_client_is_corrected() {
    let (fleet, active) = Fleet::start(&["a", "b"]).await;
    let topic = format!("{BASE}/connector/status");
    for payload in [r#"{"status": "offline", "replica": "b", "since": "2000-01-01T00:00:00Z"}"#, ""]
    {
        fleet.broker.publish(&topic, payload, &["-r"]).await;
        support::eventually("its own status", DEADLINE, async || {
            (fleet.retained_status().await["status"] == json!("online")).then_some(())
        })
        .await;
    }
    tokio::time::sleep(Duration::from_millis(1600)).await;
    assert_eq!(fleet.retained_status().await["replica"], json!(fleet.replicas[active].name));
    assert_eq!(fleet.replicas[1 - active].count(BECOMES_ACTIVE), 0);
}
