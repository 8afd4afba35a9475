//! The connection between a replica and the broker breaks.

use std::time::{Duration, Instant};

use serde_json::json;

use super::fleet::{Fleet, report};
use super::replica::BECOMES_ACTIVE;
use super::{KEEP_ALIVE, SWITCH_OVER};
use crate::support::DEADLINE;
use crate::support::proxy::Line;

#[tokio::test]
async fn a_short_break_of_the_line_has_no_effect() {
    let (fleet, active) = Fleet::start(&["a", "b"]).await;
    let flow = fleet.flow(1000);
    let from = fleet.statuses.count();
    fleet.replicas[active].proxy.cut();
    let name = fleet.replicas[active].name;
    fleet.statuses.online(from, &[name]).await;
    fleet.time_to_reply(1).await;
    // The standby has seen both breaks, and its longest wait has passed.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(fleet.statuses.actives(), [name]);
    assert_eq!(fleet.replicas[active].count(BECOMES_ACTIVE), 1);
    fleet.all_answered(flow).await;
    // Requests in flight were not even served twice.
    let fates = fleet.operator.fates();
    let replies: usize = fates.values().map(|fate| fate.replies.len()).sum();
    assert!(replies <= fates.len() + 64, "{replies} replies to {} requests", fates.len());
}

#[tokio::test]
async fn a_replica_that_is_cut_off_never_takes_the_session_back() {
    let (fleet, active) = Fleet::start(&["a", "b"]).await;
    let former = &fleet.replicas[active];
    let flow = fleet.flow(1000);
    let from = fleet.statuses.count();
    former.proxy.set(Line::Refused);
    former.proxy.cut();
    let took = fleet.time_to_reply(1).await;
    report("cut off", took);
    assert!(took < SWITCH_OVER, "{took:?}");
    let next = fleet.statuses.online(from, &fleet.others(active)).await;
    former.proxy.set(Line::Open);
    // It learns so, or assumes it if its next attempt comes after the keep-alive time.
    let taken_over = ["another replica has taken over", "another replica may have taken over"];
    let matches = |line: &str| taken_over.iter().any(|part| line.contains(part));
    former.connector.line_from(0, DEADLINE, matches).await.expect("it goes to standby");
    former.connector.line("another connector is active").await;
    fleet.all_answered(flow).await;
    let requests = former.vehicle.request_count();
    fleet.time_to_reply(2).await;
    assert_eq!(former.vehicle.request_count(), requests, "it serves requests");
    assert_eq!(fleet.statuses.actives(), [former.name, next]);
}

#[tokio::test]
async fn a_replica_notices_a_silent_line_before_it_is_replaced() {
    let (fleet, active) = Fleet::start(&["a", "b"]).await;
    let former = &fleet.replicas[active];
    let flow = fleet.flow(1000);
    let from = fleet.statuses.count();
    former.proxy.set(Line::Silent);
    let silent = Instant::now();
    // It does so before the broker closes the connection after 1.5 keep-alive times.
    former.connector.line("another replica may have taken over").await;
    let noticed = silent.elapsed();
    assert!(noticed < KEEP_ALIVE + Duration::from_secs(1), "{noticed:?}");
    let actives = fleet.statuses.actives();
    assert_eq!(
        actives,
        [former.name],
        "another replica took over first: {:?}",
        fleet.statuses.all()
    );
    let next = fleet.statuses.online(from, &fleet.others(active)).await;
    // Its messages on the old connection arrive too late.
    former.proxy.set(Line::Open);
    former.connector.line("another connector is active").await;
    fleet.time_to_reply(1).await;
    fleet.all_answered(flow).await;
    assert_eq!(fleet.statuses.actives(), [former.name, next]);
    assert_eq!(fleet.retained_status().await["replica"], json!(next));
}

#[tokio::test]
async fn a_replica_whose_line_keeps_breaking_is_replaced() {
    let (fleet, active) = Fleet::start(&["a", "b", "c"]).await;
    let former = &fleet.replicas[active];
    let flow = fleet.flow(1000);
    let from = fleet.statuses.count();
    let others = fleet.others(active);
    let next = async { fleet.statuses.online(from, &others).await };
    let cuts = async {
        loop {
            former.proxy.cut();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let next = tokio::select! {
        next = next => next,
        () = cuts => unreachable!(),
    };
    // And the line continues to break.
    for _ in 0..20 {
        former.proxy.cut();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    fleet.time_to_reply(1).await;
    fleet.all_answered(flow).await;
    let actives = fleet.statuses.actives();
    assert!(actives.len() <= 3, "too many takeovers: {actives:?}");
    assert_eq!(fleet.retained_status().await["status"], json!("online"));
    assert_ne!(fleet.retained_status().await["replica"], json!(former.name), "{next}");
}
