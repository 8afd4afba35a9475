//! The broker of the demo has the features that the connector and its operators need.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, Packet, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{Event as OldEvent, Packet as OldPacket};
use tokio::time::timeout;
use vehicle_simulator::broker::{BrokerError, EmbeddedBroker};

const LIMIT: Duration = Duration::from_secs(5);

async fn broker() -> EmbeddedBroker {
    EmbeddedBroker::start("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

/// Connects a client with a session that expires after `expiry` seconds.
async fn connect(broker: &EmbeddedBroker, id: &str, expiry: u32) -> (AsyncClient, EventLoop, bool) {
    let address = broker.address();
    let mut options = MqttOptions::new(id, address.ip().to_string(), address.port());
    options.set_clean_start(false);
    let properties =
        ConnectProperties { session_expiry_interval: Some(expiry), ..ConnectProperties::new() };
    options.set_connect_properties(properties);
    let (client, mut events) = AsyncClient::new(options, 10);
    loop {
        if let Event::Incoming(Packet::ConnAck(ack)) = next(&mut events).await {
            return (client, events, ack.session_present);
        }
    }
}

async fn next(events: &mut EventLoop) -> Event {
    timeout(LIMIT, events.poll()).await.expect("nothing came").unwrap()
}

async fn publication(events: &mut EventLoop) -> Publish {
    loop {
        if let Event::Incoming(Packet::Publish(publish)) = next(events).await {
            return publish;
        }
    }
}

async fn until(events: &mut EventLoop, found: impl Fn(&Packet) -> bool) {
    loop {
        if let Event::Incoming(packet) = next(events).await
            && found(&packet)
        {
            return;
        }
    }
}

async fn subscribe(client: &AsyncClient, events: &mut EventLoop, filter: &str) {
    client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
    until(events, |packet| matches!(packet, Packet::SubAck(_))).await;
}

async fn publish(client: &AsyncClient, events: &mut EventLoop, topic: &str, retain: bool) {
    client.publish(topic, QoS::AtLeastOnce, retain, "payload").await.unwrap();
    until(events, |packet| matches!(packet, Packet::PubAck(_))).await;
}

#[tokio::test]
async fn a_taken_port_is_reported() {
    let first = broker().await;
    let error = EmbeddedBroker::start(first.address()).await.unwrap_err();
    assert!(matches!(error, BrokerError::AddressTaken(address) if address == first.address()));
}

#[tokio::test]
async fn clients_of_both_versions_reach_each_other() {
    let broker = broker().await;
    let (client, mut events, _) = connect(&broker, "new", 0).await;
    subscribe(&client, &mut events, "meeting/#").await;

    let address = broker.address();
    let options = rumqttc::MqttOptions::new("old", address.ip().to_string(), address.port());
    let (old, mut old_events) = rumqttc::AsyncClient::new(options, 10);
    old.publish("meeting/point", rumqttc::QoS::AtLeastOnce, false, "hello").await.unwrap();
    while !matches!(
        timeout(LIMIT, old_events.poll()).await.unwrap().unwrap(),
        OldEvent::Incoming(OldPacket::PubAck(_))
    ) {}
    assert_eq!(publication(&mut events).await.payload, "hello");
}

/// The next message to a subscriber with MQTT 3.1.1.
async fn old_publication(broker: &EmbeddedBroker, filter: &str) -> rumqttc::Publish {
    let address = broker.address();
    let options = rumqttc::MqttOptions::new("old", address.ip().to_string(), address.port());
    let (client, mut events) = rumqttc::AsyncClient::new(options, 10);
    client.subscribe(filter, rumqttc::QoS::AtLeastOnce).await.unwrap();
    loop {
        let event = timeout(LIMIT, events.poll()).await.expect("nothing came").unwrap();
        if let OldEvent::Incoming(OldPacket::Publish(publish)) = event {
            return publish;
        }
    }
}

#[tokio::test]
async fn properties_are_omitted_for_the_older_version() {
    let broker = broker().await;
    let (client, mut events, _) = connect(&broker, "new", 0).await;
    let properties = PublishProperties {
        content_type: Some("application/json".to_owned()),
        user_properties: vec![("key".to_owned(), "value".to_owned())],
        ..PublishProperties::default()
    };
    client
        .publish_with_properties("status", QoS::AtLeastOnce, true, "payload", properties)
        .await
        .unwrap();
    until(&mut events, |packet| matches!(packet, Packet::PubAck(_))).await;
    let publish = old_publication(&broker, "status").await;
    assert!(publish.retain);
    assert_eq!(publish.payload, "payload");
}

#[tokio::test]
async fn properties_are_forwarded() {
    let broker = broker().await;
    let (client, mut events, _) = connect(&broker, "both", 0).await;
    subscribe(&client, &mut events, "t").await;
    let sent = PublishProperties {
        response_topic: Some("reply/here".to_owned()),
        correlation_data: Some("data".into()),
        user_properties: vec![("request-id".to_owned(), "7".to_owned())],
        message_expiry_interval: Some(60),
        ..PublishProperties::default()
    };
    client.publish_with_properties("t", QoS::AtLeastOnce, false, "x", sent.clone()).await.unwrap();
    let received = publication(&mut events).await.properties.unwrap();
    assert_eq!(received.response_topic, sent.response_topic);
    assert_eq!(received.correlation_data, sent.correlation_data);
    assert!(sent.user_properties.iter().all(|it| received.user_properties.contains(it)));
    assert!(received.message_expiry_interval.is_some_and(|left| (1..=60).contains(&left)));
}

#[tokio::test]
async fn a_session_keeps_messages_while_its_client_is_disconnected() {
    let broker = broker().await;
    let (client, mut events, known) = connect(&broker, "away", 60).await;
    assert!(!known);
    subscribe(&client, &mut events, "t").await;
    drop((client, events));

    let (other, mut other_events, _) = connect(&broker, "other", 0).await;
    publish(&other, &mut other_events, "t", false).await;
    let (_client, mut events, known) = connect(&broker, "away", 60).await;
    assert!(known);
    assert_eq!(publication(&mut events).await.payload, "payload");
}

#[tokio::test]
async fn later_subscribers_get_retained_messages() {
    let broker = broker().await;
    let (client, mut events, _) = connect(&broker, "early", 0).await;
    publish(&client, &mut events, "status", true).await;
    let (late, mut late_events, _) = connect(&broker, "late", 0).await;
    subscribe(&late, &mut late_events, "status").await;
    let kept = publication(&mut late_events).await;
    assert!(kept.retain);
    assert_eq!(kept.payload, "payload");
}
