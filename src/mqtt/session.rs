//! The task that owns the connection to the broker, and awaits nothing that
//! could keep it from serving it.

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectReturnCode, Disconnect, DisconnectReasonCode, Filter, Packet, PingReq, PubAck,
    PubAckReason, Publish, RetainForwardRule, SubAck, Subscribe, SubscribeReasonCode,
};
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::connect::{Options, RECEIVE_MAXIMUM, Stream};
use super::deliveries::{Accepted, Deliveries};
use super::liveness::Liveness;
use super::login::PasswordError;
use super::network::{MAX_PACKET, Network, NetworkError};
use super::outbox::{Message, Outbox, Publication};
use super::queue::{Queued, Receiver};
use super::reporter::Reporter;
use super::request::{Fingerprints, Request};
use super::tls;
use super::waiting::Waiting;
use crate::error::{ErrorCode, ErrorReply};
use crate::progress::Progress;
use crate::topics::Topics;

/// Messages that are taken from the operations before they are sent. Operations
/// with more replies wait.
const MAX_UNSENT: usize = 64;

/// Messages that are sent without an acknowledgement, unless the broker's own
/// Receive Maximum is less.
const MAX_UNACKNOWLEDGED: u16 = 100;

/// How long to wait for the broker to accept a connection, and at the end for it
/// to take DISCONNECT.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// The packet identifier of SUBSCRIBE. Nothing is published before, so any is
/// free.
const SUBSCRIBE_ID: u16 = 1;

/// No messages of streams are taken while so many wait for being sent.
const MAX_UNSENT_BEFORE_PUBLICATIONS: usize = 8;

/// How long to wait before a message that the broker has not taken is published
/// again, and how often in a row.
const REFUSAL_PAUSE: Duration = Duration::from_secs(1);
const MAX_REFUSALS: u32 = 10;

/// What has needed memory that is worth giving back, in bytes.
const LARGE: usize = 256 * 1024;

/// What the status topic says besides `online`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Presence {
    /// State of the link to Ankaios: `connected`, `disconnected` or `closed`.
    pub ankaios: String,
    /// Why it is not connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Why a connection has ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("{0}")]
    Network(#[from] NetworkError),
    #[error("it cannot be reached: {0}")]
    Unreachable(#[from] std::io::Error),
    #[error("{0}")]
    Password(#[from] PasswordError),
    #[error("the broker does not answer within {}", humantime::format_duration(CONNECTION_TIMEOUT))]
    Timeout,
    #[error(
        "the broker refuses the subscription to {filters:?}: {codes:?}; allow the client to read \
         and write below {base}/"
    )]
    Subscription { filters: [String; 2], codes: Vec<SubscribeReasonCode>, base: String },
    #[error("the broker is silent")]
    Silent,
    #[error("the broker breaks the protocol: {0}")]
    Protocol(&'static str),
    #[error(
        "the broker sends far more than the {RECEIVE_MAXIMUM} requests that were agreed in Receive \
         Maximum; with Mosquitto, set max_queued_messages to another value than 0"
    )]
    ReceiveMaximum,
}

impl SessionError {
    /// What to do about it, where that is known. `early` is before the connection
    /// stood.
    fn help(&self, options: &Options, early: bool) -> Option<String> {
        match self {
            // The TLS library of the broker does not know what to make of CONNECT.
            Self::Network(NetworkError::Closed | NetworkError::Io(_))
                if early && options.tls.is_none() =>
            {
                Some("if it is a port for TLS, set MQTT_TLS=true".into())
            }
            Self::Unreachable(error) | Self::Network(NetworkError::Io(error)) => {
                tls::explain(error, &options.host)
            }
            Self::Network(NetworkError::Refused(
                ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
            )) => Some(match &options.login {
                Some(login) => format!(
                    "it does not let in {:?} with this password and client identifier; look at \
                     MQTT_USERNAME and MQTT_PASSWORD_FILE",
                    login.username
                ),
                None => "it wants a login; set MQTT_USERNAME and MQTT_PASSWORD_FILE, or a client \
                         certificate"
                    .into(),
            }),
            _ => None,
        }
    }
}

