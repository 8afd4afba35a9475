//! The active replica ends, and another one takes over.

use std::time::Instant;

use serde_json::{Value, json};

use super::SWITCH_OVER;
use super::fleet::{Fleet, report};
use crate::support::proxy::Line;
use crate::support::{self, DEADLINE, Requester};

#[tokio::test]
async fn a_standby_takes_over_from_a_killed_replica() {
    let (mut fleet, active) = Fleet::start(&["a", "b"]).await;
    let flow = fleet.flow(1000);
    let from = fleet.statuses.count();
    fleet.replicas[active].connector.kill().await;
    let took = fleet.time_to_reply(1).await;
    report("killed", took);
    assert!(took < SWITCH_OVER, "{took:?}");
    let next = fleet.statuses.online(from, &fleet.others(active)).await;
    assert_eq!(fleet.retained_status().await["replica"], json!(next));
    // The former active replica returns and is the standby now.
    fleet.replicas[active].start_again();
    fleet.settled(next).await;
    fleet.all_answered(flow).await;
    assert_eq!(fleet.statuses.actives().len(), 2);
}

#[tokio::test]
async fn a_standby_takes_over_from_a_stopped_replica() {
    let (mut fleet, active) = Fleet::start(&["a", "b"]).await;
    let flow = fleet.flow(1000);
    let from = fleet.statuses.count();
    let begin = Instant::now();
    assert_eq!(fleet.replicas[active].connector.terminate().await.code(), Some(0));
    fleet.time_to_reply(1).await;
    let took = begin.elapsed();
    report("stopped", took);
    assert!(took < SWITCH_OVER, "{took:?}");
    fleet.statuses.online(from, &fleet.others(active)).await;
    fleet.all_answered(flow).await;
    let all = fleet.statuses.all();
    assert!(all.iter().all(|status| status["replica"].is_string()), "{all:?}");
}

#[tokio::test]
async fn of_three_replicas_exactly_one_takes_over() {
    let (mut fleet, mut active) = Fleet::start(&["a", "b", "c"]).await;
    let flow = fleet.flow(1000);
    for (number, stop) in (1..).zip([false, true, false, true]) {
        let from = fleet.statuses.count();
        let begin = Instant::now();
        if stop {
            fleet.replicas[active].connector.terminate().await;
        } else {
            fleet.replicas[active].connector.kill().await;
        }
        fleet.time_to_reply(number).await;
        let took = begin.elapsed();
        report(if stop { "three, stopped" } else { "three, killed" }, took);
        assert!(took < SWITCH_OVER, "{took:?}");
        let next = fleet.statuses.online(from, &fleet.others(active)).await;
        fleet.replicas[active].start_again();
        // If two have become active at the same time, the second one remains active.
        let line = "another connector is active";
        let index = fleet.index(next);
        for other in (0..3).filter(|other| *other != index) {
            fleet.replicas[other].connector.line(line).await;
        }
        let retained = fleet.retained_status().await;
        assert_eq!(retained["status"], json!("online"));
        active =
            ["a", "b", "c"].iter().position(|name| retained["replica"] == json!(name)).unwrap();
    }
    fleet.all_answered(flow).await;
}

#[tokio::test]
async fn streams_continue_on_the_next_replica() {
    let (mut fleet, active) = Fleet::start(&["a", "b"]).await;
    let subscribe = r#"{"id": "door", "field_masks": ["desiredState.configs.door"]}"#;
    fleet.operator.request(1, "events/subscribe", subscribe).await;
    fleet.operator.reply(1, DEADLINE).await.unwrap();
    // After this reply the subscription is acknowledged, so it is not redelivered.
    fleet.time_to_reply(2).await;
    for (number, cut) in [(10, true), (20, false)] {
        let status = fleet.retained_status().await;
        let former = fleet.index(status["replica"].as_str().unwrap());
        let from = fleet.statuses.count();
        let events = fleet.operator.events().len();
        if cut {
            fleet.replicas[former].proxy.set(Line::Refused);
            fleet.replicas[former].proxy.cut();
        } else {
            fleet.replicas[former].connector.kill().await;
        }
        fleet.statuses.online(from, &fleet.others(former)).await;
        // The state as seen by the next replica, then its changes.
        let resynced = |event: &Value| event["resynced"] == json!(true);
        event(&fleet.operator, events, resynced).await;
        let manifest = format!("apiVersion: v1\nconfigs:\n  door: 'open {number}'\n");
        fleet.operator.request(number, "manifest/apply", manifest).await;
        let opened = format!("open {number}");
        let changed = |event: &Value| {
            event["complete_state"]["desired_state"]["configs"]["door"] == json!(opened)
        };
        event(&fleet.operator, events, changed).await;
        if cut {
            // The former replica has cancelled all its subscriptions at Ankaios.
            fleet.replicas[former].proxy.set(Line::Open);
            fleet.replicas[former].connector.line("another replica has taken over").await;
            support::eventually("the end of all streams", DEADLINE, async || {
                let streams = fleet.replicas[former].vehicle.streams();
                // The subscription of the guard, which must know the state at once after a
                // takeover.
                (streams.values().flatten().count() <= 1).then_some(())
            })
            .await;
        }
    }
    assert_eq!(fleet.statuses.actives().len(), 3, "{active}");
}

/// Waits for a matching event at or after this index.
async fn event(operator: &Requester, from: usize, matches: impl Fn(&Value) -> bool) {
    support::eventually("an event", DEADLINE, async || {
        let events = operator.events();
        let values = events.iter().skip(from);
        let mut values = values.map(|event| serde_json::from_slice(&event.payload).unwrap());
        values.any(|event: Value| matches(&event)).then_some(())
    })
    .await;
}
