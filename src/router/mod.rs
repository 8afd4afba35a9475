//! Hands each request to its operation, and each outcome to the session as a reply.
//!
//! ```text
//!  session ──► Router::begin ──► Operations::start ──► Ankaios
//!                                     │ PendingOutcome
//!  session ◄── Responder::reply ◄─────┘
//!          └─► then the follow-up of the outcome, such as following a rollout
//! ```
//!
//! Retained records of subscriptions and rollouts go to [`streams`](crate::streams) instead.

mod metrics;
mod responder;

use std::future::ready;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::operation::Operation;
use fleet_contract::topics::{MAX_TOPIC, TopicKind, Topics};
use futures_util::stream::{self, FuturesUnordered};
use futures_util::{FutureExt, StreamExt};
use mqtt_session::{Message, Outgoing, Refused, Sender};
use service_kit::heartbeat::Heartbeat;
use tokio::sync::mpsc;
use tokio::task::unconstrained;
use tokio_util::sync::CancellationToken;

use crate::broker::{Incoming, request};
use crate::operations::{FollowUp, OperationCall, Operations, Outcome, Record};
use crate::streams::{Rollouts, Subscriptions};
pub(crate) use metrics::RequestMetrics;
use responder::{AccessLogEntry, Replied, Responder};

/// Maximum number of requests whose outcome is awaited at the same time.
const MAX_IN_FLIGHT: usize = 160;

/// Maximum number of requests that were replied to and whose follow-up is in progress, such as
/// starting to follow a rollout. At this number no other request starts.
const MAX_FOLLOW_UPS: usize = 1024;

/// How much of the name of an unknown operation an error message shows, in characters.
const MAX_SHOWN_NAME: usize = 100;

/// Starts the operation of each request in the order of arrival, and gives each request
/// exactly one reply.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) topics: Topics,
    pub(crate) operations: Operations,
    pub(crate) subscriptions: Subscriptions,
    /// `None` if rollouts are not followed.
    pub(crate) rollouts: Option<Rollouts>,
    /// The largest payload of a request in bytes, for the error message.
    pub(crate) max_payload: usize,
    /// Where replies go.
    pub(crate) outgoing: Sender,
    /// The router cancels this when no more requests come.
    pub(crate) stopping: CancellationToken,
    pub(crate) metrics: RequestMetrics,
}

impl Router {
    /// Serves `messages` until the channel is closed and the last reply is handed over.
    /// `heartbeat` answers liveness checks.
    ///
    /// Replies are sent in the order of Ankaios' answers: the answers wake their futures in this
    /// order, and the futures are polled in the order in which they were woken. Tokio's
    /// cooperative budget would break this, because it postpones futures that are ready. So this
    /// task runs without the budget. It still yields often enough, because its work is limited
    /// by what the session hands over.
    pub(crate) async fn run(
        self,
        messages: mpsc::Receiver<Message<Incoming>>,
        heartbeat: Heartbeat,
    ) {
        unconstrained(self.serve(messages, heartbeat)).await;
    }

    async fn serve(&self, messages: mpsc::Receiver<Message<Incoming>>, mut heartbeat: Heartbeat) {
        let mut begun = pin!(stream::unfold(messages, |mut messages| async {
            let message = messages.recv().await?;
            Some((self.begin(message).await, messages))
        }));
        let mut in_flight = FuturesUnordered::new();
        let mut follow_ups = FuturesUnordered::new();
        let mut open = true;
        while open || !in_flight.is_empty() || !follow_ups.is_empty() {
            let has_room = in_flight.len() < MAX_IN_FLIGHT && follow_ups.len() < MAX_FOLLOW_UPS;
            tokio::select! {
                // Requests in flight come before new ones: an answer that is ready must not wait
                // for the start of another request.
                biased;
                () = heartbeat.answer() => {}
                Some(Completed { outgoing, entry, follow_up }) = in_flight.next() => {
                    if let Some(entry) = &entry {
                        self.metrics.replied(entry.operation, entry.error_code(), entry.duration);
                    }
                    // This can take long while there is no connection to the broker.
                    heartbeat.while_waiting(self.send(outgoing)).await;
                    // The task runs after the session has sent the reply, so that no reply waits
                    // for the log.
                    if let Some(entry) = entry {
                        tokio::spawn(async move { entry.write() });
                    }
                    follow_ups.extend(follow_up.map(run_follow_up));
                }
                Some(()) = follow_ups.next() => {}
                next = begun.next(), if open && has_room => match next {
                    Some(answer) => in_flight.push(answer),
                    None => {
                        open = false;
                        self.stopping.cancel();
                    }
                },
            }
        }
    }

    async fn send(&self, outgoing: Outgoing) {
        if self.outgoing.send(outgoing).await.is_err() {
            // The session has ended without waiting for replies. The broker delivers the request
            // again at the next start.
            tracing::warn!("a reply cannot be sent: the MQTT session has ended");
        }
    }

    /// Resumes what a record says, like one that the broker has retained. It is removed from the broker
    /// after `expires_in`.
    pub(crate) async fn resume(&self, topic: &str, record: Bytes, expires_in: Option<Duration>) {
        match self.topics.kind(topic) {
            TopicKind::Subscription { kind, id } => {
                let allowed = self.operations.retained(Record::Subscription(kind));
                let id = id.to_owned();
                self.subscriptions.restore_seen(kind, id, record, expires_in, allowed).await;
            }
            TopicKind::Rollout { id } => {
                let allowed = self.operations.retained(Record::Rollout);
                if let Some(rollouts) = self.rollouts.clone() {
                    rollouts.restore(id.to_owned(), Ok(record), allowed).await;
                }
            }
            _ => {}
        }
    }

