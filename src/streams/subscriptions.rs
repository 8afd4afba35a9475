//! Which subscriptions there are, by id, and their end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::backlog::Backlog;
use super::events::EventsSubscription;
use super::id::SubscriptionId;
use super::logs::LogsSubscription;
use super::metrics::{Counted, Metrics};
use super::publisher::{Publisher, Recalls};
use super::record::Record;
use super::records::{Former, Records};
use super::sought::{Found, Sought};
use super::subscription::{Outlet, Subscription};
use super::turns::{Turn, Turns};
use super::unusable::{self, Unusable};
use crate::ankaios::Client;
use crate::error::{ErrorCode, ErrorReply};
use crate::mqtt::{MAX_RECORD, Recall, Refused, SessionStatus};
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
    records: Mutex<Records>,
    backlog: Mutex<Backlog>,
    sought: Mutex<Sought>,
    turns: Turns,
    next: AtomicU64,
    metrics: Metrics,
}

/// What a subscription is known by.
pub(super) type Key = (StreamKind, SubscriptionId);

/// Dropping it ends the stream.
#[derive(Debug)]
struct Live {
    /// Tells it from those that it has replaced, or that replace it.
    number: u64,
    /// `None` while its place is taken and it has not begun.
    _task: Option<AbortOnDropHandle<()>>,
    _counted: Counted,
}

