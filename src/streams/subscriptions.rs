//! The subscriptions of one vehicle: one task that owns the [`Registry`], and a handle to it.
//!
//! The task never waits for anything but the next command or the end of something that it has
//! started: what takes time is done by whoever gave the command, or by a job beside it.

use std::time::Duration;

use ankaios_control::Client;
use bytes::Bytes;
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::requests::{EventsRequest, LogsRequest};
use fleet_contract::topics::{StreamKind, Topics};
use fleet_contract::{SubscriptionId, topics};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use mqtt_session::{Recall, Refused, SessionEnded, SessionStatus};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::early_unsubscribes::record_comes;
use super::feed::{Feed, Outlet};
use super::key::Key;
use super::metrics::SubscriptionMetrics;
use super::publisher::Publisher;
use super::recalls::{Queued, Recalls};
use super::record::Record;
use super::registry::{Found, MAX_SUBSCRIPTIONS, Place, Registry, Removed, TooMany};
use super::unusable::{self, Unusable};
use crate::broker::MAX_RECORD;

/// Commands that wait for the task. It serves each at once.
const MAX_COMMANDS: usize = 64;

/// A handle to the subscriptions of one vehicle. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Subscriptions {
    commands: mpsc::Sender<Command>,
    endings: Endings,
    session: watch::Receiver<SessionStatus>,
}

enum Command {
    Enqueue {
        key: Key,
        subscribes: bool,
        answer: oneshot::Sender<Result<Turn, TooMany>>,
    },
    Reserve {
        key: Key,
        queued: Queued,
        answer: oneshot::Sender<Result<Outlet, TooMany>>,
    },
    /// The turn ends when the stream has started, so that its place is not free in between.
    Start {
        turn: Turn,
        ttl: Option<Duration>,
        stream: BoxFuture<'static, ()>,
    },
    Remove {
        key: Key,
        answer: oneshot::Sender<Removed>,
    },
    RememberUnsubscribe {
        key: Key,
        found: oneshot::Sender<()>,
    },
    End {
        key: Key,
        answer: oneshot::Sender<Recall>,
    },
    FindRecord {
        record: RetainedRecord,
        answer: oneshot::Sender<Option<Ending>>,
    },
    ResumeWaiting,
    StreamEnded {
        key: Key,
        number: u64,
    },
}

/// The place of a request among those for the same subscription. Dropping it lets the next
/// one go on.
#[derive(Debug)]
pub(crate) struct Turn {
    key: Key,
    comes: oneshot::Receiver<()>,
    _done: oneshot::Sender<()>,
}

impl Turn {
    /// Waits until all earlier requests are done. Each of them ends by its own timeout.
    async fn comes(&mut self) {
        // Without a sender the task has ended, with the connector.
        let _ = (&mut self.comes).await;
    }
}

/// A message that a topic has retained and that may be the record of a subscription.
#[derive(Debug)]
struct RetainedRecord {
    kind: StreamKind,
    /// That of the topic, which may be invalid.
    id: String,
    payload: Result<Bytes, Refused>,
}

/// The end of a subscription that is to be published.
#[derive(Debug)]
enum Ending {
    /// It has ended: those who listen are told, and the record is removed.
    Ended { key: Key, recall: Recall },
    /// Its record cannot be used and is removed.
    Unusable { topic: String, recalls: Recalls },
}

impl Subscriptions {
    /// A handle, and the task behind it, which ends when all handles are gone.
    ///
    /// Messages go to `publisher`. Records come from the session with this status.
    pub fn new(
        ankaios: Client,
        topics: Topics,
        publisher: Publisher,
        session: watch::Receiver<SessionStatus>,
        metrics: SubscriptionMetrics,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
        let endings = Endings { topics, publisher };
        let task = Task {
            ankaios,
            endings: endings.clone(),
            metrics,
            commands: commands.downgrade(),
            registry: Registry::default(),
            requests: FuturesUnordered::new(),
            jobs: FuturesUnordered::new(),
        };
        (Self { commands, endings, session }, task.run(receiver))
    }