/// How far stopping has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    /// No new requests; replies to those in flight are still published.
    Draining,
    /// The status `offline` is being published.
    Offline,
    /// DISCONNECT is being sent.
    Disconnecting,
}

/// The MQTT session of one vehicle.
#[derive(Debug)]
pub struct Session {
    options: Options,
    topics: Topics,
    presence: watch::Receiver<Presence>,
    /// `None` once the session is being stopped.
    requests: Option<mpsc::Sender<Request>>,
    outgoing: Receiver,
    stop: CancellationToken,
    reporter: Reporter,
    progress: Progress,
    stage: Stage,
    fingerprints: Fingerprints,
    deliveries: Deliveries,
    waiting: Waiting,
    outbox: Outbox,
    /// What the broker keeps for this vehicle, by topic.
    records: BTreeMap<String, Publication>,
    /// The broker was asked once for what it keeps.
    records_fetched: bool,
    refusals: Refusals,
    /// Something large was received or published since memory was given back.
    had_large: bool,
}

/// What belongs to one connection only.
struct Connection {
    network: Network<Stream>,
    liveness: Liveness,
    /// When to look after `liveness`, at the latest.
    look: Pin<Box<Sleep>>,
    /// Since when the connector is online, RFC 3339.
    since: String,
    /// Largest packet that the broker takes.
    max_packet: usize,
    /// Messages that the broker takes without acknowledging them.
    max_unacknowledged: u16,
    /// Session and subscriptions stand.
    ready: Option<Instant>,
}

impl Connection {
    /// Pings the broker, or gives it up, if it is time. `under_way` is the size
    /// of what was sent and not acknowledged, in bytes.
    fn look(&mut self, under_way: usize) -> Result<(), SessionError> {
        let signs = self.network.signs();
        let now = Instant::now();
        let give_up_at = self.liveness.give_up_at(signs, under_way);
        if give_up_at <= now {
            return Err(SessionError::Silent);
        }
        let mut next = now + self.liveness.ping_interval();
        match self.liveness.ping_at(signs) {
            Some(ping_at) if ping_at <= now => {
                self.network.put(Packet::PingReq(PingReq))?;
                self.liveness.pinged();
            }
            ping_at => next = ping_at.unwrap_or(next),
        }
        self.look.as_mut().reset(next.min(give_up_at));
        Ok(())
    }
}

impl Session {
    /// Requests go to `requests`; `outgoing` gives their replies, and whatever
    /// else is to be published.
    ///
    /// When `stop` is cancelled the session drops `requests`, publishes what
    /// still comes from `outgoing` until that is closed, and ends. How it fares it
    /// tells `reporter`.
    #[must_use]
    pub fn new(
        options: Options,
        topics: Topics,
        presence: watch::Receiver<Presence>,
        requests: mpsc::Sender<Request>,
        outgoing: Receiver,
        stop: CancellationToken,
        reporter: Reporter,
    ) -> Self {
        Self {
            options,
            topics,
            presence,
            requests: Some(requests),
            outgoing,
            stop,
            progress: reporter.begin(),
            reporter,
            stage: Stage::Running,
            fingerprints: Fingerprints::default(),
            deliveries: Deliveries::default(),
            waiting: Waiting::default(),
            outbox: Outbox::default(),
            records: BTreeMap::new(),
            records_fetched: false,
            refusals: Refusals::default(),
            had_large: false,
        }
    }

