//! The subscriptions of one vehicle: one task that owns the [`Registry`], and a handle to it.
//!
//! The task only waits for the next command or for the end of something that it has started. Slow
//! work is done by the caller who has sent the command, or by a concurrent job.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, SystemTime};

use ankaios_control::Client;
use bytes::Bytes;
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::requests::{EventsRequest, LogsRequest};
use fleet_contract::topics::{StreamKind, Topics};
use fleet_contract::{SubscriptionId, topics};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use mqtt_session::{Recall, Refused, SessionEnded, SessionStatus};
use service_kit::clock::Deadline;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::AbortOnDropHandle;

use super::early_unsubscribes::record_arrives;
use super::expiry::Expiry;
use super::feed::{Feed, Outlet};
use super::kept_records::KeptRecords;
use super::key::SubscriptionKey;
use super::metrics::SubscriptionMetrics;
use super::publisher::Publisher;
use super::recalls::{QueuedMessages, Recalls};
use super::record::{FoundSubscription, MAX_RECORD, SubscriptionRecord};
use super::registry::{MAX_SUBSCRIPTIONS, RecordStatus, Registry, Slot, TooMany, WaitingRecord};
use super::unusable::{self, RetainedUse, Unusable};

/// Maximum number of commands that wait for the task.
const MAX_COMMANDS: usize = 64;

/// A handle to the subscriptions of one vehicle. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Subscriptions {
    commands: mpsc::Sender<SubscriptionCommand>,
    endings: Endings,
    session: watch::Receiver<SessionStatus>,
}

enum SubscriptionCommand {
    Enqueue {
        key: SubscriptionKey,
        subscribes: bool,
        answer: oneshot::Sender<Result<RequestTurn, TooMany>>,
    },
    Reserve {
        key: SubscriptionKey,
        queued: QueuedMessages,
        answer: oneshot::Sender<Result<Outlet, TooMany>>,
    },
    /// The turn ends when the stream has started, so that its slot stays reserved until then.
    Start {
        turn: RequestTurn,
        expiry: Expiry,
        stream: BoxFuture<'static, ()>,
    },
    /// Ends the subscription. Without one the unsubscribe is remembered in the same step, so that
    /// a record that arrives next meets it.
    Remove {
        key: SubscriptionKey,
        found: oneshot::Sender<()>,
        answer: oneshot::Sender<Option<Recall>>,
    },
    EndAwaited {
        key: SubscriptionKey,
        answer: oneshot::Sender<Recall>,
    },
    FindRecord {
        record: FoundRecord,
        answer: oneshot::Sender<Option<Ending>>,
    },
    ResumeWaiting,
    StreamEnded {
        key: SubscriptionKey,
        number: u64,
    },
}

/// The position of a request in the queue of requests for the same subscription. Dropping it gives
/// the turn to the next request.
#[derive(Debug)]
pub(crate) struct RequestTurn {
    key: SubscriptionKey,
    /// Signalled when all earlier requests are done.
    earlier_done: oneshot::Receiver<()>,
    /// Dropping it tells the task that the request is done.
    _done: oneshot::Sender<()>,
}

impl RequestTurn {
    /// Waits until all earlier requests are done. Each of them has a timeout.
    async fn wait(&mut self) {
        // Without a sender the task has ended, and the connector with it.
        let _ = (&mut self.earlier_done).await;
    }
}

/// A record that was found, which may be invalid.
#[derive(Debug)]
struct FoundRecord {
    kind: StreamKind,
    /// The id of its topic, which may be invalid.
    id: String,
    payload: Result<Bytes, Refused>,
    /// When it expires at the broker, if the broker has said so.
    expires: Option<Deadline>,
    source: RecordSource,
    /// Whether it may be used; always allowed for one from the store.
    allowed: RetainedUse,
}

/// Where a record was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RecordSource {
    /// The broker has retained it.
    Broker,
    /// It is kept in the store.
    Store,
}

