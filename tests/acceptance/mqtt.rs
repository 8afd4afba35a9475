//! Requests and replies as MQTT messages: topics, properties, order, and the status topic.

use std::time::Duration;

use ankaios_model::proto::ank_base::Request;
use ankaios_model::proto::ank_base::request::RequestContent;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use serde_json::json;

use crate::support::client::number;
use crate::support::connector::BASE;
use crate::support::scene::payload;
use crate::support::{Broker, Scene};

#[tokio::test]
async fn the_tutorial_works_with_mqtt_3_1_1() {
    let scene = Scene::start().await;
    let mut replies = scene.broker.subscribe(&format!("{BASE}/manifest/+/resp"), &[]).await;
    let manifest = "
apiVersion: v0.1
workloads:
  hello:
    runtime: podman
    agent: agent_A
    runtimeConfig: |
      image: localhost/hello
";
    let options = ["-V", "311"];
    scene.broker.publish(&format!("{BASE}/manifest/apply/req"), manifest, &options).await;
    let applied = replies.next_on(&format!("{BASE}/manifest/apply/resp")).await;
    assert_eq!(applied.json()["added_workloads"][0]["workload_name"], json!("hello"));
    assert_eq!((applied.qos, applied.retain), (1, false));
    scene.broker.publish(&format!("{BASE}/manifest/delete/req"), manifest, &options).await;
    let deleted = replies.next_on(&format!("{BASE}/manifest/delete/resp")).await;
    assert_eq!(deleted.json()["deleted_workloads"], applied.json()["added_workloads"]);
}

#[tokio::test]
async fn requests_with_qos_0_are_served_too() {
    let scene = Scene::start().await;
    let mut replies = scene.broker.subscribe(&format!("{BASE}/state/resp"), &[]).await;
    for _ in 0..3 {
        scene.broker.publish(&format!("{BASE}/state/req"), "", &["-q", "0"]).await;
        assert!(replies.next().await.json()["agents"].is_object());
    }
}

#[tokio::test]
async fn a_reply_goes_to_the_response_topic_with_the_correlation_data() {
    let scene = Scene::with(&[("RESPONSE_TOPIC_PREFIXES", "backend/replies, x")]).await;
    let mut own = scene.client("rr/7").await;
    let mut backend =
        crate::support::Client::connect(scene.broker.port(), "backend/replies/#").await;
    let topic = format!("{BASE}/state/req");
    own.request(&topic, "[]", &format!("{BASE}/rr/7"), 42).await;
    let reply = own.next().await;
    assert_eq!(number(&reply), Some(42));
    let properties = reply.properties.as_ref().unwrap();
    assert_eq!(properties.content_type.as_deref(), Some("application/json"));
    assert!(payload(&reply)["agents"].is_object());
    own.request(&topic, "[]", "backend/replies/1", 43).await;
    assert_eq!(number(&backend.next().await), Some(43));
}

#[tokio::test]
async fn a_reply_never_goes_to_a_topic_outside_the_vehicle() {
    let scene = Scene::start().await;
    let mut everything = crate::support::Client::connect(scene.broker.port(), "#").await;
    for response_topic in [
        "elsewhere",
        "vehicle/2/state/resp",
        "vehicle/12/x",
        "$SYS/x",
        &format!("{BASE}/manifest/delete/req"),
        BASE,
    ] {
        everything.request(&format!("{BASE}/state/req"), "[]", response_topic, 9).await;
        let mut topics = Vec::new();
        while !topics.contains(&format!("{BASE}/state/resp")) {
            let message = everything.next().await;
            topics.push(String::from_utf8(message.topic.to_vec()).unwrap());
        }
        assert!(!topics.iter().any(|topic| topic == response_topic), "{topics:?}");
    }
    scene.connector.line("does not go to the Response Topic").await;
}

#[tokio::test]
async fn the_request_id_is_returned_and_generated_if_missing() {
    let scene = Scene::start().await;
    let mut client = scene.client("state/resp").await;
    let topic = format!("{BASE}/state/req");
    let own = ("request-id".to_owned(), "my-ünique-id".to_owned());
    let properties = PublishProperties {
        user_properties: vec![("other".into(), "x".into()), own.clone()],
        ..PublishProperties::default()
    };
    client.publish_with(&topic, "[]", properties).await;
    assert_eq!(client.next().await.properties.unwrap().user_properties, [own]);
    client.publish(&topic, "[]").await;
    let [(name, value)] =
        client.next().await.properties.unwrap().user_properties[..].to_vec().try_into().unwrap();
    assert_eq!(name, "request-id");
    assert_eq!(value.len(), 16);
}

#[tokio::test]
async fn mosquitto_rr_works_without_special_options() {
    let scene = Scene::start().await;
    let options = ["-V", "5", "-D", "publish", "correlation-data", "abc"];
    let reply = scene.reply("state", "[]", &options).await;
    assert_eq!(reply.properties["correlation-data"], json!("abc"));
    assert!(reply.json()["agents"].is_object());
}

#[tokio::test]
async fn two_thousand_requests_at_once_are_answered_once_each_and_in_order() {
    const REQUESTS: u32 = 2_000;
    let scene = Scene::with(&[("LOG_LEVEL", "warn")]).await;
    let mut client = scene.client("burst/resp").await;
    let topic = format!("{BASE}/state/req");
    let reply_topic = format!("{BASE}/burst/resp");
    let masks = r#"["desiredState.apiVersion"]"#;
    for number in 0..REQUESTS {
        client.request(&topic, masks, &reply_topic, number).await;
    }
    for expected in 0..REQUESTS {
        let reply = client.next().await;
        assert_eq!(number(&reply), Some(expected));
        assert_eq!(payload(&reply)["desired_state"]["api_version"], json!("v1"));
    }
    assert!(client.next_within(Duration::from_millis(500)).await.is_none());
}

