//! Builds the reply to a request and its log entry.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::operation::Operation;
use fleet_contract::topics::{Topics, short};
use mqtt_session::{Message, Refused, Reply};
use service_kit::random;

use crate::broker::request::{REQUEST_ID, request_id};
use crate::operations::{FollowUp, Outcome, Success};

/// Where the reply to a request goes.
#[derive(Debug)]
pub(super) struct Responder {
    delivery: u64,
    /// The operation's name in the topic of the request.
    name: String,
    /// `None` if there is no such operation.
    operation: Option<Operation>,
    request_id: String,
    topic: String,
    fallback_topic: Option<String>,
    correlation_data: Option<Bytes>,
    request_size: usize,
    start: Instant,
}

/// A reply, its log entry, and the work that follows it.
pub(super) struct Replied {
    pub(super) reply: Reply,
    pub(super) entry: AccessLogEntry,
    pub(super) follow_up: Option<FollowUp>,
}

impl Responder {
    pub(super) fn new<R>(
        topics: &Topics,
        name: String,
        operation: Option<Operation>,
        message: Message<R>,
    ) -> Self {
        let request_id = request_id(&message).map_or_else(random::hex, str::to_owned);
        let request_size = match message.payload {
            Ok(ref payload) => payload.len(),
            Err(Refused::TooLarge { size }) => size,
            Err(Refused::TooMany) => 0,
        };
        tracing::debug!(
            operation = short(&name),
            request_id,
            size = request_size,
            payload = ?message.payload,
            "request"
        );
        let usual_topic = topics.reply(&name);
        let (topic, fallback_topic) = match message.response_topic {
            None => (usual_topic, None),
            Some(topic) => match topics.check_response_topic(&topic) {
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
        Self {
            delivery: message.delivery,
            name,
            operation,
            request_id,
            topic,
            fallback_topic,
            correlation_data: message.correlation_data,
            request_size,
            start: Instant::now(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn request_id(&self) -> &str {
        &self.request_id
    }

    pub(super) fn reply(self, outcome: Outcome) -> Replied {
        let duration = self.start.elapsed();
        let (payload, error, follow_up) = match outcome {
            Ok(Success { payload, follow_up }) => (payload, None, follow_up),
            Err(error) => (error.to_payload(), Some(error), None),
        };
        let can_shorten = error.is_some();
        let entry = AccessLogEntry {
            operation: self.operation,
            name: self.name,
            request_id: self.request_id.clone(),
            request_size: self.request_size,
            reply_size: payload.len(),
            duration,
            error,
        };
        let reply = Reply {
            delivery: self.delivery,
            topic: self.topic,
            fallback_topic: self.fallback_topic,
            correlation_data: self.correlation_data,
            user_properties: vec![(REQUEST_ID.to_owned(), self.request_id)],
            payload,
            can_shorten,
        };
        Replied { reply, entry, follow_up }
    }
}

/// The log entry of a request.
#[derive(Debug)]
pub(super) struct AccessLogEntry {
    /// `None` if there is no such operation.
    pub(super) operation: Option<Operation>,
    name: String,
    request_id: String,
    request_size: usize,
    reply_size: usize,
    pub(super) duration: Duration,
    error: Option<ErrorReply>,
}

impl AccessLogEntry {
    pub(super) fn error_code(&self) -> Option<ErrorCode> {
        self.error.as_ref().map(|error| error.code)
    }

    pub(super) fn write(self) {
        let Self { name, request_id, request_size, reply_size, duration: took, error, .. } = self;
        let operation = short(&name);
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
