//! The packets between replicas and broker, with a broker that behaves in ways in which
//! Mosquitto 2.0 does not.

use std::collections::BTreeMap;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Disconnect, DisconnectReasonCode, Packet, Publish, SubscribeReasonCode,
};
use serde_json::{Value, json};

use super::replica::start;
use crate::support::Process;
use crate::support::connector::{BASE, start_connector_at};
use crate::support::scene::payload;
use crate::support::scripted_broker::{Connection, ScriptedBroker, connack_properties};
use crate::support::vehicle::Vehicle;
use crate::support::{DEADLINE, Proxy};

/// A replica `a` connected to a scripted broker.
struct ScriptedReplica {
    broker: ScriptedBroker,
    connector: Process,
    _vehicle: Vehicle,
    _proxy: Proxy,
}

impl ScriptedReplica {
    async fn start() -> Self {
        let broker = ScriptedBroker::start().await;
        let vehicle = Vehicle::start().await;
        let proxy = Proxy::start(broker.port()).await;
        let connector = start(&proxy, &vehicle, "a");
        Self { broker, connector, _vehicle: vehicle, _proxy: proxy }
    }

    /// Accepts the next connection, which must have this client identifier, and its
    /// subscriptions.
    async fn serve(&self, client_id: &str) -> Connection {
        let mut connection = self.broker.accept().await;
        assert_eq!(connection.connect().0.client_id, client_id);
        connection.connack(false, connack_properties()).await;
        let subscribe = connection.subscribe().await;
        connection.suback(&subscribe, SubscribeReasonCode::Success(QoS::AtLeastOnce)).await;
        connection
    }

    /// Accepts the connection of a standby replica and reads its query for an active one.
    async fn standby(&self) -> Connection {
        let mut connection = self.accept_check().await;
        assert_eq!(query(&mut connection).await, json!({"replica": "a"}));
        connection
    }

    /// Accepts the connection by which an active replica looks for another active one.
    async fn accept_check(&self) -> Connection {
        self.serve("fleet-connector-1-standby-a").await
    }

    async fn active(&self) -> Connection {
        self.serve("fleet-connector-1").await
    }
}

/// A message on the status topic.
fn status(status: &str, replica: &str, retain: bool) -> Packet {
    message(&json!({"status": status, "replica": replica, "since": "x"}), retain)
}

fn message(payload: &Value, retain: bool) -> Packet {
    let topic = format!("{BASE}/connector/status");
    let mut publish = Publish::new(topic, QoS::AtMostOnce, payload.to_string(), None);
    publish.retain = retain;
    Packet::Publish(publish)
}

async fn take_over(connection: &mut Connection) {
    let reason_code = DisconnectReasonCode::SessionTakenOver;
    connection.send(Packet::Disconnect(Disconnect { reason_code, properties: None })).await;
}

/// The next packet, which must be a query for the status of the active replica.
async fn query(connection: &mut Connection) -> Value {
    match connection.read().await {
        Packet::Publish(query) => {
            assert_eq!(query.topic, format!("{BASE}/connector/standby"));
            assert_eq!((query.qos, query.retain), (QoS::AtMostOnce, false));
            payload(&query)
        }
        other => panic!("{other:?}"),
    }
}

/// The record of an event subscription without end.
fn record(id: &str) -> Value {
    json!({"id": id, "field_masks": ["a.b"], "ttl": "0s", "expires_at": null})
}

/// A message on the topic of the record of an event subscription.
fn record_message(id: &str, payload: &str) -> Packet {
    let topic = format!("{BASE}/events/{id}/subscription");
    Packet::Publish(Publish::new(topic, QoS::AtMostOnce, payload.to_owned(), None))
}

/// The next message that is published on such a topic.
async fn publication(connection: &mut Connection, is_one: impl Fn(&str) -> bool) -> Publish {
    loop {
        if let Packet::Publish(publish) = connection.read().await {
            connection.puback(publish.pkid).await;
            if is_one(std::str::from_utf8(&publish.topic).unwrap()) {
                return publish;
            }
        }
    }
}

/// The query of a standby that does not know the records of the active replica.
fn asks_for_records() -> Value {
    json!({"replica": "a", "records": true})
}