#[tokio::test]
async fn many_waits_do_not_delay_other_requests() {
    let scene = Scene::start().await;
    let mut waits = scene.client("workload/wait/resp").await;
    let wait = r#"{"workload_name": "x", "state": "FAILED", "timeout": "600s"}"#;
    let topic = format!("{BASE}/workload/wait/req");
    let mut command = tokio::process::Command::new("mosquitto_pub");
    let port = scene.broker.port().to_string();
    command.args(["-p", &port, "-q", "0", "-t", &topic, "-m", wait, "--repeat", "200"]);
    assert!(command.status().await.unwrap().success());
    assert_eq!(payload(&waits.next().await)["error"]["code"], json!("unavailable"));
    for _ in 0..5 {
        assert!(scene.request("state", "[]").await["agents"].is_object());
    }
}

#[tokio::test]
async fn a_response_topic_that_would_close_the_connection_is_not_used() {
    let scene = Scene::start().await;
    let mut replies = scene.client("state/resp").await;
    // Mosquitto allows at most 200 levels.
    let topic = format!("{BASE}/{}x", "a/".repeat(210));
    replies.request(&format!("{BASE}/state/req"), "[]", &topic, 7).await;
    assert_eq!(number(&replies.next().await), Some(7));
}

#[tokio::test]
async fn a_topic_too_long_for_a_reply_topic_stops_nothing() {
    let scene = Scene::start().await;
    let mut client = scene.client("#").await;
    // The longest topic that MQTT allows (MQTT 5, 1.5.4); its reply topic is one byte longer.
    let longest = format!("{BASE}/{}/req", "x".repeat(usize::from(u16::MAX) - BASE.len() - 5));
    client.publish(&longest, "[]").await;
    scene.connector.line("would be too long").await;
    let shorter = longest.replacen("xx", "x", 1);
    client.publish(&shorter, "[]").await;
    let topic = |message: &rumqttc::v5::mqttbytes::v5::Publish| message.topic.clone();
    while topic(&client.next().await) != shorter.replace("/req", "/resp") {}
    client.publish(&format!("{BASE}/state/req"), "[]").await;
    while topic(&client.next().await) != format!("{BASE}/state/resp") {}
}

#[tokio::test]
async fn retained_requests_are_not_executed() {
    let topic = format!("{BASE}/state/req");
    let broker = Broker::with(&["persistence false"]).await;
    broker.publish(&topic, "[]", &["-r"]).await;
    let mut replies = broker.subscribe(&format!("{BASE}/state/resp"), &[]).await;
    let mut scene = Scene::with_broker(broker, &[]).await;
    scene.restart_connector(&[]).await;
    assert!(replies.next_within(Duration::from_secs(1)).await.is_none());

    // Published while the connector is connected, and while the broker queues messages for it.
    scene.broker.publish(&topic, "[]", &["-r"]).await;
    assert_eq!(replies.next().await.json()["error"]["code"], json!("forbidden"));
    scene.connector.kill().await;
    scene.broker.publish(&topic, "[]", &["-r"]).await;
    scene.restart_connector(&[]).await;
    assert_eq!(replies.next().await.json()["error"]["code"], json!("forbidden"));
    let of_everything = |request: &Request| match &request.request_content {
        Some(RequestContent::CompleteStateRequest(state)) => state.field_mask.is_empty(),
        _ => false,
    };
    assert!(!scene.vehicle.requests().iter().any(of_everything));
}

#[tokio::test]
async fn the_status_topic_reports_connector_and_ankaios() {
    let mut scene = Scene::start().await;
    let topic = format!("{BASE}/connector/status");
    let mut status = scene.broker.subscribe(&topic, &[]).await;
    let online = status
        .find("connected", |message| message.json()["ankaios"] == json!("connected"))
        .await
        .json();
    assert_eq!(online["status"], json!("online"));
    assert_eq!(online["version"], json!(env!("CARGO_PKG_VERSION")));
    assert!(online["reason"].is_null());
    let since = online["since"].as_str().unwrap();
    assert!(since.ends_with('Z') && since.len() == 20, "{since}");

    scene.vehicle.close_session("because of a test").await.unwrap();
    let closed = status.find("closed", |message| message.json()["ankaios"] == json!("closed"));
    let reason = closed.await.json()["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("because of a test") && reason.contains("restart"), "{reason}");
    scene.vehicle.start_agent().await.unwrap();
    status.find("connected", |message| message.json()["ankaios"] == json!("connected")).await;

    scene.vehicle.kill_agent().await.unwrap();
    let alone = status
        .find("disconnected", |message| message.json()["ankaios"] == json!("disconnected"))
        .await
        .json();
    assert_eq!(alone["status"], json!("online"));
    assert!(alone["reason"].is_string());

    assert_eq!(scene.connector.terminate().await.code(), Some(0));
    let offline = status.find("offline", |message| message.json()["status"] == json!("offline"));
    assert_eq!(offline.await.json()["since"], online["since"]);

    scene.vehicle.start_agent().await.unwrap();
    scene.restart_connector(&[]).await;
    let back = status.find("online", |message| message.json()["status"] == json!("online")).await;
    scene.connector.kill().await;
    let dead = status.find("offline", |message| message.json()["status"] == json!("offline")).await;
    assert_eq!(dead.json()["since"], back.json()["since"]);
    // The status is retained, so later subscribers see it, too.
    let mut late = scene.broker.subscribe(&topic, &[]).await;
    let retained = late.next().await;
    assert!(retained.retain);
    assert_eq!(retained.json()["status"], json!("offline"));
}