impl Subscriptions {
    /// No subscriptions yet; their messages go to `publisher`, and `metrics` has how
    /// many there are. Their records come from `session`.
    #[must_use]
    pub fn new(
        ankaios: Client,
        topics: Topics,
        publisher: Publisher,
        session: watch::Receiver<SessionStatus>,
        metrics: Metrics,
    ) -> Self {
        Self(Arc::new(Shared {
            ankaios,
            topics,
            publisher,
            live: Mutex::default(),
            records: Mutex::default(),
            backlog: Mutex::default(),
            sought: Mutex::new(Sought::new(session)),
            turns: Turns::default(),
            next: AtomicU64::new(RESERVED + 1),
            metrics,
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

    /// Begins to publish what comes from the source, once the reply has been sent.
    /// Replaces a subscription of the same id.
    ///
    /// # Errors
    /// There are too many, or the connector stops.
    pub(crate) async fn add<T: Subscription>(
        &self,
        subscription: T,
        source: T::Source,
    ) -> Result<oneshot::Sender<()>, ErrorReply> {
        let (key, ttl) = (key(&subscription), subscription.ttl().duration());
        let record = Record::new(subscription);
        let former = if T::REPLY_HAS_ALL { Former::TakenBack } else { Former::Kept };
        let (recalls, replaced) = {
            let mut live = self.0.live();
            // Again: others may have been added since.
            check_room(&live, &key)?;
            (self.0.recalls(&key, former), live.insert(key.clone(), self.0.reserved(&key)))
        };
        self.0.backlog().take(&key);
        self.0.sought().forget(&key);
        // What is replaced must say nothing more.
        drop(replaced);
        let outlet = self.outlet(&key, &recalls);
        // Before the reply: what was promised must survive a crash.
        let publisher = outlet.publisher.before_reply();
        if let Err(ended) = publisher.retain(&outlet.record_topic, &record, ttl).await {
            self.0.live().remove(&key);
            return Err(ended.into());
        }
        let (begin, begun) = oneshot::channel();
        self.start(key, ttl, recalls.records, async move {
            // A reply that could not be sent is no reason not to begin.
            let _ = begun.await;
            T::publish(record, source, outlet).await;
        });
        Ok(begin)
    }

    fn outlet(&self, (kind, id): &Key, recalls: &Recalls) -> Outlet {
        let topics = &self.0.topics;
        Outlet {
            topic: topics.stream(*kind, id.as_str()),
            record_topic: topics.record(*kind, id.as_str()),
            publisher: self.0.publisher.with(recalls.clone()),
        }
    }

    fn start(
        &self,
        key: Key,
        ttl: Option<Duration>,
        records: Recall,
        stream: impl Future<Output = ()> + Send + 'static,
    ) {
        let subscriptions = self.clone();
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let own = key.clone();
        let task = tokio::spawn(async move {
            match ttl {
                Some(ttl) => drop(timeout(ttl, stream).await),
                None => stream.await,
            }
            subscriptions.end(&own, number, records).await;
        });
        let live = Live {
            number,
            _task: Some(AbortOnDropHandle::new(task)),
            _counted: self.0.metrics.count(key.0),
        };
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
        // First its task, so that nothing comes after the end.
        let Some(live) = self.0.live().remove(&key) else {
            if self.0.backlog().take(&key) {
                self.0.say_end_at_once(key).await;
                return Ok(());
            }
            return self.seek(key).await;
        };
        drop(live);
        self.0.say_end_at_once(key).await;
        self.take_up_waiting().await;
        Ok(())
    }

    /// Ends a subscription of a former process once its record comes.
    async fn seek(&self, key: Key) -> Result<(), ErrorReply> {
        let sought = self.0.sought().seek(key.clone());
        if sought.await {
            self.0.say_end_at_once(key).await;
            return Ok(());
        }
        let (kind, id) = key;
        let message = format!("there is no {} subscription with the id \"{id}\"", kind.name());
        Err(ErrorReply::new(ErrorCode::NotFound, message))
    }

    /// The time of a subscription is over, or its logs have ended.
    async fn end(&self, key: &Key, number: u64, records: Recall) {
        if self.0.live().get(key).is_none_or(|live| live.number != number) {
            return;
        }
        self.0.say_end(key, &self.0.publisher, records).await;
        let live = self.0.live().remove(key);
        self.take_up_waiting().await;
        // This aborts the calling task, which has nothing left to do.
        drop(live);
    }

    /// Takes up a subscription of a former process. Gives what is left to do: a record
    /// that cannot be used is removed from the broker.
    pub(crate) fn restore(
        &self,
        kind: StreamKind,
        id: &str,
        record: Result<Bytes, Refused>,
    ) -> Option<BoxFuture<'static, ()>> {
        let key = SubscriptionId::try_from(id.to_owned()).ok().map(|id| (kind, id));
        if let Some(key) = &key {
            // It has a record of its own by now.
            if self.0.live().contains_key(key) {
                return None;
            }
            let found = self.0.sought().found(key);
            if let Some(found) = found {
                tracing::info!(
                    kind = kind.name(),
                    id,
                    "a subscription was ended before it was known"
                );
                return match found {
                    Found::Awaited => None,
                    Found::Late => Some(self.0.say_end_at_once(key.clone())),
                };
            }
        }
        let restored =
            unusable::bytes(record, MAX_RECORD).and_then(|record| self.take_up(kind, id, &record));
        match restored {
            Ok(()) => return None,
            Err(Unusable::Over) => {
                tracing::info!(kind = kind.name(), id, "the time of a subscription is over");
            }
            Err(Unusable::Invalid(reason)) => {
                tracing::warn!(
                    kind = kind.name(),
                    id,
                    reason,
                    "the record of a subscription is invalid; it is removed"
                );
            }
            Err(Unusable::NotNow(reason)) => {
                tracing::warn!(kind = kind.name(), id, reason, "a subscription is not taken up");
                return None;
            }
        }
        let recalls = key.map(|key| self.0.recalls(&key, Former::Kept)).unwrap_or_default();
        let publisher = self.0.publisher.with(recalls).before_reply();
        let topic = self.0.topics.record(kind, id);
        Some(Box::pin(async move {
            // The session ends only when the connector does.
            let _ = publisher.remove(&topic).await;
        }))
    }

    /// Takes up one that is not there yet.
    fn take_up(&self, kind: StreamKind, id: &str, record: &Bytes) -> Result<(), Unusable> {
        match kind {
            StreamKind::Events => self.take_up_as::<EventsSubscription>(id, record),
            StreamKind::Logs => self.take_up_as::<LogsSubscription>(id, record),
        }
    }

    fn take_up_as<T: Subscription>(&self, id: &str, bytes: &Bytes) -> Result<(), Unusable> {
        let (record, ttl) = Record::<T>::read(id, bytes)?;
        let key = key(&record.subscription);
        let recalls = {
            let mut live = self.0.live();
            if live.len() >= MAX_SUBSCRIPTIONS {
                // It is valid, perhaps somebody counts on it.
                let waits = self.0.backlog().push(key, Bytes::copy_from_slice(bytes));
                return Err(Unusable::NotNow(if waits {
                    "there are too many; it waits until one of them ends"
                } else {
                    "there are too many, and too many wait; the next start looks at it again"
                }));
            }
            live.insert(key.clone(), self.0.reserved(&key));
            self.0.recalls(&key, Former::Kept)
        };
        tracing::info!(kind = T::KIND.name(), id, "a subscription is taken up again");
        let source = T::source_again(&record, &self.0.ankaios);
        let outlet = self.outlet(&key, &recalls);
        self.start(key, ttl, recalls.records, async move {
            // It fails when the connector stops, as all that follows.
            let _ = outlet.publisher.kept(&outlet.record_topic, &record, ttl).await;
            T::publish(record, source, outlet).await;
        });
        Ok(())
    }

    /// Takes up what waits for a place, after one has become free.
    async fn take_up_waiting(&self) {
        while self.0.live().len() < MAX_SUBSCRIPTIONS {
            let waiting = self.0.backlog().pop();
            let Some(((kind, id), record)) = waiting else { return };
            if let Some(removed) = self.restore(kind, id.as_str(), Ok(record)) {
                removed.await;
            }
        }
    }

    /// Stops all streams without ending the subscriptions: the next process
    /// takes them up again.
    pub(crate) fn stop(&self) {
        let live = std::mem::take(&mut *self.0.live());
        drop(live);
    }
}

impl Shared {
    /// What is published of a subscription from now on. Takes back what was said of its
    /// record before.
    fn recalls(&self, key: &Key, former: Former) -> Recalls {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.begin(key.clone(), former)
    }

    /// A place for a subscription that has not begun.
    fn reserved(&self, (kind, _): &Key) -> Live {
        Live { number: RESERVED, _task: None, _counted: self.metrics.count(*kind) }
    }

    /// Says that a subscription has ended, before the reply to whoever wanted that. What
    /// is published of it from now on takes that back, also before this has begun.
    fn say_end_at_once(self: &Arc<Self>, key: Key) -> BoxFuture<'static, ()> {
        let Recalls { records, .. } = self.recalls(&key, Former::TakenBack);
        let shared = Arc::clone(self);
        Box::pin(async move {
            shared.say_end(&key, &shared.publisher.before_reply(), records).await;
        })
    }

    /// Says that a subscription has ended, unless that is taken back.
    async fn say_end(&self, (kind, id): &Key, publisher: &Publisher, recall: Recall) {
        let publisher = publisher.with(Recalls { messages: recall.clone(), records: recall });
        let record = self.topics.record(*kind, id.as_str());
        let said = async {
            if *kind == StreamKind::Logs {
                let topic = self.topics.stream(*kind, id.as_str());
                publisher.send(&topic, &serde_json::json!({"ended": true})).await?;
            }
            publisher.remove(&record).await
        };
        if let Err(error) = said.await {
            tracing::warn!(%error, kind = kind.name(), %id, "the end of a subscription is not told");
        }
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<Key, Live>> {
        // No code that holds the lock can panic half-way through a change.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sought(&self) -> MutexGuard<'_, Sought> {
        self.sought.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be locked after `live`, if both are, as `records`.
    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
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