/// The end of a subscription or of a record, which has to be published.
#[derive(Debug)]
enum Ending {
    /// The subscription has ended: this is published to its topic, and the record is removed.
    Ended { key: SubscriptionKey, recall: Recall },
    /// The record cannot be used and is removed.
    Unusable { kind: StreamKind, id: String, recalls: Recalls },
    /// The record that the broker has retained is removed, and nothing else.
    Untrusted { kind: StreamKind, id: String, recalls: Recalls },
    /// The record in the store has expired by the system clock. If that is wrong, the broker still
    /// has its record.
    Forgotten { kind: StreamKind, id: String },
}

impl Subscriptions {
    /// Creates a handle and its task, which ends when all handles are dropped.
    ///
    /// Messages are published with `publisher`. Records are retained and `kept`; the retained ones
    /// arrive over the session with this status.
    pub(crate) fn new(
        ankaios: Client,
        topics: Topics,
        publisher: Publisher,
        kept: KeptRecords,
        session: watch::Receiver<SessionStatus>,
        metrics: SubscriptionMetrics,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
        let endings = Endings { topics, publisher, kept };
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

    /// Adds a request to subscribe to the queue of requests for the same subscription. Must be
    /// called in the order of arrival.
    ///
    /// # Errors
    /// There are too many subscriptions.
    pub(crate) async fn enqueue<T: Feed>(&self, request: T) -> Result<Subscribing<T>, ErrorReply> {
        let mut request = request;
        let id = request.take_id().unwrap_or_else(random_id);
        let turn = self.turn(T::KIND, &id, true).await?;
        Ok(Subscribing { id, request, turn, subscriptions: self.clone() })
    }

    /// Adds a request to unsubscribe, like [`Subscriptions::enqueue`].
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
    ) -> Result<RequestTurn, ErrorReply> {
        let key = SubscriptionKey { kind, id: id.clone() };
        self.ask(|answer| SubscriptionCommand::Enqueue { key, subscribes, answer })
            .await?
            .map_err(too_many)
    }

    /// Resumes the subscription of a retained record that the broker removes after `expires_in`.
    /// A record that cannot be used, or must not, is removed from the broker.
    pub(crate) async fn restore(
        &self,
        kind: StreamKind,
        id: String,
        payload: Result<Bytes, Refused>,
        expires_in: Option<Duration>,
        allowed: RetainedUse,
    ) {
        let (expires, source) = (expires_in.map(Deadline::after), RecordSource::Broker);
        let record = FoundRecord { kind, id, payload, expires, source, allowed };
        self.resume(record).await;
    }

    /// Resumes the subscriptions whose records are kept in the store.
    pub(crate) async fn restore_kept(&self) {
        for (kind, id, record) in self.endings.kept.load().await {
            let (payload, source, allowed) =
                (Ok(record), RecordSource::Store, RetainedUse::Allowed);
            self.resume(FoundRecord { kind, id, payload, expires: None, source, allowed }).await;
        }
    }

    async fn resume(&self, record: FoundRecord) {
        let ending = self.ask(|answer| SubscriptionCommand::FindRecord { record, answer }).await;
        // Without an answer the connector is stopping; the next process reads the record.
        if let Ok(Some(ending)) = ending {
            self.endings.publish(ending).await;
        }
    }

    /// Waits for the record of a subscription that does not exist yet, and ends the subscription.
    /// After a start the broker delivers the requests that it has queued before the records.
    async fn await_record(
        &self,
        key: &SubscriptionKey,
        record: oneshot::Receiver<()>,
    ) -> Result<Recall, ErrorReply> {
        if record_arrives(record, self.session.clone()).await {
            return self
                .ask(|answer| SubscriptionCommand::EndAwaited { key: key.clone(), answer })
                .await;
        }
        let SubscriptionKey { kind, id } = key;
        let message = format!("there is no {} subscription with the id \"{id}\"", kind.name());
        Err(ErrorReply::new(ErrorCode::NotFound, message))
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> SubscriptionCommand,
    ) -> Result<T, ErrorReply> {
        let (sender, answer) = oneshot::channel();
        self.tell(command(sender)).await?;
        answer.await.map_err(|_| stopping(SessionEnded))
    }

