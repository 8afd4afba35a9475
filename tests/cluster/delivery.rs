//! Sessions and requests: each request that the broker has accepted gets a reply.

use std::time::{Duration, Instant};

use super::cluster::{LOST_WITH_NODE, NODES, is_beyond_rmqtt, own, shared};
use super::support::{self, DEADLINE, Requester, say};
use super::vehicle::{PATIENCE, Role, Vehicle, all_answered, ask, reply};

/// So many requests are sent at once.
const BURST: u32 = 500;

/// How often a quorum queue delivers a message before it drops it, unless a policy says otherwise.
const DEFAULT_DELIVERY_LIMIT: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn requests_arrive_through_any_node() {
    let Some(cluster) = shared("requests_arrive_through_any_node").await else { return };
    let vehicle = Vehicle::start(&cluster, Role::Keeping, &[1]).await;
    let operator = cluster.operator(&vehicle.vin, &[2]).await;
    ask(&operator, 0).await;
    all_answered(&operator, 0).await;
    let begin = Instant::now();
    for number in 1..=BURST {
        ask(&operator, number).await;
    }
    all_answered(&operator, 0).await;
    say(&format!("cluster: {BURST} requests at once: {:.1?}\n", begin.elapsed()));
    let fates = operator.fates();
    assert!(fates.values().all(|fate| fate.replies.len() == 1), "a reply is repeated");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_wait_for_a_connector_that_starts_on_another_node() {
    let test = "requests_wait_for_a_connector_that_starts_on_another_node";
    let Some(cluster) = shared(test).await else { return };
    let mut vehicle = Vehicle::start(&cluster, Role::Keeping, &[1]).await;
    let operator = cluster.operator(&vehicle.vin, &[2]).await;
    ask(&operator, 0).await;
    all_answered(&operator, 0).await;
    vehicle.connector.kill().await;
    for number in 1..=50 {
        ask(&operator, number).await;
        operator.acknowledged(number).await;
    }
    vehicle.start_again(&cluster, &[3]).await;
    all_answered(&operator, 0).await;
    vehicle.connector.line("session_present=true").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_kept_however_often_its_connector_is_killed() {
    let test = "a_request_is_kept_however_often_its_connector_is_killed";
    let Some(cluster) = shared(test).await else { return };
    let mut vehicle = Vehicle::start(&cluster, Role::Keeping, &[1]).await;
    let operator = cluster.operator(&vehicle.vin, &[2]).await;
    let wait = r#"{"workload_name": "late", "state": "RUNNING", "timeout": "60s"}"#;
    operator.request(0, "workload/wait", wait).await;
    for round in 0..=DEFAULT_DELIVERY_LIMIT {
        vehicle.connector.line("operation=\"workload/wait\"").await;
        vehicle.connector.kill().await;
        vehicle.start_again(&cluster, &[NODES[round % NODES.len()]]).await;
    }
    let manifest = support::scene::workload("late", "localhost/late");
    let reply = reply(&operator, 1, "manifest/apply", manifest).await;
    assert_eq!(reply["added_workloads"][0]["workload_name"], "late", "{reply}");
    operator.reply(0, PATIENCE).await.expect("the broker has dropped the request");
}

/// Sends requests all the time until `disturb` is done, at which moment all must have been
/// answered within the time that a cluster needs.
async fn while_asking(operator: &Requester, disturb: impl Future<Output = ()>) {
    let asking = async {
        for number in 0.. {
            ask(operator, number).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = asking => {}
        () = disturb => {}
    }
    let begin = Instant::now();
    all_answered(operator, 0).await;
    let fates = operator.fates();
    let repeated = fates.values().map(|fate| fate.replies.len() - 1).sum::<usize>();
    let caught_up = begin.elapsed();
    say(&format!("cluster: {} requests, {repeated} repeated, {caught_up:.1?}\n", fates.len()));
}

/// Waits until the connector, or the operator, has had answers for a moment.
async fn some_answers(operator: &Requester, count: usize) {
    let answered = || operator.fates().values().filter(|fate| !fate.replies.is_empty()).count();
    let before = answered();
    support::eventually("answers", DEADLINE * 3, async || {
        (answered() >= before + count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_loses_no_request() {
    let test = "a_node_that_is_killed_loses_no_request";
    if is_beyond_rmqtt(test, LOST_WITH_NODE) {
        return;
    }
    let Some(cluster) = own(test).await else { return };
    let vehicle = Vehicle::start(&cluster, Role::Keeping, &NODES).await;
    // The node of the connector, and then that of the operator.
    let operator = vehicle.operator(&cluster).await;
    while_asking(&operator, async {
        for _ in 0..2 {
            some_answers(&operator, 20).await;
            let node = vehicle.node(&cluster);
            cluster.kill(node).await;
            some_answers(&operator, 20).await;
            cluster.start(node).await;
        }
        some_answers(&operator, 20).await;
        let own = vehicle.node(&cluster);
        for node in NODES.into_iter().filter(|node| *node != own) {
            cluster.kill(node).await;
            some_answers(&operator, 20).await;
            cluster.start(node).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_loses_no_request() {
    let test = "a_node_that_stops_loses_no_request";
    if is_beyond_rmqtt(test, LOST_WITH_NODE) {
        return;
    }
    let Some(cluster) = own(test).await else { return };
    let vehicle = Vehicle::start(&cluster, Role::Keeping, &NODES).await;
    let operator = vehicle.operator(&cluster).await;
    while_asking(&operator, async {
        some_answers(&operator, 20).await;
        let node = vehicle.node(&cluster);
        cluster.stop(node).await;
        some_answers(&operator, 20).await;
        cluster.start(node).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_loses_no_request() {
    let test = "a_node_that_is_cut_off_loses_no_request";
    if is_beyond_rmqtt(test, "nothing cuts a node of RMQTT off here") {
        return;
    }
    let Some(cluster) = own(test).await else { return };
    let vehicle = Vehicle::start(&cluster, Role::Keeping, &NODES).await;
    let operator = vehicle.operator(&cluster).await;
    while_asking(&operator, async {
        some_answers(&operator, 20).await;
        let node = vehicle.node(&cluster);
        cluster.isolate(node).await;
        some_answers(&operator, 20).await;
        cluster.rejoin(node).await;
        some_answers(&operator, 20).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hangs_loses_no_request() {
    let test = "a_node_that_hangs_loses_no_request";
    if is_beyond_rmqtt(test, LOST_WITH_NODE) {
        return;
    }
    let Some(cluster) = own(test).await else { return };
    let vehicle = Vehicle::start(&cluster, Role::Keeping, &NODES).await;
    let operator = vehicle.operator(&cluster).await;
    while_asking(&operator, async {
        some_answers(&operator, 20).await;
        let node = vehicle.node(&cluster);
        cluster.suspend(node).await;
        let begin = Instant::now();
        // The others notice it only after a while.
        some_answers(&operator, 20).await;
        say(&format!("cluster: answers while a node hangs, after {:.1?}\n", begin.elapsed()));
        cluster.resume(node).await;
        some_answers(&operator, 20).await;
    })
    .await;
}
