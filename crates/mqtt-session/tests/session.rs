//! A whole session with a broker that is scripted by the test.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mqtt_session::{
    AddressBook, Announcement, Application, Arrival, BrokerAddress, ConnectionError, Ended, Lane,
    Message, Outgoing, Publication, Qos, Reaction, Recall, Reply, Reporter, Request, Requester,
    RequesterEvent, Routed, Session, SessionMetrics, SessionOptions, Subscription, Transport,
    Undeliverable, Watched, WatchedTopics, Watcher, queue,
};
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnAckProperties, ConnectReturnCode, Packet, PubAck, Publish, PublishProperties,
    SubAck, SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::{Error, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(20);

/// Serves `requests/+`; its status is a word that the test changes.
#[derive(Debug)]
struct Words {
    status: watch::Receiver<&'static str>,
    is_shared: bool,
}

fn status(word: &'static str) -> Announcement {
    Announcement { topic: "status".into(), payload: word.into() }
}

impl Application for Words {
    type Route = String;

    fn subscriptions(&self, first: bool, _: bool) -> Vec<Subscription> {
        vec![Subscription {
            filter: "requests/+".into(),
            qos: Qos::AtLeastOnce,
            send_retained: first,
            no_local: true,
            retain_as_published: true,
        }]
    }

    fn will(&mut self) -> Announcement {
        status("will")
    }

    fn online(&mut self) -> Announcement {
        status(*self.status.borrow_and_update())
    }

    fn offline(&mut self) -> Announcement {
        status("offline")
    }

    async fn changed(&mut self) {
        if self.status.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn route(&self, arrival: &Arrival<'_>) -> Routed<String> {
        match arrival.topic {
            "requests/announce" => Routed::Handled(Reaction::Announce),
            "requests/announce-all" => Routed::Handled(Reaction::AnnounceAll),
            topic => Routed::Message { route: topic.to_owned(), max_payload: 1024 },
        }
    }

    fn undeliverable(&self, _: &Undeliverable) -> Bytes {
        Bytes::from_static(b"error")
    }

    fn is_shared(&self) -> bool {
        self.is_shared
    }

    async fn confirm_lease(
        &mut self,
        options: &SessionOptions,
        metrics: &SessionMetrics,
    ) -> Result<(), ConnectionError> {
        let id = "watcher".into();
        let topics = WatchedTopics { topic: "status".into(), filters: vec!["records/+".into()] };
        let mut watcher = Watcher::open(options, id, topics, metrics).await?;
        let last = watcher.next().await?;
        watcher.close().await;
        if last.payload == "will" { Ok(()) } else { Err(ConnectionError::TakenOver) }
    }
}

/// The broker's side of one connection.
struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Connection {
    /// The next packet; `None` at DISCONNECT and at the end of the connection.
    async fn read(&mut self) -> Option<Packet> {
        let read = async {
            loop {
                // rumqttc cannot read a DISCONNECT without a reason.
                if self.buffer.starts_with(&[0xe0, 0]) {
                    return None;
                }
                match Packet::read(&mut self.buffer, Some(u32::MAX)) {
                    Ok(packet) => return Some(packet),
                    Err(Error::InsufficientBytes(_)) => {
                        if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                            return None;
                        }
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        };
        timeout(DEADLINE, read).await.unwrap()
    }

    /// The next PUBLISH: its topic and its payload. It is acknowledged.
    async fn publish(&mut self) -> (Bytes, Bytes) {
        match self.read().await {
            Some(Packet::Publish(publish)) => {
                self.send(Packet::PubAck(PubAck::new(publish.pkid, None))).await;
                (publish.topic, publish.payload)
            }
            other => panic!("no PUBLISH but {other:?}"),
        }
    }

    async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    async fn request(&mut self, topic: &str, packet_id: u16, dup: bool) {
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, "question", None);
        (publish.pkid, publish.dup) = (packet_id, dup);
        self.send(Packet::Publish(publish)).await;
    }
}

/// For a session with the broker that listens there.
fn options(listener: &TcpListener) -> SessionOptions {
    SessionOptions {
        brokers: BrokerAddress::from_settings(
            "127.0.0.1",
            None,
            listener.local_addr().unwrap().port(),
        )
        .unwrap()
        .into(),
        transport: Transport::Tcp,
        addresses: AddressBook::default(),
        tls: None,
        login: None,
        client_id: "session".into(),
        session_expiry: Duration::from_secs(60),
        will_delay: Duration::ZERO,
        reconnect_spread: Duration::ZERO,
        keep_alive: Duration::from_secs(30),
        drain_timeout: Duration::from_millis(300),
        max_payload: 1024,
        base_topic: "requests".into(),
        content_type: "text/plain",
        user_properties: &[],
    }
}

/// What a broker says in CONNACK about subscriptions with wildcards.
fn wildcards(available: u8) -> ConnAckProperties {
    ConnAckProperties {
        session_expiry_interval: None,
        receive_max: None,
        max_qos: None,
        retain_available: None,
        max_packet_size: None,
        assigned_client_identifier: None,
        topic_alias_max: None,
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: Some(available),
        subscription_identifiers_available: None,
        shared_subscription_available: None,
        server_keep_alive: None,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    }
}

struct Scene {
    listener: TcpListener,
    sender: mqtt_session::Sender,
    messages: mpsc::Receiver<Message<String>>,
    status: watch::Sender<&'static str>,
    stop: CancellationToken,
    session: JoinHandle<Ended>,
}

impl Scene {
    async fn start(is_shared: bool) -> Self {
        Self::start_with(is_shared, Duration::from_secs(30)).await
    }

    async fn start_with(is_shared: bool, keep_alive: Duration) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let options = SessionOptions { keep_alive, ..options(&listener) };
        let (status, receiver) = watch::channel("first");
        let (consumer, messages) = mpsc::channel(10);
        let (sender, outgoing) = queue();
        let stop = CancellationToken::new();
        let application = Words { status: receiver, is_shared };
        let reporter = Reporter::default();
        let session =
            Session::new(options, application, consumer, outgoing, stop.clone(), reporter);
        let session = tokio::spawn(session.run());
        Self { listener, sender, messages, status, stop, session }
    }

    /// The next connection, see [`accept`].
    async fn accept(&self, session_present: bool) -> Connection {
        accept(&self.listener, session_present).await
    }

    async fn message(&mut self) -> Message<String> {
        timeout(DEADLINE, self.messages.recv()).await.unwrap().unwrap()
    }

    async fn reply(&self, delivery: u64, payload: &'static str) {
        let reply = Reply {
            delivery,
            topic: "replies".into(),
            fallback_topic: None,
            correlation_data: None,
            user_properties: Vec::new(),
            payload: payload.into(),
            can_shorten: false,
        };
        self.sender.send(Outgoing::Reply(reply)).await.unwrap();
    }
}

/// The next connection, when it has sent CONNECT and SUBSCRIBE and both are granted.
async fn accept(listener: &TcpListener, session_present: bool) -> Connection {
    let (stream, _) = timeout(DEADLINE, listener.accept()).await.unwrap().unwrap();
    let mut connection = Connection { stream, buffer: BytesMut::new() };
    assert!(matches!(connection.read().await, Some(Packet::Connect(..))));
    let code = ConnectReturnCode::Success;
    let connack = ConnAck { session_present, code, properties: None };
    connection.send(Packet::ConnAck(connack)).await;
    let Some(Packet::Subscribe(subscribe)) = connection.read().await else { panic!() };
    let return_codes = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce)];
    let suback = SubAck { pkid: subscribe.pkid, return_codes, properties: None };
    connection.send(Packet::SubAck(suback)).await;
    connection
}

