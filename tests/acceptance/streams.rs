//! Subscriptions to events and logs, rollouts and waits: real Mosquitto, real binary,
//! simulated Ankaios.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ankaios_model::InstanceName;
use ankaios_model::proto::ank_base::execution_state::ExecutionStateEnum;
use ankaios_model::proto::ank_base::request::RequestContent;
use ankaios_model::proto::ank_base::response::ResponseContent;
use ankaios_model::proto::ank_base::{ExecutionState, Failed, LogsStopResponse, Response};
use ankaios_model::proto::control_api::FromAnkaios;
use ankaios_model::proto::control_api::from_ankaios::FromAnkaiosEnum;
use prost::Message;
use serde_json::{Value, json};
use tokio::sync::watch;
use vehicle_simulator::{Fault, UNKNOWN_IMAGE};

use crate::support::client::number;
use crate::support::connector::BASE;
use crate::support::scene::{find, payload, workload};
use crate::support::{Broker, DEADLINE, Scene, eventually};

/// Without protected workloads the guard has no subscription, so all subscriptions belong to
/// the test.
const UNGUARDED: (&str, &str) = ("PROTECTED_WORKLOADS", "");

fn code(reply: &Value) -> &str {
    reply["error"]["code"].as_str().unwrap_or_else(|| panic!("no error: {reply}"))
}

fn config(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nconfigs:\n  {name}: '{value}'\n")
}

