//! From a request topic to the operation, and from its outcome to the reply.

mod metrics;

use std::future::ready;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, FuturesUnordered};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::unconstrained;
use tokio_util::sync::CancellationToken;

use crate::error::{ErrorCode, ErrorReply};
use crate::mqtt::{Outgoing, Refused, Reply, Request, Sender};
use crate::operations::{Operation, Operations, Outcome, Success};
use crate::progress::Progress;
use crate::random;
use crate::topics::{MAX_TOPIC, Topics, short};

pub use metrics::Metrics;

/// Requests that may wait for their outcome at the same time.
const MAX_IN_FLIGHT: usize = 160;

/// Those among them that wait for a workload, which may take long.
const MAX_WAITS: usize = 32;

/// Requests with a reply that something is still done for, such as publishing
/// their record, which waits for the uplink. Beyond that no other request begins.
const MAX_FOLLOWING: usize = 1024;

/// Starts an operation for each request, in the order of arrival, and sees to
/// it that each gets exactly one reply.
#[derive(Debug)]
pub struct Router {
    topics: Topics,
    operations: Operations,
    max_payload: usize,
    outgoing: Sender,
    waits: Arc<Semaphore>,
    /// No more requests come: waits are given up.
    stopping: CancellationToken,
    metrics: Metrics,
}

impl Router {
    /// `max_payload` is the largest payload of a request in bytes, for the
    /// error message. Requests are counted in `metrics`.
    #[must_use]
    pub fn new(
        topics: Topics,
        operations: Operations,
        max_payload: usize,
        outgoing: Sender,
        metrics: Metrics,
    ) -> Self {
        let waits = Arc::new(Semaphore::new(MAX_WAITS));
        let stopping = CancellationToken::new();
        Self { topics, operations, max_payload, outgoing, waits, stopping, metrics }
    }

    /// Serves `requests` until they are closed and the last reply was given. Who
    /// wants to know whether it gets on is answered by `progress`.
    ///
    /// Replies leave in the order in which Ankaios gives the answers. That needs
    /// every answer to be awaited before it can come, so this task does not take
    /// part in Tokio's budgets, which could interrupt it in between. It pauses
    /// often enough by itself: it can do no more than the session hands over.
    pub async fn run(self, requests: mpsc::Receiver<Request>, progress: Progress) {
        unconstrained(self.serve(requests, progress)).await;
        self.operations.stop();
    }

