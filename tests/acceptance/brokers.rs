//! Brokers differ: what they do not offer or allow, the connector does without, and says so once.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAckProperties, Packet, Publish, Subscribe, SubscribeReasonCode,
};
use serde_json::{Value, json};

use crate::support::client::number;
use crate::support::connector::{BASE, start_connector, start_connector_at};
use crate::support::openmetrics::Scrape;
use crate::support::scene::payload;
use crate::support::scripted_broker::{Connection, connack_properties, request};
use crate::support::scripted_scene::{ScriptedScene, take_publish, take_reply};
use crate::support::vehicle::Vehicle;
use crate::support::{Broker, DEADLINE, Proxy, Scene, eventually, free_port, http};

/// The log line of everything that is missing.
const LINE: &str = "the broker does not offer or allow everything; the rest is served";

/// Whether the last will of a connection is retained.
fn has_retained_will(connection: &Connection) -> bool {
    connection.connect().1.as_ref().unwrap().retain
}

fn is_status(publish: &Publish) -> bool {
    publish.topic == format!("{BASE}/connector/status")
}

/// The next status, acknowledged.
async fn take_status(connection: &mut Connection) -> Publish {
    loop {
        let publish = take_publish(connection).await;
        if is_status(&publish) {
            return publish;
        }
    }
}

/// The next status that says that something with this text is missing.
async fn degraded(connection: &mut Connection, text: &str) -> Publish {
    loop {
        let status = take_status(connection).await;
        let reasons = payload(&status)["degraded"].clone();
        let has = |reason: &Value| reason.as_str().unwrap().contains(text);
        if reasons.as_array().is_some_and(|reasons| reasons.iter().any(has)) {
            return status;
        }
    }
}

/// Requests are served, and nothing is retained any more.
async fn is_served_without_retained(connection: &mut Connection) {
    let mut subscribe = request(1, false, 1);
    subscribe.topic = format!("{BASE}/events/subscribe/req").into();
    subscribe.payload = r#"{"id": "x", "field_masks": ["desiredState"]}"#.into();
    connection.send(Packet::Publish(subscribe)).await;
    connection.request(2, false, 2).await;
    let mut replies = Vec::new();
    while replies.len() < 2 {
        let publish = take_publish(connection).await;
        assert!(!publish.retain, "{publish:?}");
        assert!(!publish.topic.ends_with(b"/subscription"), "{publish:?}");
        replies.extend(number(&publish));
    }
    replies.sort_unstable();
    assert_eq!(replies, [1, 2]);
}

#[tokio::test]
async fn without_retained_messages_the_rest_is_served() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let scene = ScriptedScene::with(&[("HEALTH_ADDR", &address)]).await;
    let properties = ConnAckProperties { retain_available: Some(0), ..connack_properties() };
    let mut connection = scene.broker.serve_with(false, properties.clone()).await;
    let status = degraded(&mut connection, "the broker does not retain messages").await;
    assert!(!status.retain && payload(&status)["status"] == "online");
    is_served_without_retained(&mut connection).await;
    let line = scene.connector.line(LINE).await;
    for part in ["Retain Available is 0", "retain_available", "iot:RetainPublish"] {
        assert!(line.contains(part), "{part} is missing in {line}");
    }
    let ready = http::get(port, "/readyz").await;
    assert_eq!((ready.status, &ready.json()["degraded"]), (200, &payload(&status)["degraded"]));
    assert_eq!(Scrape::of(port).await.get("fleet_connector_mqtt_degraded"), 1.0);
    drop(connection);
    let mut connection = scene.broker.serve_with(true, properties).await;
    assert!(!has_retained_will(&connection));
    is_served_without_retained(&mut connection).await;
    drop(connection);
    // It is said once, and forgotten when the broker retains messages.
    let mut connection = scene.broker.serve(true).await;
    let status = take_status(&mut connection).await;
    assert!(status.retain && payload(&status).get("degraded").is_none());
    let output = scene.connector.output();
    assert_eq!(output.iter().filter(|line| line.contains(LINE)).count(), 1);
}