    /// Keeps the session alive over any number of connections until it is
    /// stopped and everything has been published.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new();
        loop {
            let (error, ready) = match self.connection().await {
                Ok(()) => return self.reporter.ended(),
                Err(error) => error,
            };
            self.outbox.disconnected();
            let wait = backoff.next(ready.map_or(Duration::ZERO, |ready| ready.elapsed()));
            let help = error.help(&self.options, ready.is_none());
            let broker = format!("{}:{}", self.options.host, self.options.port);
            let hint = help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
            self.reporter.failed(format!("no connection to {broker}: {error}{hint}"));
            tracing::warn!(
                broker,
                %error,
                help,
                retry_in = %humantime::format_duration(Duration::from_millis(
                    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
                )),
                "no connection to the MQTT broker"
            );
            // The last will says the rest.
            if self.stage != Stage::Running && self.outgoing.is_over() && self.outbox.is_empty() {
                return;
            }
            let running = self.stage == Stage::Running;
            let stopped = async {
                tokio::select! {
                    () = sleep(wait) => false,
                    () = self.stop.cancelled(), if running => true,
                }
            };
            if self.progress.during(stopped).await {
                self.drain();
            }
        }
    }

    /// One connection, from CONNECT to its end. Returns `Ok` when the session
    /// was stopped, else the error and since when the connection was ready.
    async fn connection(&mut self) -> Result<(), (SessionError, Option<Instant>)> {
        let since = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let (network, connack) = self.open(&since).await.map_err(|error| (error, None))?;
        let mut connection =
            self.connected(network, &connack, since).map_err(|error| (error, None))?;
        loop {
            match self.step(&mut connection).await {
                Ok(false) => {}
                Ok(true) => return Ok(()),
                Err(error) => return Err((error, connection.ready)),
            }
        }
    }

    async fn open(&mut self, since: &str) -> Result<(Network<Stream>, ConnAck), SessionError> {
        let options = self.options.clone();
        let connect = options.packet(&self.topics.status(), status("offline", since, None))?;
        let metrics = self.reporter.metrics().clone();
        let opening = async {
            let stream = options.open().await?;
            Ok(Network::open(stream, connect, options.max_packet(), metrics).await?)
        };
        let mut opening = pin!(timeout(CONNECTION_TIMEOUT, opening));
        loop {
            tokio::select! {
                opened = &mut opening => return opened.unwrap_or(Err(SessionError::Timeout)),
                () = self.progress.asked() => {}
                () = self.stop.cancelled(), if self.stage == Stage::Running => self.drain(),
            }
        }
    }

    /// Handles the next that happens. Returns whether the session has ended.
    async fn step(&mut self, connection: &mut Connection) -> Result<bool, SessionError> {
        self.hand_over();
        self.advance(connection)?;
        if self.stage == Stage::Disconnecting {
            // All is published; whether the broker hears the last word matters little.
            match timeout(CONNECTION_TIMEOUT, connection.network.flush()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "DISCONNECT cannot be sent"),
                Err(_) => tracing::debug!("DISCONNECT cannot be sent: the broker takes nothing"),
            }
            return Ok(true);
        }
        let online = connection.ready.is_some();
        let publications = self.takes_publications();
        // What there is to be sent is collected first: it is sent while the next
        // packet is waited for.
        tokio::select! {
            biased;
            () = self.progress.asked() => {}
            queued = self.outgoing.next(publications), if self.takes_replies() => match queued {
                Some(queued) => self.take(queued),
                None => self.say_goodbye(&connection.since),
            },
            // The place is taken by `hand_over`.
            Some(()) = place(self.requests.as_ref()), if !self.waiting.is_empty() => {}
            Ok(()) = self.presence.changed(), if online && self.stage == Stage::Running => {
                self.announce(&connection.since);
            }
            () = self.stop.cancelled(), if self.stage == Stage::Running => self.drain(),
            packet = connection.network.next() => {
                let mut next = packet?;
                while let Some(packet) = next {
                    self.incoming(packet, connection)?;
                    next = connection.network.received()?;
                }
            }
            () = sleep_until(self.refusals.until()), if self.refusals.is_pause() => {
                self.refusals.resume();
            }
            () = &mut connection.look => connection.look(self.outbox.under_way())?,
        }
        Ok(false)
    }

    /// Does what can be done without waiting: publishes, acknowledges, and goes
    /// on with stopping. What finds no room in the connection comes when that
    /// has been drained.
    fn advance(&mut self, connection: &mut Connection) -> Result<(), SessionError> {
        if connection.ready.is_none() {
            return Ok(());
        }
        while connection.network.has_room()
            && !self.refusals.is_pause()
            && let Some(message) = self.outbox.next(connection.max_unacknowledged)
        {
            let Some(mut publish) = within(message, connection.max_packet) else {
                if let Some(Message::Reply(reply)) = self.outbox.give_up() {
                    self.deliveries.replied(reply.delivery);
                }
                continue;
            };
            publish.pkid = self.outbox.send();
            connection.network.put(Packet::Publish(publish))?;
        }
        while connection.network.has_room()
            && let Some(packet_id) = self.deliveries.next_acknowledgement()
        {
            connection.network.put(Packet::PubAck(PubAck::new(packet_id, None)))?;
            self.deliveries.acknowledged();
        }
        if self.stage == Stage::Offline && self.outbox.is_empty() {
            let disconnect = Disconnect::new(DisconnectReasonCode::NormalDisconnection);
            connection.network.put(Packet::Disconnect(disconnect))?;
            self.stage = Stage::Disconnecting;
        }
        Ok(())
    }

    fn incoming(
        &mut self,
        packet: Packet,
        connection: &mut Connection,
    ) -> Result<(), SessionError> {
        match packet {
            Packet::Publish(publish) => self.accept(publish),
            Packet::PubAck(puback) => {
                self.published(&puback)?;
                self.give_back_memory();
                Ok(())
            }
            Packet::SubAck(suback) => self.subscribed(&suback, connection),
            // Packets are answered in their order.
            Packet::PingResp(_) if connection.ready.is_none() => {
                Err(SessionError::Protocol("it answers a ping, but not SUBSCRIBE"))
            }
            Packet::PingResp(_) => Ok(()),
            _ => Err(SessionError::Protocol("it sends a packet that is not expected")),
        }
    }

    /// The broker has accepted a connection.
    fn connected(
        &mut self,
        mut network: Network<Stream>,
        connack: &ConnAck,
        since: String,
    ) -> Result<Connection, SessionError> {
        self.deliveries.connected(connack.session_present);
        let properties = connack.properties.as_ref();
        let keep_alive = properties.and_then(|properties| properties.server_keep_alive);
        // A broker that turns it off (0) or sets it long must not keep a dead line unnoticed.
        let own = self.options.keep_alive();
        let keep_alive = keep_alive.filter(|seconds| *seconds > 0).map_or(own, |max| max.min(own));
        let keep_alive = Duration::from_secs(keep_alive.into());
        let max_packet = properties.and_then(|properties| properties.max_packet_size);
        let max_packet = max_packet.and_then(|max| usize::try_from(max).ok());
        let receive_maximum = properties.and_then(|properties| properties.receive_max);
        tracing::info!(
            broker = %format_args!("{}:{}", self.options.host, self.options.port),
            client_id = self.options.client_id,
            session_present = connack.session_present,
            "connected to the MQTT broker"
        );
        if !connack.session_present {
            self.publish_records();
        }
        // A retained request would be executed again at every connection. One that
        // is published now is told by its flag.
        let requests = self.topics.request_filters();
        let requests = requests.map(|path| filter(path, RetainForwardRule::Never, true));
        // These tell a new process which subscriptions the former one had. Later
        // this process knows better.
        let rule = match self.records_fetched {
            false => RetainForwardRule::OnEverySubscribe,
            true => RetainForwardRule::Never,
        };
        let records = self.topics.record_filters();
        let records = records.map(|path| filter(path, rule.clone(), false));
        let filters = requests.into_iter().chain(records);
        // In every connection: a broker may have lost them with the session.
        let subscribe = Subscribe { pkid: SUBSCRIBE_ID, ..Subscribe::new_many(filters, None) };
        network.put(Packet::Subscribe(subscribe))?;
        Ok(Connection {
            network,
            liveness: Liveness::new(keep_alive),
            look: Box::pin(sleep_until(Instant::now())),
            since,
            max_packet: max_packet.unwrap_or(MAX_PACKET).min(MAX_PACKET),
            max_unacknowledged: receive_maximum.unwrap_or(u16::MAX).clamp(1, MAX_UNACKNOWLEDGED),
            ready: None,
        })
    }

    fn subscribed(
        &mut self,
        suback: &SubAck,
        connection: &mut Connection,
    ) -> Result<(), SessionError> {
        let filters = self.topics.request_filters().len() + self.topics.record_filters().len();
        let codes = &suback.return_codes;
        if connection.ready.is_some() || suback.pkid != SUBSCRIBE_ID || codes.len() != filters {
            return Err(SessionError::Protocol("its SUBACK does not answer the SUBSCRIBE"));
        }
        let granted = SubscribeReasonCode::Success(QoS::AtLeastOnce);
        if !codes.iter().all(|code| *code == granted) {
            return Err(SessionError::Subscription {
                filters: self.topics.request_filters(),
                codes: suback.return_codes.clone(),
                base: self.topics.to_string(),
            });
        }
        tracing::info!(filters = ?self.topics.request_filters(), "ready for requests");
        connection.ready = Some(Instant::now());
        self.records_fetched = true;
        self.reporter.up();
        self.presence.mark_unchanged();
        if self.stage == Stage::Running {
            self.announce(&connection.since);
        }
        Ok(())
    }

    fn accept(&mut self, publish: Publish) -> Result<(), SessionError> {
        if publish.qos == QoS::ExactlyOnce {
            return Err(SessionError::Protocol("QoS 2 was not asked for"));
        }
        let properties = publish.properties.as_ref();
        if publish.topic.is_empty() || properties.is_some_and(|all| all.topic_alias.is_some()) {
            return Err(SessionError::Protocol("topic aliases were not allowed"));
        }
        let acknowledged = publish.qos != QoS::AtMostOnce;
        if self.deliveries.unacknowledged() == usize::from(RECEIVE_MAXIMUM) {
            tracing::debug!("the broker takes no notice of Receive Maximum");
        }
        let delivery = if acknowledged {
            let fingerprint = self.fingerprints.of(&publish);
            match self.deliveries.accept(publish.pkid, publish.dup, fingerprint) {
                Accepted::New(delivery) => delivery,
                Accepted::Again => return Ok(()),
                Accepted::TooMany => return Err(SessionError::ReceiveMaximum),
            }
        } else {
            self.deliveries.next_number()
        };
        let Ok(topic) = String::from_utf8(publish.topic.to_vec()) else {
            tracing::warn!("a message is skipped: its topic is not UTF-8");
            self.deliveries.replied(delivery);
            return Ok(());
        };
        self.had_large |= publish.payload.len() >= LARGE;
        let request = Request::new(publish, topic, delivery, self.options.max_payload);
        let max_waiting = self.options.max_payload.saturating_mul(RECEIVE_MAXIMUM.into());
        if acknowledged {
            self.waiting.push(request, max_waiting);
        } else if let Err(dropped) = self.waiting.push_within_limits(request) {
            tracing::warn!(dropped, "requests with QoS 0 come faster than they can be served");
        }
        Ok(())
    }

    fn published(&mut self, puback: &PubAck) -> Result<(), SessionError> {
        let placed = self.outbox.acknowledged(puback.pkid);
        let (message, place) =
            placed.ok_or(SessionError::Protocol("it acknowledges a message that was not sent"))?;
        let taken =
            matches!(puback.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
        if taken {
            self.refusals = Refusals::default();
        } else {
            let topic = message.publish().topic;
            tracing::error!(
                topic = %String::from_utf8_lossy(&topic),
                reason = ?puback.reason,
                "the broker does not take a message"
            );
            let give_up = self.refusals.count >= MAX_REFUSALS;
            if is_transient(puback.reason) && !give_up {
                self.refusals.pause();
                self.outbox.push_again(puback.pkid, (message, place));
                return Ok(());
            }
        }
        let Message::Reply(mut reply) = message else { return Ok(()) };
        if let Some(topic) = reply.fallback_topic.take().filter(|_| !taken) {
            reply.topic = topic;
            self.outbox.push_front((Message::Reply(reply), place));
            return Ok(());
        }
        self.deliveries.replied(reply.delivery);
        Ok(())
    }

    /// After something large, once there is time for it.
    fn give_back_memory(&mut self) {
        if self.had_large && self.outbox.is_empty() {
            self.had_large = false;
            heap::give_back();
        }
    }

    /// A broker that has lost the session may have lost what it was to keep.
    fn publish_records(&mut self) {
        for record in self.records.values() {
            self.outbox.push((Message::Publication(record.clone()), None));
        }
    }

    /// Gives waiting requests to the router, as many as it takes now.
    fn hand_over(&mut self) {
        let Some(requests) = &self.requests else { return };
        while !self.waiting.is_empty() {
            let Ok(place) = requests.try_reserve() else { return };
            if let Some(request) = self.waiting.pop() {
                place.send(request);
            }
        }
    }

    fn takes_replies(&self) -> bool {
        matches!(self.stage, Stage::Running | Stage::Draining) && self.outbox.unsent() < MAX_UNSENT
    }

    /// A reply that comes next shall not wait behind many of them.
    fn takes_publications(&self) -> bool {
        self.outbox.unsent() < MAX_UNSENT_BEFORE_PUBLICATIONS
    }

    fn take(&mut self, queued: Queued) {
        let (message, place) = match queued {
            Queued::Message(message, place) => (message, place),
            Queued::Done { delivery } => return self.deliveries.replied(delivery),
        };
        if let Message::Publication(publication) = &message
            && publication.retain
        {
            if publication.payload.is_empty() {
                self.records.remove(&publication.topic);
            } else {
                self.records.insert(publication.topic.clone(), publication.clone());
            }
        }
        self.had_large |= message.size() >= LARGE;
        self.outbox.push((message, place));
    }

    /// Takes no more requests. Those that nobody has begun with stay with the
    /// broker, if it was asked by QoS 1 to keep them.
    fn drain(&mut self) {
        self.requests = None;
        self.waiting.clear();
        self.stage = Stage::Draining;
    }

    /// All requests are answered.
    fn say_goodbye(&mut self, since: &str) {
        self.stage = Stage::Offline;
        let payload = status("offline", since, None);
        self.outbox.push((Message::Status { topic: self.topics.status(), payload }, None));
    }

    fn announce(&mut self, since: &str) {
        let presence = self.presence.borrow_and_update().clone();
        let payload = status("online", since, Some(&presence));
        self.outbox.push((Message::Status { topic: self.topics.status(), payload }, None));
    }
}