    async fn serve(&self, requests: mpsc::Receiver<Request>, mut progress: Progress) {
        let mut begun = pin!(stream::unfold(requests, |mut requests| async {
            let request = requests.recv().await?;
            Some((self.begin(request).await, requests))
        }));
        let mut in_flight = FuturesUnordered::new();
        let mut following = FuturesUnordered::new();
        let mut open = true;
        while open || !in_flight.is_empty() || !following.is_empty() {
            tokio::select! {
                // First what is in flight: an answer is awaited before another
                // request begins.
                biased;
                () = progress.asked() => {}
                Some(Done { outgoing, entry, then }) = in_flight.next() => {
                    if let Some(LogEntry { known, error, took, .. }) = &entry {
                        self.metrics.replied(*known, error.as_ref().map(|e| e.code), *took);
                    }
                    // While there is no connection to the broker, it takes its time.
                    progress.during(self.send(outgoing)).await;
                    // Its turn comes after that of the session, which sends the
                    // reply: nobody waits for the log.
                    if let Some(entry) = entry {
                        tokio::spawn(async move { entry.write() });
                    }
                    following.extend(then.map(follow));
                }
                Some(()) = following.next() => {}
                next = begun.next(),
                    if open && in_flight.len() < MAX_IN_FLIGHT && following.len() < MAX_FOLLOWING => match next {
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
            // The session has ended without waiting for the replies. The broker
            // delivers the request again at the next start.
            tracing::warn!("a reply comes too late for the MQTT session");
        }
    }

    /// Hands a request to its operation.
    async fn begin(&self, request: Request) -> InFlight {
        let Some(name) = self.topics.operation(&request.topic) else {
            return self.take_record(request);
        };
        if self.topics.reply(name).len() > MAX_TOPIC {
            tracing::warn!("a request gets no reply: the topic for it would be too long");
            return Box::pin(ready(Done::without_reply(&request)));
        }
        let force = request.force;
        let (responder, operation, payload) = self.open(request);
        let id = &responder.request_id;
        let waits = match operation {
            Ok(Operation::WorkloadWait) => Arc::clone(&self.waits).try_acquire_owned().map(Some),
            _ => Ok(None),
        };
        let started = match (operation, &waits) {
            (Ok(_), Err(_)) => Err(ErrorReply::new(
                ErrorCode::Unavailable,
                format!("{MAX_WAITS} requests wait for workloads already; subscribe to events"),
            )),
            (Ok(operation), Ok(_)) => {
                unless_panic(self.operations.start(operation, id, force, payload)).await
            }
            (Err(error), _) => Err(error),
        };
        match started {
            Ok(answer) if matches!(waits, Ok(Some(_))) => {
                let stopping = self.stopping.clone();
                Box::pin(async move {
                    let _wait = waits;
                    let answer = unless_panic(answer);
                    let outcome = stopping.run_until_cancelled_owned(answer).await;
                    responder.reply(outcome.unwrap_or_else(|| Err(given_up())))
                })
            }
            Ok(answer) => Box::pin(async move { responder.reply(unless_panic(answer).await) }),
            Err(error) => Box::pin(ready(responder.reply(Err(error)))),
        }
    }

    /// Takes up the subscription or the roll-out of a retained record. It is
    /// acknowledged once that has been done, so that however many there are, only so
    /// many are being worked on.
    fn take_record(&self, request: Request) -> InFlight {
        let done = Done::without_reply(&request);
        let topic = &request.topic;
        let restoring = match (self.topics.record_of(topic), self.topics.rollout_of(topic)) {
            // Whoever changes a record later does not change what it stands for.
            (Some(_), _) | (_, Some(_)) if !request.retained => None,
            (Some((kind, id)), _) => self.operations.restore(kind, id, request.payload),
            (_, Some(id)) => self.operations.restore_rollout(id, request.payload),
            _ => {
                tracing::warn!(topic, "a message that is no request is skipped");
                None
            }
        };
        Box::pin(async move {
            if let Some(restoring) = restoring {
                restoring.await;
            }
            done
        })
    }

    /// Finds out what is wanted, and where the reply goes.
    fn open(&self, request: Request) -> (Responder, Result<Operation, ErrorReply>, Bytes) {
        let name = self.topics.operation(&request.topic).unwrap_or(&request.topic).to_owned();
        let request_id = request.request_id.unwrap_or_else(random::hex);
        let operation = Operation::from_name(&name);
        let known = operation.as_ref().ok().copied();
        let usual_topic = self.topics.reply(&name);
        let (topic, fallback_topic) = match request.response_topic {
            None => (usual_topic, None),
            Some(topic) => match self.topics.check_response_topic(&topic) {
                Ok(()) => (topic, Some(usual_topic)),
                Err(reason) => {
                    tracing::warn!(
                        request_id,
                        response_topic = short(&topic),
                        %reason,
                        "the reply does not go to the Response Topic but to {usual_topic}"
                    );
                    (usual_topic, None)
                }
            },
        };
        let size = match request.payload {
            Ok(ref payload) => payload.len(),
            Err(Refused::TooLarge { size }) => size,
            Err(Refused::TooMany) => 0,
        };
        tracing::debug!(
            operation = short(&name),
            request_id,
            size,
            payload = ?request.payload,
            "request"
        );
        let (operation, payload) = match request.payload {
            // It was meant for another time, and would come again to every new session.
            Ok(_) if request.retained => (
                Err(ErrorReply::new(
                    ErrorCode::Forbidden,
                    "a retained message is not executed; publish the request without the retain \
                     flag, and remove it from the broker by an empty retained message",
                )),
                Bytes::new(),
            ),
            Ok(payload) => (operation, payload),
            Err(Refused::TooLarge { size }) => (
                Err(ErrorReply::new(
                    ErrorCode::PayloadTooLarge,
                    format!(
                        "the request has {size} bytes; allowed are {}, see MAX_PAYLOAD_SIZE",
                        self.max_payload
                    ),
                )
                .with("size", size)
                .with("max_size", self.max_payload)),
                Bytes::new(),
            ),
            Err(Refused::TooMany) => (
                Err(ErrorReply::new(
                    ErrorCode::Unavailable,
                    "too many requests are waiting; publish less at a time, and with QoS 1, so that \
                     the broker can hold it back",
                )),
                Bytes::new(),
            ),
        };
        let responder = Responder {
            delivery: request.delivery,
            known,
            operation: name,
            request_id,
            topic,
            fallback_topic,
            correlation_data: request.correlation_data,
            request_size: size,
            begin: Instant::now(),
        };
        (responder, operation, payload)
    }
}

/// A request whose outcome is awaited.
type InFlight = Pin<Box<dyn Future<Output = Done> + Send>>;

/// A request that has its outcome.
struct Done {
    outgoing: Outgoing,
    entry: Option<LogEntry>,
    /// What is to be done once that has been sent.
    then: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Done {
    fn without_reply(request: &Request) -> Self {
        let outgoing = Outgoing::Done { delivery: request.delivery };
        Self { outgoing, entry: None, then: None }
    }
}

/// An operation that panics is an operation that fails.
async fn unless_panic<T>(
    work: impl Future<Output = Result<T, ErrorReply>>,
) -> Result<T, ErrorReply> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        let message = "the connector has failed; see its log";
        Err(ErrorReply::new(ErrorCode::Internal, message))
    })
}

