//! An operator that loses nothing: it publishes each request until the broker has acknowledged
//! it, over any number of connections, and records every reply and every message of the
//! streams.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectProperties, ConnectReturnCode, Filter, Login, Packet, PingReq, PubAck,
    PubAckReason, Publish, PublishProperties, Subscribe,
};
use rumqttc::v5::mqttbytes::{Error, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::client::number;
use super::connector::VIN;
use super::contract;

/// The maximum number of unacknowledged requests; Mosquitto allows 20.
const WINDOW: usize = 16;

/// The time limit for each response of the broker while connecting.
const PATIENCE: Duration = Duration::from_secs(5);

/// The wait between attempts to connect.
const RETRY: Duration = Duration::from_millis(50);

/// The interval between pings. If a broker of several nodes does not answer one until the next, the
/// operator connects to another node.
const PING: Duration = Duration::from_secs(3);

/// Where an operator connects to, and which vehicle it speaks to.
#[derive(Debug, Clone)]
pub struct RequesterOptions {
    /// The ports of the nodes of the broker. The first is tried first.
    pub ports: Vec<u16>,
    /// User name and password.
    pub login: Option<(String, String)>,
    pub vin: String,
}

/// What is known about one request.
#[derive(Clone, Debug, Default)]
pub struct Fate {
    /// The topic of the request.
    pub topic: String,
    /// When the broker acknowledged it. `None` if it has not.
    pub acknowledged: Option<Instant>,
    /// The broker answered "no matching subscribers": nobody received the request.
    pub no_subscribers: bool,
    /// All replies, in order.
    pub replies: Vec<Answer>,
}

/// One reply.
#[derive(Clone, Debug)]
pub struct Answer {
    pub at: Instant,
    pub topic: String,
    pub payload: Bytes,
}

type Fates = BTreeMap<u32, Fate>;

/// The messages of all streams, in order.
#[derive(Debug, Default)]
struct Streams {
    events: Mutex<Vec<Answer>>,
    logs: Mutex<Vec<Answer>>,
    /// The first message that does not have the shape of the contract, and why.
    violation: Mutex<Option<String>>,
}

/// The operator. The reply to a request arrives on `vehicle/<VIN>/replies/<number>`.
pub struct Requester {
    base: String,
    queue: mpsc::Sender<(u32, Publish)>,
    fates: Arc<watch::Sender<Fates>>,
    streams: Arc<Streams>,
    _task: AbortOnDropHandle<()>,
}

impl Requester {
    /// Connects with a persistent session; it is established on return.
    pub async fn connect(port: u16) -> Self {
        Self::with(RequesterOptions { ports: vec![port], login: None, vin: VIN.to_owned() }).await
    }

    /// Like [`connect`](Self::connect), with these options.
    pub async fn with(options: RequesterOptions) -> Self {
        let base = format!("vehicle/{}", options.vin);
        let (queue, requests) = mpsc::channel(1000);
        let fates = Arc::new(watch::Sender::new(Fates::new()));
        let (ready, mut connected) = mpsc::channel(1);
        let streams = Arc::default();
        let state = State {
            base: base.clone(),
            ports: options.ports.into(),
            client_id: format!("requester-{}", options.vin),
            login: options.login.map(|(username, password)| Login { username, password }),
            fates: Arc::clone(&fates),
            streams: Arc::clone(&streams),
            ready,
            requests,
            unacknowledged: VecDeque::new(),
            next: 0,
        };
        let task = AbortOnDropHandle::new(tokio::spawn(state.run()));
        timeout(super::DEADLINE, connected.recv()).await.unwrap().unwrap();
        Self { base, queue, fates, streams, _task: task }
    }

    /// Queues a request for publishing. Every number must be used only once. On return the
    /// request is in [`fates`](Self::fates).
    pub async fn request(&self, number: u32, operation: &str, payload: impl Into<Bytes>) {
        let properties = PublishProperties {
            response_topic: Some(format!("{}/replies/{number}", self.base)),
            correlation_data: Some(Bytes::copy_from_slice(&number.to_be_bytes())),
            ..PublishProperties::default()
        };
        let topic = format!("{}/{operation}/req", self.base);
        let fate = Fate { topic: topic.clone(), ..Fate::default() };
        self.fates.send_modify(|fates| drop(fates.insert(number, fate)));
        let publish = Publish::new(topic, QoS::AtLeastOnce, payload, Some(properties));
        self.queue.send((number, publish)).await.unwrap();
    }

    /// The fates of all requests so far.
    pub fn fates(&self) -> Fates {
        self.fates.borrow().clone()
    }

    /// The fate of one request so far.
    pub fn fate(&self, number: u32) -> Option<Fate> {
        self.fates.borrow().get(&number).cloned()
    }

    /// The number of requests from this number on that have no reply yet.
    pub fn unanswered(&self, from: u32) -> usize {
        self.fates.borrow().range(from..).filter(|(_, fate)| fate.replies.is_empty()).count()
    }

    /// The messages of the event subscriptions so far.
    pub fn events(&self) -> Vec<Answer> {
        self.streams.events.lock().unwrap().clone()
    }

    /// The messages of the log subscriptions so far, without the first `from`.
    pub fn logs_from(&self, index: usize) -> Vec<Answer> {
        let logs = self.streams.logs.lock().unwrap();
        logs.get(index..).unwrap_or_default().to_vec()
    }

    /// Waits until the broker has acknowledged a request.
    pub async fn acknowledged(&self, number: u32) {
        let acknowledged = |fate: &Fate| fate.acknowledged.is_some();
        self.until(super::DEADLINE, number, acknowledged).await.unwrap();
    }

    /// Waits for the first reply to a request.
    pub async fn reply(&self, number: u32, limit: Duration) -> Option<Answer> {
        let fate = self.until(limit, number, |fate| !fate.replies.is_empty()).await?;
        fate.replies.into_iter().next()
    }

    /// Waits until each of the requests has a reply. The error is the first request without
    /// one.
    pub async fn all_replied(&self, limit: Duration) -> Result<(), u32> {
        let mut fates = self.fates.subscribe();
        let missing =
            |fates: &Fates| fates.iter().find(|(_, fate)| fate.replies.is_empty()).map(|(n, _)| *n);
        match timeout(limit, fates.wait_for(|fates| missing(fates).is_none())).await {
            Ok(Ok(_)) => Ok(()),
            _ => missing(&self.fates.borrow()).map_or(Ok(()), Err),
        }
    }

    async fn until(
        &self,
        limit: Duration,
        number: u32,
        condition: impl Fn(&Fate) -> bool,
    ) -> Option<Fate> {
        let mut fates = self.fates.subscribe();
        let found = |fates: &Fates| fates.get(&number).is_some_and(&condition);
        let fates = timeout(limit, fates.wait_for(found)).await.ok()?.ok()?;
        fates.get(&number).cloned()
    }
}

/// All messages must have had the shape of the contract.
impl Drop for Requester {
    fn drop(&mut self) {
        let violation = self.streams.violation.lock().unwrap().take();
        if let (Some(violation), false) = (violation, std::thread::panicking()) {
            panic!("{violation}");
        }
    }
}

struct State {
    /// The first levels of the topics of the vehicle.
    base: String,
    /// The current one comes first.
    ports: VecDeque<u16>,
    client_id: String,
    login: Option<Login>,
    fates: Arc<watch::Sender<Fates>>,
    streams: Arc<Streams>,
    ready: mpsc::Sender<()>,
    requests: mpsc::Receiver<(u32, Publish)>,
    /// In order; those already sent in this connection have a packet identifier.
    unacknowledged: VecDeque<(u32, Publish)>,
    next: u16,
}

impl State {
    async fn run(mut self) {
        loop {
            // Any error means that the test restarts the broker.
            let _ = self.connection().await;
            self.ports.rotate_left(1);
            sleep(RETRY).await;
        }
    }

    async fn connection(&mut self) -> io::Result<()> {
        let mut wire = Wire::connect(self.ports[0]).await?;
        let session_present = timeout(PATIENCE, self.open(&mut wire)).await??;
        // Packet identifiers are assigned again. If only an acknowledgement was lost, the
        // broker gets the request twice.
        for (_, publish) in &mut self.unacknowledged {
            publish.dup = session_present && publish.pkid != 0;
            publish.pkid = 0;
        }
        // The test may have dropped the receiver.
        let _ = self.ready.try_send(());
        let mut ping = interval(PING);
        let mut unanswered_pings = 0;
        loop {
            self.publish(&mut wire).await?;
            tokio::select! {
                packet = wire.read() => {
                    unanswered_pings = 0;
                    self.incoming(packet?, &mut wire).await?;
                }
                request = self.requests.recv(), if self.unacknowledged.len() < WINDOW => {
                    let Some(request) = request else { return Ok(()) };
                    self.unacknowledged.push_back(request);
                }
                _ = ping.tick() => {
                    if unanswered_pings > 0 && self.ports.len() > 1 {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    unanswered_pings += 1;
                    wire.send(&Packet::PingReq(PingReq)).await?;
                }
            }
        }
    }

    /// Sends CONNECT and SUBSCRIBE; returns whether the broker still had the session.
    async fn open(&self, wire: &mut Wire) -> io::Result<bool> {
        let properties = ConnectProperties {
            session_expiry_interval: Some(3600),
            receive_maximum: Some(1000),
            ..ConnectProperties::new()
        };
        let connect = Connect {
            keep_alive: 60,
            client_id: self.client_id.clone(),
            clean_start: false,
            properties: Some(properties),
        };
        wire.send(&Packet::Connect(connect, None, self.login.clone())).await?;
        let session_present = match wire.read().await? {
            Packet::ConnAck(connack) if connack.code == ConnectReturnCode::Success => {
                connack.session_present
            }
            other => return Err(io::Error::other(format!("{other:?}"))),
        };
        if !session_present {
            let filters = ["replies", "events", "logs"]
                .map(|stream| Filter::new(format!("{}/{stream}/+", self.base), QoS::AtLeastOnce));
            let mut subscribe = Subscribe::new_many(filters, None);
            subscribe.pkid = u16::MAX;
            wire.send(&Packet::Subscribe(subscribe)).await?;
            while !matches!(wire.read().await?, Packet::SubAck(_)) {}
        }
        Ok(session_present)
    }

    async fn publish(&mut self, wire: &mut Wire) -> io::Result<()> {
        for (_, publish) in self.unacknowledged.iter_mut().filter(|(_, publish)| publish.pkid == 0)
        {
            self.next = self.next % 60_000 + 1;
            publish.pkid = self.next;
            wire.send(&Packet::Publish(publish.clone())).await?;
        }
        Ok(())
    }

    async fn incoming(&mut self, packet: Packet, wire: &mut Wire) -> io::Result<()> {
        match packet {
            Packet::PubAck(puback) => {
                let place = self.unacknowledged.iter().position(|(_, it)| it.pkid == puback.pkid);
                if let Some((number, _)) = place.and_then(|place| self.unacknowledged.remove(place))
                {
                    self.fates.send_modify(|fates| {
                        let fate = fates.entry(number).or_default();
                        fate.acknowledged = Some(Instant::now());
                        fate.no_subscribers = puback.reason == PubAckReason::NoMatchingSubscribers;
                    });
                }
                Ok(())
            }
            Packet::Publish(publish) => {
                let number = number(&publish);
                let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
                let answer = Answer { at: Instant::now(), topic, payload: publish.payload };
                let [is_event, is_log] = ["events", "logs"]
                    .map(|stream| answer.topic.starts_with(&format!("{}/{stream}/", self.base)));
                let violation = if is_event || is_log {
                    contract::violation(&answer.topic, &answer.payload, false)
                } else {
                    let number = number.expect("replies carry the correlation data");
                    let topic = self.fates.borrow().get(&number).map(|fate| fate.topic.clone());
                    contract::reply_violation(&topic.expect("a known request"), &answer.payload)
                };
                if let Some(violation) = violation {
                    self.streams.violation.lock().unwrap().get_or_insert(violation);
                }
                if is_event {
                    self.streams.events.lock().unwrap().push(answer);
                } else if is_log {
                    self.streams.logs.lock().unwrap().push(answer);
                } else {
                    let number = number.expect("replies carry the correlation data");
                    self.fates
                        .send_modify(|fates| fates.entry(number).or_default().replies.push(answer));
                }
                let puback = PubAck::new(publish.pkid, None);
                wire.send(&Packet::PubAck(puback)).await
            }
            _ => Ok(()),
        }
    }
}

/// A connection that sends and receives single packets.
struct Wire {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Wire {
    async fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: BytesMut::new() })
    }

    async fn send(&mut self, packet: &Packet) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).map_err(io::Error::other)?;
        self.stream.write_all(&bytes).await
    }

    /// The next packet. Dropping the future loses no bytes.
    async fn read(&mut self) -> io::Result<Packet> {
        loop {
            match Packet::read(&mut self.buffer, Some(u32::MAX)) {
                Ok(packet) => return Ok(packet),
                Err(Error::InsufficientBytes(_)) => {
                    if self.stream.read_buf(&mut self.buffer).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}
