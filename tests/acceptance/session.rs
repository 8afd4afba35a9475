//! The MQTT session under faults of brokers and networks. Each known fault of the client
//! library's event loop, which is not used, has a test here.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAckProperties, Packet, PubAck, PubAckReason, Publish, RetainForwardRule,
    SubscribeReasonCode,
};
use serde_json::json;

use crate::support::client::number;
use crate::support::connector::BASE;
use crate::support::scene::payload;
use crate::support::scripted_broker::{Connection, connack_properties, request};
use crate::support::scripted_scene::{ScriptedScene, take_publish, take_reply};
use crate::support::{DEADLINE, eventually};

/// A request for events with QoS 1.
fn events_request(pkid: u16, operation: &str, payload: &str) -> Publish {
    let mut publish = request(pkid, false, pkid.into());
    publish.topic = format!("{BASE}/events/{operation}/req").into();
    publish.payload = payload.to_owned().into();
    publish
}

/// The retained record of an event subscription with the id `x`.
fn record(topic: &str) -> Publish {
    let record = r#"{"id": "x", "field_masks": ["desiredState"], "ttl": "0s", "expires_at": null}"#;
    let mut publish = Publish::new(topic, QoS::AtLeastOnce, record, None);
    (publish.retain, publish.pkid) = (true, 99);
    publish
}

