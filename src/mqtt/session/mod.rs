//! The task that owns the connection to the broker, and awaits nothing that
//! could keep it from serving it.

mod acknowledge;
mod blame;
mod incoming;
mod published;
mod replicas;
mod subscribe;

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use rumqttc::v5::mqttbytes::v5::{Disconnect, DisconnectReasonCode, Packet};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::backoff::{Backoff, format_wait};
use super::connect::{CONNECTION_TIMEOUT, Options};
use super::connection::Connection;
use super::connection_error::ConnectionError;
use super::deliveries::Deliveries;
use super::message::{Message, Publication};
use super::outbox::Outbox;
use super::queue::{Queued, Receiver};
use super::refusals::Pause;
use super::reporter::Reporter;
use super::request::{Fingerprints, Request};
use super::size_limit::within;
use super::status::{Presence, status};
use super::waiting::Waiting;
use crate::progress::Progress;
use crate::topics::Topics;
use blame::Blame;
use replicas::{Former, open};

/// Messages that are taken from the operations before they are sent. Operations
/// with more replies wait.
const MAX_UNSENT: usize = 64;

/// No messages of streams are taken while so many wait for being sent.
const MAX_UNSENT_BEFORE_PUBLICATIONS: usize = 8;

/// What has needed memory that is worth giving back, in bytes.
const LARGE: usize = 256 * 1024;

/// Why a session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was stopped, and everything has been published.
    Stopped,
    /// Another replica has it.
    TakenOver,
    /// The connection was lost for so long that another replica may have it.
    Lost,
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

