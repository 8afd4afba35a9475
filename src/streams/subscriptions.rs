//! Which subscriptions there are, by id, and their end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::events::Forwarder;
use super::logs::Follower;
use super::publisher::{Ended, Publisher};
use super::record::{EventsRecord, LogsRecord, Record, Subscription, SubscriptionId};
use crate::ankaios::Client;
use crate::ankaios::events::{EventStream, Listeners};
use crate::error::{ErrorCode, ErrorReply};
use crate::json;
use crate::proto::ank_base::CompleteStateResponse;
use crate::topics::{StreamKind, Topics};

/// Subscriptions that may live at the same time.
const MAX_SUBSCRIPTIONS: usize = 256;

/// How long to wait before a subscription of a former process is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The subscriptions of one vehicle. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Subscriptions(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ankaios: Client,
    topics: Topics,
    publisher: Publisher,
    live: Mutex<BTreeMap<Key, Live>>,
    next: AtomicU64,
}

type Key = (StreamKind, SubscriptionId);

/// Dropping it ends the stream.
#[derive(Debug)]
struct Live {
    /// Tells it from those that it has replaced, or that replace it.
    number: u64,
    _task: AbortOnDropHandle<()>,
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
            next: AtomicU64::new(0),
        }))
    }

    /// The topic of a subscription's messages.
    pub(crate) fn topic<T: Subscription>(&self, request: &T) -> String {
        self.0.topics.stream(T::KIND, request.id().as_str())
    }

    /// Checks that there may be one more.
    pub(crate) fn check_room<T: Subscription>(&self, request: &T) -> Result<(), ErrorReply> {
        let live = self.0.live();
        if live.len() < MAX_SUBSCRIPTIONS || live.contains_key(&key(request)) {
            return Ok(());
        }
        Err(ErrorReply::new(
            ErrorCode::Forbidden,
            format!("there are {MAX_SUBSCRIPTIONS} subscriptions already; end one of them first"),
        ))
    }

    /// Begins to publish events, once the reply has been sent. Replaces a
    /// subscription of the same id.
    pub(crate) async fn add_events(
        &self,
        request: EventsRecord,
        events: EventStream,
    ) -> Result<oneshot::Sender<()>, Ended> {
        let publisher = self.0.publisher.clone();
        let listeners = Listeners::new().with(Forwarder { topic: self.topic(&request), publisher });
        self.add(request, listeners.run(events)).await
    }

    /// Begins to publish logs, once the reply has been sent. Replaces a
    /// subscription of the same id.
    pub(crate) async fn add_logs(
        &self,
        request: LogsRecord,
        follower: Follower,
    ) -> Result<oneshot::Sender<()>, Ended> {
        let topic = self.topic(&request);
        let publisher = self.0.publisher.clone();
        self.add(request, follower.run(topic, publisher)).await
    }

    /// Makes a follower of logs for a subscription.
    pub(crate) fn follower(&self, request: &LogsRecord) -> Follower {
        Follower::new(self.0.ankaios.clone(), request)
    }

    async fn add<T: Subscription>(
        &self,
        request: T,
        stream: impl Future<Output = ()> + Send + 'static,
    ) -> Result<oneshot::Sender<()>, Ended> {
        let ttl = request.ttl();
        let key = key(&request);
        let topic = self.0.topics.record(T::KIND, request.id().as_str());
        let record = Record { request, expires_at: ttl.end() };
        // Before the reply: what was promised must survive a crash.
        self.0.publisher.retain(&topic, &record, ttl.duration()).await?;
        let (begin, begun) = oneshot::channel();
        self.start(key, ttl.duration(), async move {
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
        let live = Live { number, _task: AbortOnDropHandle::new(task) };
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

    /// Takes up a subscription of a former process.
    pub(crate) fn restore(&self, kind: StreamKind, id: &str, payload: &[u8]) {
        let restored = match kind {
            StreamKind::Events => self.restore_events(id, payload),
            StreamKind::Logs => self.restore_logs(id, payload),
        };
        if let Err(reason) = restored {
            tracing::info!(kind = kind.name(), id, reason, "a subscription is not taken up again");
            let publisher = self.0.publisher.clone();
            let topic = self.0.topics.record(kind, id);
            // The session that hands over the record must not be waited for here.
            tokio::spawn(async move { publisher.remove(&topic).await });
        }
    }

    fn restore_events(&self, id: &str, payload: &[u8]) -> Result<(), &'static str> {
        let Some((request, ttl)) = self.read::<EventsRecord>(id, payload)? else { return Ok(()) };
        let topic = self.topic(&request);
        let publisher = self.0.publisher.clone();
        let ankaios = self.0.ankaios.clone();
        self.start(key(&request), ttl, async move {
            let events = loop {
                let subscribing = ankaios.subscribe(request.field_masks.clone()).await;
                let events = match subscribing {
                    Ok(subscribing) => subscribing.answer().await,
                    Err(error) => Err(error),
                };
                match events {
                    Ok((state, events)) => {
                        let complete_state = Some(state);
                        let state = CompleteStateResponse { complete_state, altered_fields: None };
                        if publisher.send(&topic, &json::resynced_event(&state)).await.is_err() {
                            return;
                        }
                        break events;
                    }
                    Err(error) => {
                        tracing::warn!(%error, topic, "a subscription waits to be taken up again");
                        sleep(RETRY).await;
                    }
                }
            };
            Listeners::new().with(Forwarder { topic, publisher }).run(events).await;
        });
        Ok(())
    }

    fn restore_logs(&self, id: &str, payload: &[u8]) -> Result<(), &'static str> {
        let Some((request, ttl)) = self.read::<LogsRecord>(id, payload)? else { return Ok(()) };
        let topic = self.topic(&request);
        let publisher = self.0.publisher.clone();
        let mut follower = self.follower(&request);
        follower.resume();
        self.start(key(&request), ttl, follower.run(topic, publisher));
        Ok(())
    }

    /// Reads a record; `None` if the subscription lives already.
    fn read<T: Subscription + DeserializeOwned>(
        &self,
        id: &str,
        payload: &[u8],
    ) -> Result<Option<(T, Option<Duration>)>, &'static str> {
        let record: Record<T> =
            serde_json::from_slice(payload).map_err(|_| "its record cannot be read")?;
        if record.request.id().as_str() != id {
            return Err("its record belongs to another id");
        }
        let ttl = record.remaining().map_err(|()| "its time is over")?;
        if self.0.live().contains_key(&key(&record.request)) {
            return Ok(None);
        }
        self.check_room(&record.request).map_err(|_| "there are too many")?;
        tracing::info!(kind = T::KIND.name(), id, "a subscription is taken up again");
        Ok(Some((record.request, ttl)))
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

fn key<T: Subscription>(request: &T) -> Key {
    (T::KIND, request.id().clone())
}