/// What ends a wait when the connector stops: it could last longer than that may
/// take.
fn given_up() -> ErrorReply {
    let message = "the connector is stopping; send the request again";
    ErrorReply::new(ErrorCode::Unavailable, message)
}

/// Does what was put off until after the reply.
async fn follow(then: Pin<Box<dyn Future<Output = ()> + Send>>) {
    if AssertUnwindSafe(then).catch_unwind().await.is_err() {
        tracing::error!("what follows a reply has failed");
    }
}

/// Where the reply to a request goes.
#[derive(Debug)]
struct Responder {
    delivery: u64,
    /// `None` if there is no such operation.
    known: Option<Operation>,
    operation: String,
    request_id: String,
    topic: String,
    fallback_topic: Option<String>,
    correlation_data: Option<Bytes>,
    request_size: usize,
    begin: Instant,
}

impl Responder {
    fn reply(self, outcome: Outcome) -> Done {
        let took = self.begin.elapsed();
        let (payload, error, then) = match outcome {
            Ok(Success { payload, then }) => (payload, None, then),
            Err(error) => (error.to_payload(), Some(error), None),
        };
        let entry = LogEntry {
            known: self.known,
            operation: self.operation,
            request_id: self.request_id.clone(),
            request_size: self.request_size,
            reply_size: payload.len(),
            took,
            error,
        };
        let reply = Reply {
            delivery: self.delivery,
            topic: self.topic,
            fallback_topic: self.fallback_topic,
            correlation_data: self.correlation_data,
            request_id: self.request_id,
            payload,
        };
        Done { outgoing: Outgoing::Reply(reply), entry: Some(entry), then }
    }
}

/// What the log says about a request.
#[derive(Debug)]
struct LogEntry {
    known: Option<Operation>,
    operation: String,
    request_id: String,
    request_size: usize,
    reply_size: usize,
    took: Duration,
    error: Option<ErrorReply>,
}

impl LogEntry {
    fn write(self) {
        let Self { operation, request_id, request_size, reply_size, took, error, .. } = self;
        let operation = short(&operation);
        match error {
            None => {
                tracing::info!(operation, request_id, request_size, reply_size, ?took, "done");
            }
            Some(error) => tracing::warn!(
                operation,
                request_id,
                request_size,
                code = %error.code,
                %error,
                ?took,
                "refused"
            ),
        }
    }
}
