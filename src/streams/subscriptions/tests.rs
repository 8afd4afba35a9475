use ankaios_control::connect;
use mqtt_session::{Receiver, queue};
use serde_json::json;
use tokio::time::Instant;

use super::*;

/// Subscriptions of a vehicle whose session has just started, without a link to Ankaios. The last
/// value keeps the session alive.
fn subscriptions() -> (Subscriptions, Receiver, SubscriptionMetrics, watch::Sender<SessionStatus>) {
    let (client, _) = connect("/nowhere".into(), Duration::from_secs(1));
    let (sender, published) = queue();
    let topics = Topics::new("1", Vec::new()).unwrap();
    let (session, status) = watch::channel(SessionStatus::Ready { since: Instant::now() });
    let metrics = SubscriptionMetrics::default();
    let publisher = Publisher::new(sender);
    let (subscriptions, task) = Subscriptions::new(
        client,
        topics,
        publisher,
        KeptRecords::default(),
        status,
        metrics.clone(),
    );
    tokio::spawn(task);
    (subscriptions, published, metrics, session)
}

fn id() -> SubscriptionId {
    SubscriptionId::try_from("x".to_owned()).unwrap()
}

fn record() -> Result<Bytes, Refused> {
    let record = json!({"id": "x", "field_masks": ["a"], "ttl": "0s", "expires_at": null});
    Ok(record.to_string().into())
}

#[tokio::test(start_paused = true)]
async fn an_unsubscribe_that_meets_the_record_ends_the_subscription() {
    let (subscriptions, mut published, ..) = subscriptions();
    let id = id();
    let unsubscribing = subscriptions.enqueue_unsubscribe(StreamKind::Events, &id).await.unwrap();
    // Both arrive before either has got an answer of the task.
    let restored =
        subscriptions.restore(StreamKind::Events, "x".into(), record(), None, RetainedUse::Allowed);
    let (ended, ()) = tokio::join!(unsubscribing.finish(), restored);
    assert_eq!(ended, Ok(()));
    let removed = published.publication().unwrap();
    assert!(removed.retain && removed.payload.is_empty(), "{removed:?}");
    let again = subscriptions.enqueue_unsubscribe(StreamKind::Events, &id).await.unwrap();
    assert_eq!(again.finish().await.map_err(|error| error.code), Err(ErrorCode::NotFound));
}

#[tokio::test(start_paused = true)]
async fn what_was_ended_does_not_come_back_when_the_broker_delivers_its_record_later() {
    let (subscriptions, mut published, ..) = subscriptions();
    let restore = |seen| {
        let (id, record) = ("x".to_owned(), record());
        let allowed = RetainedUse::Allowed;
        let subscriptions = &subscriptions;
        async move {
            let kind = StreamKind::Events;
            match seen {
                true => subscriptions.restore_seen(kind, id, record.unwrap(), None, allowed).await,
                false => subscriptions.restore(kind, id, record, None, allowed).await,
            }
        }
    };
    restore(true).await;
    let unsubscribe = subscriptions.enqueue_unsubscribe(StreamKind::Events, &id()).await.unwrap();
    assert_eq!(unsubscribe.finish().await, Ok(()));
    while published.publication().is_some() {}
    restore(false).await;
    let removed = published.publication().unwrap();
    assert!(removed.retain && removed.payload.is_empty(), "{removed:?}");
    let again = subscriptions.enqueue_unsubscribe(StreamKind::Events, &id()).await.unwrap();
    assert_eq!(again.finish().await.map_err(|error| error.code), Err(ErrorCode::NotFound));
}

#[tokio::test(start_paused = true)]
async fn a_retained_record_that_must_not_be_used_is_removed_and_starts_nothing() {
    let (subscriptions, mut published, ..) = subscriptions();
    let restore =
        |allowed| subscriptions.restore(StreamKind::Events, "x".into(), record(), None, allowed);
    restore(RetainedUse::NotNow("for a test")).await;
    assert!(published.publication().is_none(), "it may be used later");
    restore(RetainedUse::Untrusted("for a test")).await;
    let removed = published.publication().unwrap();
    assert!(removed.retain && removed.payload.is_empty(), "{removed:?}");
    assert_eq!(removed.topic, "vehicle/1/events/x/subscription");
    // A subscription that exists is not touched.
    restore(RetainedUse::Allowed).await;
    while published.publication().is_some() {}
    restore(RetainedUse::Untrusted("for a test")).await;
    let record = std::iter::from_fn(|| published.publication()).next();
    assert!(record.is_none_or(|record| !record.payload.is_empty()), "it is removed");
}

#[tokio::test(start_paused = true)]
async fn the_gauge_falls_to_zero_when_the_connector_goes_to_standby() {
    let (subscriptions, _published, metrics, _session) = subscriptions();
    subscriptions
        .restore(StreamKind::Events, "x".into(), record(), None, RetainedUse::Allowed)
        .await;
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let page = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    };
    while !page().contains(r#"subscriptions{kind="events"} 1"#) {
        tokio::task::yield_now().await;
    }
    drop(subscriptions);
    while !page().contains(r#"subscriptions{kind="events"} 0"#) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_panics_keeps_neither_slot_nor_record() {
    let (subscriptions, mut published, metrics, _session) = subscriptions();
    let turn = subscriptions.turn(StreamKind::Events, &id(), true).await.unwrap();
    let key = turn.key.clone();
    let reserve =
        |answer| SubscriptionCommand::Reserve { key, queued: QueuedMessages::Keep, answer };
    subscriptions.ask(reserve).await.unwrap().unwrap();
    let stream = Box::pin(async { panic!("as a stream must not") });
    subscriptions
        .tell(SubscriptionCommand::Start { turn, expiry: Expiry::after(None), stream })
        .await
        .unwrap();
    let removed = loop {
        match published.publication() {
            Some(publication) => break publication,
            None => tokio::task::yield_now().await,
        }
    };
    assert!(removed.retain && removed.payload.is_empty(), "{removed:?}");
    assert_eq!(removed.topic, "vehicle/1/events/x/subscription");
    drop(metrics);
}