fn filter(path: String, retain_forward_rule: RetainForwardRule, preserve_retain: bool) -> Filter {
    Filter { path, qos: QoS::AtLeastOnce, nolocal: true, preserve_retain, retain_forward_rule }
}

/// Whether the same message may be taken later (MQTT 5, 3.4.2.1).
fn is_transient(reason: PubAckReason) -> bool {
    matches!(
        reason,
        PubAckReason::UnspecifiedError
            | PubAckReason::ImplementationSpecificError
            | PubAckReason::QuotaExceeded
    )
}

/// How many pauses there were in a row because the broker has not taken a message
/// that it may take later.
#[derive(Debug, Default)]
struct Refusals {
    count: u32,
    /// Nothing is published until then.
    until: Option<Instant>,
}

impl Refusals {
    /// Makes a pause, one for all that were not taken before it is over.
    fn pause(&mut self) {
        if self.until.is_none() {
            self.count += 1;
            self.until = Some(Instant::now() + REFUSAL_PAUSE);
        }
    }

    fn is_pause(&self) -> bool {
        self.until.is_some()
    }

    fn until(&self) -> Instant {
        self.until.unwrap_or_else(Instant::now)
    }

    fn resume(&mut self) {
        self.until = None;
    }
}

/// Waits for a place for one request.
async fn place(requests: Option<&mpsc::Sender<Request>>) -> Option<()> {
    requests?.reserve().await.ok().map(drop)
}