#[tokio::test]
async fn a_broker_that_refuses_a_retained_will_gets_one_that_is_not_retained() {
    for code in [0x9a, 0x87] {
        let scene = ScriptedScene::start().await;
        let mut connection = scene.broker.accept().await;
        assert!(has_retained_will(&connection));
        connection.send_bytes(&[0x20, 3, 0, code, 0]).await;
        drop(connection);
        let mut connection = scene.broker.serve(false).await;
        assert!(!has_retained_will(&connection));
        let status = degraded(&mut connection, &format!("(0x{code:02X})")).await;
        assert!(!status.retain);
        is_served_without_retained(&mut connection).await;
    }
}

#[tokio::test]
async fn a_broker_that_refuses_retained_messages_gets_none() {
    enum Refusal {
        Puback(u8),
        Disconnect(u8),
        Close,
    }
    for refusal in [
        Refusal::Puback(0x9a),
        Refusal::Puback(0x87),
        Refusal::Disconnect(0x9a),
        Refusal::Disconnect(0x87),
        Refusal::Close,
    ] {
        let scene = ScriptedScene::start().await;
        let mut connection = scene.broker.serve(false).await;
        let mut refused = 0;
        loop {
            let Packet::Publish(publish) = connection.read().await else { continue };
            if !publish.retain {
                assert!(is_status(&publish));
                connection.puback(publish.pkid).await;
                break;
            }
            refused += 1;
            assert!(refused < 10);
            match refusal {
                Refusal::Puback(code) => connection.puback_bytes(publish.pkid, code, &[]).await,
                Refusal::Disconnect(code) => {
                    connection.send_bytes(&[0xe0, 2, code, 0]).await;
                    drop(connection);
                    connection = scene.broker.serve(false).await;
                }
                Refusal::Close => {
                    drop(connection);
                    connection = scene.broker.serve(false).await;
                }
            }
        }
        is_served_without_retained(&mut connection).await;
        scene.connector.line("the broker does not retain messages").await;
    }
}

#[tokio::test]
async fn a_record_that_ends_the_connection_is_not_published_again() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(false).await;
    let record = format!("{BASE}/events/x/subscription");
    let mut subscribe = request(1, false, 1);
    subscribe.topic = format!("{BASE}/events/subscribe/req").into();
    subscribe.payload = r#"{"id": "x", "field_masks": ["desiredState"]}"#.into();
    connection.send(Packet::Publish(subscribe)).await;
    while topic_of_next(&mut connection).await != record {}
    connection.send_bytes(&[0xe0, 2, 0x87, 0]).await;
    drop(connection);
    let mut connection = scene.broker.serve(true).await;
    let mut is_replied = false;
    // The record may have been sent together with other messages: then they come one by one first.
    while !is_replied {
        match connection.read().await {
            Packet::Publish(publish) if publish.topic == record => {
                connection.send_bytes(&[0xe0, 2, 0x87, 0]).await;
                drop(connection);
                connection = scene.broker.serve(true).await;
            }
            Packet::Publish(publish) => {
                connection.puback(publish.pkid).await;
                is_replied |= publish.topic.ends_with(b"/events/subscribe/resp");
            }
            other => panic!("{other:?}"),
        }
    }
    scene.connector.line("the broker does not retain messages").await;
    is_served_without_retained(&mut connection).await;
}

/// The topic of the next message; acknowledged unless it is a record.
async fn topic_of_next(connection: &mut Connection) -> String {
    loop {
        if let Packet::Publish(publish) = connection.read().await {
            if !publish.topic.ends_with(b"/subscription") {
                connection.puback(publish.pkid).await;
            }
            return String::from_utf8(publish.topic.to_vec()).unwrap();
        }
    }
}

