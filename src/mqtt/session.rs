//! The task that polls the connection to the broker, and awaits nothing that
//! could keep it from polling.

use std::pin::pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rumqttc::Outgoing as Sent;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Filter, Packet, PubAck, PubAckReason, Publish, RetainForwardRule, SubAck,
    SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop};
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::connect::{Options, RECEIVE_MAXIMUM};
use super::deliveries::{Accepted, Deliveries};
use super::liveness::{Liveness, Patience};
use super::outbox::{Message, Outbox, Outgoing};
use super::request::{Fingerprints, Request};
use super::waiting::Waiting;
use crate::error::{ErrorCode, ErrorReply};
use crate::topics::Topics;

/// Messages that are given to the client library before it has sent them.
const WINDOW: usize = 32;

/// Messages that are taken from the operations before they are sent. Operations
/// with more replies wait.
const MAX_UNSENT: usize = 64;

/// Messages and acknowledgements that the client library queues.
const COMMANDS: usize = WINDOW + RECEIVE_MAXIMUM as usize;

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
    Connection(#[from] ConnectionError),
    #[error(
        "the broker refuses the subscription to {filters:?}: {codes:?}; allow the client to read \
         and write below {base}/"
    )]
    Subscription { filters: [String; 2], codes: Vec<SubscribeReasonCode>, base: String },
    #[error("the broker is silent")]
    Silent,
    #[error(
        "the broker sends far more than the {RECEIVE_MAXIMUM} requests that were agreed in Receive \
         Maximum; with Mosquitto, set max_queued_messages to another value than 0"
    )]
    ReceiveMaximum,
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
    outgoing: mpsc::Receiver<Outgoing>,
    stop: CancellationToken,
    stage: Stage,
    patience: Patience,
    fingerprints: Fingerprints,
    deliveries: Deliveries,
    waiting: Waiting,
    outbox: Outbox,
}

/// What belongs to one connection only.
struct Connection {
    client: AsyncClient,
    liveness: Liveness,
    /// Since when the connector is online, RFC 3339.
    since: String,
    /// Largest packet that the broker takes.
    max_packet: usize,
    /// The broker has accepted the connection.
    connected: bool,
    /// Session and subscriptions stand.
    ready: Option<Instant>,
}

impl Session {
    /// Requests go to `requests`; `outgoing` gives their replies, and whatever
    /// else is to be published.
    ///
    /// When `stop` is cancelled the session drops `requests`, publishes what
    /// still comes from `outgoing` until that is closed, and ends.
    #[must_use]
    pub fn new(
        options: Options,
        topics: Topics,
        presence: watch::Receiver<Presence>,
        requests: mpsc::Sender<Request>,
        outgoing: mpsc::Receiver<Outgoing>,
        stop: CancellationToken,
    ) -> Self {
        let patience = Patience::new(options.max_packet());
        Self {
            options,
            topics,
            presence,
            requests: Some(requests),
            outgoing,
            stop,
            stage: Stage::Running,
            patience,
            fingerprints: Fingerprints::default(),
            deliveries: Deliveries::default(),
            waiting: Waiting::default(),
            outbox: Outbox::default(),
        }
    }