    async fn tell(&self, command: SubscriptionCommand) -> Result<(), ErrorReply> {
        self.commands.send(command).await.map_err(|_| stopping(SessionEnded))
    }
}

/// A request to subscribe whose source is being requested from Ankaios.
pub(crate) struct Subscribing<T> {
    id: SubscriptionId,
    request: T,
    turn: RequestTurn,
    subscriptions: Subscriptions,
}

impl<T: Feed> Subscribing<T> {
    /// The request.
    pub(crate) fn request(&self) -> &T {
        &self.request
    }

    /// The id of the subscription.
    pub(crate) fn id(&self) -> &SubscriptionId {
        &self.id
    }

    /// The topic of its messages.
    pub(crate) fn topic(&self) -> String {
        self.subscriptions.endings.topics.stream(T::KIND, self.id.as_str())
    }

    /// Waits for the turn of the request, publishes the record, and starts the stream, which
    /// publishes nothing before [`StartSignal`] is dropped. A subscription of the same id is replaced.
    ///
    /// # Errors
    /// There are too many subscriptions, or the connector is stopping.
    pub(crate) async fn start(self, source: T::Source) -> Result<StartSignal, ErrorReply> {
        let Self { id, request, mut turn, subscriptions } = self;
        turn.wait().await;
        let key = turn.key.clone();
        let queued = if T::REPLY_HAS_ALL { QueuedMessages::Recall } else { QueuedMessages::Keep };
        let reserve = |answer| SubscriptionCommand::Reserve { key: key.clone(), queued, answer };
        // Other subscriptions may have started since the request was added.
        let outlet = subscriptions.ask(reserve).await?.map_err(too_many)?;
        // The times in the record are those of the start, not of the request.
        let record = SubscriptionRecord::new(id, request);
        let expiry = Expiry::after(record.spec.ttl().duration());
        // The record comes before the reply: what the reply promises must survive a crash.
        outlet.keep(&record).await;
        let publisher = outlet.publisher.before_reply();
        publisher.retain(&outlet.record_topic, &record, expiry.left()).await.map_err(stopping)?;
        let (start, started) = oneshot::channel();
        let own_expiry = expiry.clone();
        let stream = Box::pin(async move {
            // The stream starts even if the reply could not be sent.
            let _: Result<(), _> = started.await;
            T::publish(record, own_expiry, source, outlet).await;
        });
        subscriptions.tell(SubscriptionCommand::Start { turn, expiry, stream }).await?;
        Ok(StartSignal(start))
    }
}

/// Dropping it allows a stream to publish.
#[derive(Debug)]
pub(crate) struct StartSignal(
    #[allow(dead_code, reason = "dropping it is the signal")] oneshot::Sender<()>,
);

/// A request to unsubscribe.
pub(crate) struct Unsubscribing {
    turn: RequestTurn,
    subscriptions: Subscriptions,
}

impl Unsubscribing {
    /// Waits for the turn of the request and ends the subscription. Nothing of it is published
    /// after the reply.
    ///
    /// # Errors
    /// There is no such subscription, or the connector is stopping.
    pub(crate) async fn finish(self) -> Result<(), ErrorReply> {
        let Self { mut turn, subscriptions } = self;
        turn.wait().await;
        let key = turn.key.clone();
        let (found, record) = oneshot::channel();
        let remove = |answer| SubscriptionCommand::Remove { key: key.clone(), found, answer };
        let recall = match subscriptions.ask(remove).await? {
            Some(recall) => recall,
            None => subscriptions.await_record(&key, record).await?,
        };
        subscriptions.endings.publish(Ending::Ended { key, recall }).await;
        subscriptions.tell(SubscriptionCommand::ResumeWaiting).await
    }
}

/// Publishes the ends of subscriptions. Cheap to clone.
#[derive(Debug, Clone)]
struct Endings {
    topics: Topics,
    publisher: Publisher,
    kept: KeptRecords,
}

