//! Reason codes of MQTT 5: none of them costs the session, whatever packet it comes in.

use mqtt_session::{PublishRule, ReasonCode};
use rumqttc::v5::mqttbytes::v5::Packet;
use serde_json::{Value, json};

use crate::support::client::number;
use crate::support::connector::BASE;
use crate::support::scene::{find, payload};
use crate::support::scripted_broker::connack_properties;
use crate::support::scripted_scene::{ScriptedScene, take_publish, take_reply};
use crate::support::{Broker, Scene, free_port, http};

/// A reason string and a property that PUBACK must not have.
const PROPERTIES: &[u8] = &[0x1f, 0, 2, b'n', b'o', 0x21, 0, 7];

#[tokio::test]
async fn whatever_the_broker_answers_to_a_reply_the_session_goes_on() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(false).await;
    let mut pkid = 0;
    for code in (0..=u8::MAX).map(ReasonCode) {
        let rule = code.publish_rule();
        // Of those that take a second, two stand for all.
        if rule == PublishRule::Retry && !matches!(code.0, 0x83 | 0x97) {
            continue;
        }
        // From then on, all is published with QoS 0.
        if code == ReasonCode::QOS_NOT_SUPPORTED {
            continue;
        }
        pkid += 1;
        connection.request(pkid, false, pkid.into()).await;
        let reply = connection.reply().await;
        assert_eq!(number(&reply), Some(pkid.into()));
        connection.puback_bytes(reply.pkid, code.0, PROPERTIES).await;
        match rule {
            PublishRule::Accepted | PublishRule::Topic => {}
            PublishRule::Retry => {
                let again = take_reply(&mut connection).await;
                assert_eq!((number(&again), &again.payload), (Some(pkid.into()), &reply.payload));
            }
            PublishRule::TooLarge | PublishRule::Payload => {
                let error = take_reply(&mut connection).await;
                assert_eq!((number(&error), &error.topic), (Some(pkid.into()), &reply.topic));
                let expected =
                    if rule == PublishRule::TooLarge { "payload_too_large" } else { "internal" };
                assert_eq!(payload(&error)["error"]["code"], expected, "{code}");
            }
        }
        assert_eq!(connection.acknowledgement().await, pkid, "{code}");
    }
    assert!(pkid > 240);
}

#[tokio::test]
async fn every_reason_to_end_a_connection_is_followed_by_another_connection() {
    let scene = ScriptedScene::start().await;
    for bytes in [
        &[0xe0, 0][..],
        &[0xe0, 1, 0x8b],
        &[0xe0, 2, 0xa0, 0],
        &[0xe0, 7, 0x93, 5, 0x1f, 0, 2, b'n', b'o'],
        // A reason that MQTT 5 does not have, and properties that are longer than the packet.
        &[0xe0, 2, 0xee, 0],
        &[0xe0, 3, 0x80, 9, 0x7f],
    ] {
        let mut connection = scene.broker.serve(true).await;
        connection.request(1, false, 1).await;
        assert_eq!(number(&take_reply(&mut connection).await), Some(1));
        connection.send_bytes(bytes).await;
    }
    let mut connection = scene.broker.serve(true).await;
    connection.request(2, false, 2).await;
    assert_eq!(number(&take_reply(&mut connection).await), Some(2));
    scene.connector.line("unknown reason (0xEE)").await;
    scene.connector.line("ReceiveMaximumExceeded (0x93) no").await;
}

#[tokio::test]
async fn a_broker_that_does_not_accept_the_connection_is_explained() {
    for (connack, lines) in [
        (&[0x20, 2, 0, 1][..], &["the broker must speak MQTT 5: VerneMQ with"][..]),
        (&[0x20, 2, 0, 0], &["the broker must speak MQTT 5", "Mosquitto from 1.6"]),
        (&[0x20, 3, 0, 0x84, 0], &["UnsupportedProtocolVersion", "the broker must speak MQTT 5"]),
        (&[0x20, 2, 0, 0x84], &["UnsupportedProtocolVersion", "the broker must speak MQTT 5"]),
        (&[0x20, 3, 0, 0x85, 0], &["ClientIdentifierNotValid", "set MQTT_CLIENT_ID", "policy"]),
        (&[0x20, 3, 0, 0x87, 0], &["NotAuthorized", "set MQTT_CLIENT_ID", "MQTT_USERNAME"]),
        (&[0x20, 3, 0, 0xee, 0], &["unknown reason (0xEE)"]),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", &["it answers in HTTP"]),
    ] {
        let scene = ScriptedScene::start().await;
        let mut connection = scene.broker.accept().await;
        connection.send_bytes(connack).await;
        let line = scene.connector.line("no connection to the MQTT broker").await;
        for part in lines {
            assert!(line.contains(part), "{part} is missing in {line}");
        }
    }
}