/// The payload of the status topic.
fn status(status: &str, since: &str, presence: Option<&Presence>) -> Bytes {
    #[derive(Serialize)]
    struct Status<'a> {
        status: &'a str,
        version: &'a str,
        since: &'a str,
        #[serde(flatten)]
        presence: Option<&'a Presence>,
    }
    let status = Status { status, version: env!("CARGO_PKG_VERSION"), since, presence };
    serde_json::to_vec(&status).expect("strings always become JSON").into()
}

/// The message as a packet. One that is too large for the broker becomes an error
/// that is not: the broker would close the connection over it, again and again.
/// `None` if nothing can be published instead.
fn within(message: &mut Message, max: usize) -> Option<Publish> {
    // The packet identifier is not counted before it is known.
    let size = |publish: &Publish| publish.size() + 2;
    let publish = message.publish();
    if size(&publish) <= max {
        return Some(publish);
    }
    tracing::error!(
        size = size(&publish),
        max,
        topic = %String::from_utf8_lossy(&publish.topic).chars().take(200).collect::<String>(),
        "the broker does not take so large a message"
    );
    let error = ErrorReply::new(
        ErrorCode::PayloadTooLarge,
        format!(
            "this message needs a packet of {} bytes, but the broker takes no more than {max}; ask \
             for less, for example with field masks",
            size(&publish)
        ),
    );
    let error = error.with("size", size(&publish)).with("max_size", max).to_payload();
    match message {
        Message::Reply(reply) => reply.payload = error,
        Message::Publication(publication) if !publication.retain => publication.payload = error,
        Message::Publication(_) | Message::Status { .. } => return None,
    }
    if size(&message.publish()) > max
        && let Message::Reply(reply) = message
    {
        // What came with the request may be as large as a packet.
        reply.correlation_data = None;
        reply.request_id.clear();
    }
    Some(message.publish()).filter(|publish| size(publish) <= max)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::outbox::Reply;
    use super::*;

    fn reply(topic: String, request_id: String, payload: usize) -> Message {
        Message::Reply(Reply {
            delivery: 1,
            topic,
            fallback_topic: None,
            correlation_data: Some(Bytes::from_static(b"c")),
            request_id,
            payload: vec![b'x'; payload].into(),
        })
    }

    fn publication(retain: bool) -> Message {
        let topic = "vehicle/1/events/x".into();
        let payload = vec![b'x'; 2000].into();
        Message::Publication(Publication { topic, payload, retain, expiry: None })
    }

    #[test]
    fn too_large_a_message_becomes_an_error_that_fits() {
        let short = || "vehicle/1/state/resp".to_owned();
        for (mut message, keeps_correlation) in [
            (reply(short(), "r".into(), 2000), true),
            (reply(short(), "r".repeat(900), 2000), false),
            (publication(false), false),
        ] {
            let publish = within(&mut message, 1000).unwrap();
            assert!(publish.size() <= 1000);
            assert!(publish.payload.starts_with(b"{\"error\""));
            let properties = publish.properties.unwrap();
            assert_eq!(properties.correlation_data.is_some(), keeps_correlation);
        }
    }

    #[test]
    fn a_message_that_cannot_be_made_to_fit_is_given_up() {
        let mut message = reply("t".repeat(2000), "r".into(), 1);
        assert!(within(&mut message, 1000).is_none());
        // An error shall not be kept in the place of what was to be kept.
        assert!(within(&mut publication(true), 1000).is_none());
        assert!(within(&mut publication(true), 3000).is_some());
    }

    #[tokio::test]
    async fn pauses_are_counted_and_not_refusals() {
        let mut refusals = Refusals::default();
        for count in 1..=MAX_REFUSALS {
            refusals.pause();
            refusals.pause();
            assert!(refusals.is_pause() && refusals.count == count);
            refusals.resume();
        }
    }
}
