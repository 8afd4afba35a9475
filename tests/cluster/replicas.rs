//! Replicas on different nodes: exactly one is active, and another one takes over when it ends,
//! although no node has the retained status of another one, and a node that is killed publishes no
//! last will.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cluster::{Cluster, LOST_WITH_NODE, NODES, is_beyond_rmqtt, own, shared};
use super::streams;
use super::support::{DEADLINE, Requester, eventually, say};
use super::vehicle::{PATIENCE, Role, Vehicle, all_answered, ask, new_vin, reply};

/// The log lines of a replica that becomes active, and of one that sees another active one.
const BECOMES_ACTIVE: &str = "this replica becomes active";
const IS_STANDBY: &str = "standby: another connector is active";

/// The log line of a standby that could resume the subscriptions.
const KNOWS_RECORDS: &str = "standby: the records of the active replica are known";

/// The log line of a subscription that goes on.
const RESUMED: &str = "a subscription is resumed";

/// Longer than a standby waits for the answer of the active replica.
const CALM: Duration = Duration::from_secs(15);

fn count(replica: &Vehicle, part: &str) -> usize {
    replica.connector.output().iter().filter(|line| line.contains(part)).count()
}

fn is_standby(replica: &Vehicle) -> bool {
    let output = replica.connector.output();
    let last = |part: &str| output.iter().rposition(|line| line.contains(part));
    last(IS_STANDBY) > last(BECOMES_ACTIVE)
}

/// Two replicas; the first one is active.
async fn start<G>(cluster: &Cluster<G>, first: &[u16], second: &[u16]) -> [Vehicle; 2] {
    let vin = new_vin();
    let a = Vehicle::launch(cluster, &vin, Role::Replica("a"), first).await;
    a.ready().await;
    let b = Vehicle::launch(cluster, &vin, Role::Replica("b"), second).await;
    b.connector.line(IS_STANDBY).await;
    [a, b]
}