    /// Adds a request to subscribe to those for the same subscription. To be called in the
    /// order of arrival.
    ///
    /// # Errors
    /// There are too many subscriptions.
    pub(crate) async fn enqueue<T: Feed>(&self, request: T) -> Result<Subscribing<T>, ErrorReply> {
        let record = Record::new(request, random_id);
        let turn = self.turn(T::KIND, &record.id, true).await?;
        Ok(Subscribing { record, turn, subscriptions: self.clone() })
    }

    /// Adds a request to unsubscribe, as [`Subscriptions::enqueue`].
    ///
    /// # Errors
    /// The connector is stopping.
    pub(crate) async fn enqueue_unsubscribe(
        &self,
        kind: StreamKind,
        id: &SubscriptionId,
    ) -> Result<Unsubscribing, ErrorReply> {
        let turn = self.turn(kind, id, false).await?;
        Ok(Unsubscribing { turn, subscriptions: self.clone() })
    }

    async fn turn(
        &self,
        kind: StreamKind,
        id: &SubscriptionId,
        subscribes: bool,
    ) -> Result<Turn, ErrorReply> {
        let key = Key { kind, id: id.clone() };
        self.ask(|answer| Command::Enqueue { key, subscribes, answer }).await?.map_err(too_many)
    }

    /// Resumes the subscription of a retained record. A record that cannot be used is removed
    /// from the broker.
    pub(crate) async fn restore(
        &self,
        kind: StreamKind,
        id: String,
        payload: Result<Bytes, Refused>,
    ) {
        let record = RetainedRecord { kind, id, payload };
        let ending = self.ask(|answer| Command::FindRecord { record, answer }).await;
        // Without an answer the connector is stopping; the next process looks at the record.
        if let Ok(Some(ending)) = ending {
            self.endings.publish(ending).await;
        }
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, ErrorReply> {
        let (sender, answer) = oneshot::channel();
        self.tell(command(sender)).await?;
        answer.await.map_err(|_| stopping(SessionEnded))
    }

    async fn tell(&self, command: Command) -> Result<(), ErrorReply> {
        self.commands.send(command).await.map_err(|_| stopping(SessionEnded))
    }
}

/// A request to subscribe, whose source is being asked for.
pub(crate) struct Subscribing<T> {
    record: Record<T>,
    turn: Turn,
    subscriptions: Subscriptions,
}

impl<T: Feed> Subscribing<T> {
    /// What was asked for.
    pub(crate) fn request(&self) -> &T {
        &self.record.spec
    }

    /// The id of the subscription.
    pub(crate) fn id(&self) -> &SubscriptionId {
        &self.record.id
    }

    /// The topic of its messages.
    pub(crate) fn topic(&self) -> String {
        self.subscriptions.endings.topics.stream(T::KIND, self.record.id.as_str())
    }

