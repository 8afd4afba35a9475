//! The subscriptions of one vehicle: a handle to the task that owns the registry.
//!
//! The task only waits for the next command or for the end of something that it has started. Slow
//! work is done by the caller who has sent the command, or by a concurrent job.
//!
//! ```text
//!  task        owns the registry: serves commands, and resumes what records say
//!   └ command    the commands
//!      └ endings   publishes the ends of subscriptions and of records
//! ```

mod command;
mod endings;
mod task;

use std::time::Duration;

use ankaios_control::Client;
use bytes::Bytes;
use fleet_contract::SubscriptionId;
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::topics::{StreamKind, Topics};
use mqtt_session::{Recall, Refused, SessionEnded, SessionStatus};
use service_kit::clock::Deadline;
use tokio::sync::{mpsc, oneshot, watch};

use super::early_unsubscribes::record_arrives;
use super::expiry::Expiry;
use super::feed::Feed;
use super::kept_records::KeptRecords;
use super::key::SubscriptionKey;
use super::metrics::SubscriptionMetrics;
use super::publisher::Publisher;
use super::recalls::QueuedMessages;
use super::record::SubscriptionRecord;
use super::registry::{MAX_SUBSCRIPTIONS, TooMany};
use super::unusable::RetainedUse;
use command::{FoundRecord, RecordSource, RequestTurn, SubscriptionCommand};
use endings::{Ending, Endings};
use task::Task;

/// Maximum number of commands that wait for the task.
const MAX_COMMANDS: usize = 64;

/// A handle to the subscriptions of one vehicle. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Subscriptions {
    commands: mpsc::Sender<SubscriptionCommand>,
    endings: Endings,
    session: watch::Receiver<SessionStatus>,
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
        let task = Task::new(ankaios, endings.clone(), metrics, commands.downgrade());
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

    /// The same for a record that this replica has seen as a standby. The broker may deliver it, too.
    pub(crate) async fn restore_seen(
        &self,
        kind: StreamKind,
        id: String,
        record: Bytes,
        expires_in: Option<Duration>,
        allowed: RetainedUse,
    ) {
        let (expires, source) = (expires_in.map(Deadline::after), RecordSource::Standby);
        let record = FoundRecord { kind, id, payload: Ok(record), expires, source, allowed };
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