/// Waits until the connector has processed all acknowledgements that were sent to it, by a request
/// whose reply is acknowledged after them. Otherwise it may send the messages again on its next
/// connection. Returns the messages until then, acknowledged.
async fn settle(connection: &mut Connection, pkid: u16) -> Vec<Publish> {
    connection.request(pkid, false, pkid.into()).await;
    let mut publishes = Vec::new();
    loop {
        match connection.read().await {
            Packet::Publish(publish) => {
                connection.puback(publish.pkid).await;
                publishes.push(publish);
            }
            Packet::PubAck(puback) if puback.pkid == pkid => return publishes,
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_connection_is_opened_as_the_contract_says() {
    let scene =
        ScriptedScene::with(&[("MQTT_SESSION_EXPIRY", "1h"), ("MQTT_KEEP_ALIVE", "20s")]).await;
    let mut connection = scene.broker.accept().await;
    let (connect, will) = connection.connect().clone();
    assert_eq!(connect.client_id, "fleet-connector-1");
    assert_eq!((connect.clean_start, connect.keep_alive), (false, 20));
    let properties = connect.properties.unwrap();
    assert_eq!(properties.session_expiry_interval, Some(3600));
    assert_eq!(properties.receive_maximum, Some(64));
    // A message with a topic alias would arrive without its topic.
    assert_eq!(properties.topic_alias_max, None);
    // 1 MiB is served, a little more is answered with an error, and 16 MiB are not accepted.
    let max_packet = properties.max_packet_size.unwrap();
    assert!((2 << 20..16 << 20).contains(&max_packet), "{max_packet}");
    let will = will.unwrap();
    assert_eq!(will.topic, format!("{BASE}/connector/status"));
    assert!(will.retain && will.qos == QoS::AtLeastOnce);

    connection.connack(false, connack_properties()).await;
    let subscribe = connection.subscribe().await;
    for filter in &subscribe.filters {
        assert_eq!(filter.qos, QoS::AtLeastOnce);
        // Only records of subscriptions are wanted as retained messages.
        let never = filter.retain_forward_rule == RetainForwardRule::Never;
        assert_eq!(never, filter.path.ends_with("/req"), "{filter:?}");
    }
    // It announces itself only after its subscriptions are acknowledged.
    assert!(connection.read_within(Duration::from_millis(300)).await.is_none());
    connection.suback(&subscribe, SubscribeReasonCode::Success(QoS::AtLeastOnce)).await;
    match connection.read().await {
        Packet::Publish(birth) => {
            assert!(birth.retain && birth.qos == QoS::AtLeastOnce);
            let will: serde_json::Value = serde_json::from_slice(&will.message).unwrap();
            assert_eq!(payload(&birth)["status"], json!("online"));
            assert_eq!(will["status"], json!("offline"));
            assert_eq!(payload(&birth)["since"], will["since"]);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_request_is_acknowledged_after_its_reply_and_in_order() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(false).await;
    for id in 1..=3 {
        connection.request(id, false, id.into()).await;
    }
    let replies = [connection.reply().await, connection.reply().await, connection.reply().await];
    assert_eq!(replies.each_ref().map(number), [Some(1), Some(2), Some(3)]);
    // The broker acknowledges the last reply first.
    connection.puback(replies[2].pkid).await;
    connection.puback(replies[1].pkid).await;
    assert!(connection.read_within(Duration::from_millis(300)).await.is_none());
    connection.puback(replies[0].pkid).await;
    for id in 1..=3 {
        assert_eq!(connection.acknowledgement().await, id);
    }
}

/// An acknowledgement waits 20 ms at most. On a busy machine, Ankaios may take longer to answer the
/// next request, so some attempts prove nothing.
#[tokio::test]
async fn an_acknowledgement_is_sent_with_the_next_reply() {
    const ATTEMPTS: u16 = 100;
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(false).await;
    connection.request(1, false, 1).await;
    for next in 2..ATTEMPTS {
        let reply = connection.reply().await;
        assert_eq!(number(&reply), Some(u32::from(next) - 1));
        // The connector reads the packets of one write of the broker together.
        let mut bytes = BytesMut::new();
        Packet::PubAck(PubAck::new(reply.pkid, None)).write(&mut bytes, None).unwrap();
        Packet::Publish(request(next, false, next.into())).write(&mut bytes, None).unwrap();
        connection.send_bytes(&bytes).await;
        let first = loop {
            match connection.read().await {
                Packet::Publish(status) if status.retain => connection.puback(status.pkid).await,
                packet => break packet,
            }
        };
        match first {
            Packet::Publish(reply) => {
                assert_eq!(number(&reply), Some(next.into()));
                assert_eq!(connection.acknowledgement().await, next - 1);
                return;
            }
            Packet::PubAck(late) => assert_eq!(late.pkid, next - 1),
            other => panic!("{other:?}"),
        }
    }
    panic!("each of {ATTEMPTS} acknowledgements was sent on its own");
}

#[tokio::test]
async fn an_acknowledgement_does_not_wait_for_a_slow_reply() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(false).await;
    connection.request(1, false, 1).await;
    let first = connection.reply().await;
    scene.hold_request(&mut connection, 2, 2).await;
    connection.puback(first.pkid).await;
    // Long before the request to Ankaios times out.
    match connection.read_within(Duration::from_secs(2)).await {
        Some(Packet::PubAck(puback)) => assert_eq!(puback.pkid, 1),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_lost_connection_loses_no_reply_with_and_without_session() {
    for session_present in [true, false] {
        let scene = ScriptedScene::start().await;
        let mut connection = scene.broker.serve(false).await;
        for id in 1..=5 {
            connection.request(id, false, id.into()).await;
        }
        let first = take_reply(&mut connection).await;
        assert_eq!(number(&first), Some(1));
        // The other replies have been sent when the connection is lost.
        connection.read().await;
        drop(connection);
        let mut connection = scene.broker.serve(session_present).await;
        let mut replies = Vec::new();
        while replies.last() != Some(&5) {
            replies.extend(number(&take_reply(&mut connection).await));
        }
        // The connector may or may not have received the acknowledgement of the first reply.
        replies.retain(|number| *number != 1);
        assert_eq!(replies, [2, 3, 4, 5], "session_present={session_present}");
    }
}

#[tokio::test]
async fn acknowledgements_are_never_sent_on_another_connection() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(false).await;
    scene.hold_request(&mut connection, 7, 1).await;
    drop(connection);
    let mut connection = scene.broker.serve(true).await;
    // Another message with the packet identifier of the first one.
    connection.request(7, false, 2).await;
    scene.vehicle.set_server_down(false);
    let mut replies = Vec::new();
    for _ in 0..2 {
        let reply = connection.reply().await;
        replies.push((number(&reply), reply.pkid));
    }
    let (_, of_the_first) = replies.iter().find(|(number, _)| *number == Some(1)).unwrap();
    connection.puback(*of_the_first).await;
    assert!(connection.read_within(Duration::from_millis(300)).await.is_none());
    let (_, of_the_second) = replies.iter().find(|(number, _)| *number == Some(2)).unwrap();
    connection.puback(*of_the_second).await;
    assert_eq!(connection.acknowledgement().await, 7);
}

#[tokio::test]
async fn a_redelivered_request_that_is_in_progress_is_served_once() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(false).await;
    scene.hold_request(&mut connection, 7, 1).await;
    drop(connection);
    let mut connection = scene.broker.serve(true).await;
    connection.request(9, true, 1).await;
    scene.vehicle.set_server_down(false);
    assert_eq!(number(&take_reply(&mut connection).await), Some(1));
    assert_eq!(connection.acknowledgement().await, 9);
    assert!(connection.read_within(Duration::from_millis(300)).await.is_none());
}

#[tokio::test]
async fn a_request_whose_acknowledgement_was_lost_does_not_undo_later_ones() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(false).await;
    connection.request(6, false, 1).await;
    assert_eq!(number(&take_reply(&mut connection).await), Some(1));
    assert_eq!(connection.acknowledgement().await, 6);
    scene.hold_request(&mut connection, 7, 2).await;
    drop(connection);
    let mut connection = scene.broker.serve(true).await;
    connection.request(6, true, 1).await;
    connection.request(7, true, 2).await;
    assert_eq!(connection.acknowledgement().await, 6);
    scene.vehicle.set_server_down(false);
    assert_eq!(number(&take_reply(&mut connection).await), Some(2));
    assert_eq!(connection.acknowledgement().await, 7);
    assert!(connection.read_within(Duration::from_millis(300)).await.is_none());
}

#[tokio::test]
async fn colliding_packet_identifiers_do_not_stop_it() {
    let scene = ScriptedScene::start().await;
    let properties = ConnAckProperties { receive_max: Some(3), ..connack_properties() };
    let mut connection = scene.broker.serve_with(false, properties).await;
    let mut id = 0;
    let mut send = async |connection: &mut Connection| {
        id += 1;
        connection.request(id, false, id.into()).await;
    };
    send(&mut connection).await;
    let held = connection.reply().await;
    // All other packet identifiers are used and freed until the turn of the occupied one.
    for _ in 0..4 {
        send(&mut connection).await;
    }
    while let Some(Packet::Publish(publish)) =
        connection.read_within(Duration::from_millis(500)).await
    {
        connection.puback(publish.pkid).await;
    }
    // The broker refuses the message; its packet identifier is free nevertheless.
    connection.puback_with(held.pkid, PubAckReason::QuotaExceeded).await;
    for _ in 0..3 {
        send(&mut connection).await;
    }
    let mut acknowledged = Vec::new();
    while acknowledged.len() < 8 {
        match connection.read().await {
            Packet::Publish(publish) => connection.puback(publish.pkid).await,
            Packet::PubAck(puback) => acknowledged.push(puback.pkid),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(acknowledged, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[tokio::test]
async fn a_refused_subscription_is_reported_and_tried_again() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.accept().await;
    connection.connack(false, connack_properties()).await;
    let subscribe = connection.subscribe().await;
    connection.suback(&subscribe, SubscribeReasonCode::NotAuthorized).await;
    connection.closed().await;
    scene.connector.line("the broker refuses the subscription").await;
    let _connection = scene.broker.serve(false).await;
    scene.connector.line("ready for requests").await;
}

#[tokio::test]
async fn an_answer_to_another_subscription_ends_the_connection() {
    let scene = ScriptedScene::start().await;
    for (id, codes) in [(0, 0), (1, 0), (0, -1), (0, 1)] {
        let mut connection = scene.broker.accept().await;
        connection.connack(false, connack_properties()).await;
        let mut subscribe = connection.subscribe().await;
        subscribe.pkid += id;
        match codes {
            -1 => drop(subscribe.filters.pop()),
            1 => subscribe.filters.push(subscribe.filters[0].clone()),
            _ => {}
        }
        connection.suback(&subscribe, SubscribeReasonCode::Success(QoS::AtLeastOnce)).await;
        if (id, codes) == (0, 0) {
            assert!(matches!(connection.read().await, Packet::Publish(birth) if birth.retain));
            continue;
        }
        connection.closed().await;
    }
    scene.connector.line("its SUBACK does not answer the SUBSCRIBE").await;
}

#[tokio::test]
async fn a_connection_whose_subscription_is_never_answered_is_closed() {
    let scene = ScriptedScene::with(&[("MQTT_KEEP_ALIVE", "5s")]).await;
    let mut connection = scene.broker.accept().await;
    connection.connack(false, connack_properties()).await;
    connection.subscribe().await;
    // The broker answers pings.
    connection.closed().await;
    scene.connector.line("it answers a ping, but not SUBSCRIBE").await;
}

#[tokio::test]
async fn every_connection_subscribes() {
    let scene = ScriptedScene::start().await;
    for session_present in [false, true, true] {
        // `serve` waits for the subscriptions.
        let mut connection = scene.broker.serve(session_present).await;
        connection.request(1, false, 1).await;
        assert_eq!(number(&take_reply(&mut connection).await), Some(1));
    }
}

#[tokio::test]
async fn records_are_requested_once_and_published_again_after_the_broker_lost_them() {
    let scene = ScriptedScene::start().await;
    let record = format!("{BASE}/events/x/subscription");
    let is_record = |publish: &Publish| publish.retain && publish.topic == record.as_bytes();
    for (session_present, rule) in [
        (false, RetainForwardRule::OnEverySubscribe),
        (true, RetainForwardRule::Never),
        (false, RetainForwardRule::Never),
    ] {
        let first = rule == RetainForwardRule::OnEverySubscribe;
        let mut connection = scene.broker.accept().await;
        connection.connack(session_present, connack_properties()).await;
        let subscribe = connection.subscribe().await;
        let of_records = subscribe.filters.iter().filter(|filter| filter.path.contains("subscr"));
        let rules: Vec<_> = of_records.map(|filter| filter.retain_forward_rule.clone()).collect();
        assert_eq!(rules, [rule.clone(), rule]);
        connection.suback(&subscribe, SubscribeReasonCode::Success(QoS::AtLeastOnce)).await;
        if first {
            let payload = r#"{"id": "x", "field_masks": ["desiredState"]}"#;
            connection.send(Packet::Publish(events_request(1, "subscribe", payload))).await;
        }
        // A request, so that there is always a message to read.
        connection.request(2, false, 2).await;
        let mut recorded = false;
        while !recorded {
            let publish = take_publish(&mut connection).await;
            recorded = is_record(&publish);
            if session_present && number(&publish) == Some(2) {
                break;
            }
        }
        let others = settle(&mut connection, 3).await;
        recorded |= others.iter().any(is_record);
        assert_eq!(recorded, !session_present);
    }
}

#[tokio::test]
async fn records_are_published_once_however_often_the_broker_has_lost_them() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(false).await;
    let payload = r#"{"id": "x", "field_masks": ["desiredState"]}"#;
    connection.send(Packet::Publish(events_request(1, "subscribe", payload))).await;
    let record = format!("{BASE}/events/x/subscription");
    while take_publish(&mut connection).await.topic != record {}
    drop(connection);
    for _ in 0..2 {
        let mut connection = scene.broker.accept().await;
        connection.connack(false, connack_properties()).await;
        connection.subscribe().await;
    }
    let mut connection = scene.broker.serve(false).await;
    connection.request(2, false, 2).await;
    let mut records = 0;
    loop {
        let publish = take_publish(&mut connection).await;
        if publish.topic.ends_with(b"/state/resp") {
            break;
        }
        records += usize::from(publish.topic == record);
    }
    assert_eq!(records, 1);
}

#[tokio::test]
async fn records_of_a_former_process_are_published_after_the_broker_lost_them() {
    let scene = ScriptedScene::with(&[("LOG_LEVEL", "info")]).await;
    let mut connection = scene.broker.serve(false).await;
    let rollout = Publish {
        pkid: 98,
        topic: format!("{BASE}/manifest/apply/y/rollout").into(),
        payload: r#"{"request_id": "r", "workloads": [{"agent_name": "agent_A", "workload_name": "w", "workload_id": "1"}], "expires_at": "2999-01-01T00:00:00Z"}"#.into(),
        ..record("")
    };
    let records = [record(&format!("{BASE}/events/x/subscription")), rollout];
    for (record, line) in records.iter().zip(["a subscription is resumed", "a rollout is resumed"])
    {
        connection.send(Packet::Publish(record.clone())).await;
        scene.connector.line(line).await;
    }
    drop(connection);
    let mut connection = scene.broker.serve(false).await;
    let mut missing: Vec<_> = records.iter().map(|record| &record.topic).collect();
    while !missing.is_empty() {
        let publish = take_publish(&mut connection).await;
        missing.retain(|topic| **topic != publish.topic || publish.payload.is_empty());
    }
}

#[tokio::test]
async fn a_subscription_can_be_ended_before_its_record_arrives() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.accept().await;
    connection.connack(true, connack_properties()).await;
    // Messages that have waited in the session come first.
    let end = events_request(1, "unsubscribe", r#"{"id": "x"}"#);
    connection.send(Packet::Publish(end)).await;
    let subscribe = connection.subscribe().await;
    connection.suback(&subscribe, SubscribeReasonCode::Success(QoS::AtLeastOnce)).await;
    let topic = format!("{BASE}/events/x/subscription");
    connection.send(Packet::Publish(record(&topic))).await;
    let mut removed = false;
    loop {
        let publish = take_publish(&mut connection).await;
        if publish.topic.ends_with(b"/events/unsubscribe/resp") {
            assert_eq!(payload(&publish), json!({"id": "x"}));
            break;
        }
        removed |= publish.retain && publish.topic == topic && publish.payload.is_empty();
    }
    assert!(removed);
}

#[tokio::test]
async fn a_subscription_ended_before_its_record_is_not_restored_later() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(true).await;
    connection.send(Packet::Publish(events_request(1, "unsubscribe", r#"{"id": "x"}"#))).await;
    loop {
        let publish = take_publish(&mut connection).await;
        if publish.topic.ends_with(b"/events/unsubscribe/resp") {
            assert_eq!(payload(&publish)["error"]["code"], "not_found");
            break;
        }
    }
    let topic = format!("{BASE}/events/x/subscription");
    connection.send(Packet::Publish(record(&topic))).await;
    loop {
        let publish = take_publish(&mut connection).await;
        if publish.topic == topic {
            assert!(publish.retain && publish.payload.is_empty());
            break;
        }
    }
}

#[tokio::test]
async fn subscribing_and_unsubscribing_overtake_streams_and_no_old_event_follows() {
    const EVENTS: u8 = 20;
    // Messages of an expired subscription may be queued as well.
    for (operation, ttl) in [("subscribe", "0s"), ("unsubscribe", "0s"), ("subscribe", "3s")] {
        let scene = ScriptedScene::start().await;
        let properties = ConnAckProperties { receive_max: Some(1), ..connack_properties() };
        let mut connection = scene.broker.serve_with(false, properties).await;
        let subscription = json!({"id": "x", "field_masks": ["workloadStates"], "ttl": ttl});
        let subscription = subscription.to_string();
        connection.send(Packet::Publish(events_request(1, "subscribe", &subscription))).await;
        while !take_publish(&mut connection).await.topic.ends_with(b"/events/subscribe/resp") {}

        let instance = scene.vehicle.instance("fleetconnector").unwrap();
        let delivered = scene.vehicle.counters().delivered;
        for number in 0..EVENTS {
            let mut state = vehicle_simulator::execution::running();
            state.additional_info = Some(number.to_string());
            scene.vehicle.set_execution_state(&instance, state);
        }
        let all = delivered + u64::from(EVENTS);
        scene.vehicle.wait_for(DEADLINE, |counters| counters.delivered >= all).await.unwrap();
        if ttl != "0s" {
            eventually("the subscription has expired", DEADLINE, async || {
                // The guard has its own subscription.
                (scene.vehicle.streams()["events"].len() == 1).then_some(())
            })
            .await;
        }
        let keeps_record = operation == "subscribe";
        let payload = if keeps_record { &subscription } else { r#"{"id": "x"}"# };
        let mut request = events_request(2, operation, payload);
        let properties = request.properties.get_or_insert_default();
        properties.user_properties = vec![("request-id".into(), "second".into())];
        connection.send(Packet::Publish(request)).await;
        // The broker acknowledges nothing until the connector has processed this.
        scene.connector.line(r#"request_id="second""#).await;
        let reply = format!("{BASE}/events/{operation}/resp");
        let mut messages = Vec::new();
        while messages.last().is_none_or(|last: &Publish| last.topic != reply.as_bytes()) {
            messages.push(take_publish(&mut connection).await);
        }
        messages.pop();
        let record = messages.pop().unwrap();
        assert_eq!(record.topic, format!("{BASE}/events/x/subscription"));
        assert!(record.retain && record.payload.is_empty() != keeps_record);
        assert!(messages.len() < EVENTS.into(), "{}", messages.len());
        assert!(messages.iter().all(|message| message.topic.ends_with(b"/events/x")));
        while let Some(packet) = connection.read_within(Duration::from_millis(300)).await {
            assert!(matches!(packet, Packet::PubAck(_)), "{packet:?}");
        }
    }
}

#[tokio::test]
async fn an_old_record_does_not_affect_a_newer_subscription() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(false).await;
    let payload = r#"{"id": "x", "field_masks": ["desiredState"]}"#;
    connection.send(Packet::Publish(events_request(1, "subscribe", payload))).await;
    while !take_publish(&mut connection).await.topic.ends_with(b"/events/subscribe/resp") {}
    let topic = format!("{BASE}/events/x/subscription");
    let over =
        r#"{"id": "x", "field_masks": ["a"], "ttl": "1s", "expires_at": "2020-01-01T00:00:00Z"}"#;
    for old in [over, "no record"] {
        connection.send(Packet::Publish(Publish { payload: old.into(), ..record(&topic) })).await;
        connection.request(2, false, 2).await;
        loop {
            let publish = take_publish(&mut connection).await;
            assert_ne!(publish.topic, topic);
            if publish.topic.ends_with(b"/state/resp") {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_refused_record_does_not_come_back_after_its_removal() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(false).await;
    let record = format!("{BASE}/events/x/subscription");
    let mut records = Vec::new();
    for (id, operation, payload) in [
        (1, "subscribe", r#"{"id": "x", "field_masks": ["desiredState"]}"#),
        (2, "unsubscribe", r#"{"id": "x"}"#),
    ] {
        connection.send(Packet::Publish(events_request(id, operation, payload))).await;
        while records.len() < usize::from(id) {
            match connection.read().await {
                Packet::Publish(publish) if publish.topic == record => records.push(publish),
                Packet::Publish(publish) => connection.puback(publish.pkid).await,
                _ => {}
            }
        }
    }
    let [created, removed] = &records[..] else { panic!("{records:?}") };
    assert!(!created.payload.is_empty() && removed.payload.is_empty());
    connection.puback_with(created.pkid, PubAckReason::QuotaExceeded).await;
    connection.puback(removed.pkid).await;
    // Messages that are published again come before new ones.
    connection.request(3, false, 3).await;
    loop {
        let publish = take_publish(&mut connection).await;
        assert_ne!(publish.topic, record);
        if publish.topic.ends_with(b"/state/resp") {
            break;
        }
    }
}

#[tokio::test]
async fn a_reply_refused_for_a_temporary_reason_is_published_again() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(false).await;
    connection.request(1, false, 1).await;
    let refused = connection.reply().await;
    connection.puback_with(refused.pkid, PubAckReason::QuotaExceeded).await;
    let again = take_reply(&mut connection).await;
    assert_eq!((number(&again), &again.payload), (Some(1), &refused.payload));
    assert_eq!(connection.acknowledgement().await, 1);
}

#[tokio::test]
async fn after_a_refused_message_publishing_pauses_even_if_another_is_accepted() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(false).await;
    for id in 1..=2 {
        connection.request(id, false, id.into()).await;
    }
    let [refused, taken] = [connection.reply().await, connection.reply().await];
    let start = Instant::now();
    connection.puback_with(refused.pkid, PubAckReason::QuotaExceeded).await;
    connection.puback(taken.pkid).await;
    connection.request(3, false, 3).await;
    let again = [take_reply(&mut connection).await, take_reply(&mut connection).await];
    assert_eq!(again.each_ref().map(number), [Some(1), Some(3)]);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(900), "{took:?}");
    for id in 1..=3 {
        assert_eq!(connection.acknowledgement().await, id);
    }
}

#[tokio::test]
async fn a_reply_that_the_broker_cannot_accept_becomes_an_error() {
    let scene = ScriptedScene::start().await;
    let properties = ConnAckProperties { max_packet_size: Some(500), ..connack_properties() };
    let mut connection = scene.broker.serve_with(false, properties).await;
    let mut everything = request(1, false, 1);
    everything.payload = "[]".into();
    connection.send(Packet::Publish(everything)).await;
    let reply = take_reply(&mut connection).await;
    assert!(reply.size() <= 500);
    assert_eq!(payload(&reply)["error"]["code"], json!("payload_too_large"));
    assert_eq!(payload(&reply)["error"]["details"]["max_size"], json!(500));
    assert_eq!(connection.acknowledgement().await, 1);
    connection.request(2, false, 2).await;
    assert_eq!(number(&take_reply(&mut connection).await), Some(2));
}

#[tokio::test]
async fn a_message_that_makes_the_broker_close_the_connection_is_replaced() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(false).await;
    for id in 1..=3 {
        connection.request(id, false, id.into()).await;
    }
    let mut replies = Vec::new();
    // The second message makes the broker close the connection.
    let mut disconnects = 0;
    while replies.len() < 3 {
        let reply = match connection.read().await {
            Packet::Publish(reply) if !reply.retain => reply,
            Packet::Publish(status) => {
                connection.puback(status.pkid).await;
                continue;
            }
            // The first request is acknowledged although the second one has no reply.
            Packet::PubAck(_) => continue,
            other => panic!("{other:?}"),
        };
        let is_poison = number(&reply) == Some(2);
        if !is_poison {
            connection.puback(reply.pkid).await;
            if !replies.iter().any(|(known, _)| *known == number(&reply)) {
                replies.push((number(&reply), payload(&reply)));
            }
            continue;
        }
        disconnects += 1;
        assert!(disconnects < 10);
        connection.send_bytes(&[0xe0, 1, 0x83]).await;
        connection = scene.broker.serve(true).await;
    }
    assert!(disconnects >= 3, "{disconnects}");
    let (_, error) = replies.iter().find(|(number, _)| number.is_none()).unwrap();
    assert_eq!(error["error"]["code"], "internal", "{error}");
    let answered = |wanted| replies.iter().any(|(number, _)| *number == Some(wanted));
    assert!(answered(1) && answered(3), "{replies:?}");
}

#[tokio::test]
async fn requests_of_more_than_ten_kilobytes_arrive() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(false).await;
    let mut large = request(1, false, 1);
    large.payload = format!("[{}\"desiredState\"]", " ".repeat(500_000)).into();
    connection.send(Packet::Publish(large)).await;
    assert_eq!(number(&take_reply(&mut connection).await), Some(1));
}

#[tokio::test]
async fn a_request_larger_than_the_maximum_is_answered_on_the_same_connection() {
    let scene = ScriptedScene::with(&[("MAX_PAYLOAD_SIZE", "1KiB")]).await;
    let mut connection = scene.broker.serve(false).await;
    for (pkid, size) in [(1, 5 << 20), (2, 200_000), (3, 1025)] {
        let mut large = request(pkid, false, pkid.into());
        large.payload = vec![b' '; size].into();
        connection.send(Packet::Publish(large)).await;
        let reply = take_reply(&mut connection).await;
        assert_eq!(number(&reply), Some(pkid.into()));
        let error = &payload(&reply)["error"];
        assert_eq!(error["code"], "payload_too_large");
        assert_eq!(error["details"], json!({"size": size, "max_size": 1024}));
        assert_eq!(connection.acknowledgement().await, pkid);
    }
    connection.request(4, false, 4).await;
    assert_eq!(number(&take_reply(&mut connection).await), Some(4));
}

#[tokio::test]
async fn garbage_and_incomplete_packets_end_only_the_connection() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(false).await;
    connection.send_bytes(&[0xff; 20]).await;
    connection.closed().await;
    let mut connection = scene.broker.serve(false).await;
    // The first half of a request, without the rest.
    connection.send_bytes(&[0x32, 0x40, 0x00, 0x13, b'v']).await;
    drop(connection);
    let mut connection = scene.broker.serve(false).await;
    connection.request(1, false, 1).await;
    assert_eq!(number(&take_reply(&mut connection).await), Some(1));
}

#[tokio::test]
async fn packets_that_cannot_be_used_are_skipped() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(false).await;
    for (number, bytes) in (1..).zip([
        // No packet, and one that only clients may send.
        &[0x00, 0x00][..],
        &[0xc0, 0x00],
        // Acknowledgements of nothing, and one that is too short.
        &[0x40, 0x02, 0x00, 0x63],
        &[0x90, 0x07, 0x00, 0x01, 0x00, 0x01, 0x01, 0x01, 0x01],
        &[0xb0, 0x04, 0x00, 0x01, 0x00, 0x80],
        &[0x50, 0x03, 0x00, 0x01, 0x92],
        &[0x70, 0x03, 0x00, 0x01, 0x92],
        &[0x40, 0x01, 0x00],
        // A second CONNACK, and an AUTH.
        &[0x20, 0x03, 0x00, 0x00, 0x00],
        &[0xf0, 0x02, 0x18, 0x00],
        // A PUBLISH with a topic longer than the packet, and one with QoS 3.
        &[0x32, 0x05, 0xff, 0xff, 0x41, 0x41, 0x41],
        &[0x36, 0x06, 0x00, 0x01, b'v', 0x00, 0x01, 0x00],
    ]) {
        connection.send_bytes(bytes).await;
        connection.request(number, false, number.into()).await;
        let reply = take_reply(&mut connection).await;
        assert_eq!(crate::support::client::number(&reply), Some(number.into()), "{bytes:?}");
        assert_eq!(connection.acknowledgement().await, number);
    }
    scene.connector.line("a packet of the broker is skipped").await;
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_acknowledged_and_not_delivered_again() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(false).await;
    // Properties longer than the packet; a topic alias instead of a topic; a topic that is not
    // UTF-8.
    for (bytes, pkid) in [
        (&[0x32, 7, 0, 1, b'v', 0, 9, 0x50, 1][..], 9),
        (&[0x32, 9, 0, 0, 0, 10, 3, 0x23, 0, 1, b'{'], 10),
        (&[0x32, 6, 0, 1, 0xff, 0, 11, 0], 11),
    ] {
        connection.send_bytes(bytes).await;
        assert_eq!(connection.acknowledgement().await, pkid);
    }
    // One with QoS 2 is refused, which ends its exchange.
    connection.send_bytes(&[0x34, 6, 0, 1, b'v', 0, 12, 0]).await;
    match connection.read().await {
        Packet::PubRec(pubrec) => assert_eq!(pubrec.pkid, 12),
        other => panic!("{other:?}"),
    }
    // A property that a PUBLISH must not have.
    let mut bytes = BytesMut::new();
    Packet::Publish(request(13, false, 13)).write(&mut bytes, None).unwrap();
    let length = usize::from(bytes[1]);
    let properties = 2 + 2 + format!("{BASE}/state/req").len() + 2;
    let mut bytes = bytes.to_vec();
    bytes[1] += 5;
    bytes[properties] += 5;
    bytes.splice(properties + 1..properties + 1, [0x11, 0, 0, 0, 60]);
    assert_eq!(bytes.len(), length + 2 + 5);
    connection.send_bytes(&bytes).await;
    assert_eq!(number(&take_reply(&mut connection).await), Some(13));
    assert_eq!(connection.acknowledgement().await, 13);
}

#[tokio::test]
async fn a_broker_that_ignores_the_receive_maximum_is_tolerated_up_to_a_limit() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(false).await;
    for id in 1..=1000 {
        connection.request(id, false, id.into()).await;
    }
    let mut replies = Vec::new();
    while replies.len() < 1000 {
        match connection.read().await {
            Packet::Publish(publish) => {
                connection.puback(publish.pkid).await;
                replies.extend(number(&publish));
            }
            Packet::PubAck(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(replies, (1..=1000).collect::<Vec<_>>());
    scene.vehicle.set_server_down(true);
    for id in 1..=5000 {
        if connection.try_send(Packet::Publish(request(id, false, id.into()))).await.is_err() {
            // The connection was closed before all were sent.
            break;
        }
    }
    connection.closed().await;
    scene.connector.line("far more than the 64 requests").await;
}

#[tokio::test]
async fn a_connection_to_a_broker_that_stops_reading_is_closed() {
    let scene = ScriptedScene::with(&[("MQTT_KEEP_ALIVE", "5s")]).await;
    let mut state = scene.vehicle.state();
    let configs = state.desired_state.as_mut().unwrap().configs.get_or_insert_default();
    let item = ankaios_model::proto::ank_base::ConfigItem {
        config_item_enum: Some(
            ankaios_model::proto::ank_base::config_item::ConfigItemEnum::String("x".repeat(20_000)),
        ),
    };
    configs.configs.insert("large".into(), item);
    scene.vehicle.set_state(state);
    let mut connection = scene.broker.serve(false).await;
    // Replies of 1.2 MB in total, more than the socket buffers hold.
    for id in 1..=60 {
        let mut everything = request(id, false, id.into());
        everything.payload = "[]".into();
        connection.send(Packet::Publish(everything)).await;
    }
    scene.connector.line("the broker is silent").await;
    let mut other = scene.broker.serve(true).await;
    for expected in 1..=60 {
        assert_eq!(number(&take_reply(&mut other).await), Some(expected));
    }
    drop(connection);
}

#[tokio::test]
async fn a_half_open_connection_is_noticed_within_the_keep_alive_time() {
    let scene = ScriptedScene::with(&[("MQTT_KEEP_ALIVE", "6s")]).await;
    let connection = scene.broker.serve(false).await;
    // From here on the connection is neither read, written nor closed.
    let start = Instant::now();
    scene.broker.accept().await;
    let took = start.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    drop(connection);
}

#[tokio::test]
async fn an_idle_connection_is_kept_alive() {
    let scene = ScriptedScene::with(&[("MQTT_KEEP_ALIVE", "5s")]).await;
    let mut connection = scene.broker.serve(false).await;
    // `read_within` answers pings.
    while connection.read_within(Duration::from_secs(8)).await.is_some() {}
    connection.request(1, false, 1).await;
    assert_eq!(number(&take_reply(&mut connection).await), Some(1));
}

#[tokio::test]
async fn a_reply_denied_on_its_response_topic_goes_to_the_default_topic() {
    let scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(false).await;
    let mut elsewhere = request(1, false, 1);
    elsewhere.properties.as_mut().unwrap().response_topic = Some(format!("{BASE}/rr/1"));
    connection.send(Packet::Publish(elsewhere)).await;
    let refused = connection.reply().await;
    assert_eq!(refused.topic, format!("{BASE}/rr/1"));
    connection.puback_with(refused.pkid, PubAckReason::NotAuthorized).await;
    let reply = take_reply(&mut connection).await;
    assert_eq!(reply.topic, format!("{BASE}/state/resp"));
    assert_eq!(number(&reply), Some(1));
    assert_eq!(connection.acknowledgement().await, 1);
}

#[tokio::test]
async fn memory_for_messages_in_flight_is_small() {
    let scene = ScriptedScene::start().await;
    let _connection = scene.broker.serve(false).await;
    scene.connector.line("ready for requests").await;
    let path = format!("/proc/{}/status", scene.connector.pid());
    let resident = eventually("the memory is measured", Duration::from_secs(5), async || {
        let status = std::fs::read_to_string(&path).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    // The client library would take 14 MB for 65,535 messages. Without them, the process needs
    // about 1 MB in addition to its program.
    let kilobytes = resident.await;
    assert!(kilobytes < 4_000, "{kilobytes} kB");
}

#[tokio::test]
async fn it_stops_at_once_while_the_broker_does_not_answer_subscribe() {
    let mut scene = ScriptedScene::start().await;
    let mut connection = scene.broker.accept().await;
    connection.connack(false, connack_properties()).await;
    connection.subscribe().await;
    let start = Instant::now();
    assert_eq!(scene.connector.terminate().await.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}