    /// Waits for the turn of the request, publishes the record, and starts the stream, which
    /// publishes nothing before [`Begin`] is dropped. A subscription of the same id is replaced.
    ///
    /// # Errors
    /// There are too many subscriptions, or the connector is stopping.
    pub(crate) async fn start(self, source: T::Source) -> Result<Begin, ErrorReply> {
        let Self { record, mut turn, subscriptions } = self;
        turn.comes().await;
        let key = turn.key.clone();
        let queued = if T::REPLY_HAS_ALL { Queued::Recalled } else { Queued::Kept };
        let reserve = |answer| Command::Reserve { key: key.clone(), queued, answer };
        // Others may have been added since the request has come.
        let outlet = subscriptions.ask(reserve).await?.map_err(too_many)?;
        let ttl = record.spec.ttl().duration();
        // Before the reply: what was promised must survive a crash.
        let publisher = outlet.publisher.before_reply();
        publisher.retain(&outlet.record_topic, &record, ttl).await.map_err(stopping)?;
        let (begin, begun) = oneshot::channel();
        let stream = Box::pin(async move {
            // A reply that could not be sent is no reason not to start.
            let _: Result<(), _> = begun.await;
            T::publish(record, source, outlet).await;
        });
        subscriptions.tell(Command::Start { turn, ttl, stream }).await?;
        Ok(Begin(begin))
    }
}

/// Lets a stream publish when it is dropped.
#[derive(Debug)]
pub(crate) struct Begin(
    #[allow(dead_code, reason = "dropping it is what counts")] oneshot::Sender<()>,
);

/// A request to unsubscribe.
pub(crate) struct Unsubscribing {
    turn: Turn,
    subscriptions: Subscriptions,
}

impl Unsubscribing {
    /// Waits for the turn of the request, and ends the subscription. Nothing is published of it
    /// after the reply.
    ///
    /// # Errors
    /// There is no such subscription, or the connector is stopping.
    pub(crate) async fn finish(self) -> Result<(), ErrorReply> {
        let Self { mut turn, subscriptions } = self;
        turn.comes().await;
        let key = turn.key.clone();
        let removed = subscriptions.ask(|answer| Command::Remove { key: key.clone(), answer });
        let recall = match removed.await? {
            Removed::Subscription(recall) => recall,
            Removed::Nothing => subscriptions.await_record(&key).await?,
        };
        subscriptions.endings.publish(Ending::Ended { key, recall }).await;
        subscriptions.tell(Command::ResumeWaiting).await
    }
}

impl Subscriptions {
    /// After a start the broker delivers the requests that have waited before the records of
    /// subscriptions: so the record is awaited while it may come.
    async fn await_record(&self, key: &Key) -> Result<Recall, ErrorReply> {
        let (found, record) = oneshot::channel();
        self.tell(Command::RememberUnsubscribe { key: key.clone(), found }).await?;
        if record_comes(record, self.session.clone()).await {
            return self.ask(|answer| Command::End { key: key.clone(), answer }).await;
        }
        let Key { kind, id } = key;
        let message = format!("there is no {} subscription with the id \"{id}\"", kind.name());
        Err(ErrorReply::new(ErrorCode::NotFound, message))
    }
}

/// Publishes the ends of subscriptions. Cheap to clone.
#[derive(Debug, Clone)]
struct Endings {
    topics: Topics,
    publisher: Publisher,
}

impl Endings {
    fn outlet(&self, Key { kind, id }: &Key, recalls: Recalls) -> Outlet {
        Outlet {
            topic: self.topics.stream(*kind, id.as_str()),
            record_topic: self.topics.record(*kind, id.as_str()),
            publisher: self.publisher.with(recalls),
        }
    }

    /// Publishes an end before the reply to whoever asked for it.
    async fn publish(&self, ending: Ending) {
        match ending {
            Ending::Ended { key, recall } => {
                self.publish_end(&key, recall, self.publisher.before_reply()).await;
            }
            Ending::Unusable { topic, recalls } => {
                let publisher = self.publisher.with(recalls).before_reply();
                // The session ends only when the connector does.
                let _: Result<(), SessionEnded> = publisher.remove(&topic).await;
            }
        }
    }