/// Why a wait for the next connection is over.
enum Waited {
    Enough,
    /// Another replica may have taken over.
    TooLong,
    Stopped,
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
    /// Since when the connector is online, RFC 3339.
    since: String,
    /// Of several replicas, the one whose connection was lost may resume its session
    /// until then. `None` before the first connection.
    resume_until: Option<Instant>,
    former: Former,
    fingerprints: Fingerprints,
    deliveries: Deliveries,
    waiting: Waiting,
    outbox: Outbox,
    /// What the broker keeps for this vehicle, by topic.
    records: BTreeMap<String, Publication>,
    /// When the subscriptions were granted for the first time, and what the broker keeps
    /// was asked for.
    ready: Option<Instant>,
    pause: Pause,
    blame: Blame,
    /// Something large was received or published since memory was given back.
    had_large: bool,
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
            since: String::new(),
            resume_until: None,
            former: Former::default(),
            fingerprints: Fingerprints::default(),
            deliveries: Deliveries::default(),
            waiting: Waiting::default(),
            outbox: Outbox::default(),
            records: BTreeMap::new(),
            ready: None,
            pause: Pause::default(),
            blame: Blame::default(),
            had_large: false,
        }
    }

    /// Keeps the session alive over any number of connections until it is
    /// stopped and everything has been published. One of several replicas also ends
    /// it when another one has, or may have, taken over.
    pub async fn run(mut self) -> Ended {
        let ended = self.keep().await;
        self.reporter.ended();
        ended
    }

    async fn keep(&mut self) -> Ended {
        let mut backoff = Backoff::new();
        loop {
            let (error, ready) = match self.connection().await {
                Ok(()) => return Ended::Stopped,
                Err(error) => error,
            };
            self.blame(&error);
            self.outbox.disconnected();
            let is_replica = self.options.replica.is_some();
            if is_replica && error.is_takeover() {
                return Ended::TakenOver;
            }
            let wait = backoff.next(ready.map_or(Duration::ZERO, |ready| ready.elapsed()));
            let help = error.help(&self.options, ready.is_none());
            self.reporter.failed(&self.options, &error, help.as_deref());
            tracing::warn!(
                broker = %format_args!("{}:{}", self.options.host, self.options.port),
                %error,
                help,
                retry_in = %format_wait(wait),
                "no connection to the MQTT broker"
            );
            // The last will says the rest.
            let running = self.stage == Stage::Running;
            if !running && self.outgoing.is_over() && self.outbox.is_empty() {
                return Ended::Stopped;
            }
            let give_up_at = self.resume_until.unwrap_or_else(Instant::now);
            let waited = async {
                tokio::select! {
                    () = sleep_until(give_up_at), if is_replica => Waited::TooLong,
                    () = sleep(wait) => Waited::Enough,
                    () = self.stop.cancelled(), if running => Waited::Stopped,
                }
            };
            match self.progress.during(waited).await {
                Waited::TooLong => return Ended::Lost,
                Waited::Enough => {}
                Waited::Stopped => self.drain(),
            }
        }
    }

    /// One connection, from CONNECT to its end. Returns `Ok` when the session
    /// was stopped, else the error and since when the connection was ready.
    async fn connection(&mut self) -> Result<(), (ConnectionError, Option<Instant>)> {
        let mut connection = self.open().await.map_err(|error| (error, None))?;
        loop {
            match self.step(&mut connection).await {
                Ok(false) => {}
                Ok(true) => return Ok(()),
                Err(error) => {
                    if connection.ready.is_some() {
                        let alive = connection.network.signs().alive;
                        self.resume_until = Some(alive + self.options.keep_alive);
                    }
                    return Err((error, connection.ready));
                }
            }
        }
    }

    /// Opens a connection and subscribes.
    async fn open(&mut self) -> Result<Connection, ConnectionError> {
        let now = SystemTime::now();
        let since = match self.options.replica {
            None => humantime::format_rfc3339_seconds(now),
            // Replicas tell by it what they have said themselves.
            Some(_) => humantime::format_rfc3339_millis(now),
        };
        let since = since.to_string();
        self.former.tried = std::mem::replace(&mut self.since, since);
        let (options, topics) = (self.options.clone(), self.topics.clone());
        let will = status(&self.since, options.replica.as_deref(), None);
        let connect = options.packet(&self.topics.status(), will)?;
        let former = self.former.clone();
        let metrics = self.reporter.metrics().clone();
        let opening = open(&options, &topics, connect, self.resume_until, &former, &metrics);
        let mut opening = pin!(opening);
        let (mut connection, session_present) = loop {
            tokio::select! {
                opened = &mut opening => break opened?,
                () = self.progress.asked() => {}
                () = self.stop.cancelled(), if self.stage == Stage::Running => self.drain(),
            }
        };
        tracing::info!(
            broker = %format_args!("{}:{}", self.options.host, self.options.port),
            client_id = self.options.client_id,
            session_present,
            "connected to the MQTT broker"
        );
        self.deliveries.connected(session_present);
        if !session_present {
            self.publish_records();
        }
        self.subscribe(&mut connection)?;
        Ok(connection)
    }

    /// Handles the next that happens. Returns whether the session has ended.
    async fn step(&mut self, connection: &mut Connection) -> Result<bool, ConnectionError> {
        let handed_over = self.hand_over();
        self.advance(connection)?;
        if handed_over && connection.network.has_unsent() {
            // They are on their way to Ankaios before the broker gets what it waits
            // for less: sending takes as long as all that the connector does.
            tokio::task::yield_now().await;
        }
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
                None => self.say_goodbye(),
            },
            // The place is taken by `hand_over`.
            Some(()) = place(self.requests.as_ref()), if !self.waiting.is_empty() => {}
            Ok(()) = self.presence.changed(), if online && self.stage == Stage::Running => {
                self.announce();
            }
            () = self.stop.cancelled(), if self.stage == Stage::Running => self.drain(),
            packet = connection.network.next() => {
                let mut next = packet?;
                while let Some(packet) = next {
                    self.incoming(packet, connection)?;
                    next = connection.network.received()?;
                }
            }
            () = sleep_until(self.pause.until()), if self.pause.is_running() => self.pause.end(),
            () = connection.piggyback.over(), if connection.piggyback.is_running() => {
                self.acknowledge(connection)?;
            }
            () = &mut connection.look => {
                connection.look(self.outbox.under_way(), self.deliveries.acknowledgements())?;
            }
        }
        Ok(false)
    }

    /// Does what can be done without waiting: publishes, acknowledges, and goes
    /// on with stopping. What finds no room in the connection comes when that
    /// has been drained.
    fn advance(&mut self, connection: &mut Connection) -> Result<(), ConnectionError> {
        if connection.ready.is_none() {
            return Ok(());
        }
        while connection.network.has_room()
            && !self.pause.is_running()
            && let Some(message) = self.outbox.next(connection.max_unacknowledged)
        {
            let Some(mut publish) = within(message, connection.max_packet) else {
                if let Some(Message::Reply(reply)) = self.outbox.give_up() {
                    self.deliveries.replied(reply.delivery);
                }
                continue;
            };
            publish.pkid = self.outbox.send(self.deliveries.acknowledgements());
            connection.network.put(Packet::Publish(publish))?;
        }
        self.acknowledge_or_wait(connection)?;
        if self.stage == Stage::Offline && self.outbox.is_empty() {
            let disconnect = Disconnect::new(DisconnectReasonCode::NormalDisconnection);
            connection.network.put(Packet::Disconnect(disconnect))?;
            self.stage = Stage::Disconnecting;
        }
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
        let waiting = self.outbox.waiting_records();
        for (topic, record) in &self.records {
            if !waiting.contains(topic) {
                self.outbox.push(Message::Publication(record.clone()), None);
            }
        }
    }

    /// Gives waiting requests to the router, as many as it takes now. Returns
    /// whether there were any.
    fn hand_over(&mut self) -> bool {
        let Some(requests) = &self.requests else { return false };
        let mut any = false;
        while !self.waiting.is_empty() {
            let Ok(place) = requests.try_reserve() else { break };
            if let Some(request) = self.waiting.pop() {
                place.send(request);
                any = true;
            }
        }
        any
    }

    fn takes_replies(&self) -> bool {
        matches!(self.stage, Stage::Running | Stage::Draining) && self.outbox.unsent() < MAX_UNSENT
    }

    /// A reply that comes next shall not wait behind many of them.
    fn takes_publications(&self) -> bool {
        self.outbox.unsent() < MAX_UNSENT_BEFORE_PUBLICATIONS
    }

    fn take(&mut self, queued: Queued) {
        if queued.is_recalled() {
            return;
        }
        let (message, place) = match queued {
            Queued::Message { message, place, .. } => (message, place),
            Queued::Done { delivery } => return self.deliveries.replied(delivery),
            Queued::Kept { record, .. } => {
                self.records.entry(record.topic.clone()).or_insert(record);
                return;
            }
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
        self.outbox.push(message, Some(place));
    }

    /// Takes no more requests. Those that nobody has begun with stay with the
    /// broker, if it was asked by QoS 1 to keep them.
    fn drain(&mut self) {
        self.requests = None;
        self.waiting.clear();
        self.stage = Stage::Draining;
    }

    /// All requests are answered.
    fn say_goodbye(&mut self) {
        self.stage = Stage::Offline;
        let payload = status(&self.since, self.options.replica.as_deref(), None);
        self.outbox.push(Message::Status { topic: self.topics.status(), payload }, None);
    }

    fn announce(&mut self) {
        let presence = self.presence.borrow_and_update().clone();
        let payload = status(&self.since, self.options.replica.as_deref(), Some(&presence));
        self.outbox.push(Message::Status { topic: self.topics.status(), payload }, None);
    }
}

/// Waits for a place for one request.
async fn place(requests: Option<&mpsc::Sender<Request>>) -> Option<()> {
    requests?.reserve().await.ok().map(drop)
}