    /// Starts to process a message.
    async fn begin(&self, mut message: Message<Incoming>) -> InFlight {
        let route = std::mem::replace(&mut message.route, Incoming::Other { topic: String::new() });
        match route {
            Incoming::Request { name, operation } => {
                self.begin_request(name, operation, message).await
            }
            // Records are only read at the start. A record that somebody changes later does not
            // change its subscription or rollout.
            Incoming::Subscription { .. } | Incoming::Rollout { .. } if !message.retained => {
                Box::pin(ready(Completed::without_reply(message.delivery)))
            }
            Incoming::Subscription { kind, id } => {
                let subscriptions = self.subscriptions.clone();
                let allowed = self.operations.retained(Record::Subscription(kind));
                // The message is acknowledged afterwards, so only a few are in progress at a time.
                Box::pin(async move {
                    let Message { payload, expires_in, .. } = message;
                    subscriptions.restore(kind, id, payload, expires_in, allowed).await;
                    Completed::without_reply(message.delivery)
                })
            }
            Incoming::Rollout { id } => {
                let rollouts = self.rollouts.clone();
                let allowed = self.operations.retained(Record::Rollout);
                Box::pin(async move {
                    if let Some(rollouts) = rollouts {
                        rollouts.restore(id, message.payload, allowed).await;
                    }
                    Completed::without_reply(message.delivery)
                })
            }
            Incoming::Other { topic } => {
                tracing::warn!(topic, "a message that is not a request is skipped");
                Box::pin(ready(Completed::without_reply(message.delivery)))
            }
        }
    }

    /// Starts the operation of a request.
    async fn begin_request(
        &self,
        name: String,
        operation: Option<Operation>,
        message: Message<Incoming>,
    ) -> InFlight {
        if self.topics.reply(&name).len() > MAX_TOPIC {
            tracing::warn!("a request gets no reply: its reply topic would be too long");
            return Box::pin(ready(Completed::without_reply(message.delivery)));
        }
        let payload = self.payload(&message);
        let force = request::has_force(&message);
        let property = |name| message.user_property(name).map(str::to_owned);
        let (release, rollback) = (property(request::RELEASE), property(request::ROLLBACK));
        let responder = Responder::new(&self.topics, name, operation, message);
        let call = payload.and_then(|payload| {
            let operation = operation.ok_or_else(|| unknown_operation(responder.name()))?;
            Ok(OperationCall {
                operation,
                request_id: responder.request_id().to_owned(),
                force,
                release,
                rollback,
                payload,
                signed: None,
            })
        });
        let started = match call {
            Ok(call) => unless_panic(self.operations.start(call)).await,
            Err(error) => Err(error),
        };
        match started {
            Ok(answer) => {
                Box::pin(async move { Completed::replied(responder, unless_panic(answer).await) })
            }
            Err(error) => Box::pin(ready(Completed::replied(responder, Err(error)))),
        }
    }

    /// The payload of a request.
    ///
    /// # Errors
    /// The error that is the reply, if the request cannot be served.
    fn payload(&self, message: &Message<Incoming>) -> Result<Bytes, ErrorReply> {
        match &message.payload {
            // It may be outdated, and each new session would receive it again.
            Ok(_) if message.retained => Err(ErrorReply::new(
                ErrorCode::Forbidden,
                "a retained message is not executed; publish the request without the retain flag, \
                 and publish an empty retained message to remove it from the broker",
            )),
            Ok(payload) => Ok(payload.clone()),
            Err(Refused::TooLarge { size }) => Err(ErrorReply::new(
                ErrorCode::PayloadTooLarge,
                format!(
                    "the request has {size} bytes; the limit is {}, see MAX_PAYLOAD_SIZE",
                    self.max_payload
                ),
            )
            .with("size", *size)
            .with("max_size", self.max_payload)),
            Err(Refused::TooMany) => Err(ErrorReply::new(
                ErrorCode::Unavailable,
                "too many requests are waiting; publish fewer at a time, and with QoS 1, so that \
                 the broker can queue them",
            )),
        }
    }
}

/// A message whose outcome is awaited.
type InFlight = Pin<Box<dyn Future<Output = Completed> + Send>>;

/// A message whose processing is complete.
struct Completed {
    outgoing: Outgoing,
    entry: Option<AccessLogEntry>,
    follow_up: Option<FollowUp>,
}

impl Completed {
    fn replied(responder: Responder, outcome: Outcome) -> Self {
        let Replied { reply, entry, follow_up } = responder.reply(outcome);
        Self { outgoing: Outgoing::Reply(reply), entry: Some(entry), follow_up }
    }

    fn without_reply(delivery: u64) -> Self {
        Self { outgoing: Outgoing::Done { delivery }, entry: None, follow_up: None }
    }
}

/// Turns a panic of an operation into an error reply.
async fn unless_panic<T>(
    work: impl Future<Output = Result<T, ErrorReply>>,
) -> Result<T, ErrorReply> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        let message = "the connector has failed; see its log";
        Err(ErrorReply::new(ErrorCode::Internal, message))
    })
}

async fn run_follow_up(follow_up: FollowUp) {
    if AssertUnwindSafe(follow_up).catch_unwind().await.is_err() {
        tracing::error!("the work after a reply has failed");
    }
}

fn unknown_operation(name: &str) -> ErrorReply {
    let known = Operation::ALL.map(Operation::name).join(", ");
    let name: String = name.chars().take(MAX_SHOWN_NAME).collect();
    let message = format!("there is no operation {name:?}; the operations are {known}");
    ErrorReply::new(ErrorCode::NotFound, message)
}
