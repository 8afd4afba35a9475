//! From a request topic to the operation, and from its outcome to the reply.

use std::future::ready;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::time::Instant;

use bytes::Bytes;
use futures_util::stream::{self, FuturesUnordered};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::task::unconstrained;

use crate::error::{ErrorCode, ErrorReply};
use crate::mqtt::{Outgoing, Refused, Reply, Request};
use crate::operations::{Operation, Operations, Outcome, Success};
use crate::random;
use crate::topics::Topics;

/// Requests that may wait for their outcome at the same time.
const MAX_IN_FLIGHT: usize = 128;

/// Starts an operation for each request, in the order of arrival, and sees to
/// it that each gets exactly one reply.
#[derive(Debug)]
pub struct Router {
    topics: Topics,
    operations: Operations,
    max_payload: usize,
    outgoing: mpsc::Sender<Outgoing>,
}

impl Router {
    /// `max_payload` is the largest payload of a request in bytes, for the
    /// error message.
    #[must_use]
    pub fn new(
        topics: Topics,
        operations: Operations,
        max_payload: usize,
        outgoing: mpsc::Sender<Outgoing>,
    ) -> Self {
        Self { topics, operations, max_payload, outgoing }
    }

    /// Serves `requests` until they are closed and the last reply was given.
    ///
    /// Replies leave in the order in which Ankaios gives the answers. That needs
    /// every answer to be awaited before it can come, so this task does not take
    /// part in Tokio's budgets, which could interrupt it in between. It pauses
    /// often enough by itself: it can do no more than the session hands over.
    pub async fn run(self, requests: mpsc::Receiver<Request>) {
        unconstrained(self.serve(requests)).await;
        self.operations.stop();
    }

    async fn serve(&self, requests: mpsc::Receiver<Request>) {
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
                Some(Done { outgoing, then }) = in_flight.next() => {
                    self.send(outgoing).await;
                    following.extend(then.map(follow));
                }
                Some(()) = following.next() => {}
                next = begun.next(), if open && in_flight.len() < MAX_IN_FLIGHT => match next {
                    Some(answer) => in_flight.push(answer),
                    None => open = false,
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
        if self.topics.operation(&request.topic).is_none() || request.retained {
            self.take_record(&request);
            let outgoing = Outgoing::Done { delivery: request.delivery };
            return Box::pin(ready(Done { outgoing, then: None }));
        }
        let force = request.force;
        let (responder, operation, payload) = self.open(request);
        let id = &responder.request_id;
        let started = match operation {
            Ok(operation) => {
                unless_panic(self.operations.start(operation, id, force, payload)).await
            }
            Err(error) => Err(error),
        };
        match started {
            Ok(answer) => Box::pin(async move { responder.reply(unless_panic(answer).await) }),
            Err(error) => Box::pin(ready(responder.reply(Err(error)))),
        }
    }

    /// Takes up the subscription of a retained record. Anything else that is
    /// retained was meant for another time, and is not executed.
    fn take_record(&self, request: &Request) {
        match (self.topics.record_of(&request.topic), &request.payload) {
            // Whoever changes a record later does not change the subscription.
            (Some(_), _) if !request.retained => {}
            (Some((kind, id)), Ok(record)) => self.operations.restore(kind, id, record),
            _ => tracing::warn!(topic = request.topic, "a retained request is not executed"),
        }
    }

    /// Finds out what is wanted, and where the reply goes.
    fn open(&self, request: Request) -> (Responder, Result<Operation, ErrorReply>, Bytes) {
        let name = self.topics.operation(&request.topic).unwrap_or(&request.topic).to_owned();
        let request_id = request.request_id.unwrap_or_else(random::hex);
        let usual_topic = self.topics.reply(&name);
        let (topic, fallback_topic) = match request.response_topic {
            None => (usual_topic, None),
            Some(topic) => match self.topics.check_response_topic(&topic) {
                Ok(()) => (topic, Some(usual_topic)),
                Err(reason) => {
                    tracing::warn!(
                        request_id,
                        response_topic = topic.chars().take(200).collect::<String>(),
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
        tracing::debug!(operation = name, request_id, size, payload = ?request.payload, "request");
        let (operation, payload) = match request.payload {
            Ok(payload) => (Operation::from_name(&name), payload),
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
                    "too many requests are waiting; publish with QoS 1, so that the broker can \
                     hold them back",
                )),
                Bytes::new(),
            ),
        };
        let responder = Responder {
            delivery: request.delivery,
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
    /// What is to be done once that has been sent.
    then: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
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
        let (payload, then) = match outcome {
            Ok(Success { payload, then }) => {
                tracing::info!(
                    operation = self.operation,
                    request_id = self.request_id,
                    request_size = self.request_size,
                    reply_size = payload.len(),
                    ?took,
                    "done"
                );
                (payload, then)
            }
            Err(error) => {
                tracing::warn!(
                    operation = self.operation,
                    request_id = self.request_id,
                    request_size = self.request_size,
                    code = %error.code,
                    %error,
                    ?took,
                    "refused"
                );
                (error.to_payload(), None)
            }
        };
        let reply = Reply {
            delivery: self.delivery,
            topic: self.topic,
            fallback_topic: self.fallback_topic,
            correlation_data: self.correlation_data,
            request_id: self.request_id,
            payload,
        };
        Done { outgoing: Outgoing::Reply(reply), then }
    }
}