    /// Publishes that a subscription has ended, unless that is taken back.
    async fn publish_end(&self, key: &Key, recall: Recall, publisher: Publisher) {
        let publisher = publisher.with(Recalls { messages: recall.clone(), records: recall });
        let Outlet { topic, record_topic, .. } = self.outlet(key, Recalls::default());
        let published = async {
            if key.kind == StreamKind::Logs {
                publisher.send(&topic, &serde_json::json!({"ended": true})).await?;
            }
            publisher.remove(&record_topic).await
        };
        if let Err(error) = published.await {
            let Key { kind, id } = key;
            tracing::warn!(%error, kind = kind.name(), %id, "the end of a subscription is not told");
        }
    }
}

/// Owns the registry.
struct Task {
    ankaios: Client,
    endings: Endings,
    metrics: SubscriptionMetrics,
    /// For the streams. Weak, so that they do not keep the task alive.
    commands: mpsc::WeakSender<Command>,
    registry: Registry<AbortOnDropHandle<()>>,
    /// Requests in progress: each gives its key and number when it is done.
    requests: FuturesUnordered<BoxFuture<'static, (Key, u64)>>,
    /// Ends that are being published: each gives the stream whose end it was, if any.
    jobs: FuturesUnordered<BoxFuture<'static, Option<(Key, u64)>>>,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            tokio::select! {
                // Requests first: a request that is done must not hold up the next one.
                biased;
                Some((key, number)) = self.requests.next() => self.registry.finish(&key, number),
                Some(ended) = self.jobs.next() => {
                    if let Some((key, number)) = ended {
                        self.registry.end_published(&key, number);
                        self.resume_waiting();
                    }
                }
                command = commands.recv() => match command {
                    Some(command) => self.serve(command),
                    // The streams end with the registry. The next process resumes them.
                    None => return,
                },
            }
            for kind in StreamKind::ALL {
                self.metrics.set(kind, self.registry.count(kind));
            }
        }
    }

    /// Whoever gave a command may have gone: then nobody wants the answer.
    fn serve(&mut self, command: Command) {
        match command {
            Command::Enqueue { key, subscribes, answer } => {
                drop(answer.send(self.enqueue(key, subscribes)));
            }
            Command::Reserve { key, queued, answer } => {
                let recalls = self.registry.reserve(&key, queued);
                drop(answer.send(recalls.map(|recalls| self.endings.outlet(&key, recalls))));
            }
            Command::Start { turn, ttl, stream } => self.start(turn.key.clone(), ttl, stream),
            Command::Remove { key, answer } => drop(answer.send(self.registry.remove(&key))),
            Command::RememberUnsubscribe { key, found } => {
                self.registry.remember_unsubscribe(&key, found);
            }
            Command::End { key, answer } => drop(answer.send(self.registry.end(&key))),
            Command::FindRecord { record, answer } => drop(answer.send(self.find(record))),
            Command::ResumeWaiting => self.resume_waiting(),
            Command::StreamEnded { key, number } => self.stream_ended(key, number),
        }
    }

    fn enqueue(&mut self, key: Key, subscribes: bool) -> Result<Turn, TooMany> {
        let (turn, comes) = oneshot::channel();
        let number = self.registry.enqueue(&key, subscribes, turn)?;
        let (done, is_done) = oneshot::channel::<()>();
        let request = key.clone();
        self.requests.push(Box::pin(async move {
            // Nothing is ever sent: the sender is dropped.
            let _ = is_done.await;
            (request, number)
        }));
        Ok(Turn { key, comes, _done: done })
    }

    fn start(&mut self, key: Key, ttl: Option<Duration>, stream: BoxFuture<'static, ()>) {
        let commands = self.commands.clone();
        let own = key.clone();
        self.registry.start(&key, |number| {
            AbortOnDropHandle::new(tokio::spawn(async move {
                match ttl {
                    Some(ttl) => drop(timeout(ttl, stream).await),
                    None => stream.await,
                }
                if let Some(commands) = commands.upgrade() {
                    let ended = Command::StreamEnded { key: own, number };
                    // Without the task there is nobody to tell.
                    let _ = commands.send(ended).await;
                }
            }))
        });
    }

    fn stream_ended(&mut self, key: Key, number: u64) {
        let Some(recall) = self.registry.stream_ended(&key, number) else { return };
        let endings = self.endings.clone();
        self.jobs.push(Box::pin(async move {
            endings.publish_end(&key, recall, endings.publisher.clone()).await;
            Some((key, number))
        }));
    }

    /// Resumes what waits for a place, as long as there are places.
    fn resume_waiting(&mut self) {
        while let Some((Key { kind, id }, record)) = self.registry.next_waiting() {
            let record = RetainedRecord { kind, id: id.to_string(), payload: Ok(record) };
            if let Some(ending) = self.find(record) {
                let endings = self.endings.clone();
                self.jobs.push(Box::pin(async move {
                    endings.publish(ending).await;
                    None
                }));
            }
        }
    }

    /// A retained record has come. Gives the end that is to be published because of it.
    fn find(&mut self, record: RetainedRecord) -> Option<Ending> {
        let RetainedRecord { kind, id, payload } = record;
        let key = SubscriptionId::try_from(id.clone()).ok().map(|id| Key { kind, id });
        if let Some(key) = &key {
            let found = self.registry.record_found(key);
            if matches!(found, Found::Awaited | Found::Unsubscribed(_)) {
                tracing::info!(
                    kind = kind.name(),
                    id,
                    "a subscription was ended before it was known"
                );
            }
            match found {
                Found::New => {}
                Found::Known | Found::Awaited => return None,
                Found::Unsubscribed(recall) => {
                    return Some(Ending::Ended { key: key.clone(), recall });
                }
            }
        }
        let resumed = unusable::bytes(payload, MAX_RECORD).and_then(|record| match kind {
            StreamKind::Events => self.resume::<EventsRequest>(&id, &record),
            StreamKind::Logs => self.resume::<LogsRequest>(&id, &record),
        });
        match resumed {
            Ok(()) => return None,
            Err(Unusable::Expired) => {
                tracing::info!(kind = kind.name(), id, "the time of a subscription is over");
            }
            Err(Unusable::Invalid(reason)) => {
                tracing::warn!(
                    kind = kind.name(),
                    id = topics::short(&id),
                    reason,
                    "the record of a subscription is invalid; it is removed"
                );
            }
            Err(Unusable::NotNow(reason)) => {
                tracing::warn!(kind = kind.name(), id, reason, "a subscription is not taken up");
                return None;
            }
        }
        let recalls = key.map(|key| self.registry.discard(&key)).unwrap_or_default();
        Some(Ending::Unusable { topic: self.endings.topics.record(kind, &id), recalls })
    }

    fn resume<T: Feed>(&mut self, id: &str, bytes: &[u8]) -> Result<(), Unusable> {
        let (record, ttl) = Record::<T>::read(id, bytes)?;
        let key = Key { kind: T::KIND, id: record.id.clone() };
        let recalls = match self.registry.resume(&key, bytes) {
            Place::Reserved(recalls) => recalls,
            Place::Waits => {
                let reason = "there are too many; it waits until one of them ends";
                return Err(Unusable::NotNow(reason));
            }
            Place::Full => {
                let reason =
                    "there are too many, and too many wait; the next start looks at it again";
                return Err(Unusable::NotNow(reason));
            }
        };
        tracing::info!(kind = T::KIND.name(), id, "a subscription is taken up again");
        let source = T::resume(&record, &self.ankaios);
        let outlet = self.endings.outlet(&key, recalls);
        let stream = Box::pin(async move {
            // It fails only when the connector stops.
            let _ = outlet.publisher.kept(&outlet.record_topic, &record, ttl).await;
            T::publish(record, source, outlet).await;
        });
        self.start(key, ttl, stream);
        Ok(())
    }
}

fn random_id() -> SubscriptionId {
    SubscriptionId::try_from(service_kit::random::hex()).expect("hexadecimal digits are an id")
}

fn too_many(TooMany: TooMany) -> ErrorReply {
    ErrorReply::new(
        ErrorCode::Forbidden,
        format!("there are {MAX_SUBSCRIPTIONS} subscriptions already; end one of them first"),
    )
}

fn stopping(error: SessionEnded) -> ErrorReply {
    ErrorReply::new(ErrorCode::Unavailable, error.to_string())
}
