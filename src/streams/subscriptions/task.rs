//! The task that owns the registry of subscriptions.

use std::panic::AssertUnwindSafe;
use std::time::SystemTime;

use ankaios_control::Client;
use fleet_contract::requests::{EventsRequest, LogsRequest};
use fleet_contract::topics::StreamKind;
use fleet_contract::{SubscriptionId, topics};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use service_kit::clock::Deadline;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::command::{FoundRecord, RecordSource, RequestTurn, SubscriptionCommand};
use super::endings::{Ending, Endings};
use crate::streams::expiry::Expiry;
use crate::streams::feed::{Feed, Outlet};
use crate::streams::key::SubscriptionKey;
use crate::streams::metrics::SubscriptionMetrics;
use crate::streams::record::{FoundSubscription, MAX_RECORD, SubscriptionRecord};
use crate::streams::registry::{RecordStatus, Registry, Slot, TooMany, WaitingRecord};
use crate::streams::unusable::{self, RetainedUse, Unusable};

/// A stream. Dropping it ends it.
struct LiveStream {
    _task: AbortOnDropHandle<()>,
    /// For a subscription that was resumed without the broker, which may still deliver its record: its
    /// expiry, which the broker may know better.
    uncertain: Option<Expiry>,
}

/// The task that owns the registry.
pub(super) struct Task {
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
    /// A task without subscriptions. `commands` is where it gets its commands from.
    pub(super) fn new(
        ankaios: Client,
        endings: Endings,
        metrics: SubscriptionMetrics,
        commands: mpsc::WeakSender<SubscriptionCommand>,
    ) -> Self {
        Self {
            ankaios,
            endings,
            metrics,
            commands,
            registry: Registry::default(),
            requests: FuturesUnordered::new(),
            jobs: FuturesUnordered::new(),
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<SubscriptionCommand>) {
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
                let stream = self.registry.stream(&key);
                let may_be_found = stream.is_some_and(|stream| stream.uncertain.is_some());
                let removed = self.registry.remove(&key);
                if removed.is_none() || may_be_found {
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
        let uncertain = (source != RecordSource::Broker).then(|| expiry.clone());
        let own_expiry = expiry.clone();
        let stream = Box::pin(async move {
            let Outlet { publisher, record_topic, .. } = &outlet;
            if source != RecordSource::Store || is_changed {
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