fn published(topic: &'static str, payload: &'static str) -> (Bytes, Bytes) {
    (topic.into(), payload.into())
}

#[tokio::test]
async fn a_session_serves_over_a_lost_connection_and_says_goodbye() {
    let mut scene = Scene::start(false).await;
    let mut broker = scene.accept(false).await;
    assert_eq!(broker.publish().await, published("status", "first"));
    scene.status.send_replace("second");
    assert_eq!(broker.publish().await, published("status", "second"));

    broker.request("requests/a", 1, false).await;
    let message = scene.message().await;
    assert_eq!(message.route, "requests/a");
    drop(broker);
    let mut broker = scene.accept(true).await;
    assert_eq!(broker.publish().await, published("status", "second"));
    // It is being served, so it is not served again.
    broker.request("requests/a", 1, true).await;
    broker.request("requests/announce", 2, false).await;
    assert_eq!(broker.publish().await, published("status", "second"));
    scene.reply(message.delivery, "answer").await;
    assert_eq!(broker.publish().await, published("replies", "answer"));
    for packet_id in [1, 2] {
        match broker.read().await {
            Some(Packet::PubAck(puback)) => assert_eq!(puback.pkid, packet_id),
            other => panic!("no PUBACK but {other:?}"),
        }
    }
    assert!(scene.messages.try_recv().is_err());

    let writer = scene.sender.writer(Lane::Streams).await.unwrap();
    scene.stop.cancel();
    let (topic, payload) = ("streams".into(), "last".into());
    let publication = Publication { topic, payload, retain: false, expiry: None };
    writer.publish(publication, &Recall::default()).await.unwrap();
    assert_eq!(broker.publish().await, published("streams", "last"));
    drop(scene.sender);
    assert_eq!(broker.publish().await, published("status", "offline"));
    assert!(broker.read().await.is_none());
    assert_eq!(timeout(DEADLINE, scene.session).await.unwrap().unwrap(), Ended::Stopped);
}

