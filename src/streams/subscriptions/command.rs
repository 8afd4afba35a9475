//! The commands to the task of the subscriptions.

use bytes::Bytes;
use fleet_contract::topics::StreamKind;
use futures_util::future::BoxFuture;
use mqtt_session::{Recall, Refused};
use service_kit::clock::Deadline;
use tokio::sync::oneshot;

use super::endings::Ending;
use crate::streams::expiry::Expiry;
use crate::streams::feed::Outlet;
use crate::streams::key::SubscriptionKey;
use crate::streams::recalls::QueuedMessages;
use crate::streams::registry::TooMany;
use crate::streams::unusable::RetainedUse;

/// A command to the task.
pub(super) enum SubscriptionCommand {
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
pub(super) struct RequestTurn {
    pub(super) key: SubscriptionKey,
    /// Signalled when all earlier requests are done.
    pub(super) earlier_done: oneshot::Receiver<()>,
    /// Dropping it tells the task that the request is done.
    pub(super) _done: oneshot::Sender<()>,
}

impl RequestTurn {
    /// Waits until all earlier requests are done. Each of them has a timeout.
    pub(super) async fn wait(&mut self) {
        // Without a sender the task has ended, and the connector with it.
        let _ = (&mut self.earlier_done).await;
    }
}

/// A record that was found, which may be invalid.
#[derive(Debug)]
pub(super) struct FoundRecord {
    pub(super) kind: StreamKind,
    /// The id of its topic, which may be invalid.
    pub(super) id: String,
    pub(super) payload: Result<Bytes, Refused>,
    /// When it expires at the broker, if the broker has said so.
    pub(super) expires: Option<Deadline>,
    pub(super) source: RecordSource,
    /// Whether it may be used; always allowed for one from the store.
    pub(super) allowed: RetainedUse,
}

/// Where a record was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordSource {
    /// The broker has retained it.
    Broker,
    /// It is kept in the store.
    Store,
    /// This replica has seen it as a standby.
    Standby,
}