#[tokio::test]
async fn events_arrive_in_order_with_the_changed_fields() {
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
async fn invalid_subscriptions_are_refused_with_the_field_and_the_reason() {
    let scene = Scene::start().await;
    let many_masks = json!(vec!["desiredState"; 101]).to_string();
    let long_mask = json!(["x".repeat(20_000)]).to_string();
    for (operation, payload, part) in [
        ("events/subscribe", "", "EOF"),
        ("events/subscribe", "[]", "field_masks"),
        ("events/subscribe", r#"[""]"#, "field_masks"),
        ("events/subscribe", r#"{"field_masks": ["a"], "mask": 1}"#, "`mask`"),
        ("events/subscribe", r#"{"field_masks": ["a"], "id": "a/b"}"#, "id:"),
        ("events/subscribe", r#"{"field_masks": ["a"], "ttl": "-1s"}"#, "ttl:"),
        ("events/subscribe", r#"{"field_masks": ["a"], "ttl": 5}"#, "number"),
        ("events/unsubscribe", "{}", "`id`"),
        ("logs/subscribe", "{}", "`workloads`"),
        ("logs/subscribe", r#"{"workloads": []}"#, "workloads:"),
        ("logs/subscribe", r#"{"workloads": ["a"], "tail": -1}"#, "tail:"),
        ("logs/subscribe", r#"{"workloads": ["a"], "since": "yesterday"}"#, "since:"),
        ("logs/subscribe", r#"{"workloads": ["a"], "until": "1"}"#, "until:"),
        ("logs/subscribe", r#"{"workloads": ["a"], "follow": "yes"}"#, "follow: invalid type"),
        ("logs/subscribe", r#"{"workloads": ["a", 1]}"#, "workloads[1]: invalid type: number"),
        (
            "logs/subscribe",
            r#"{"workloads": ["a.b"]}"#,
            "workloads[0]: \"a.b\" is not a valid workload name",
        ),
        ("logs/subscribe", r#"{"workloads": [{"agent_name": "a"}]}"#, "workloads[0]: missing"),
        ("logs/subscribe", r#"{"workloads": ["a"]} x"#, "trailing"),
        ("events/subscribe", r#"["a", 1]"#, "[1]: invalid type: number"),
        ("events/subscribe", &many_masks, "field_masks: 101 with"),
        ("events/subscribe", &long_mask, "field_masks: 1 with 20000 bytes"),
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

/// Sends requests one after the other, without waiting for replies, and returns the replies in
/// the order of the requests.
async fn pipeline(scene: &Scene, requests: &[(&str, Value)]) -> Vec<Value> {
    let mut client = scene.client("pipelined/resp").await;
    let reply_topic = format!("{BASE}/pipelined/resp");
    for (number, (operation, request)) in (0..).zip(requests) {
        let topic = format!("{BASE}/{operation}/req");
        client.request(&topic, request.to_string(), &reply_topic, number).await;
    }
    let mut replies = BTreeMap::new();
    while replies.len() < requests.len() {
        let reply = client.next().await;
        replies.insert(number(&reply), payload(&reply));
    }
    replies.into_values().collect()
}

#[tokio::test]
async fn pipelined_requests_for_one_subscription_take_effect_in_order() {
    let scene = Scene::with(&[UNGUARDED]).await;
    let delayed_subscription = |scene: &Scene| {
        let fault = Fault::DelayAnswer(Duration::from_millis(500));
        let subscribes = |content: &RequestContent| {
            matches!(content,
            RequestContent::CompleteStateRequest(request) if request.subscribe_for_events)
        };
        scene.vehicle.inject_fault(1, fault, move |request| {
            request.request_content.as_ref().is_some_and(subscribes)
        });
    };
    let subscribe = |config: &str| {
        let mask = format!("desiredState.configs.{config}");
        ("events/subscribe", json!({"id": "x", "field_masks": [mask]}))
    };
    let unsubscribe = ("events/unsubscribe", json!({"id": "x"}));

    delayed_subscription(&scene);
    let replies = pipeline(&scene, &[subscribe("a"), unsubscribe.clone()]).await;
    assert_eq!((&replies[0]["id"], &replies[1]), (&json!("x"), &json!({"id": "x"})), "{replies:?}");
    eventually("nothing is left", DEADLINE, async || {
        scene.vehicle.streams()["events"].is_empty().then_some(())
    })
    .await;

    delayed_subscription(&scene);
    pipeline(&scene, &[subscribe("a"), subscribe("b")]).await;
    let mut events = scene.client("events/x").await;
    scene.request("manifest/apply", config("a", "1")).await;
    scene.request("manifest/apply", config("b", "1")).await;
    let event = payload(&events.next().await);
    assert_eq!(event["complete_state"]["desired_state"]["configs"], json!({"b": "1"}));

    let logs =
        ("logs/subscribe", json!({"id": "x", "workloads": ["fleetconnector"], "follow": true}));
    let replies = pipeline(&scene, &[logs, ("logs/unsubscribe", json!({"id": "x"}))]).await;
    assert_eq!((&replies[0]["id"], &replies[1]), (&json!("x"), &json!({"id": "x"})), "{replies:?}");
}

#[tokio::test]
async fn the_number_of_subscriptions_is_limited() {
    let scene = Scene::with(&[("LOG_LEVEL", "info"), UNGUARDED]).await;
    let subscribe = |id: usize| {
        (
            "events/subscribe",
            json!({"id": id.to_string(), "field_masks": ["desiredState.configs.x"]}),
        )
    };
    let requests: Vec<_> = (0..257).map(subscribe).collect();
    let replies = pipeline(&scene, &requests).await;
    let refused: Vec<_> = replies.iter().filter(|reply| reply["id"].is_null()).collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(code(refused[0]), "forbidden");
    assert!(refused[0]["error"]["message"].as_str().unwrap().contains("256"));
    // An active subscription may be renewed.
    assert!(pipeline(&scene, &[subscribe(0)]).await[0]["id"].is_string());
    // The end of the others is sent to Ankaios after the reply.
    eventually("256 are left", DEADLINE, async || {
        (scene.vehicle.streams()["events"].len() == 256).then_some(())
    })
    .await;
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
    // The end of the first one is sent to Ankaios after the reply.
    eventually("one is left", DEADLINE, async || {
        (scene.vehicle.streams()["events"].len() == 1).then_some(())
    })
    .await;

    scene.request("manifest/apply", config("a", "1")).await;
    scene.request("manifest/apply", config("b", "1")).await;
    let event = payload(&events.next().await);
    assert_eq!(event["complete_state"]["desired_state"]["configs"], json!({"b": "1"}));

    assert!(records.next().await.payload.is_empty(), "the record is removed");
    eventually("Ankaios has received the end", Duration::from_secs(5), async || {
        scene.vehicle.streams()["events"].is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn subscriptions_survive_restarts_of_agent_server_connector_and_broker() {
    let broker = Broker::persistent().await;
    let mut scene = Scene::with_broker(broker, &[]).await;
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

/// Starts a workload whose log lines the test writes. Returns its instance when it runs.
async fn start_talker(scene: &Scene) -> Value {
    scene.request("manifest/apply", workload("talker", "localhost/talker")).await;
    let wait = r#"{"workload_name": "talker", "state": "RUNNING"}"#;
    scene.request("workload/wait", wait).await
}

#[tokio::test]
async fn logs_are_followed_across_restarts_of_the_workload() {
    let scene = Scene::start().await;
    let running = start_talker(&scene).await;
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

    // After a change it is the same workload, but another instance.
    scene.request("manifest/apply", workload("talker", "localhost/talker:2")).await;
    let stopped = find(&mut logs, |message| !message["stopped"].is_null()).await;
    assert_eq!(stopped["stopped"]["workload_id"], instance["workload_id"]);
    let entries = async {
        loop {
            // The test cannot see when exactly its log is requested.
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
async fn the_end_of_a_followed_container_is_reported_once() {
    let scene = Scene::start().await;
    start_talker(&scene).await;
    let mut logs = scene.client("logs/l").await;
    let request = r#"{"id": "l", "workloads": ["talker"], "follow": true}"#;
    let reply = scene.request("logs/subscribe", request).await;
    scene.vehicle.log("talker", ["last"]).await.unwrap();
    find(&mut logs, |message| message["entries"].is_array()).await;

    // Agents check the states of their containers only at intervals, so the log ends first.
    let instance: InstanceName = serde_json::from_value(reply["workloads"][0].clone()).unwrap();
    let stop = LogsStopResponse { workload_name: Some(instance.into()) };
    let response = Response {
        request_id: scene.vehicle.streams()["logs"][0].clone(),
        response_content: Some(ResponseContent::LogsStopResponse(stop)),
    };
    let stop = FromAnkaios { from_ankaios_enum: Some(FromAnkaiosEnum::Response(response)) };
    scene.vehicle.inject(&stop.encode_length_delimited_to_vec()).await.unwrap();
    assert_eq!(payload(&logs.next().await), json!({"stopped": reply["workloads"][0]}));
    eventually("the log is no longer read", DEADLINE, async || {
        scene.vehicle.streams()["logs"].is_empty().then_some(())
    })
    .await;
    scene.vehicle.finish("talker").unwrap();
    // By then the log would have been requested again.
    let more = logs.next_within(Duration::from_secs(2)).await;
    assert!(more.is_none(), "{:?}", more.as_ref().map(payload));
}

#[tokio::test]
async fn logs_that_are_not_followed_end() {
    let scene = Scene::start().await;
    start_talker(&scene).await;
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
    eventually("its record is removed", Duration::from_secs(5), async || {
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

    let bad = workload("bad", "localhost/bad").replace("runtime: podman", "runtime: docker");
    scene.request("manifest/apply", &bad).await;
    let last = find(&mut status, |message| message["status"] != json!("in_progress")).await;
    assert_eq!(last["status"], json!("failed"));
    let state = &last["workloads"][0]["execution_state"];
    assert_eq!(state["substate"], json!("PENDING_STARTING_FAILED"));
    assert!(state["additional_info"].as_str().unwrap().contains("Unsupported Runtime"), "{state}");

    // Nothing has changed, so the current states of the workloads are reported.
    for (manifest, expected) in [(workload("good", "localhost/good"), "succeeded"), (bad, "failed")]
    {
        scene.request("manifest/apply", manifest).await;
        let last = payload(&status.next().await);
        assert_eq!(last["status"], json!(expected));
        assert_eq!(last["workloads"].as_array().map(Vec::len), Some(1), "{last}");
    }
    scene.request("manifest/apply", config("x", "1")).await;
    let last = payload(&status.next().await);
    assert_eq!((&last["status"], &last["workloads"]), (&json!("succeeded"), &json!([])));
    eventually("no subscription is left", Duration::from_secs(5), async || {
        scene.vehicle.streams()["events"].is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_roll_out_is_in_progress_while_ankaios_retries_a_start() {
    let scene = Scene::with(&[("ROLLOUT_TIMEOUT", "1s"), UNGUARDED]).await;
    let mut status = scene.client("manifest/apply/status").await;
    scene.request("manifest/apply", workload("w", UNKNOWN_IMAGE)).await;
    let info =
        |message: &Value| message["workloads"][0]["execution_state"]["additional_info"].to_string();
    let retried = find(&mut status, |message| info(message).contains("Retry ")).await;
    assert_eq!(retried["status"], json!("in_progress"));
    let last = find(&mut status, |message| message["status"] != json!("in_progress")).await;
    assert_eq!(last["status"], json!("timed_out"));
    assert!(info(&last).contains("Retry ") && info(&last) != info(&retried), "{last}");
}

#[tokio::test]
async fn a_roll_out_of_many_workloads_is_reported_in_few_messages() {
    const WORKLOADS: usize = 500;
    let scene = Scene::with(&[("LOG_LEVEL", "info"), UNGUARDED]).await;
    let mut status = scene.client("manifest/apply/status").await;
    let mut client = scene.client("manifest/apply/resp").await;
    let begin = std::time::Instant::now();
    let one = |number: usize| {
        let manifest = workload(&format!("w{number}"), "localhost/w");
        manifest.split_once("workloads:\n").unwrap().1.to_owned()
    };
    let workloads: String = (0..WORKLOADS).map(one).collect();
    let manifest = format!("apiVersion: v1\nworkloads:\n{workloads}");
    client.publish(&format!("{BASE}/manifest/apply/req"), manifest).await;
    let reply = payload(&client.next().await);
    assert_eq!(reply["added_workloads"].as_array().map(Vec::len), Some(WORKLOADS), "{reply}");
    let (mut messages, mut bytes) = (0, 0);
    let last = loop {
        let message = status.next().await;
        (messages, bytes) = (messages + 1, bytes + message.payload.len());
        let message = payload(&message);
        if message["status"] != json!("in_progress") {
            break message;
        }
    };
    let took = begin.elapsed();
    crate::support::say(&format!(
        "{WORKLOADS} workloads: {messages} messages, {bytes} bytes, {took:?}\n"
    ));
    // One message in 250 ms, in addition to the first one and the last one.
    assert!(messages <= 2 + took.as_millis() / 250, "{messages} messages in {took:?}");
    assert_eq!(last["status"], json!("succeeded"));
    let states = last["workloads"].as_array().unwrap();
    assert_eq!(states.len(), WORKLOADS);
    assert!(states.iter().all(|state| state["execution_state"]["state"] == json!("RUNNING")));
}

#[tokio::test]
async fn a_redelivered_apply_is_followed_too() {
    let mut scene = Scene::with_broker(Broker::persistent().await, &[]).await;
    let mut status = scene.client("manifest/apply/status").await;
    let mut replies = scene.client("manifest/apply/resp").await;
    // Killed when Ankaios has executed the request, but the reply has not been sent.
    scene.vehicle.inject_fault(1, Fault::LoseAnswer, |request| {
        matches!(request.request_content, Some(RequestContent::UpdateStateRequest(_)))
    });
    let waiting = workload("w", "localhost/w").replace("agent_A", "agent_Z");
    let topic = format!("{BASE}/manifest/apply/req");
    let options = ["-V", "5", "-D", "publish", "user-property", "request-id", "twice"];
    scene.broker.publish(&topic, &waiting, &options).await;
    eventually("Ankaios has the workload", DEADLINE, async || {
        scene.vehicle.instance("w").map(drop)
    })
    .await;
    scene.connector.kill().await;
    scene.vehicle.start_agent().await.unwrap();
    scene.restart_connector(&[]).await;
    let reply = payload(&replies.next().await);
    assert_eq!(reply["added_workloads"], json!([]), "{reply}");
    let progress = payload(&status.next().await);
    assert_eq!(
        (&progress["status"], &progress["request_id"]),
        (&json!("in_progress"), &json!("twice"))
    );
    assert_eq!(progress["workloads"][0]["workload_name"], json!("w"));
    scene.vehicle.connect_agent("agent_Z", Default::default());
    let done = find(&mut status, |message| message["status"] != json!("in_progress")).await;
    assert_eq!(done["status"], json!("succeeded"));
    assert_eq!(done["workloads"][0]["execution_state"]["state"], json!("RUNNING"));
}

#[tokio::test]
async fn a_workload_deleted_and_applied_at_once_is_reported_with_its_new_state() {
    let scene = Scene::start().await;
    let mut status = scene.client("manifest/apply/status").await;
    let manifest = json!({"apiVersion": "v1", "workloads": {"w": {
        "agent": "agent_Z", "runtime": "podman", "runtimeConfig": "image: localhost/w"}}});
    scene.vehicle.connect_agent("agent_Z", Default::default());
    scene.request("manifest/apply", manifest.to_string()).await;
    let done = find(&mut status, |message| message["status"] != json!("in_progress")).await;
    assert_eq!(done["status"], json!("succeeded"));
    let instance = scene.vehicle.instance("w").unwrap();
    // The agent does nothing for now.
    let running = scene.vehicle.execution_state(&instance).unwrap();
    scene.vehicle.disconnect_agent("agent_Z");
    scene.vehicle.set_execution_state(&instance, running);

    let requests = [("manifest/delete", manifest.clone()), ("manifest/apply", manifest)];
    let replies = pipeline(&scene, &requests).await;
    assert_eq!(replies[0]["deleted_workloads"], replies[1]["added_workloads"]);
    assert_eq!(payload(&status.next().await)["status"], json!("in_progress"));
    let failed = ExecutionState {
        additional_info: Some("broken".into()),
        execution_state_enum: Some(ExecutionStateEnum::Failed(Failed::ExecFailed.into())),
    };
    scene.vehicle.set_execution_state(&instance, failed);
    let done = find(&mut status, |message| message["status"] != json!("in_progress")).await;
    assert_eq!(done["status"], json!("failed"), "{done}");
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
async fn a_roll_out_is_still_followed_after_a_restart_of_the_connector() {
    let mut scene = Scene::with_broker(Broker::persistent().await, &[]).await;
    let mut status = scene.client("manifest/apply/status").await;
    let mut records = scene.client("manifest/apply/+/rollout").await;
    // Their agent is added later.
    let waiting = |name: &str| workload(name, "localhost/w").replace("agent_A", "agent_Z");
    // With QoS 0 they are not redelivered if the connector is killed before the broker has
    // received their acknowledgements.
    let options = ["-q", "0", "-D", "publish", "user-property", "request-id", "before"];
    scene.reply("manifest/apply", waiting("kept"), &options).await;
    scene.reply("manifest/apply", waiting("gone"), &["-q", "0"]).await;
    for _ in 0..2 {
        assert!(payload(&records.next().await)["workloads"].is_array());
    }
    scene.connector.kill().await;
    scene.vehicle.start_agent().await.unwrap();
    // Workloads that are no longer desired by then have vanished without a trace.
    let mut state = scene.vehicle.state();
    let agents = &mut state.workload_states.as_mut().unwrap().agent_state_map;
    agents.get_mut("agent_Z").unwrap().wl_name_state_map.remove("gone").unwrap();
    state.desired_state.as_mut().unwrap().workloads.as_mut().unwrap().workloads.remove("gone");
    scene.vehicle.set_state(state);

    scene.restart_connector(&[]).await;
    let superseded = find(&mut status, |message| message["status"] == json!("superseded")).await;
    assert_eq!(superseded["workloads"][0]["workload_name"], json!("gone"));
    scene.vehicle.connect_agent("agent_Z", Default::default());
    let done = find(&mut status, |message| message["status"] == json!("succeeded")).await;
    assert_eq!(done["request_id"], json!("before"));
    for _ in 0..2 {
        assert!(records.next().await.payload.is_empty(), "the record is removed");
    }
    scene.connector.kill().await;
    scene.vehicle.start_agent().await.unwrap();
    scene.restart_connector(&[]).await;
    assert!(
        status.next_within(Duration::from_millis(500)).await.is_none(),
        "the rollout is not reported again"
    );
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
async fn waiting_for_removal_ends_when_the_instance_is_removed() {
    let scene = Scene::start().await;
    let wait = r#"{"workload_name": "w", "state": "REMOVED", "timeout": "10s"}"#;
    let reply = scene.request("workload/wait", wait).await;
    assert_eq!(code(&reply), "not_found", "there is no such instance");

    let applied = scene.request("manifest/apply", workload("w", "localhost/w")).await;
    let mut client = scene.client("wait/resp").await;
    let reply_topic = format!("{BASE}/wait/resp");
    client.request(&format!("{BASE}/workload/wait/req"), wait, &reply_topic, 1).await;
    scene.request("state", r#"["desiredState.apiVersion"]"#).await;
    scene.request("manifest/delete", workload("w", "localhost/w")).await;
    let reply = payload(&client.next().await);
    assert_eq!(reply["execution_state"]["state"], json!("REMOVED"), "{reply}");
    assert_eq!(reply["workload_id"], applied["added_workloads"][0]["workload_id"]);
}

#[tokio::test]
async fn waiting_returns_what_is_known_about_the_instance() {
    let scene = Scene::start().await;
    let instance = scene.vehicle.instance("fleetconnector").unwrap();
    let info = |mut state: ExecutionState, info: &str| {
        state.additional_info = Some(info.into());
        state
    };
    let running = info(vehicle_simulator::execution::running(), "as it was");
    scene.vehicle.set_execution_state(&instance, running);
    let mut client = scene.client("wait/resp").await;
    let wait = r#"{"workload_name": "fleetconnector", "state": "FAILED"}"#;
    let reply_topic = format!("{BASE}/wait/resp");
    client.request(&format!("{BASE}/workload/wait/req"), wait, &reply_topic, 1).await;
    scene.request("state", r#"["desiredState.apiVersion"]"#).await;
    // The event contains only the state.
    let failed = info(vehicle_simulator::execution::failed(1), "as it was");
    scene.vehicle.set_execution_state(&instance, failed);
    let reply = payload(&client.next().await);
    assert_eq!(reply["execution_state"]["state"], json!("FAILED"), "{reply}");
    assert_eq!(reply["execution_state"]["additional_info"], json!("as it was"), "{reply}");
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
async fn a_hundred_subscriptions_work_at_the_same_time() {
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
    /// Less than the connector buffers. It may get no CPU time for a while.
    const AHEAD: usize = 1000;
    let scene = Scene::with(&[("LOG_LEVEL", "warn")]).await;
    let mut events = scene.client("events/fast").await;
    let request = r#"{"id": "fast", "field_masks": ["workloadStates"]}"#;
    scene.request("events/subscribe", request).await;
    let instance = scene.vehicle.instance("fleetconnector").unwrap();
    let consumed = watch::Sender::new(0);
    let produce = async {
        let mut seen = consumed.subscribe();
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        for number in 0..EVENTS {
            // A thousand per second, in groups of ten.
            if number % 10 == 0 {
                tick.tick().await;
                seen.wait_for(|seen| number < *seen + AHEAD).await.unwrap();
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
            let info = &states[&instance.workload_id]["additional_info"];
            assert_eq!(info, &json!(expected.to_string()), "{event}");
            consumed.send_replace(expected);
        }
    };
    tokio::join!(produce, consume);
}