/// The next published status.
async fn announcement(connection: &mut Connection) -> Value {
    loop {
        match connection.read().await {
            Packet::Publish(publish) => {
                connection.puback(publish.pkid).await;
                return payload(&publish);
            }
            Packet::PubAck(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_standby_keeps_no_session_and_subscribes_only_to_status_and_records() {
    let replica = ScriptedReplica::start().await;
    let mut connection = replica.broker.accept().await;
    let (connect, will) = connection.connect().clone();
    assert_eq!(connect.client_id, "fleet-connector-1-standby-a");
    assert!(connect.clean_start && will.is_none());
    assert_eq!(connect.properties.unwrap().session_expiry_interval, Some(0));
    connection.connack(false, connack_properties()).await;
    let subscribe = connection.subscribe().await;
    let topics: Vec<_> = subscribe.filters.iter().map(|filter| filter.path.as_str()).collect();
    let expected = [
        "connector/status",
        "events/+/subscription",
        "logs/+/subscription",
        "manifest/apply/+/rollout",
    ];
    assert_eq!(topics, expected.map(|topic| format!("{BASE}/{topic}")));
    // A broker without wildcards.
    let reason_code = DisconnectReasonCode::WildcardSubscriptionsNotSupported;
    let disconnect = Disconnect { reason_code, properties: None };
    connection.send(Packet::Disconnect(disconnect)).await;
    let mut connection = replica.broker.accept().await;
    connection.connack(false, connack_properties()).await;
    let subscribe = connection.subscribe().await;
    assert_eq!(subscribe.filters.len(), 1);
    // It does not claim to know records, nor ask for any.
    connection.suback(&subscribe, SubscribeReasonCode::Success(QoS::AtLeastOnce)).await;
    assert_eq!(query(&mut connection).await, json!({"replica": "a"}));
    for _ in 0..2 {
        connection.send(status("online", "b", false)).await;
    }
    connection.send(status("offline", "b", false)).await;
    assert!(connection.read_within(DEADLINE).await.is_none(), "it asks again");
    let _active = replica.active().await;
    replica.connector.line("the broker sends no records").await;
    let output = replica.connector.output();
    let count = |text: &str| output.iter().filter(|line| line.contains(text)).count();
    assert_eq!(count("the broker sends no records"), 1);
    assert_eq!(count("the records of the active replica are known"), 0);
}

#[tokio::test]
async fn a_replica_resumes_the_subscriptions_that_it_has_seen_as_a_standby() {
    const RESUMED: &str = "a subscription is resumed";
    let replica = ScriptedReplica::start().await;
    let mut watching = replica.standby().await;
    // Those of another one, which the active one does not repeat.
    watching.send(record_message("old", &record("old").to_string())).await;
    watching.send(status("online", "b", false)).await;
    assert_eq!(query(&mut watching).await, asks_for_records());
    for (id, payload) in [
        ("x", record("x").to_string()),
        ("y", record("y").to_string()),
        ("y", String::new()),
        ("z", "no record".to_owned()),
    ] {
        watching.send(record_message(id, &payload)).await;
    }
    watching.send(status("online", "b", false)).await;
    watching.send(status("offline", "b", false)).await;
    let mut active = replica.active().await;
    replica.connector.line(RESUMED).await;
    // What is no record is removed. What is one is published, because the broker may not have it.
    let topic = |id: &str| format!("{BASE}/events/{id}/subscription");
    let mut expected = BTreeMap::from([(topic("x"), Some(record("x"))), (topic("z"), None)]);
    while !expected.is_empty() {
        let publish = publication(&mut active, |topic| topic.ends_with("/subscription")).await;
        assert!(publish.retain);
        let topic = std::str::from_utf8(&publish.topic).unwrap();
        let found = (!publish.payload.is_empty()).then(|| payload(&publish));
        assert_eq!(expected.remove(topic), Some(found), "{topic}");
    }
    // Another standby asks.
    let question = r#"{"replica": "c", "records": true}"#;
    let standby = format!("{BASE}/connector/standby");
    active.send(Packet::Publish(Publish::new(standby, QoS::AtMostOnce, question, None))).await;
    let again = publication(&mut active, |published| published == topic("x")).await;
    assert!(again.retain);
    assert_eq!(payload(&again), record("x"));
    let resumed = replica.connector.output();
    assert_eq!(resumed.iter().filter(|line| line.contains(RESUMED)).count(), 1);
}

#[tokio::test]
async fn a_standby_that_loses_its_connection_remembers_who_was_active() {
    let replica = ScriptedReplica::start().await;
    let mut watching = replica.standby().await;
    watching.send(status("online", "b", false)).await;
    assert_eq!(query(&mut watching).await, asks_for_records());
    watching.send(record_message("x", &record("x").to_string())).await;
    watching.send(status("online", "b", false)).await;
    // It asks again when it has handled them.
    assert_eq!(query(&mut watching).await, json!({"replica": "a"}));
    drop(watching);
    // Nothing is retained, and nobody answers: it asks again instead of taking over.
    let mut watching = replica.standby().await;
    for _ in 0..2 {
        assert_eq!(query(&mut watching).await, json!({"replica": "a"}));
    }
    replica.connector.line("the active replica does not respond").await;
    // Its pings are answered until it takes over.
    watching.closed().await;
    let _active = replica.active().await;
    replica.connector.line("a subscription is resumed").await;
}

#[tokio::test]
async fn a_replica_whose_session_was_taken_over_becomes_standby() {
    let replica = ScriptedReplica::start().await;
    let _watching = replica.standby().await;
    let mut active = replica.active().await;
    let birth = announcement(&mut active).await;
    assert_eq!((&birth["status"], &birth["replica"]), (&json!("online"), &json!("a")));
    let (_, will) = active.connect().clone();
    let will: Value = serde_json::from_slice(&will.unwrap().message).unwrap();
    assert_eq!((&will["status"], &will["replica"]), (&json!("offline"), &json!("a")));
    assert_eq!(will["since"], birth["since"]);

    take_over(&mut active).await;
    active.closed().await;
    let mut watching = replica.standby().await;
    // Its own last will arrives before the status of the other replica.
    watching.send(status("offline", "a", false)).await;
    watching.send(status("online", "b", false)).await;
    assert_eq!(query(&mut watching).await, asks_for_records());
    // Longer than a standby replica waits before it takes over.
    assert!(watching.read_within(Duration::from_secs(3)).await.is_none());
    watching.send(status("offline", "b", false)).await;
    let _active = replica.active().await;
}

#[tokio::test]
async fn a_replica_that_resumes_detects_that_another_one_is_active() {
    let replica = ScriptedReplica::start().await;
    let _watching = replica.standby().await;
    let mut active = replica.active().await;
    let birth = announcement(&mut active).await;
    drop(active);
    // At the first check there is no other replica yet.
    let mut checking = replica.accept_check().await;
    checking.send(message(&birth, true)).await;
    let mut active = replica.active().await;
    active.send(status("online", "b", true)).await;
    active.closed().await;
    let _watching = replica.standby().await;
}

#[tokio::test]
async fn a_replica_resumes_a_lost_connection_only_if_no_other_is_active() {
    let replica = ScriptedReplica::start().await;
    let _watching = replica.standby().await;
    let mut active = replica.active().await;
    let mut birth = announcement(&mut active).await;
    drop(active);
    let mut checking = replica.accept_check().await;
    birth["status"] = json!("offline");
    checking.send(message(&birth, true)).await;
    let mut active = replica.active().await;
    announcement(&mut active).await;
    drop(active);
    // Another process of the same name counts as another replica.
    let mut checking = replica.accept_check().await;
    checking.send(status("offline", "a", true)).await;
    checking.closed().await;
    replica.connector.line("another replica has taken over").await;
    let _watching = replica.standby().await;
}

#[tokio::test]
async fn an_active_replica_answers_the_query_of_a_standby() {
    let replica = ScriptedReplica::start().await;
    let _watching = replica.standby().await;
    let mut active = replica.active().await;
    let birth = announcement(&mut active).await;
    let topic = format!("{BASE}/connector/standby");
    let query = Publish::new(topic, QoS::AtMostOnce, "{}", None);
    active.send(Packet::Publish(query)).await;
    assert_eq!(announcement(&mut active).await, birth);
    // A late last will of the former active replica is corrected; its own status needs no
    // answer.
    active.send(status("online", "a", false)).await;
    active.send(status("offline", "b", false)).await;
    assert_eq!(announcement(&mut active).await, birth);
    assert!(active.read_within(Duration::from_millis(300)).await.is_none());
}

#[tokio::test]
async fn a_retained_status_is_queried_until_there_is_an_answer() {
    let replica = ScriptedReplica::start().await;
    let mut watching = replica.standby().await;
    watching.send(status("online", "b", true)).await;
    assert_eq!(query(&mut watching).await, json!({"replica": "a"}));
    watching.send(status("online", "b", false)).await;
    assert_eq!(query(&mut watching).await, asks_for_records());
    assert!(watching.read_within(Duration::from_secs(3)).await.is_none());
}

#[tokio::test]
async fn without_replicas_a_session_takeover_is_explained_and_reversed() {
    let broker = ScriptedBroker::start().await;
    let vehicle = Vehicle::start().await;
    let connector = start_connector_at(broker.port(), vehicle.control_interface(), &[]);
    let mut connection = broker.serve(false).await;
    connector.line("ready for requests").await;
    take_over(&mut connection).await;
    let explained = |line: &str| {
        line.contains("SessionTakenOver")
            && line.contains("another client uses the client identifier")
            && line.contains("REPLICA_ID")
    };
    assert!(connector.line_from(0, DEADLINE, explained).await.is_some());
    let _connection = broker.serve(true).await;
}

#[tokio::test]
async fn an_active_replica_is_found_without_a_retained_status() {
    let replica = ScriptedReplica::start().await;
    let mut watching = replica.standby().await;
    watching.send(status("online", "b", false)).await;
    assert_eq!(query(&mut watching).await, asks_for_records());
    assert!(watching.read_within(Duration::from_secs(3)).await.is_none());
}
