//! What operators of fleets find and select vehicles by: labels, and requests to all vehicles.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::connector::BASE;
use crate::support::{DEADLINE, Scene};

const SETTINGS: [(&str, &str); 2] = [("LABELS", "region=eu, model=x"), ("FLEET", "prod-eu")];

#[tokio::test]
async fn labels_are_in_the_status_online_and_offline() {
    let mut scene = Scene::with(&SETTINGS).await;
    let mut status = scene.broker.subscribe(&format!("{BASE}/connector/status"), &[]).await;
    for expected in ["online", "offline"] {
        if expected == "offline" {
            let start = Instant::now();
            assert_eq!(scene.connector.terminate().await.code(), Some(0));
            // It has nothing to wait for.
            assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        }
        let is_expected = |message: &crate::support::Message| message.json()["status"] == expected;
        let message = status.find(expected, is_expected).await;
        assert_eq!(message.json()["labels"], json!({"model": "x", "region": "eu"}));
    }
}

#[tokio::test]
async fn all_vehicles_of_a_fleet_are_asked_by_one_message() {
    let scene = Scene::with(&SETTINGS).await;
    // Retained ones are seen first; `-R` leaves them out.
    let mut status = scene.broker.subscribe(&format!("{BASE}/connector/status"), &["-R"]).await;
    scene.broker.publish("fleet/prod-us/who", r#"{"spread": "0s"}"#, &[]).await;
    scene.broker.publish("fleet/prod-eu/who", r#"{"spread": "2m"}"#, &[]).await;
    scene.broker.publish("fleet/prod-eu/who", "who?", &[]).await;
    let line = scene.connector.line("a request for the status of all vehicles is ignored").await;
    assert!(line.contains("more than 60s"), "{line}");
    let start = Instant::now();
    scene.broker.publish("fleet/prod-eu/who", r#"{"spread": "1s"}"#, &[]).await;
    let message = status.next().await;
    assert!(start.elapsed() < DEADLINE / 4, "{:?}", start.elapsed());
    assert!(!message.retain);
    let answer = message.json();
    assert_eq!((&answer["status"], &answer["ankaios"]), (&json!("online"), &json!("connected")));
    // The other fleet and bad requests got no answer, and the warning is logged once.
    assert!(status.next_within(Duration::from_millis(1)).await.is_none());
    let warnings = scene.connector.output();
    let is_warning = |line: &&String| line.contains("a request for the status");
    assert_eq!(warnings.iter().filter(is_warning).count(), 1);
}

/// A retained request would be answered at each connection.
#[tokio::test]
async fn retained_requests_for_the_status_are_not_answered() {
    let scene = Scene::with(&SETTINGS).await;
    let mut status = scene.broker.subscribe(&format!("{BASE}/connector/status"), &["-R"]).await;
    scene.broker.publish("fleet/prod-eu/who", r#"{"spread": "0s"}"#, &["-r"]).await;
    // A request that comes later is answered, and the answers keep their order.
    scene.request("state", r#"["workloadStates"]"#).await;
    assert!(status.next_within(Duration::from_millis(200)).await.is_none());
    scene.broker.publish("fleet/prod-eu/who", r#"{"spread": "0s"}"#, &[]).await;
    assert_eq!(status.next().await.json()["status"], "online");
}