#[tokio::test]
async fn a_broker_with_qos_0_only_is_served_with_qos_0() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.accept().await;
    let properties = ConnAckProperties { max_qos: Some(0), ..connack_properties() };
    connection.connack(false, properties.clone()).await;
    let subscribe = connection.subscribe().await;
    connection.suback(&subscribe, SubscribeReasonCode::Success(QoS::AtMostOnce)).await;
    let Packet::Publish(status) = connection.read().await else { panic!() };
    assert_eq!((status.qos, status.pkid), (QoS::AtMostOnce, 0));
    let reasons = payload(&status)["degraded"].to_string();
    for part in ["with QoS 0 only, so replies may be lost", "grants the subscriptions with QoS 0"] {
        assert!(reasons.contains(part), "{reasons}");
    }
    let mut first = request(0, false, 1);
    first.qos = QoS::AtMostOnce;
    connection.send(Packet::Publish(first)).await;
    let Packet::Publish(reply) = connection.read().await else { panic!() };
    assert_eq!((reply.qos, number(&reply)), (QoS::AtMostOnce, Some(1)));
    // The will of the next connection, too.
    drop(connection);
    let connection = scene.broker.accept().await;
    assert_eq!(connection.connect().1.as_ref().unwrap().qos, QoS::AtMostOnce);
}