#[tokio::test]
async fn a_client_identifier_that_the_policy_does_not_allow_is_named() {
    let broker = Broker::with(&["persistence false", "clientid_prefixes thing-"]).await;
    let vehicle = crate::support::vehicle::Vehicle::start().await;
    let connector = crate::support::start_connector(&broker, vehicle.control_interface(), &[]);
    let line = connector.line("no connection to the MQTT broker").await;
    assert!(line.contains("set MQTT_CLIENT_ID") && line.contains("policy"), "{line}");
    let settings = [("MQTT_CLIENT_ID", "thing-1")];
    let connector =
        crate::support::start_connector(&broker, vehicle.control_interface(), &settings);
    connector.line("ready for requests").await;
}

#[tokio::test]
async fn what_is_granted_is_served_and_what_is_refused_is_shown() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let scene = ScriptedScene::with(&[("HEALTH_ADDR", &address)]).await;
    let mut connection = scene.broker.accept().await;
    connection.connack(false, connack_properties()).await;
    let subscribe = connection.subscribe().await;
    let codes = subscribe.filters.iter().map(|filter| match filter.path.as_str() {
        "vehicle/1/+/req" => 1,
        "vehicle/1/+/+/req" => 0x87,
        "vehicle/1/manifest/apply/+/rollout" => 0xee,
        _ => 0x8f,
    });
    let codes: Vec<u8> = codes.collect();
    let start = [0x90, 3 + codes.len() as u8, 0, subscribe.pkid as u8, 0];
    connection.send_bytes(&[&start[..], &codes].concat()).await;
    let status = payload(&take_publish(&mut connection).await);
    let degraded = status["degraded"][0].as_str().unwrap();
    for part in ["vehicle/1/+/+/req\": NotAuthorized (0x87)", "unknown reason (0xEE)", "read below"]
    {
        assert!(degraded.contains(part), "{part} is missing in {degraded}");
    }
    connection.request(1, false, 1).await;
    assert_eq!(number(&take_reply(&mut connection).await), Some(1));
    let ready = http::get(port, "/readyz").await;
    assert_eq!((ready.status, &ready.json()["degraded"]), (200, &json!([degraded])));
    let line = "the broker does not offer or allow everything; the rest is served";
    scene.connector.line(line).await;
}

/// Requests that get a short reply are served on the same connection.
async fn is_still_connected(scene: &Scene) {
    let small = scene.request("state", r#"["desiredState.apiVersion"]"#).await;
    assert_eq!(small["desired_state"]["api_version"], "v1");
    let connections = scene.connector.output();
    let connections =
        connections.iter().filter(|line| line.contains("connected to the MQTT broker")).count();
    assert_eq!(connections, 1);
}

#[tokio::test]
async fn a_reply_larger_than_mosquitto_takes_becomes_an_error_on_the_same_connection() {
    for limit in ["message_size_limit 600", "max_packet_size 700"] {
        let broker = Broker::with(&["persistence false", limit]).await;
        let scene = Scene::with_broker(broker, &[]).await;
        let reply = scene.request("state", "[]").await;
        assert_eq!(reply["error"]["code"], "payload_too_large", "{limit}: {reply}");
        is_still_connected(&scene).await;
    }
}

#[tokio::test]
async fn the_status_of_a_rollout_fits_into_messages_of_the_broker() {
    for limit in ["message_size_limit 1000", "max_packet_size 1500"] {
        let broker = Broker::with(&["persistence false", limit]).await;
        let scene = Scene::with_broker(broker, &[]).await;
        let mut status = scene.client("manifest/apply/status").await;
        let workloads: String = (0..12)
            .map(|number| {
                format!(
                    "  w{number}: {{runtime: podman, agent: agent_A, runtimeConfig: 'image: x'}}\n"
                )
            })
            .collect();
        let manifest = format!("apiVersion: v1\nworkloads:\n{workloads}");
        let id = ["-V", "5", "-D", "publish", "user-property", "request-id", "mine"];
        scene.broker.publish(&format!("{BASE}/manifest/apply/req"), &manifest, &id).await;
        let is_last = |message: &Value| message["status"] == "succeeded";
        let last = find(&mut status, |message| {
            assert_eq!(message["request_id"], "mine", "{message}");
            is_last(message)
        })
        .await;
        let listed = last["workloads"].as_array().unwrap().len() as u64;
        assert_eq!(listed + last["omitted_workloads"].as_u64().unwrap(), 12, "{last}");
        is_still_connected(&scene).await;
    }
}

#[tokio::test]
async fn a_broker_that_only_closes_the_connection_over_a_message_does_not_get_it_for_ever() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(false).await;
    connection.request(1, false, 1).await;
    let mut closed = 0;
    let error = loop {
        match connection.read().await {
            Packet::Publish(publish) if !publish.retain && number(&publish) == Some(1) => {
                closed += 1;
                assert!(closed < 10);
                drop(connection);
                connection = scene.broker.serve(true).await;
            }
            Packet::Publish(publish) => {
                connection.puback(publish.pkid).await;
                if !publish.retain {
                    break payload(&publish);
                }
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(error["error"]["code"], "internal");
    scene.connector.line("the broker closes each connection when it receives this message").await;
    // Only that message was given up.
    connection.request(2, false, 2).await;
    assert_eq!(number(&take_reply(&mut connection).await), Some(2));
    // A network that fails looks the same, so it takes several times.
    assert!(closed >= 4, "{closed}");
}
