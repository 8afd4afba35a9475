//! Which subscriptions there are, by id, and their end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::events::Forwarder;
use super::logs::Follower;
use super::publisher::Publisher;
use super::record::{
    Bookmark, EventsSubscription, LogsSubscription, Record, Subscription, SubscriptionId,
};
use super::time::format_rfc3339;
use super::turns::{Turn, Turns};
use crate::ankaios::Client;
use crate::ankaios::events::{EventStream, Listeners};
use crate::error::{ErrorCode, ErrorReply};
use crate::topics::{StreamKind, Topics};

/// Subscriptions that may live at the same time.
const MAX_SUBSCRIPTIONS: usize = 256;

/// The number of all that have not begun.
const RESERVED: u64 = 0;

/// The subscriptions of one vehicle. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Subscriptions(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ankaios: Client,
    topics: Topics,
    publisher: Publisher,
    live: Mutex<BTreeMap<Key, Live>>,
    turns: Turns,
    next: AtomicU64,
}

/// What a subscription is known by.
pub(super) type Key = (StreamKind, SubscriptionId);

/// A record that has been read, and how long the subscription still lives.
type Restored<T> = (Record<T>, Option<Duration>);

/// Dropping it ends the stream.
#[derive(Debug)]
struct Live {
    /// Tells it from those that it has replaced, or that replace it.
    number: u64,
    /// `None` while its place is taken and it has not begun.
    _task: Option<AbortOnDropHandle<()>>,
}

impl Subscriptions {
    /// No subscriptions yet; their messages go to `publisher`.
    #[must_use]
    pub fn new(ankaios: Client, topics: Topics, publisher: Publisher) -> Self {
        Self(Arc::new(Shared {
            ankaios,
            topics,
            publisher,
            live: Mutex::default(),
            turns: Turns::default(),
            next: AtomicU64::new(RESERVED + 1),
        }))
    }

    /// The topic of a subscription's messages.
    pub(crate) fn topic<T: Subscription>(&self, subscription: &T) -> String {
        self.0.topics.stream(T::KIND, subscription.id().as_str())
    }

    /// The place of a request for a subscription among others for it. To be taken
    /// in the order in which they come.
    pub(crate) fn turn(&self, kind: StreamKind, id: &SubscriptionId) -> Turn {
        self.0.turns.take((kind, id.clone()))
    }

    /// Checks that there may be one more.
    pub(crate) fn check_room<T: Subscription>(&self, subscription: &T) -> Result<(), ErrorReply> {
        check_room(&self.0.live(), &key(subscription))
    }

    /// Begins to publish events, once the reply has been sent. Replaces a
    /// subscription of the same id.
    ///
    /// # Errors
    /// There are too many, or the connector stops.
    pub(crate) async fn add_events(
        &self,
        subscription: EventsSubscription,
        events: EventStream,
    ) -> Result<oneshot::Sender<()>, ErrorReply> {
        let publisher = self.0.publisher.clone();
        let forwarder = Forwarder { topic: self.topic(&subscription), publisher };
        let record = Record::new(subscription);
        self.add(record, |_| Listeners::new().with(forwarder).run(events)).await
    }

    /// Begins to publish logs, once the reply has been sent. Replaces a
    /// subscription of the same id.
    ///
    /// # Errors
    /// There are too many, or the connector stops.
    pub(crate) async fn add_logs(
        &self,
        mut subscription: LogsSubscription,
        follower: Follower,
    ) -> Result<oneshot::Sender<()>, ErrorReply> {
        if subscription.follow {
            subscription.resume_at = Some(format_rfc3339(SystemTime::now()));
        }
        let topic = self.topic(&subscription);
        let publisher = self.0.publisher.clone();
        self.add(Record::new(subscription), |record| {
            let bookmark = self.bookmark(record);
            follower.run(topic, publisher, bookmark)
        })
        .await
    }

    /// Makes a follower of logs for a subscription.
    pub(crate) fn follower(&self, subscription: &LogsSubscription) -> Follower {
        Follower::new(self.0.ankaios.clone(), subscription)
    }

    fn bookmark(&self, record: Record<LogsSubscription>) -> Bookmark {
        let topic = self.0.topics.record(StreamKind::Logs, record.subscription.id().as_str());
        Bookmark::new(topic, record, self.0.publisher.clone())
    }