#[tokio::test]
async fn a_broker_that_refuses_qos_1_gets_qos_0() {
    for in_puback in [true, false] {
        let scene = ScriptedScene::start().await;
        let mut connection = scene.broker.serve(false).await;
        let Packet::Publish(status) = connection.read().await else { panic!() };
        connection.puback(status.pkid).await;
        connection.request(1, false, 1).await;
        let reply = connection.reply().await;
        assert_eq!(reply.qos, QoS::AtLeastOnce);
        if in_puback {
            connection.puback_bytes(reply.pkid, 0x9b, &[]).await;
        } else {
            connection.send_bytes(&[0xe0, 2, 0x9b, 0]).await;
            drop(connection);
            connection = scene.broker.serve(true).await;
        }
        loop {
            match connection.read().await {
                Packet::Publish(again) if number(&again) == Some(1) => {
                    assert_eq!((again.qos, again.payload), (QoS::AtMostOnce, reply.payload));
                    break;
                }
                Packet::Publish(status) => assert_eq!(status.qos, QoS::AtMostOnce),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn log_lines_fit_into_the_packets_of_the_broker() {
    let broker = Broker::with(&["persistence false", "max_packet_size 2000"]).await;
    let scene = Scene::with_broker(broker, &[]).await;
    let mut lines = scene.client("logs/x").await;
    let subscription = r#"{"id": "x", "workloads": ["fleetconnector"], "follow": true}"#;
    let reply = scene.request("logs/subscribe", subscription).await;
    assert_eq!(reply["id"], "x", "{reply}");
    let written: Vec<String> =
        (0..50).map(|number| format!("{number} {}", "x".repeat(100))).collect();
    scene.vehicle.log("fleetconnector", written.clone()).await.unwrap();
    let mut received = Vec::new();
    while received.len() < written.len() {
        let message = payload(&lines.next().await);
        assert_eq!(message.get("dropped"), None, "{message}");
        for entry in message["entries"].as_array().unwrap() {
            received.push(entry["message"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(received, written);
}

#[tokio::test]
async fn mosquitto_with_restrictions_is_served() {
    for (restriction, text) in [
        ("retain_available false", "does not retain messages"),
        ("max_qos 0", "messages with QoS 0 only"),
        ("max_keepalive 10", ""),
        ("max_packet_size 700", "packets of up to 700 bytes"),
        ("max_topic_alias 0", ""),
    ] {
        let broker = Broker::with(&["persistence false", restriction]).await;
        let vehicle = Vehicle::start().await;
        let connector = start_connector(&broker, vehicle.control_interface(), &[]);
        connector.line("ready for requests").await;
        let reply = broker
            .request(&format!("{BASE}/state"), r#"["desiredState.apiVersion"]"#, &["-q", "0"])
            .await;
        assert_eq!(reply.json()["desired_state"]["api_version"], "v1", "{restriction}");
        if !text.is_empty() {
            let line = connector.line(LINE).await;
            assert!(line.contains(text), "{line}");
        }
    }
}

#[tokio::test]
async fn a_session_that_the_broker_shortens_is_shown_with_its_real_length() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let scene = ScriptedScene::with(&[("HEALTH_ADDR", &address)]).await;
    let properties =
        ConnAckProperties { session_expiry_interval: Some(3600), ..connack_properties() };
    let mut connection = scene.broker.serve_with(false, properties).await;
    let text = "does not keep the session for longer than 1h without a connection, instead of for \
                1day";
    degraded(&mut connection, text).await;
    let line = scene.connector.line(LINE).await;
    assert!(line.contains(text) && line.contains("MQTT_SESSION_EXPIRY"), "{line}");
    let metric = "fleet_connector_mqtt_session_expiry_seconds";
    assert_eq!(Scrape::of(port).await.get(metric), 3600.0);
    drop(connection);
    let _connection = scene.broker.serve(true).await;
    scene.connector.line("the broker offers or allows it again").await;
    eventually("the metric is that of the setting", DEADLINE, async || {
        (Scrape::of(port).await.get(metric) == 86_400.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_not_used_is_not_missed() {
    let scene = ScriptedScene::start().await;
    let properties = ConnAckProperties {
        topic_alias_max: Some(10),
        subscription_identifiers_available: Some(0),
        shared_subscription_available: Some(0),
        receive_max: Some(1),
        max_qos: Some(1),
        server_keep_alive: Some(5),
        session_expiry_interval: Some(86_400),
        server_reference: Some("b.example".into()),
        response_information: Some("r".into()),
        reason_string: Some("hello".into()),
        user_properties: vec![("a".into(), "b".into())],
        ..connack_properties()
    };
    let mut connection = scene.broker.serve_with(false, properties).await;
    let status = take_status(&mut connection).await;
    assert_eq!(payload(&status).get("degraded"), None);
    connection.request(1, false, 1).await;
    let reply = take_reply(&mut connection).await;
    assert_eq!(number(&reply), Some(1));
    assert_eq!(reply.properties.unwrap().topic_alias, None);
    // The keep-alive time of the broker is 5 s, that of the connector 30 s.
    while connection.read_within(Duration::from_secs(4)).await.is_some() {}
    assert!(connection.pings > 0);
}

#[tokio::test]
async fn an_assigned_client_identifier_and_small_packets_are_shown() {
    let scene = ScriptedScene::start().await;
    let properties = ConnAckProperties {
        assigned_client_identifier: Some("other".into()),
        max_packet_size: Some(400),
        ..connack_properties()
    };
    let mut connection = scene.broker.serve_with(false, properties).await;
    // The status itself has no room for the reasons.
    let status = take_status(&mut connection).await;
    assert!(status.size() <= 400);
    assert_eq!(payload(&status)["status"], "online");
    for text in ["assigned the client identifier", "packets of up to 400 bytes"] {
        assert!(scene.connector.output().iter().any(|line| line.contains(text)), "{text}");
    }
    connection.request(1, false, 1).await;
    assert_eq!(number(&take_reply(&mut connection).await), Some(1));
}

fn has_wildcard(subscribe: &Subscribe) -> bool {
    subscribe.filters.iter().any(|filter| filter.path.contains(['+', '#']))
}

#[tokio::test]
async fn a_broker_without_wildcards_gets_a_subscription_for_each_operation() {
    enum Says {
        Connack,
        Suback,
        Disconnect,
    }
    for says in [Says::Connack, Says::Suback, Says::Disconnect] {
        let scene = ScriptedScene::start().await;
        let mut connection = scene.broker.accept().await;
        let mut properties = connack_properties();
        if matches!(says, Says::Connack) {
            properties.wildcard_subscription_available = Some(0);
        }
        connection.connack(false, properties).await;
        let mut subscribe = connection.subscribe().await;
        assert_eq!(has_wildcard(&subscribe), !matches!(says, Says::Connack));
        match says {
            Says::Connack => {}
            Says::Suback => {
                let refused = SubscribeReasonCode::WildcardSubscriptionsNotSupported;
                connection.suback(&subscribe, refused).await;
                subscribe = connection.subscribe().await;
            }
            Says::Disconnect => {
                connection.send_bytes(&[0xe0, 2, 0xa2, 0]).await;
                drop(connection);
                connection = scene.broker.accept().await;
                connection.connack(false, connack_properties()).await;
                subscribe = connection.subscribe().await;
            }
        }
        assert!(!has_wildcard(&subscribe));
        connection.suback(&subscribe, SubscribeReasonCode::Success(QoS::AtLeastOnce)).await;
        degraded(&mut connection, "does not allow wildcards").await;
        connection.request(1, false, 1).await;
        assert_eq!(number(&take_reply(&mut connection).await), Some(1));
    }
}

#[tokio::test]
async fn a_broker_that_gives_no_retained_messages_to_wildcards_is_noticed() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(false).await;
    connection.gives_retained = false;
    let text = "sends no retained messages to subscriptions with wildcards";
    let status = degraded(&mut connection, text).await;
    assert!(status.retain);
    let line = scene.connector.line(LINE).await;
    assert!(line.contains(text) && line.contains("STATE_DIR"), "{line}");
    connection.request(1, false, 1).await;
    assert_eq!(number(&take_reply(&mut connection).await), Some(1));
}

#[tokio::test]
async fn a_broker_that_retains_everything_is_not_degraded() {
    let scene = Scene::start().await;
    // The filter of the question is removed once it is answered.
    scene.broker.process().line(&format!("{BASE}/+/status")).await;
    scene.broker.process().line("Received UNSUBSCRIBE from fleet-connector-1").await;
    scene.broker.process().line("Sending UNSUBACK to fleet-connector-1").await;
    assert!(!scene.connector.output().iter().any(|line| line.contains(LINE)));
    let reply = scene.request("state", r#"["desiredState.apiVersion"]"#).await;
    assert_eq!(reply["desired_state"]["api_version"], "v1");
}

#[tokio::test]
async fn a_broker_that_refers_to_another_one_is_not_followed() {
    for connack in [true, false] {
        let scene = ScriptedScene::start().await;
        let reference = [&[0x1c, 0, 14][..], b"b.example:8883"].concat();
        let mut connection = scene.broker.accept().await;
        if connack {
            connection.send_bytes(&[&[0x20, 20, 0, 0x9d, 17], &reference[..]].concat()).await;
        } else {
            connection.send_bytes(&[0x20, 3, 0, 0, 0]).await;
            connection.send_bytes(&[&[0xe0, 19, 0x9c, 17], &reference[..]].concat()).await;
        }
        let line = scene.connector.line("no connection to the MQTT broker").await;
        for part in ["b.example:8883", "MQTT_BROKER_ADDR"] {
            assert!(line.contains(part), "{part} is missing in {line}");
        }
    }
}

#[tokio::test]
async fn the_last_will_is_delayed_but_not_beyond_the_session() {
    for (settings, expected) in [
        (&[][..], Some(5)),
        (&[("MQTT_WILL_DELAY", "1m")], Some(60)),
        (&[("MQTT_WILL_DELAY", "1m"), ("MQTT_SESSION_EXPIRY", "30s")], Some(30)),
        (&[("MQTT_WILL_DELAY", "0s")], None),
        (&[("REPLICA_ID", "a"), ("MQTT_KEEP_ALIVE", "5s")], None),
    ] {
        let scene = ScriptedScene::with(settings).await;
        let mut connection = scene.broker.accept().await;
        if connection.connect().1.is_none() {
            // A standby watches first.
            connection.connack(false, connack_properties()).await;
            let subscribe = connection.subscribe().await;
            connection.suback(&subscribe, SubscribeReasonCode::Success(QoS::AtLeastOnce)).await;
            connection = scene.broker.accept().await;
        }
        let will = connection.connect().1.as_ref().unwrap();
        let delay = will.properties.as_ref().and_then(|properties| properties.delay_interval);
        assert_eq!(delay, expected, "{settings:?}");
    }
}

#[tokio::test]
async fn a_connection_that_is_back_at_once_is_never_shown_as_offline() {
    let broker = Broker::start().await;
    let proxy = Proxy::start(broker.port()).await;
    let vehicle = Vehicle::start().await;
    let mut status = broker.subscribe(&format!("{BASE}/connector/status"), &[]).await;
    let mut connector = start_connector_at(proxy.port(), vehicle.control_interface(), &[]);
    status.find("online", |message| message.json()["status"] == json!("online")).await;
    connector.line("the link to Ankaios is up").await;
    for _ in 0..3 {
        proxy.cut();
        // Each connection announces itself.
        let since = status.next().await;
        assert_eq!(since.json()["status"], "online");
    }
    // One that is gone is shown as offline.
    connector.kill().await;
    status.find("offline", |message| message.json()["status"] == json!("offline")).await;
}
