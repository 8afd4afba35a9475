//! From a request topic to the operation, and from its outcome to the reply.

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};

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
    requests: mpsc::Receiver<Request>,
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
        requests: mpsc::Receiver<Request>,
        outgoing: mpsc::Sender<Outgoing>,
    ) -> Self {
        Self { topics, operations, max_payload, requests, outgoing }
    }

    /// Ends when `requests` is closed and the last reply was given.
    pub async fn run(mut self) {
        let mut in_flight = InFlight::default();
        loop {
            tokio::select! {
                request = self.requests.recv(), if in_flight.tasks.len() < MAX_IN_FLIGHT => {
                    let Some(request) = request else { break };
                    self.start(request, &mut in_flight).await;
                }
                Some(ended) = in_flight.tasks.join_next_with_id() => in_flight.ended(ended).await,
            }
        }
        while let Some(ended) = in_flight.tasks.join_next_with_id().await {
            in_flight.ended(ended).await;
        }
        self.operations.stop();
    }

    async fn start(&self, request: Request, in_flight: &mut InFlight) {
        if self.topics.operation(&request.topic).is_none() || request.retained {
            return self.take_record(&request).await;
        }
        let (responder, operation, payload) = self.open(request);
        let id = &responder.request_id;
        let started = match operation {
            Ok(operation) => self.operations.start(operation, id, payload).await,
            Err(error) => Err(error),
        };
        match started {
            Ok(answer) => in_flight.add(responder, answer),
            Err(error) => responder.send(Err(error)).await,
        }
    }

    /// Takes up the subscription of a retained record. Anything else that is
    /// retained was meant for another time, and is not executed.
    async fn take_record(&self, request: &Request) {
        match (self.topics.record_of(&request.topic), &request.payload) {
            // Whoever changes a record later does not change the subscription.
            (Some(_), _) if !request.retained => {}
            (Some((kind, id)), Ok(record)) => self.operations.restore(kind, id, record),
            _ => tracing::warn!(topic = request.topic, "a retained request is not executed"),
        }
        // The session ends before this channel does; then there is nothing to acknowledge.
        let _ = self.outgoing.send(Outgoing::Done { delivery: request.delivery }).await;
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
            outgoing: self.outgoing.clone(),
        };
        (responder, operation, payload)
    }
}

/// The requests whose outcome is awaited.
#[derive(Debug, Default)]
struct InFlight {
    tasks: JoinSet<()>,
    /// Who gets an answer if the task itself cannot give one.
    responders: HashMap<Id, Responder>,
}

impl InFlight {
    fn add(&mut self, responder: Responder, answer: crate::operations::Answer) {
        let own = responder.clone();
        let task = self.tasks.spawn(async move { own.send(answer.await).await });
        self.responders.insert(task.id(), responder);
    }

    async fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let responder = self.responders.remove(&id);
        if let (Err(error), Some(responder)) = (ended, responder) {
            tracing::error!(%error, request_id = responder.request_id, "an operation has failed");
            let error =
                ErrorReply::new(ErrorCode::Internal, "the connector has failed; see its log");
            responder.send(Err(error)).await;
        }
    }
}

/// Where the reply to a request goes.
#[derive(Debug, Clone)]
struct Responder {
    delivery: u64,
    operation: String,
    request_id: String,
    topic: String,
    fallback_topic: Option<String>,
    correlation_data: Option<Bytes>,
    request_size: usize,
    begin: Instant,
    outgoing: mpsc::Sender<Outgoing>,
}

impl Responder {
    async fn send(self, outcome: Outcome) {
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
        if self.outgoing.send(Outgoing::Reply(reply)).await.is_err() {
            // The session has ended without waiting for the replies. The broker
            // delivers the request again at the next start.
            tracing::warn!("a reply comes too late for the MQTT session");
        }
        if let Some(then) = then {
            then.await;
        }
    }
}
