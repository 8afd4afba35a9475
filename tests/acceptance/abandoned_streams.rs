//! Streams that Ankaios continues to send although nobody needs them any more must be
//! cancelled: real Mosquitto, real binary, simulated Ankaios.

use std::time::Duration;

use vehicle_simulator::Fault;

use crate::support::{Scene, eventually};

const SECOND: Duration = Duration::from_secs(1);

/// The numbers of event and log subscriptions on the vehicle.
fn count(scene: &Scene) -> [usize; 2] {
    let streams = scene.vehicle.streams();
    ["events", "logs"].map(|kind| streams[kind].len())
}

/// Waits until the vehicle has this many subscriptions and the number no longer changes.
async fn settles_at(scene: &Scene, expected: [usize; 2]) {
    let what = format!("{expected:?} streams");
    eventually(&what, 10 * SECOND, async || (count(scene) == expected).then_some(())).await;
}

/// A scene with a subscription of each kind, and the numbers of subscriptions on the vehicle.
async fn scene() -> (Scene, [usize; 2]) {
    let scene = Scene::with(&[("REQUEST_TIMEOUT", "1s")]).await;
    let events = r#"{"id": "e", "field_masks": ["desiredState.configs"]}"#;
    scene.request("events/subscribe", events).await;
    let logs = r#"{"id": "l", "workloads": ["fleetconnector"], "follow": true}"#;
    scene.request("logs/subscribe", logs).await;
    // The connector's own subscriptions are created asynchronously.
    let expected = [3, 1];
    settles_at(&scene, expected).await;
    (scene, expected)
}

/// Waits until new streams have replaced the former ones, which must be cancelled.
async fn are_replaced(scene: &Scene, former: &[String], expected: [usize; 2]) {
    eventually("new streams", 10 * SECOND, async || {
        let streams = scene.vehicle.streams();
        let all: Vec<_> = streams.values().flatten().collect();
        (all.len() >= expected.iter().sum() && all.iter().any(|id| !former.contains(id)))
            .then_some(())
    })
    .await;
    settles_at(scene, expected).await;
}

fn ids(scene: &Scene) -> Vec<String> {
    scene.vehicle.streams().into_values().flatten().collect()
}

#[tokio::test]
async fn streams_abandoned_after_garbled_input_are_cancelled() {
    let (scene, expected) = scene().await;
    let former = ids(&scene);
    scene.vehicle.inject(&[0xff; 20]).await.unwrap();
    are_replaced(&scene, &former, expected).await;
}

#[tokio::test]
async fn streams_abandoned_because_the_fifos_were_removed_are_cancelled() {
    let (scene, expected) = scene().await;
    let former = ids(&scene);
    scene.vehicle.swap_session().await.unwrap();
    are_replaced(&scene, &former, expected).await;
    let former = ids(&scene);
    scene.vehicle.unlink_fifos().await.unwrap();
    are_replaced(&scene, &former, expected).await;
}

#[tokio::test]
async fn streams_abandoned_because_the_agent_reopened_output_are_cancelled() {
    let (scene, expected) = scene().await;
    let former = ids(&scene);
    // Like an agent that continues with the next frame in the same session.
    drop(std::fs::File::open(scene.vehicle.control_interface().join("output")).unwrap());
    are_replaced(&scene, &former, expected).await;
}

#[tokio::test]
async fn a_stream_that_starts_only_after_the_timeout_is_cancelled() {
    let (scene, expected) = scene().await;
    scene.vehicle.inject_fault(1, Fault::DelayAnswer(2 * SECOND), |request| {
        format!("{request:?}").contains("LogsRequest(")
    });
    let logs = r#"{"id": "late", "workloads": ["fleetconnector"], "follow": true}"#;
    let reply = scene.request("logs/subscribe", logs).await;
    assert_eq!(reply["error"]["code"], "timeout", "{reply}");
    settles_at(&scene, expected).await;
}