/// Waits until this replica is active.
async fn takes_over(replica: &Vehicle, what: &str) {
    let begin = Instant::now();
    eventually(what, PATIENCE, async || (count(replica, BECOMES_ACTIVE) > 0).then_some(())).await;
    say(&format!("cluster: replicas: {what}: {:.1?}\n", begin.elapsed()));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_is_active_and_another_one_takes_over_on_another_node() {
    let test = "one_replica_is_active_and_another_one_takes_over_on_another_node";
    let Some(cluster) = shared(test).await else { return };
    let [mut a, b] = start(&cluster, &[1], &[2]).await;
    let operator = cluster.operator(&a.vin, &[3]).await;
    let begin = Instant::now();
    let mut number = 0;
    while begin.elapsed() < CALM {
        ask(&operator, number).await;
        number += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    all_answered(&operator, 0).await;
    assert_eq!((count(&a, BECOMES_ACTIVE), count(&b, BECOMES_ACTIVE)), (1, 0));
    assert_eq!(count(&b, IS_STANDBY), 1, "the log repeats what has not changed");

    a.connector.kill().await;
    ask(&operator, number).await;
    takes_over(&b, "the connector is killed").await;
    all_answered(&operator, 0).await;
    // It comes back, on a node that has its old status as a retained message.
    a.start_standby(&cluster, &[1]).await;
    eventually("the first one is standby", DEADLINE, async || is_standby(&a).then_some(())).await;
    ask(&operator, number + 1).await;
    all_answered(&operator, 0).await;
    assert_eq!((count(&a, BECOMES_ACTIVE), count(&b, BECOMES_ACTIVE)), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_takes_over_when_the_node_of_the_active_one_is_killed() {
    let test = "a_replica_takes_over_when_the_node_of_the_active_one_is_killed";
    if is_beyond_rmqtt(test, LOST_WITH_NODE) {
        return;
    }
    let Some(cluster) = own(test).await else { return };
    // The first one can reach only its own node, which publishes no last will.
    let [a, b] = start(&cluster, &[1], &[2, 3]).await;
    let operator = cluster.operator(&a.vin, &[3]).await;
    cluster.kill(1).await;
    ask(&operator, 0).await;
    takes_over(&b, "the node of the active one is killed").await;
    all_answered(&operator, 0).await;
    cluster.start(1).await;
    // The node has the status of the first one as a retained message.
    eventually("the first one is standby", PATIENCE, async || is_standby(&a).then_some(())).await;
    ask(&operator, 1).await;
    all_answered(&operator, 0).await;
    assert_eq!(count(&b, BECOMES_ACTIVE), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_active_replica_goes_to_another_node_and_stays_active() {
    let test = "an_active_replica_goes_to_another_node_and_stays_active";
    if is_beyond_rmqtt(test, LOST_WITH_NODE) {
        return;
    }
    let Some(cluster) = own(test).await else { return };
    let [a, b] = start(&cluster, &NODES, &NODES).await;
    let operator = a.operator(&cluster).await;
    for (number, isolate) in [(0, false), (1, true), (2, false)] {
        let node = a.node(&cluster);
        if isolate {
            cluster.isolate(node).await;
        } else {
            cluster.kill(node).await;
        }
        ask(&operator, number).await;
        all_answered(&operator, 0).await;
        if isolate {
            cluster.rejoin(node).await;
        } else {
            cluster.start(node).await;
        }
    }
    // The standby may have been quicker, but not both are active.
    eventually("one is standby", PATIENCE, async || {
        (is_standby(&a) != is_standby(&b)).then_some(())
    })
    .await;
    let activations = || count(&a, BECOMES_ACTIVE) + count(&b, BECOMES_ACTIVE);
    let before = activations();
    tokio::time::sleep(CALM).await;
    assert_eq!(activations(), before, "the active replica must not change");
    ask(&operator, 3).await;
    all_answered(&operator, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_takes_over_when_connector_and_node_are_killed() {
    let test = "a_replica_takes_over_when_connector_and_node_are_killed";
    if is_beyond_rmqtt(test, LOST_WITH_NODE) {
        return;
    }
    let Some(cluster) = own(test).await else { return };
    let [mut a, b] = start(&cluster, &[1], &NODES).await;
    let operator = cluster.operator(&a.vin, &[2, 3]).await;
    cluster.suspend(1).await;
    a.connector.kill().await;
    cluster.kill(1).await;
    ask(&operator, 0).await;
    takes_over(&b, "connector and node are killed").await;
    all_answered(&operator, 0).await;
    cluster.start(1).await;
}

/// Waits until the event subscription shows what is changed from now on.
async fn events_go_on(operator: &Requester, number: u32) {
    let opened = format!("open {number}");
    let manifest = format!("apiVersion: v1\nconfigs:\n  door: '{opened}'\n");
    reply(operator, number, "manifest/apply", manifest).await;
    eventually("the event", PATIENCE, async || {
        let shows = |payload: &[u8]| {
            let event: Value = serde_json::from_slice(payload).unwrap();
            event["complete_state"]["desired_state"]["configs"]["door"] == json!(opened)
        };
        operator.events().iter().any(|event| shows(&event.payload)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_go_on_with_another_replica_on_another_node() {
    let test = "subscriptions_go_on_with_another_replica_on_another_node";
    let Some(cluster) = shared(test).await else { return };
    let [mut a, mut b] = start(&cluster, &[1], &[2]).await;
    let operator = cluster.operator(&a.vin, &[3]).await;
    streams::subscribe(&a, &operator).await;
    // A standby that comes later asks for the records.
    b.connector.kill().await;
    b.start_standby(&cluster, &[2]).await;
    b.connector.line(KNOWS_RECORDS).await;
    a.connector.kill().await;
    takes_over(&b, "the active one is killed").await;
    eventually("both are resumed", PATIENCE, async || (count(&b, RESUMED) == 2).then_some(()))
        .await;
    events_go_on(&operator, 20).await;
    // What has ended does not come back.
    a.start_standby(&cluster, &[3]).await;
    a.connector.line(KNOWS_RECORDS).await;
    reply(&operator, 30, "logs/unsubscribe", r#"{"id": "talk"}"#).await;
    b.connector.kill().await;
    takes_over(&a, "the second one is killed").await;
    events_go_on(&operator, 40).await;
    assert_eq!(count(&a, RESUMED), 1);
}
