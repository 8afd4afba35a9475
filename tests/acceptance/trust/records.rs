//! Retained records of subscriptions and rollouts: anybody who may publish for the vehicle can have
//! retained them, and they have no signatures.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::support::{Client, DEADLINE, eventually};

const APPLY: &str = "manifest/apply";

/// A trust file that requires signatures for what records do, too.
fn strict(trusting: &Trusting) -> String {
    let reads = "state/update, state, workload/wait, events/subscribe, logs/subscribe";
    trusting.file().replace("state/update", reads)
}

/// Retains records that nobody has signed, and waits until the broker has them.
async fn plant(scene: &Scene) {
    let client = scene.client("connector/status").await;
    let common = json!({"id": "planted", "ttl": "0s", "expires_at": null});
    let with = |name: &str, value: Value| {
        let mut record = common.clone();
        record[name] = value;
        record.to_string()
    };
    let rollout = json!({
        "request_id": "planted", "expires_at": "2999-01-01T00:00:00Z",
        "workloads": [{"workload_name": "app", "workload_id": "1", "agent_name": "agent_A"}]
    });
    for (topic, record) in [
        ("events/planted/subscription", with("field_masks", json!(["desiredState"]))),
        ("logs/planted/subscription", with("workloads", json!(["app"]))),
        ("manifest/apply/0abc/rollout", rollout.to_string()),
    ] {
        let topic = format!("{BASE}/{topic}");
        client.retain(&topic, record).await;
        Client::connect(scene.broker.port(), &topic).await.next().await;
    }
}

/// The topics of the retained records, without the prefix of the vehicle.
async fn retained(scene: &Scene) -> BTreeSet<String> {
    let mut topics = BTreeSet::new();
    for filter in ["+/+/subscription", "manifest/apply/+/rollout"] {
        let mut client = scene.client(filter).await;
        while let Some(message) = client.next_within(Duration::from_millis(500)).await {
            let topic = String::from_utf8(message.topic.to_vec()).unwrap();
            topics.insert(topic[BASE.len() + 1..].to_owned());
        }
    }
    topics
}

/// The lines about a record that is ignored.
async fn ignored_lines(scene: &Scene) {
    let reason = "the trust file requires signatures for what it would do";
    for part in ["kind=\"events\"", "kind=\"logs\"", "a rollout is not resumed"] {
        eventually(part, DEADLINE, async || {
            let lines = scene.connector.output();
            let is_about = |line: &&String| {
                line.contains("is not resumed") && line.contains(part) && line.contains(reason)
            };
            lines.iter().find(is_about).map(|line| assert!(line.contains("WARN"), "{line}"))
        })
        .await;
    }
}

/// Waits until these records are left.
async fn left(scene: &Scene, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|&topic| topic.to_owned()).collect();
    eventually("planted records are removed", DEADLINE, async || {
        (retained(scene).await == expected).then_some(())
    })
    .await;
}

/// Settings without other subscriptions at Ankaios.
fn settings(trusting: &Trusting) -> Vec<(String, String)> {
    let mut settings = trusting.settings();
    settings.push(("PROTECTED_WORKLOADS".into(), String::new()));
    settings
}

#[tokio::test]
async fn only_the_store_resumes_what_needs_a_signature() {
    let trusting = Trusting::new();
    trusting.mount(&strict(&trusting));
    let settings = settings(&trusting);
    let mut scene = Scene::with(&borrowed(&settings)).await;
    let subscribe = json!({"id": "mine", "field_masks": ["desiredState.configs"], "ttl": "0s"});
    let reply = scene.request("events/subscribe", subscribe.to_string()).await;
    assert_eq!(refusal(&reply), untrusted("unsigned"), "{reply}");
    let signed = trusting.sign(&statement("events/subscribe", 1), &subscribe.to_string());
    let reply = scene.request("events/subscribe", signed).await;
    assert_eq!(reply["id"], "mine", "{reply}");
    scene.connector.terminate().await;
    plant(&scene).await;
    scene.restart_connector(&borrowed(&settings)).await;

    ignored_lines(&scene).await;
    left(&scene, &["events/mine/subscription"]).await;
    assert!(scene.vehicle.streams()["logs"].is_empty());
    let mut events = scene.client("events/+").await;
    let change = trusting.sign(&statement(APPLY, 1), &config("door", "open"));
    let reply = scene.request(APPLY, change).await;
    assert_eq!(reply["revision"], 1, "{reply}");
    let event = events.next().await;
    assert_eq!(&event.topic[..], format!("{BASE}/events/mine").as_bytes());
}

#[tokio::test]
async fn a_replica_resumes_nothing_that_needs_a_signature() {
    let trusting = Trusting::new();
    trusting.mount(&strict(&trusting));
    let mut settings = settings(&trusting);
    settings.push(("REPLICA_ID".into(), "a".into()));
    let mut scene = Scene::with(&borrowed(&settings)).await;
    let subscribe = json!({"id": "mine", "field_masks": ["desiredState.configs"], "ttl": "0s"});
    let signed = trusting.sign(&statement("events/subscribe", 1), &subscribe.to_string());
    let reply = scene.request("events/subscribe", signed).await;
    assert_eq!(reply["id"], "mine", "{reply}");
    scene.connector.terminate().await;
    plant(&scene).await;
    scene.restart_connector(&borrowed(&settings)).await;
    ignored_lines(&scene).await;
    // The operators see that it has ended.
    left(&scene, &[]).await;
}

#[tokio::test]
async fn what_needs_no_signature_is_resumed_from_the_broker() {
    let trusting = Trusting::new();
    let settings = settings(&trusting);
    let mut scene = Scene::with(&borrowed(&settings)).await;
    scene.connector.terminate().await;
    plant(&scene).await;
    scene.restart_connector(&borrowed(&settings)).await;
    for kind in ["kind=\"events\"", "kind=\"logs\""] {
        let is_about =
            |line: &&String| line.contains("a subscription is resumed") && line.contains(kind);
        eventually(kind, DEADLINE, async || {
            scene.connector.output().iter().find(is_about).map(drop)
        })
        .await;
    }
    assert!(retained(&scene).await.contains("manifest/apply/0abc/rollout"));
}