#[tokio::test]
async fn a_shared_session_is_resumed_only_if_nobody_has_taken_over() {
    for (word, resumes) in [("will", true), ("other", false)] {
        let scene = Scene::start(true).await;
        let mut broker = scene.accept(false).await;
        assert_eq!(broker.publish().await, published("status", "first"));
        drop(broker);
        let mut watched = scene.accept(false).await;
        watched.send(Packet::Publish(Publish::new("status", QoS::AtMostOnce, word, None))).await;
        if resumes {
            let mut broker = scene.accept(true).await;
            assert_eq!(broker.publish().await, published("status", "first"));
        } else {
            let ended = timeout(DEADLINE, scene.session).await.unwrap().unwrap();
            assert_eq!(ended, Ended::TakenOver);
        }
    }
}

#[tokio::test]
async fn what_is_retained_is_published_again_if_it_is_asked_for() {
    let scene = Scene::start(false).await;
    let mut broker = scene.accept(false).await;
    assert_eq!(broker.publish().await, published("status", "first"));
    let record = |topic: &str, payload: &'static str| {
        let (topic, payload) = (topic.into(), payload.into());
        Publication { topic, payload, retain: true, expiry: None }
    };
    for (topic, payload) in [("records/a", "1"), ("records/b", "1"), ("records/b", "")] {
        let writer = scene.sender.writer(Lane::Streams).await.unwrap();
        writer.publish(record(topic, payload), &Recall::default()).await.unwrap();
        assert_eq!(broker.publish().await, published(topic, payload));
    }
    let writer = scene.sender.writer(Lane::Streams).await.unwrap();
    writer.note_retained(record("records/c", "1"), &Recall::default()).await.unwrap();
    // It is noted when the session has taken it from the queue, which a message behind it shows.
    let writer = scene.sender.writer(Lane::Streams).await.unwrap();
    let other = Publication { retain: false, ..record("other", "1") };
    writer.publish(other, &Recall::default()).await.unwrap();
    assert_eq!(broker.publish().await, published("other", "1"));
    broker.request("requests/announce-all", 1, false).await;
    assert_eq!(broker.publish().await, published("records/a", "1"));
    assert_eq!(broker.publish().await, published("records/c", "1"));
    assert_eq!(broker.publish().await, published("status", "first"));
}

#[tokio::test]
async fn a_shared_session_that_is_lost_leaves_what_was_retained() {
    let scene = Scene::start_with(true, Duration::from_secs(1)).await;
    let mut broker = scene.accept(false).await;
    assert_eq!(broker.publish().await, published("status", "first"));
    let (topic, payload) = ("records/a".to_owned(), "1".into());
    let record = Publication { topic, payload, retain: true, expiry: None };
    let writer = scene.sender.writer(Lane::Streams).await.unwrap();
    writer.publish(record.clone(), &Recall::default()).await.unwrap();
    assert_eq!(broker.publish().await, published("records/a", "1"));
    let Scene { listener, sender: _sender, messages: _messages, status: _status, session, .. } =
        scene;
    // Nobody answers any more.
    drop((broker, listener));
    let ended = timeout(DEADLINE, session).await.unwrap().unwrap();
    assert_eq!(ended, Ended::Lost { retained: Some(vec![record]) });
}