impl Endings {
    fn outlet(&self, SubscriptionKey { kind, id }: &SubscriptionKey, recalls: Recalls) -> Outlet {
        Outlet {
            topic: self.topics.stream(*kind, id.as_str()),
            record_topic: self.topics.record(*kind, id.as_str()),
            publisher: self.publisher.with(recalls),
            kept: self.kept.clone(),
        }
    }

    /// Publishes an end, before a reply that is handed over afterwards.
    async fn publish(&self, ending: Ending) {
        match ending {
            Ending::Ended { key, recall } => {
                self.publish_end(&key, recall, self.publisher.before_reply()).await;
            }
            Ending::Forgotten { kind, id } => self.kept.remove(kind, &id).await,
            Ending::Unusable { kind, id, recalls } => {
                self.kept.remove(kind, &id).await;
                self.remove_retained(kind, &id, recalls).await;
            }
            Ending::Untrusted { kind, id, recalls } => {
                self.remove_retained(kind, &id, recalls).await;
            }
        }
    }

    /// Removes a record from the broker, unless a subscription begins meanwhile.
    async fn remove_retained(&self, kind: StreamKind, id: &str, recalls: Recalls) {
        let publisher = self.publisher.with(recalls).before_reply();
        // It only fails when the connector stops.
        let _: Result<(), SessionEnded> = publisher.remove(&self.topics.record(kind, id)).await;
    }

    /// Publishes that a subscription has ended, unless that message is recalled.
    async fn publish_end(&self, key: &SubscriptionKey, recall: Recall, publisher: Publisher) {
        self.kept.remove(key.kind, key.id.as_str()).await;
        let publisher = publisher.with(Recalls { messages: recall.clone(), records: recall });
        let Outlet { topic, record_topic, .. } = self.outlet(key, Recalls::default());
        let published = async {
            if key.kind == StreamKind::Logs {
                publisher.send(&topic, &serde_json::json!({"ended": true})).await?;
            }
            publisher.remove(&record_topic).await
        };
        if let Err(error) = published.await {
            let SubscriptionKey { kind, id } = key;
            tracing::warn!(
                %error,
                kind = kind.name(),
                %id,
                "the end of a subscription cannot be published"
            );
        }
    }
}

/// A stream. Dropping it ends it.
struct LiveStream {
    _task: AbortOnDropHandle<()>,
    /// For a subscription that was resumed from the store: its expiry, which the broker may know
    /// better.
    uncertain: Option<Expiry>,
}

