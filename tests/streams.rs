//! Subscriptions to events and logs, roll-outs and waiting, from outside: real
//! Mosquitto, real binary, simulated Ankaios.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use support::connector::BASE;
use support::scene::payload;
use support::{Broker, Client, Scene, eventually};
use vehicle_simulator::UNKNOWN_IMAGE;

/// The guard subscribes to what is protected; without it all subscriptions are those
/// of the test.
const UNGUARDED: (&str, &str) = ("PROTECTED_WORKLOADS", "");

fn code(reply: &Value) -> &str {
    reply["error"]["code"].as_str().unwrap_or_else(|| panic!("no error: {reply}"))
}

fn workload(name: &str, image: &str) -> String {
    format!(
        "apiVersion: v1\nworkloads:\n  {name}:\n    runtime: podman\n    agent: agent_A\n    \
         runtimeConfig: 'image: {image}'\n"
    )
}

fn config(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nconfigs:\n  {name}: '{value}'\n")
}

/// The next message of a client as JSON, for which a condition holds.
async fn find(client: &mut Client, condition: impl Fn(&Value) -> bool) -> Value {
    loop {
        let message = payload(&client.next().await);
        if condition(&message) {
            return message;
        }
    }
}

#[tokio::test]
async fn custom_events_come_in_order_with_what_has_changed() {
    let scene = Scene::start().await;
    let mut events = scene.client("events/mine").await;
    let request = r#"{"id": "mine", "field_masks": ["desiredState.configs.door", "desiredState.configs.w*"]}"#;
    let reply = scene.request("events/subscribe", request).await;
    assert_eq!(reply["id"], json!("mine"));
    assert_eq!(reply["topic"], json!("vehicle/1/events/mine"));
    assert_eq!(reply["expires_in_s"], json!(3600));
    assert_eq!(reply["complete_state"]["desired_state"]["configs"], json!({}));

    for value in 0..20 {
        scene.request("manifest/apply", config("door", &value.to_string())).await;
    }
    for value in 0..20 {
        let event = payload(&events.next().await);
        let configs = &event["complete_state"]["desired_state"]["configs"];
        assert_eq!(configs["door"], json!(value.to_string()), "{event}");
        let kind = if value == 0 { "added_fields" } else { "updated_fields" };
        assert_eq!(event[kind].as_array().map(Vec::len), Some(1), "{event}");
        assert_eq!(event["removed_fields"], json!([]));
        assert!(event["resynced"].is_null());
    }
    scene.request("manifest/delete", config("door", "")).await;
    let event = payload(&events.next().await);
    assert_eq!(event["removed_fields"].as_array().map(Vec::len), Some(1), "{event}");

    let reply = scene.request("events/unsubscribe", r#"{"id": "mine"}"#).await;
    assert_eq!(reply, json!({"id": "mine"}));
    scene.request("manifest/apply", config("door", "x")).await;
    assert!(events.next_within(Duration::from_millis(500)).await.is_none());
    let reply = scene.request("events/unsubscribe", r#"{"id": "mine"}"#).await;
    assert_eq!(code(&reply), "not_found");
}

#[tokio::test]
async fn bad_subscriptions_are_refused_with_the_field_and_the_reason() {
    let scene = Scene::start().await;
    for (operation, payload, part) in [
        ("events/subscribe", "", "EOF"),
        ("events/subscribe", "[]", "field_masks"),
        ("events/subscribe", r#"[""]"#, "field_masks"),
        ("events/subscribe", r#"{"field_masks": ["a"], "mask": 1}"#, "`mask`"),
        ("events/subscribe", r#"{"field_masks": ["a"], "id": "a/b"}"#, "id:"),
        ("events/subscribe", r#"{"field_masks": ["a"], "ttl": "-1s"}"#, "ttl:"),
        ("events/subscribe", r#"{"field_masks": ["a"], "ttl": 5}"#, "integer"),
        ("events/unsubscribe", "{}", "`id`"),
        ("logs/subscribe", "{}", "`workloads`"),
        ("logs/subscribe", r#"{"workloads": []}"#, "workloads:"),
        ("logs/subscribe", r#"{"workloads": ["a"], "tail": -1}"#, "tail:"),
        ("logs/subscribe", r#"{"workloads": ["a"], "since": "yesterday"}"#, "since:"),
        ("logs/subscribe", r#"{"workloads": ["a"], "until": "1"}"#, "until:"),
        ("logs/subscribe", r#"{"workloads": ["a"], "follow": "yes"}"#, "boolean"),
        ("workload/wait", r#"{"workload_name": "a"}"#, "`state`"),
        ("workload/wait", r#"{"workload_name": "a", "state": "running"}"#, "RUNNING"),
        ("workload/wait", r#"{"workload_name": "*", "state": "RUNNING"}"#, "workload_name:"),
        (
            "workload/wait",
            r#"{"workload_name": "a", "state": "RUNNING", "timeout": "x"}"#,
            "timeout:",
        ),
        (
            "workload/wait",
            r#"{"workload_name": "a", "state": "RUNNING", "timeout": "2h"}"#,
            "timeout:",
        ),
        ("state/update", r#"{"update_mask": [], "state": {}}"#, "update_mask:"),
        ("state/update", r#"{"update_mask": ["a..b"], "state": {}}"#, "update_mask:"),
        ("state/update", r#"{"update_mask": ["a"]}"#, "`state`"),
        ("state/update", r#"{"update_mask": ["a"], "state": {"desired_state": {}}}"#, "state:"),
    ] {
        let reply = scene.request(operation, payload).await;
        assert_eq!(code(&reply), "invalid_payload", "{operation} {payload}: {reply}");
        let message = reply["error"]["message"].as_str().unwrap();
        assert!(message.contains(part), "{operation} {payload}: {message}");
    }
    let reply = scene.request("logs/subscribe", r#"{"workloads": ["nobody"]}"#).await;
    assert_eq!(code(&reply), "not_found");
    scene.vehicle.set_access(Default::default());
    let reply = scene.request("events/subscribe", r#"["workloadStates"]"#).await;
    assert_eq!(code(&reply), "access_denied");
}

#[tokio::test]
async fn a_subscription_ends_with_its_ttl_and_is_replaced_by_one_of_the_same_id() {
    let scene = Scene::with(&[UNGUARDED]).await;
    let mut records = scene.client("events/+/subscription").await;
    let mut events = scene.client("events/x").await;
    let subscribe =
        |mask: &str, ttl: &str| json!({"id": "x", "field_masks": [mask], "ttl": ttl}).to_string();
    scene.request("events/subscribe", subscribe("desiredState.configs.a", "0s")).await;
    let record = payload(&records.next().await);
    assert_eq!(record["expires_at"], Value::Null);
    scene.request("events/subscribe", subscribe("desiredState.configs.b", "2s")).await;
    let record = payload(&records.next().await);
    assert!(record["expires_at"].is_string());
    assert_eq!(scene.vehicle.streams()["events"].len(), 1);

    scene.request("manifest/apply", config("a", "1")).await;
    scene.request("manifest/apply", config("b", "1")).await;
    let event = payload(&events.next().await);
    assert_eq!(event["complete_state"]["desired_state"]["configs"], json!({"b": "1"}));

    assert!(records.next().await.payload.is_empty(), "the record is removed in the end");
    eventually("Ankaios is told", Duration::from_secs(5), async || {
        scene.vehicle.streams()["events"].is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn subscriptions_survive_restarts_of_agent_server_connector_and_broker() {
    let broker = Broker::persistent().await;
    let mut scene = Scene::around(broker, &[]).await;
    let mut events = scene.client("events/x").await;
    let request = r#"{"id": "x", "field_masks": ["desiredState.configs"], "ttl": "0s"}"#;
    scene.request("events/subscribe", request).await;
    let resynced = |event: &Value| event["resynced"] == json!(true);
    let mut value = 0;
    for fault in ["agent", "server", "connector", "broker"] {
        match fault {
            "agent" => scene.vehicle.restart_agent(Duration::from_millis(50)).await.unwrap(),
            "server" => scene.vehicle.restart_server().await.unwrap(),
            "connector" => {
                scene.connector.kill().await;
                scene.vehicle.start_agent().await.unwrap();
                scene.restart_connector(&[]).await;
            }
            _ => {
                scene.broker.stop().await;
                scene.broker.start_again().await;
                events = scene.client("events/x").await;
                scene.connector.line("session_present=true").await;
            }
        }
        if fault != "broker" {
            find(&mut events, resynced).await;
        }
        value += 1;
        let wanted = json!({"x": value.to_string()});
        scene.request("manifest/apply", config("x", &value.to_string())).await;
        let event = find(&mut events, |event| {
            event["complete_state"]["desired_state"]["configs"] == wanted
        });
        let event = event.await;
        assert!(!resynced(&event), "{fault}: {event}");
    }
    let reply = scene.request("events/unsubscribe", r#"{"id": "x"}"#).await;
    assert_eq!(reply, json!({"id": "x"}));
}

#[tokio::test]
async fn logs_are_followed_over_restarts_of_the_workload() {
    let scene = Scene::start().await;
    scene.request("manifest/apply", workload("talker", "localhost/talker")).await;
    let wait = r#"{"workload_name": "talker", "state": "RUNNING"}"#;
    let running = scene.request("workload/wait", wait).await;
    assert_eq!(running["execution_state"]["substate"], json!("RUNNING_OK"), "{running}");
    assert_eq!(running["agent_name"], json!("agent_A"));
    scene.vehicle.log("talker", ["one", "two", "three"]).await.unwrap();

    let mut logs = scene.client("logs/l").await;
    let request = r#"{"id": "l", "workloads": ["talker"], "follow": true, "tail": 2}"#;
    let reply = scene.request("logs/subscribe", request).await;
    assert_eq!(reply["topic"], json!("vehicle/1/logs/l"));
    let instance = &reply["workloads"][0];
    assert_eq!(instance["workload_id"], running["workload_id"]);
    let mut lines = Vec::new();
    while lines.len() < 2 {
        for entry in payload(&logs.next().await)["entries"].as_array().unwrap() {
            assert_eq!(entry["workload_id"], instance["workload_id"]);
            lines.push(entry["message"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(lines, ["two", "three"]);

    // Changed: the same workload, another instance.
    scene.request("manifest/apply", workload("talker", "localhost/talker:2")).await;
    let stopped = find(&mut logs, |message| !message["stopped"].is_null()).await;
    assert_eq!(stopped["stopped"]["workload_id"], instance["workload_id"]);
    let entries = async {
        loop {
            // When exactly its log is asked for does not show.
            let _ = scene.vehicle.log("talker", ["again"]).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let message = tokio::select! {
        message = find(&mut logs, |message| !message["entries"].is_null()) => message,
        () = entries => unreachable!(),
    };
    assert_ne!(message["entries"][0]["workload_id"], instance["workload_id"]);
    assert_eq!(message["entries"][0]["message"], json!("again"));

    scene.request("logs/unsubscribe", r#"{"id": "l"}"#).await;
    find(&mut logs, |message| *message == json!({"ended": true})).await;
    assert!(logs.next_within(Duration::from_millis(500)).await.is_none());
}

#[tokio::test]
async fn logs_that_are_not_followed_end() {
    let scene = Scene::start().await;
    scene.request("manifest/apply", workload("talker", "localhost/talker")).await;
    let wait = r#"{"workload_name": "talker", "state": "RUNNING"}"#;
    scene.request("workload/wait", wait).await;
    scene.vehicle.log("talker", ["one", "two"]).await.unwrap();
    let mut logs = scene.client("logs/l").await;
    scene.request("logs/subscribe", r#"{"id": "l", "workloads": ["talker"]}"#).await;
    let mut messages = Vec::new();
    while messages.last() != Some(&json!({"ended": true})) {
        messages.push(payload(&logs.next().await));
    }
    let kinds: Vec<_> = messages
        .iter()
        .map(|message| message.as_object().unwrap().keys().next().unwrap())
        .collect();
    assert_eq!(kinds[kinds.len() - 2..], ["stopped", "ended"]);
    assert_eq!(messages[0]["entries"][0]["message"], json!("one"));
    eventually("its record is gone", Duration::from_secs(5), async || {
        let reply = scene.request("logs/unsubscribe", r#"{"id": "l"}"#).await;
        (reply["error"]["code"] == json!("not_found")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_roll_out_is_followed_until_it_has_settled() {
    let scene = Scene::with(&[UNGUARDED]).await;
    let mut status = scene.client("manifest/apply/status").await;
    let options = ["-D", "publish", "user-property", "request-id", "roll-1"];
    let applied = scene.reply("manifest/apply", workload("good", "localhost/good"), &options).await;
    let instance = applied.json()["added_workloads"][0].clone();
    let mut seen = Vec::new();
    let last = loop {
        let message = payload(&status.next().await);
        assert_eq!(message["request_id"], json!("roll-1"));
        assert_eq!(message["workloads"][0]["workload_id"], instance["workload_id"]);
        seen.push(message["status"].as_str().unwrap().to_owned());
        if message["status"] != json!("in_progress") {
            break message;
        }
    };
    assert_eq!(last["status"], json!("succeeded"), "{seen:?}");
    assert_eq!(last["workloads"][0]["execution_state"]["state"], json!("RUNNING"));

    let bad = workload("bad", UNKNOWN_IMAGE);
    scene.request("manifest/apply", &bad).await;
    let last = find(&mut status, |message| message["status"] != json!("in_progress")).await;
    assert_eq!(last["status"], json!("failed"));
    let state = &last["workloads"][0]["execution_state"];
    assert_eq!(state["substate"], json!("PENDING_STARTING_FAILED"));
    assert!(state["additional_info"].as_str().unwrap().contains("No more retries"), "{state}");

    // Nothing has changed, so there is nothing to wait for.
    scene.request("manifest/apply", workload("good", "localhost/good")).await;
    let last = payload(&status.next().await);
    assert_eq!((&last["status"], &last["workloads"]), (&json!("succeeded"), &json!([])));
    eventually("no subscription is left", Duration::from_secs(5), async || {
        scene.vehicle.streams()["events"].is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_roll_out_is_superseded_or_given_up() {
    let scene = Scene::with(&[("ROLLOUT_TIMEOUT", "3s")]).await;
    let mut status = scene.client("manifest/apply/status").await;
    // An agent that does not exist: the workload is never scheduled.
    let waiting = workload("slow", "localhost/slow").replace("agent_A", "agent_Z");
    scene.request("manifest/apply", &waiting).await;
    let changed = waiting.replace("localhost/slow", "localhost/slow:2");
    scene.request("manifest/apply", &changed).await;
    let superseded = find(&mut status, |message| message["status"] == json!("superseded")).await;
    let given_up = find(&mut status, |message| message["status"] == json!("timed_out")).await;
    assert_ne!(superseded["request_id"], given_up["request_id"]);
    let ids: BTreeSet<_> = [&superseded, &given_up]
        .map(|message| message["workloads"][0]["workload_id"].as_str().unwrap())
        .into();
    assert_eq!(ids.len(), 2);
}

#[tokio::test]
async fn waiting_ends_with_the_state_or_with_a_timeout() {
    let scene = Scene::start().await;
    let wait = r#"{"workload_name": "later", "state": "RUNNING", "timeout": "1s"}"#;
    let reply = scene.request("workload/wait", wait).await;
    assert_eq!(code(&reply), "timeout");

    let mut client = scene.client("wait/resp").await;
    let wait = r#"{"workload_name": "later", "agent_name": "agent_A", "state": "FAILED"}"#;
    let reply_topic = format!("{BASE}/wait/resp");
    client.request(&format!("{BASE}/workload/wait/req"), wait, &reply_topic, 1).await;
    scene.request("manifest/apply", workload("later", "localhost/later")).await;
    let running = r#"{"workload_name": "later", "state": "RUNNING"}"#;
    scene.request("workload/wait", running).await;
    scene.vehicle.crash("later").unwrap();
    let reply = payload(&client.next().await);
    assert_eq!(reply["execution_state"]["state"], json!("FAILED"), "{reply}");
    assert_eq!(reply["workload_name"], json!("later"));
}

#[tokio::test]
async fn single_fields_and_agent_tags_can_be_updated() {
    let scene = Scene::start().await;
    scene.request("manifest/apply", workload("w", "localhost/w")).await;
    let update = json!({
        "update_mask": ["desiredState.workloads.w.restartPolicy"],
        "state": {"desiredState": {"apiVersion": "v1", "workloads": {"w": {"restartPolicy": "ALWAYS"}}}},
    });
    let reply = scene.request("state/update", update.to_string()).await;
    assert!(reply["added_workloads"].is_array(), "{reply}");
    let state = scene.request("state", r#"["desiredState.workloads.w"]"#).await;
    let w = &state["desired_state"]["workloads"]["w"];
    assert_eq!((&w["restartPolicy"], &w["runtime"]), (&json!("ALWAYS"), &json!("podman")));

    let update = json!({
        "update_mask": ["agents.agent_A.tags"],
        "state": {"agents": {"agent_A": {"tags": {"zone": "front"}}}},
    });
    let reply = scene.request("state/update", update.to_string()).await;
    assert!(reply["added_workloads"].is_array(), "{reply}");
    let state = scene.request("state", r#"["agents"]"#).await;
    assert_eq!(state["agents"]["agent_A"]["tags"], json!({"zone": "front"}));
}

#[tokio::test]
async fn a_hundred_subscriptions_live_side_by_side() {
    let scene = Scene::with(&[("LOG_LEVEL", "info"), UNGUARDED]).await;
    let mut events = scene.client("events/+").await;
    for number in 0..100 {
        let request =
            json!({"id": format!("s{number}"), "field_masks": ["desiredState.configs.x"]});
        scene.request("events/subscribe", request.to_string()).await;
    }
    assert_eq!(scene.vehicle.streams()["events"].len(), 100);
    scene.request("manifest/apply", config("x", "1")).await;
    let mut topics = BTreeSet::new();
    while topics.len() < 100 {
        topics.insert(events.next().await.topic);
    }
}

#[tokio::test]
async fn ten_thousand_events_arrive_without_a_gap() {
    const EVENTS: usize = 10_000;
    let scene = Scene::with(&[("LOG_LEVEL", "warn")]).await;
    let mut events = scene.client("events/fast").await;
    let request = r#"{"id": "fast", "field_masks": ["workloadStates"]}"#;
    scene.request("events/subscribe", request).await;
    let instance = scene.vehicle.instance("fleetconnector").unwrap();
    let produce = async {
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        for number in 0..EVENTS {
            // A thousand per second, ten at a time.
            if number % 10 == 0 {
                tick.tick().await;
            }
            let mut state = vehicle_simulator::execution::running();
            state.additional_info = Some(number.to_string());
            scene.vehicle.set_execution_state(&instance, state);
        }
    };
    let consume = async {
        for expected in 0..EVENTS {
            let event = payload(&events.next().await);
            let states = &event["complete_state"]["workload_states"]["agent_A"]["fleetconnector"];
            let info = &states[&instance.id]["additional_info"];
            assert_eq!(info, &json!(expected.to_string()), "{event}");
        }
    };
    tokio::join!(produce, consume);
}