    /// Keeps the session alive over any number of connections until it is
    /// stopped and everything has been published.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new();
        loop {
            let (error, ready) = match self.connection().await {
                Ok(()) => return,
                Err(error) => error,
            };
            self.outbox.disconnected();
            if matches!(error, SessionError::Silent) {
                self.patience.in_vain();
            }
            let wait = backoff.next(ready.map_or(Duration::ZERO, |ready| ready.elapsed()));
            tracing::warn!(
                broker = %format_args!("{}:{}", self.options.host, self.options.port),
                %error,
                retry_in = %humantime::format_duration(Duration::from_millis(
                    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
                )),
                "no connection to the MQTT broker"
            );
            if self.stage == Stage::Draining && self.outgoing.is_closed() && self.outbox.is_empty()
            {
                return;
            }
            tokio::select! {
                () = sleep(wait) => {}
                () = self.stop.cancelled(), if self.stage == Stage::Running => self.drain(),
            }
        }
    }

    /// One connection, from CONNECT to its end. Returns `Ok` when the session
    /// was stopped, else the error and since when the connection was ready.
    async fn connection(&mut self) -> Result<(), (SessionError, Option<Instant>)> {
        let since = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let will = status("offline", &since, None);
        let options = self.options.connection(&self.topics.status(), will);
        let (client, mut events) = AsyncClient::new(options, COMMANDS);
        let mut connection = Connection {
            client,
            liveness: Liveness::new(self.options.keep_alive, &self.patience),
            since,
            max_packet: usize::MAX,
            connected: false,
            ready: None,
        };
        loop {
            match self.step(&mut connection, &mut events).await {
                Ok(false) => {}
                Ok(true) => return Ok(()),
                Err(error) => {
                    self.take_late_events(&mut events);
                    return Err((error, connection.ready));
                }
            }
        }
    }

    /// Handles one event of the connection, and what happens until it comes.
    /// Returns whether the session has ended.
    async fn step(
        &mut self,
        connection: &mut Connection,
        events: &mut EventLoop,
    ) -> Result<bool, SessionError> {
        // The client library would give up by itself a connection on which a ping
        // has not been answered until its next one. Whether a connection is alive
        // is for `liveness` to say.
        events.state.await_pingresp = false;
        let event = {
            // Dropping `poll` while it writes would lose a packet, so it is
            // kept until it is ready.
            let mut poll = pin!(events.poll());
            loop {
                self.advance(connection);
                let online = connection.ready.is_some();
                let ping_at = connection.liveness.ping_at().filter(|_| online);
                let give_up_at = connection.liveness.give_up_at(self.outbox.under_way());
                tokio::select! {
                    event = &mut poll => break Some(event?),
                    () = sleep_until(give_up_at), if connection.connected => {
                        return Err(SessionError::Silent);
                    }
                    // Everything was sent, so nothing can be lost by dropping `poll`.
                    () = sleep_until(ping_at.unwrap_or_else(Instant::now)), if ping_at.is_some() => {
                        break None;
                    }
                    outgoing = self.outgoing.recv(), if self.takes_more() => match outgoing {
                        Some(outgoing) => self.take(outgoing),
                        None => self.say_goodbye(&connection.since),
                    },
                    // The place is taken by `advance`.
                    Some(()) = place(self.requests.as_ref()), if !self.waiting.is_empty() => {}
                    Ok(()) = self.presence.changed(), if online && self.stage == Stage::Running => {
                        self.announce(&connection.since);
                    }
                    () = self.stop.cancelled(), if self.stage == Stage::Running => self.drain(),
                }
            }
        };
        match event {
            Some(Event::Incoming(packet)) => {
                connection.liveness.heard();
                if let Packet::PubAck(puback) = &packet {
                    release_collision(events, puback);
                }
                self.incoming(packet, connection)?;
            }
            Some(Event::Outgoing(Sent::Disconnect)) => return Ok(true),
            Some(Event::Outgoing(outgoing)) => self.outgoing(&outgoing, connection),
            None => {
                events.pending.push_back(rumqttc::v5::Request::PingReq);
                connection.liveness.pinged();
            }
        }
        Ok(false)
    }

    /// Does what can be done without waiting: hands over requests, publishes,
    /// acknowledges, and goes on with stopping. What does not fit into the queue
    /// of the client library comes after the next event, which makes room there.
    fn advance(&mut self, connection: &mut Connection) {
        self.hand_over();
        if connection.ready.is_none() {
            return;
        }
        let max_packet = connection.max_packet;
        while let Some(message) = self.outbox.next(WINDOW) {
            let mut publish = message.publish();
            // The packet identifier is not counted before it is known.
            if publish.size() + 2 > max_packet {
                replace_oversized(message, publish.size(), max_packet);
                publish = message.publish();
            }
            let size = publish.size();
            let submitted = connection.client.try_publish_with_properties(
                String::from_utf8_lossy(&publish.topic),
                publish.qos,
                publish.retain,
                publish.payload,
                publish.properties.unwrap_or_default(),
            );
            if submitted.is_err() {
                return;
            }
            connection.liveness.submitted(size);
            self.outbox.submitted();
        }
        while let Some(pkid) = self.deliveries.next_acknowledgement() {
            let publish = Publish { pkid, qos: QoS::AtLeastOnce, ..Publish::default() };
            if connection.client.try_ack(&publish).is_err() {
                return;
            }
            connection.liveness.submitted(publish.size());
            self.deliveries.acknowledged();
        }
        if self.stage == Stage::Offline
            && self.outbox.is_empty()
            && connection.client.try_disconnect().is_ok()
        {
            self.stage = Stage::Disconnecting;
        }
    }

    fn incoming(
        &mut self,
        packet: Packet,
        connection: &mut Connection,
    ) -> Result<(), SessionError> {
        match packet {
            Packet::ConnAck(connack) => {
                self.connected(&connack, connection);
                Ok(())
            }
            Packet::SubAck(suback) => self.subscribed(&suback, connection),
            Packet::Publish(publish) => self.accept(publish),
            Packet::PubAck(puback) => {
                self.published(&puback);
                Ok(())
            }
            Packet::PingResp(_) => {
                self.patience.answered();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn connected(&mut self, connack: &ConnAck, connection: &mut Connection) {
        self.deliveries.connected(connack.session_present);
        connection.connected = true;
        connection.liveness = Liveness::new(self.options.keep_alive, &self.patience);
        if let Some(properties) = &connack.properties {
            if let Some(max) = properties.max_packet_size {
                connection.max_packet = usize::try_from(max).unwrap_or(usize::MAX);
            }
            if let Some(seconds) = properties.server_keep_alive {
                let keep_alive = Duration::from_secs(seconds.max(1).into());
                connection.liveness = Liveness::new(keep_alive, &self.patience);
            }
        }
        tracing::info!(
            broker = %format_args!("{}:{}", self.options.host, self.options.port),
            client_id = self.options.client_id,
            session_present = connack.session_present,
            "connected to the MQTT broker"
        );
        // A retained request would be executed again at every connection.
        let requests = self.topics.request_filters();
        let requests = requests.map(|path| filter(path, RetainForwardRule::Never));
        // These tell a new process which subscriptions the former one had.
        let records = self.topics.record_filters();
        let records = records.map(|path| filter(path, RetainForwardRule::OnEverySubscribe));
        let filters = requests.into_iter().chain(records);
        connection.liveness.submitted(0);
        // In every connection: a broker may have lost them with the session.
        let submitted = connection.client.try_subscribe_many(filters);
        submitted.expect("the queue of a new connection is empty");
    }

    fn subscribed(
        &mut self,
        suback: &SubAck,
        connection: &mut Connection,
    ) -> Result<(), SessionError> {
        let granted = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
        if !suback.return_codes.iter().all(granted) {
            return Err(SessionError::Subscription {
                filters: self.topics.request_filters(),
                codes: suback.return_codes.clone(),
                base: self.topics.to_string(),
            });
        }
        tracing::info!(filters = ?self.topics.request_filters(), "ready for requests");
        connection.ready = Some(Instant::now());
        self.presence.mark_unchanged();
        if self.stage == Stage::Running {
            self.announce(&connection.since);
        }
        Ok(())
    }

    fn accept(&mut self, publish: Publish) -> Result<(), SessionError> {
        let acknowledged = publish.qos != QoS::AtMostOnce;
        let max_waiting = self.options.max_payload.saturating_mul(RECEIVE_MAXIMUM.into());
        if acknowledged && self.waiting.bytes() > max_waiting {
            return Err(SessionError::ReceiveMaximum);
        }
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
        let request = Request::new(publish, topic, delivery, self.options.max_payload);
        if acknowledged {
            self.waiting.push(request);
        } else if let Err(dropped) = self.waiting.push_within_limits(request) {
            tracing::warn!(dropped, "requests with QoS 0 come faster than they can be served");
        }
        Ok(())
    }

    fn published(&mut self, puback: &PubAck) {
        let Some(message) = self.outbox.acknowledged(puback.pkid) else { return };
        let taken =
            matches!(puback.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
        if !taken {
            let topic = message.publish().topic;
            tracing::error!(
                topic = %String::from_utf8_lossy(&topic),
                reason = ?puback.reason,
                "the broker does not take a message"
            );
        }
        let Message::Reply(mut reply) = message else { return };
        if let Some(topic) = reply.fallback_topic.take().filter(|_| !taken) {
            reply.topic = topic;
            self.outbox.push_front(Message::Reply(reply));
            return;
        }
        self.deliveries.replied(reply.delivery);
    }

    fn outgoing(&mut self, outgoing: &Sent, connection: &mut Connection) {
        match outgoing {
            Sent::Publish(pkid) => {
                self.outbox.sent(*pkid);
                connection.liveness.sent();
            }
            Sent::PubAck(_) | Sent::Subscribe(_) => connection.liveness.sent(),
            _ => {}
        }
    }

    /// What had come before the connection was lost counts.
    fn take_late_events(&mut self, events: &mut EventLoop) {
        while let Some(event) = events.state.events.pop_front() {
            match event {
                Event::Incoming(Packet::PubAck(puback)) => self.published(&puback),
                Event::Incoming(Packet::Publish(publish)) if publish.qos == QoS::AtMostOnce => {
                    // Without QoS it cannot be delivered again.
                    if let Err(error) = self.accept(publish) {
                        tracing::warn!(%error, "a request is lost");
                    }
                }
                Event::Outgoing(Sent::Publish(pkid)) => self.outbox.sent(pkid),
                _ => {}
            }
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

    fn takes_more(&self) -> bool {
        matches!(self.stage, Stage::Running | Stage::Draining) && self.outbox.unsent() < MAX_UNSENT
    }

    fn take(&mut self, outgoing: Outgoing) {
        match outgoing {
            Outgoing::Reply(reply) => self.outbox.push(Message::Reply(reply)),
            Outgoing::Publication(publication) => {
                self.outbox.push(Message::Publication(publication));
            }
            Outgoing::Done { delivery } => self.deliveries.replied(delivery),
        }
    }

    /// Takes no more requests. Those that nobody has begun with stay with the
    /// broker.
    fn drain(&mut self) {
        self.requests = None;
        self.waiting.clear();
        self.stage = Stage::Draining;
    }

    /// All requests are answered.
    fn say_goodbye(&mut self, since: &str) {
        self.stage = Stage::Offline;
        let payload = status("offline", since, None);
        self.outbox.push(Message::Status { topic: self.topics.status(), payload });
    }

    fn announce(&mut self, since: &str) {
        let presence = self.presence.borrow_and_update().clone();
        let payload = status("online", since, Some(&presence));
        self.outbox.push(Message::Status { topic: self.topics.status(), payload });
    }
}

/// The client library keeps back a message whose packet identifier is still in
/// use, and everything behind it, until the identifier is free. It does not see
/// that it is when the broker has refused the message that used it.
fn release_collision(events: &mut EventLoop, puback: &PubAck) {
    let collision = &mut events.state.collision;
    if let Some(publish) = collision.take_if(|publish| publish.pkid == puback.pkid) {
        events.pending.push_back(rumqttc::v5::Request::Publish(publish));
    }
}

fn filter(path: String, retain_forward_rule: RetainForwardRule) -> Filter {
    let qos = QoS::AtLeastOnce;
    Filter { path, qos, nolocal: true, preserve_retain: false, retain_forward_rule }
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

/// The broker would close the connection over such a packet, again and again.
fn replace_oversized(message: &mut Message, size: usize, max: usize) {
    let error = ErrorReply::new(
        ErrorCode::PayloadTooLarge,
        format!(
            "this message needs a packet of {size} bytes, but the broker takes no more than {max}; \
             ask for less, for example with field masks"
        ),
    );
    let error = error.with("size", size).with("max_size", max).to_payload();
    let topic = match message {
        Message::Reply(reply) => {
            reply.payload = error;
            let data = reply.correlation_data.take();
            reply.correlation_data = data.filter(|data| data.len() < max / 4);
            &reply.topic
        }
        Message::Publication(publication) => {
            publication.payload = error;
            &publication.topic
        }
        Message::Status { topic, .. } => topic,
    };
    tracing::error!(size, max, topic, "the broker does not take so large a message");
}