#[tokio::test]
async fn a_watcher_sees_what_the_broker_lets_it_see() {
    let scene = Scene::start(false).await;
    drop(scene.accept(false).await);
    scene.stop.cancel();
    let topics = || WatchedTopics { topic: "status".into(), filters: vec!["records/+".into()] };
    let refused = SubscribeReasonCode::WildcardSubscriptionsNotSupported;
    let granted = SubscribeReasonCode::Success(QoS::AtLeastOnce);
    for (available, codes, filters, opens) in [
        (None, vec![granted, granted], 2, true),
        (None, vec![granted, refused], 2, true),
        (Some(0), vec![granted], 1, true),
        (None, vec![refused, granted], 2, false),
    ] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let options = options(&listener);
        let metrics = SessionMetrics::default();
        let serve = async {
            let (stream, _) = listener.accept().await.unwrap();
            let mut broker = Connection { stream, buffer: BytesMut::new() };
            assert!(matches!(broker.read().await, Some(Packet::Connect(..))));
            let properties = available.map(wildcards);
            let code = ConnectReturnCode::Success;
            let connack = ConnAck { session_present: false, code, properties };
            broker.send(Packet::ConnAck(connack)).await;
            let Some(Packet::Subscribe(subscribe)) = broker.read().await else { panic!() };
            assert_eq!(subscribe.filters.len(), filters);
            let (pkid, properties) = (subscribe.pkid, None);
            let suback = SubAck { pkid, return_codes: codes.clone(), properties };
            broker.send(Packet::SubAck(suback)).await;
            broker
        };
        let opening = Watcher::open(&options, "watcher".into(), topics(), &metrics);
        let (mut broker, watcher) = tokio::join!(serve, opening);
        assert_eq!(watcher.is_ok(), opens);
        let Ok(mut watcher) = watcher else { continue };
        let properties =
            PublishProperties { message_expiry_interval: Some(60), ..PublishProperties::default() };
        let record = Publish::new("records/a", QoS::AtMostOnce, "1", Some(properties));
        broker.send(Packet::Publish(record)).await;
        let seen = timeout(DEADLINE, watcher.next()).await.unwrap().unwrap();
        let (topic, payload) = ("records/a".to_owned(), "1".into());
        let expires_in = Some(Duration::from_secs(60));
        assert_eq!(seen, Watched { topic, payload, retained: false, expires_in });
    }
}

#[tokio::test]
async fn a_broker_may_be_silent_for_longer_while_it_hands_a_request_to_many() {
    let keep_alive = Duration::from_secs(1);
    for patience in [Duration::ZERO, DEADLINE] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let options = SessionOptions { keep_alive, ..options(&listener) };
        let metrics = SessionMetrics::default();
        let subscription = Subscription {
            filter: "replies".into(),
            qos: Qos::AtLeastOnce,
            send_retained: false,
            no_local: false,
            retain_as_published: false,
        };
        let open = async {
            let id = "requester".into();
            let mut requester =
                Requester::open(&options, id, vec![subscription], &metrics).await.unwrap();
            let subscribed = timeout(DEADLINE, requester.next()).await.unwrap().unwrap();
            assert_eq!(subscribed, RequesterEvent::Subscribed(Vec::new()));
            requester
        };
        let (mut broker, mut requester) = tokio::join!(accept(&listener, false), open);
        let request = Request {
            token: 7,
            topic: "requests".into(),
            payload: "question".into(),
            response_topic: None,
            correlation_data: None,
            expiry: None,
            user_properties: Vec::new(),
            patience,
        };
        requester.request(request).unwrap();
        let silence = timeout(3 * keep_alive, requester.next()).await;
        if patience.is_zero() {
            assert!(matches!(silence, Ok(Err(ConnectionError::Silent))));
            continue;
        }
        assert!(silence.is_err(), "{silence:?}");
        assert_eq!(broker.publish().await, published("requests", "question"));
        let accepted = timeout(DEADLINE, requester.next()).await.unwrap().unwrap();
        assert_eq!(accepted, RequesterEvent::Accepted { token: 7, has_subscribers: true });
    }
}