    async fn add<T: Subscription, S: Future<Output = ()> + Send + 'static>(
        &self,
        record: Record<T>,
        stream: impl FnOnce(Record<T>) -> S,
    ) -> Result<oneshot::Sender<()>, ErrorReply> {
        let key = key(&record.subscription);
        let ttl = record.subscription.ttl().duration();
        let topic = self.0.topics.record(T::KIND, record.subscription.id().as_str());
        let replaced = {
            let mut live = self.0.live();
            // Again: others may have been added since.
            check_room(&live, &key)?;
            live.insert(key.clone(), Live { number: RESERVED, _task: None })
        };
        // What is replaced must not write its record any more.
        drop(replaced);
        // Before the reply: what was promised must survive a crash.
        if let Err(ended) = self.0.publisher.retain(&topic, &record, ttl).await {
            self.0.live().remove(&key);
            return Err(ended.into());
        }
        let (begin, begun) = oneshot::channel();
        let stream = stream(record);
        self.start(key, ttl, async move {
            // A reply that could not be sent is no reason not to begin.
            let _ = begun.await;
            stream.await;
        });
        Ok(begin)
    }

    fn start(
        &self,
        key: Key,
        ttl: Option<Duration>,
        stream: impl Future<Output = ()> + Send + 'static,
    ) {
        let shared = Arc::clone(&self.0);
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let own = key.clone();
        let task = tokio::spawn(async move {
            match ttl {
                Some(ttl) => drop(timeout(ttl, stream).await),
                None => stream.await,
            }
            shared.end(&own, number).await;
        });
        let live = Live { number, _task: Some(AbortOnDropHandle::new(task)) };
        let replaced = self.0.live().insert(key, live);
        drop(replaced);
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// There is none with this id.
    pub(crate) async fn remove(
        &self,
        kind: StreamKind,
        id: &SubscriptionId,
    ) -> Result<(), ErrorReply> {
        let key = (kind, id.clone());
        if !self.0.live().contains_key(&key) {
            let message = format!("there is no {} subscription with the id \"{id}\"", kind.name());
            return Err(ErrorReply::new(ErrorCode::NotFound, message));
        }
        // First its task, so that nothing comes after the end.
        let live = self.0.live().remove(&key);
        drop(live);
        self.0.say_end(&key).await;
        Ok(())
    }

    /// Takes up a subscription of a former process. Gives what is left to do.
    pub(crate) fn restore(
        &self,
        kind: StreamKind,
        id: &str,
        payload: Result<bytes::Bytes, crate::mqtt::Refused>,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        let payload = payload.unwrap_or_default();
        let restored = match kind {
            StreamKind::Events => self.restore_events(id, &payload),
            StreamKind::Logs => self.restore_logs(id, &payload),
        };
        let reason = restored.err()?;
        tracing::info!(kind = kind.name(), id, reason, "a subscription is not taken up again");
        let publisher = self.0.publisher.clone();
        let topic = self.0.topics.record(kind, id);
        Some(async move { drop(publisher.remove(&topic).await) })
    }

    fn restore_events(&self, id: &str, payload: &[u8]) -> Result<(), &'static str> {
        let restored = self.read::<EventsSubscription>(id, payload)?;
        let Some((Record { subscription, .. }, ttl)) = restored else { return Ok(()) };
        let events = self.0.ankaios.events(subscription.field_masks.clone());
        let topic = self.topic(&subscription);
        let forwarder = Forwarder { topic, publisher: self.0.publisher.clone() };
        self.start(key(&subscription), ttl, Listeners::new().with(forwarder).run(events));
        Ok(())
    }

    fn restore_logs(&self, id: &str, payload: &[u8]) -> Result<(), &'static str> {
        let restored = self.read::<LogsSubscription>(id, payload)?;
        let Some((record, ttl)) = restored else { return Ok(()) };
        let topic = self.topic(&record.subscription);
        let publisher = self.0.publisher.clone();
        let follower = Follower::restored(self.0.ankaios.clone(), &record.subscription);
        let key = key(&record.subscription);
        self.start(key, ttl, follower.run(topic, publisher, self.bookmark(record)));
        Ok(())
    }

    /// Reads a record; `None` if the subscription lives already.
    fn read<T: Subscription + DeserializeOwned>(
        &self,
        id: &str,
        payload: &[u8],
    ) -> Result<Option<Restored<T>>, &'static str> {
        let record: Record<T> =
            serde_json::from_slice(payload).map_err(|_| "its record cannot be read")?;
        if record.subscription.id().as_str() != id {
            return Err("its record belongs to another id");
        }
        let ttl = record.remaining().map_err(|()| "its time is over")?;
        if self.0.live().contains_key(&key(&record.subscription)) {
            return Ok(None);
        }
        self.check_room(&record.subscription).map_err(|_| "there are too many")?;
        tracing::info!(kind = T::KIND.name(), id, "a subscription is taken up again");
        Ok(Some((record, ttl)))
    }

    /// Stops all streams without ending the subscriptions: the next process
    /// takes them up again.
    pub(crate) fn stop(&self) {
        let live = std::mem::take(&mut *self.0.live());
        drop(live);
    }
}

impl Shared {
    /// The time of a subscription is over, or its logs have ended.
    async fn end(&self, key: &Key, number: u64) {
        if self.live().get(key).is_none_or(|live| live.number != number) {
            return;
        }
        self.say_end(key).await;
        let live = self.live().remove(key);
        // This aborts the calling task, which has nothing left to do.
        drop(live);
    }

    async fn say_end(&self, (kind, id): &Key) {
        let record = self.topics.record(*kind, id.as_str());
        let said = async {
            if *kind == StreamKind::Logs {
                let topic = self.topics.stream(*kind, id.as_str());
                self.publisher.send(&topic, &serde_json::json!({"ended": true})).await?;
            }
            self.publisher.remove(&record).await
        };
        if let Err(error) = said.await {
            tracing::warn!(%error, kind = kind.name(), %id, "the end of a subscription is not told");
        }
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<Key, Live>> {
        // No code that holds the lock can panic half-way through a change.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether there may be a further subscription.
fn check_room(live: &BTreeMap<Key, Live>, key: &Key) -> Result<(), ErrorReply> {
    if live.len() < MAX_SUBSCRIPTIONS || live.contains_key(key) {
        return Ok(());
    }
    Err(ErrorReply::new(
        ErrorCode::Forbidden,
        format!("there are {MAX_SUBSCRIPTIONS} subscriptions already; end one of them first"),
    ))
}

fn key<T: Subscription>(subscription: &T) -> Key {
    (T::KIND, subscription.id().clone())
}
