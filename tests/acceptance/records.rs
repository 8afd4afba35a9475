//! The retained records of subscriptions and rollouts, which the connector reads at its start
//! and any client may have published. Real Mosquitto, real binary, simulated Ankaios.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::connector::BASE;
use crate::support::{Broker, Client, DEADLINE, Scene, eventually, say};

/// The maximum number of subscriptions at the same time.
const MAX_SUBSCRIPTIONS: usize = 256;

/// Without protected workloads the guard has no subscription, so all subscriptions belong to
/// the test.
const SETTINGS: [(&str, &str); 2] = [("PROTECTED_WORKLOADS", ""), ("LOG_LEVEL", "info")];

async fn broker() -> Broker {
    Broker::quiet(&["persistence false"]).await
}

/// Waits until the broker has received everything published before.
async fn wait_for(broker: &Broker, client: &Client, topic: &str) {
    client.retain(topic, "there").await;
    Client::connect(broker.port(), topic).await.next().await;
    client.retain(topic, "").await;
}

/// The retained messages, by the part of the topic after the prefix of the vehicle.
async fn retained(broker: &Broker, filter: &str) -> BTreeMap<String, Value> {
    let mut client = Client::connect(broker.port(), &format!("{BASE}/{filter}")).await;
    let mut kept = BTreeMap::new();
    while let Some(message) = client.next_within(Duration::from_millis(500)).await {
        let topic = String::from_utf8(message.topic.to_vec()).unwrap();
        let record = serde_json::from_slice(&message.payload).unwrap_or_default();
        kept.insert(topic[BASE.len() + 1..].to_owned(), record);
    }
    kept
}

#[tokio::test]
async fn invalid_records_are_removed_and_the_reason_is_logged() {
    let broker = broker().await;
    let client = Client::connect(broker.port(), "nothing").await;
    let later = "2999-01-01T00:00:00Z";
    let workloads = vec!["w"; 101];
    let large = "x".repeat(600_000);
    let forged = [
        ("events/a", json!({"field_masks": [""]}), "the mask \"\" has an empty part"),
        ("events/b", json!({"field_masks": []}), "field_masks: it is empty"),
        ("events/c", json!({"field_masks": ["a..b"]}), "has an empty part"),
        ("events/d", json!({"field_masks": ["a"], "ttl": "1000years"}), "100 years"),
        ("events/e", json!({"field_masks": ["a"], "expires_at": later}), "expires_at: "),
        ("events/f", json!({"field_masks": [large]}), "bytes; the limit is"),
        ("logs/g", json!({"workloads": workloads}), "workloads: 101 with"),
        ("logs/h", json!({"workloads": ["w"], "tail": -1}), "tail: -1 is negative"),
        ("logs/i", json!({"workloads": ["w"], "since": "x"}), "since: "),
        ("logs/j", json!({"workloads": ["w"], "until": "x"}), "until: "),
        ("logs/k", json!({"workloads": ["w"], "more": 1}), "unknown field `more`"),
    ];
    for (topic, record, _) in &forged {
        let mut whole = json!({"id": &topic[topic.len() - 1..], "ttl": "0s", "expires_at": null});
        whole.as_object_mut().unwrap().extend(record.as_object().unwrap().clone());
        client.retain(&format!("{BASE}/{topic}/subscription"), whole.to_string()).await;
    }
    client.retain(&format!("{BASE}/events/no id/subscription"), "{}").await;
    client.retain(&format!("{BASE}/manifest/apply/x/rollout"), "{}").await;
    wait_for(&broker, &client, "all").await;

    let scene = Scene::with_broker(broker, &SETTINGS).await;
    for (topic, _, reason) in &forged {
        let id = format!("id=\"{}\"", &topic[topic.len() - 1..]);
        let line = scene.connector.line(&id).await;
        assert!(line.contains("invalid") && line.contains(&reason.replace('"', "\\\"")), "{line}");
    }
    eventually("nothing is retained", DEADLINE, async || {
        let records = retained(&scene.broker, "+/+/subscription").await;
        let rollouts = retained(&scene.broker, "manifest/apply/+/rollout").await;
        (records.is_empty() && rollouts.is_empty()).then_some(())
    })
    .await;
    assert!(scene.vehicle.streams().values().all(Vec::is_empty));
}

fn record(id: &str, mask: &str) -> String {
    json!({"id": id, "field_masks": [mask], "ttl": "0s", "expires_at": null}).to_string()
}