/// The task that owns the registry.
struct Task {
    ankaios: Client,
    endings: Endings,
    metrics: SubscriptionMetrics,
    /// Copied to the streams. Weak, so that they do not keep the task alive.
    commands: mpsc::WeakSender<SubscriptionCommand>,
    registry: Registry<LiveStream>,
    /// Requests in progress. Each future returns key and number when the request is done.
    requests: FuturesUnordered<BoxFuture<'static, (SubscriptionKey, u64)>>,
    /// Ends that are being published. Each future returns the stream that has ended, if any.
    jobs: FuturesUnordered<BoxFuture<'static, Option<(SubscriptionKey, u64)>>>,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<SubscriptionCommand>) {
        loop {
            tokio::select! {
                // Finished requests come first: they must not delay the next one for the key.
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

    /// Executes a command. If its sender no longer waits, the answer is dropped.
    fn serve(&mut self, command: SubscriptionCommand) {
        match command {
            SubscriptionCommand::Enqueue { key, subscribes, answer } => {
                drop(answer.send(self.enqueue(key, subscribes)));
            }
            SubscriptionCommand::Reserve { key, queued, answer } => {
                let recalls = self.registry.reserve(&key, queued);
                drop(answer.send(recalls.map(|recalls| self.endings.outlet(&key, recalls))));
            }
            SubscriptionCommand::Start { turn, expiry, stream } => {
                self.start(turn.key.clone(), expiry, None, stream)
            }
            SubscriptionCommand::Remove { key, found, answer } => {
                let removed = self.registry.remove(&key);
                if removed.is_none() {
                    self.registry.remember_unsubscribe(&key, found);
                }
                drop(answer.send(removed));
            }
            SubscriptionCommand::EndAwaited { key, answer } => {
                drop(answer.send(self.registry.end_awaited(&key)));
            }
            SubscriptionCommand::FindRecord { record, answer } => {
                drop(answer.send(self.find(record)))
            }
            SubscriptionCommand::ResumeWaiting => self.resume_waiting(),
            SubscriptionCommand::StreamEnded { key, number } => self.stream_ended(key, number),
        }
    }

    fn enqueue(&mut self, key: SubscriptionKey, subscribes: bool) -> Result<RequestTurn, TooMany> {
        let (turn, earlier_done) = oneshot::channel();
        let number = self.registry.enqueue(&key, subscribes, turn)?;
        let (done, is_done) = oneshot::channel::<()>();
        let request = key.clone();
        self.requests.push(Box::pin(async move {
            // Nothing is ever sent: the sender is dropped.
            let _ = is_done.await;
            (request, number)
        }));
        Ok(RequestTurn { key, earlier_done, _done: done })
    }

    fn start(
        &mut self,
        key: SubscriptionKey,
        expiry: Expiry,
        uncertain: Option<Expiry>,
        stream: BoxFuture<'static, ()>,
    ) {
        let commands = self.commands.clone();
        let own = key.clone();
        self.registry.start(&key, |number| {
            let task = tokio::spawn(async move {
                // A stream that panics ends like any other: it keeps neither slot nor record.
                let stream = AssertUnwindSafe(stream).catch_unwind();
                let ended = tokio::select! {
                    ended = stream => ended,
                    () = expiry.passed() => Ok(()),
                };
                if ended.is_err() {
                    let SubscriptionKey { kind, id } = &own;
                    tracing::error!(kind = kind.name(), %id, "the stream of a subscription has failed");
                }
                if let Some(commands) = commands.upgrade() {
                    let ended = SubscriptionCommand::StreamEnded { key: own, number };
                    // It only fails when the task has ended.
                    let _ = commands.send(ended).await;
                }
            });
            LiveStream { _task: AbortOnDropHandle::new(task), uncertain }
        });
    }

    fn stream_ended(&mut self, key: SubscriptionKey, number: u64) {
        let Some(recall) = self.registry.stream_ended(&key, number) else { return };
        let endings = self.endings.clone();
        self.jobs.push(Box::pin(async move {
            endings.publish_end(&key, recall, endings.publisher.clone()).await;
            Some((key, number))
        }));
    }

    /// Resumes subscriptions whose records wait for a slot, while there are free slots.
    fn resume_waiting(&mut self) {
        while let Some((SubscriptionKey { kind, id }, record)) = self.registry.next_waiting() {
            let WaitingRecord { payload, expires } = record;
            let (id, payload, source) = (id.to_string(), Ok(payload), RecordSource::Broker);
            // It was checked before it had to wait.
            let allowed = RetainedUse::Allowed;
            let record = FoundRecord { kind, id, payload, expires, source, allowed };
            if let Some(ending) = self.find(record) {
                let endings = self.endings.clone();
                self.jobs.push(Box::pin(async move {
                    endings.publish(ending).await;
                    None
                }));
            }
        }
    }

    /// Handles a retained record that has arrived. Returns the end that has to be published.
    fn find(&mut self, record: FoundRecord) -> Option<Ending> {
        let FoundRecord { kind, id, payload, expires, source, allowed } = record;
        let key = SubscriptionId::try_from(id.clone()).ok().map(|id| SubscriptionKey { kind, id });
        if let Some(key) = &key {
            let found = self.registry.record_found(key);
            if matches!(found, RecordStatus::Awaited | RecordStatus::Unsubscribed(_)) {
                tracing::info!(
                    kind = kind.name(),
                    id,
                    "a subscription was ended before its record arrived"
                );
            }
            match found {
                RecordStatus::New => {}
                RecordStatus::Known => {
                    let uncertain =
                        self.registry.stream(key).and_then(|stream| stream.uncertain.as_ref());
                    if let (Some(expiry), Some(expires)) = (uncertain, expires) {
                        expiry.limit(expires);
                    }
                    return None;
                }
                RecordStatus::Awaited => return None,
                RecordStatus::Unsubscribed(recall) => {
                    return Some(Ending::Ended { key: key.clone(), recall });
                }
            }
        }
        let record = allowed.check().and_then(|()| unusable::bytes(payload, MAX_RECORD));
        let resumed = record.and_then(|record| match kind {
            StreamKind::Events => self.resume::<EventsRequest>(&id, &record, expires, source),
            StreamKind::Logs => self.resume::<LogsRequest>(&id, &record, expires, source),
        });
        match resumed {
            Ok(()) => return None,
            Err(Unusable::Expired) => {
                tracing::info!(kind = kind.name(), id, "a subscription has expired");
                if source == RecordSource::Store {
                    return Some(Ending::Forgotten { kind, id });
                }
            }
            Err(Unusable::Invalid(reason)) => {
                tracing::warn!(
                    kind = kind.name(),
                    id = topics::short(&id),
                    reason,
                    "the record of a subscription is invalid; it is removed"
                );
            }
            Err(Unusable::Untrusted(reason)) => {
                not_resumed(kind, &id, reason);
                let recalls = key.map(|key| self.registry.discard(&key)).unwrap_or_default();
                return Some(Ending::Untrusted { kind, id, recalls });
            }
            Err(Unusable::NotNow(reason)) => {
                not_resumed(kind, &id, reason);
                return None;
            }
        }
        let recalls = key.map(|key| self.registry.discard(&key)).unwrap_or_default();
        Some(Ending::Unusable { kind, id, recalls })
    }

    fn resume<T: Feed>(
        &mut self,
        id: &str,
        bytes: &[u8],
        expires: Option<Deadline>,
        source: RecordSource,
    ) -> Result<(), Unusable> {
        let (left, now) = (expires.map(Deadline::left), SystemTime::now());
        let found = SubscriptionRecord::<T>::read(id, bytes, left, now)?;
        let FoundSubscription { record, left, is_changed } = found;
        let key = SubscriptionKey { kind: T::KIND, id: record.id.clone() };
        let recalls = match self.registry.resume(&key, bytes, expires) {
            Slot::Reserved(recalls) => recalls,
            Slot::Waiting => {
                let reason = "there are too many; it waits until another one ends";
                return Err(Unusable::NotNow(reason));
            }
            Slot::Full => {
                let reason =
                    "there are too many, and too many wait; it is tried again at the next start";
                return Err(Unusable::NotNow(reason));
            }
        };
        tracing::info!(kind = T::KIND.name(), id, "a subscription is resumed");
        let stream_source = T::resume(&record, &self.ankaios);
        let outlet = self.endings.outlet(&key, recalls);
        let expiry = Expiry::after(left);
        let uncertain = (source == RecordSource::Store).then(|| expiry.clone());
        let own_expiry = expiry.clone();
        let stream = Box::pin(async move {
            let Outlet { publisher, record_topic, .. } = &outlet;
            if source == RecordSource::Broker || is_changed {
                outlet.keep(&record).await;
            }
            // It only fails when the connector stops.
            let _ = match source {
                RecordSource::Broker if !is_changed => {
                    publisher.note_retained(record_topic, &record, own_expiry.left()).await
                }
                // The broker may have lost it, or its end is by a clock that was wrong.
                _ => publisher.retain(record_topic, &record, own_expiry.left()).await,
            };
            T::publish(record, own_expiry, stream_source, outlet).await;
        });
        self.start(key, expiry, uncertain, stream);
        Ok(())
    }
}

impl Drop for Task {
    /// A replica that goes to standby has no subscriptions.
    fn drop(&mut self) {
        for kind in StreamKind::ALL {
            self.metrics.set(kind, 0);
        }
    }
}

fn not_resumed(kind: StreamKind, id: &str, reason: &str) {
    let (kind, id) = (kind.name(), topics::short(id));
    tracing::warn!(kind, id, reason, "a subscription is not resumed");
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