#[tokio::test]
async fn a_subscription_beyond_the_limit_waits_until_one_ends() {
    let broker = broker().await;
    let client = Client::connect(broker.port(), "nothing").await;
    let ids: BTreeSet<String> = (0..MAX_SUBSCRIPTIONS + 2).map(|id| format!("s{id}")).collect();
    for id in &ids {
        let topic = format!("{BASE}/events/{id}/subscription");
        client.retain(&topic, record(id, "desiredState.configs.x")).await;
    }
    wait_for(&broker, &client, "all").await;
    let scene = Scene::with_broker(broker, &SETTINGS).await;
    scene.connector.line("it waits until another one ends").await;
    eventually("all places are in use", DEADLINE, async || {
        (scene.vehicle.streams()["events"].len() == MAX_SUBSCRIPTIONS).then_some(())
    })
    .await;
    assert_eq!(retained(&scene.broker, "events/+/subscription").await.len(), ids.len());

    let waits = async |line: usize| {
        let waits = |line: &&String| line.contains("it waits until");
        let lines = scene.connector.output();
        let line = lines.iter().filter(waits).nth(line).unwrap();
        let id = line.split_once("id=\"").unwrap().1.split('"').next().unwrap();
        id.to_owned()
    };
    let (first, second) = (waits(0).await, waits(1).await);
    // Both waiting and active subscriptions can be ended.
    let unsubscribe = |id: &str| json!({"id": id}).to_string();
    let reply = scene.request("events/unsubscribe", unsubscribe(&second)).await;
    assert_eq!(reply, json!({"id": second}));
    let live = ids.iter().find(|id| **id != first && **id != second).unwrap();
    scene.request("events/unsubscribe", unsubscribe(live)).await;
    eventually("the waiting one is active", DEADLINE, async || {
        (scene.vehicle.streams()["events"].len() == MAX_SUBSCRIPTIONS).then_some(())
    })
    .await;
    let mut events = scene.client(&format!("events/{first}")).await;
    scene.request("manifest/apply", "apiVersion: v1\nconfigs:\n  x: '1'\n").await;
    events.next().await;
    assert_eq!(retained(&scene.broker, "events/+/subscription").await.len(), ids.len() - 2);
}

#[tokio::test]
async fn a_record_may_be_larger_than_a_request() {
    let broker = broker().await;
    let client = Client::connect(broker.port(), "nothing").await;
    let mask = format!("desiredState.configs.{}", "x".repeat(2_000));
    client.retain(&format!("{BASE}/events/large/subscription"), record("large", &mask)).await;
    wait_for(&broker, &client, "all").await;
    let settings = [("MAX_PAYLOAD_SIZE", "1KiB"), ("LOG_LEVEL", "info")];
    let scene = Scene::with_broker(broker, &settings).await;
    scene.connector.line("a subscription is resumed kind=\"events\" id=\"large\"").await;
}

#[tokio::test]
async fn thousands_of_forged_records_neither_exhaust_memory_nor_delay_requests() {
    const RECORDS: usize = 4000;
    let broker = broker().await;
    let client = Client::connect(broker.port(), "nothing").await;
    // As large as a subscription may be, or too large, or invalid.
    let mask = "x".repeat(16_000);
    for number in 0..RECORDS {
        let id = format!("f{number}");
        let topic = format!("{BASE}/events/{id}/subscription");
        let forged = match number % 4 {
            0 => record(&id, &mask),
            1 => record(&id, &mask.repeat(2)),
            2 => json!({"id": id, "field_masks": "x"}).to_string(),
            _ => "[".repeat(10_000),
        };
        client.retain(&topic, forged).await;
    }
    wait_for(&broker, &client, "all").await;
    let scene = Scene::with_broker(broker, &SETTINGS).await;
    // Mosquitto queues 1,000 messages for a client and drops the others: of the records, and a request
    // that arrives before the connector has taken the first record.
    let patience = Duration::from_secs(5);
    let base = format!("{BASE}/state");
    let reply = eventually("a request is served", DEADLINE, async || {
        scene.broker.try_request(&base, r#"["desiredState.apiVersion"]"#, patience, &[]).await.ok()
    });
    let reply = reply.await.json();
    assert_eq!(reply["desired_state"]["api_version"], json!("v1"), "{reply}");
    let (removed, live) = eventually("all records have been processed", DEADLINE, async || {
        let lines = scene.connector.output();
        let count = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
        let (removed, live) = (count("is invalid; it is removed"), count("is resumed"));
        (removed + live + count("is not resumed") >= 1000).then_some((removed, live))
    })
    .await;
    assert!(removed > 500, "{removed}");
    eventually("the restored ones are active", DEADLINE, async || {
        (scene.vehicle.streams()["events"].len() == live).then_some(())
    })
    .await;
    let memory = scene.connector.peak_memory();
    say(&format!("{RECORDS} forged records: peak of {} MiB\n", memory >> 20));
    assert!(memory < 48 * 1024 * 1024, "{memory} bytes");
}
