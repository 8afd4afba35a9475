//! Typed calls to Ankaios.

use std::sync::Arc;
use std::time::Duration;

use ankaios_model::proto::ank_base::request::RequestContent;
use ankaios_model::proto::ank_base::response::ResponseContent;
use ankaios_model::proto::ank_base::{
    CompleteState, CompleteStateRequest, Request, UpdateStateRequest, UpdateStateSuccess,
};
use ankaios_model::proto::control_api::ToAnkaios;
use ankaios_model::proto::control_api::to_ankaios::ToAnkaiosEnum;
use bytes::Bytes;
use service_kit::clock::Moment;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::answer_memory::AnswerPermit;
use super::buffer::{Buffers, Consumer, Item};
use super::codec;
use super::error::RequestError;
use super::event_streams::EventStreams;
use super::metrics::LinkMetrics;
use super::pending::{Answer, Expired, Kind, Pending, Subject};
use super::response;
use super::status::LinkStatus;

/// Sends requests to Ankaios over the [`Link`](crate::Link) that it was created with. Cheap to
/// clone; all clones share the link and its memory limits.
#[derive(Debug, Clone)]
pub struct Client {
    pending: Arc<Pending>,
    status: watch::Receiver<LinkStatus>,
    timeout: Duration,
    buffers: Buffers,
    event_streams: EventStreams,
}

impl Client {
    pub(super) fn new(
        pending: Arc<Pending>,
        status: watch::Receiver<LinkStatus>,
        timeout: Duration,
        metrics: LinkMetrics,
    ) -> Self {
        let event_streams = EventStreams::new(metrics.clone());
        Self { pending, status, timeout, buffers: Buffers::new(metrics), event_streams }
    }

    /// Requests parts of the state. A field mask is a path whose parts are separated by dots,
    /// such as `desiredState.workloads.nginx`; the part `*` matches any one name. No mask means
    /// the whole state.
    ///
    /// Like all requests, this is sent in the order of the calls; [`Call::answer`] waits for
    /// the answer. So several requests can be under way at the same time.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn state(
        &self,
        field_mask: Vec<String>,
    ) -> Result<Call<CompleteState>, RequestError> {
        let request = CompleteStateRequest { field_mask, subscribe_for_events: false };
        self.send(RequestContent::CompleteStateRequest(request), response::complete_state).await
    }

    /// Sets the parts of the state that the update masks name to their values in the new
    /// state; what the new state does not contain is deleted. The crate `ankaios_model` makes
    /// such an update from a manifest.
    ///
    /// An update whose answer was lost with its session is sent again to the next one, unless a
    /// later update was answered since: then it ends with [`RequestError::Unavailable`].
    ///
    /// # Errors
    /// See [`RequestError`]; [`RequestError::NoMask`] if there are no update masks.
    pub async fn update(
        &self,
        update: UpdateStateRequest,
    ) -> Result<Call<UpdateStateSuccess>, RequestError> {
        if update.update_mask.is_empty() {
            return Err(RequestError::NoMask);
        }
        self.send(RequestContent::UpdateStateRequest(update), response::update_success).await
    }

    /// Queues a request with one answer. Waits only while the queue is full.
    async fn send<T>(
        &self,
        content: RequestContent,
        decode: Decode<T>,
    ) -> Result<Call<T>, RequestError> {
        let deadline = Instant::now() + self.timeout;
        let slot = self.acquire_slot(deadline).await?;
        let kind = match &content {
            RequestContent::UpdateStateRequest(_) => Kind::Update,
            _ => Kind::Read,
        };
        let (number, request_id) = self.pending.next_id();
        let subject = subject(&content);
        let frame = encode(request_id, content);
        let call = Call {
            client: self.clone(),
            deadline,
            answer: self.pending.add(number, frame, kind, slot),
            removal: RemoveOnDrop { number, pending: Arc::clone(&self.pending) },
            decode,
        };
        if let Some(subject) = subject {
            self.pending.set_subject(number, subject)?;
        }
        Ok(call)
    }

    /// Queues a request with many answers; the request `cancel` ends these. Waits only while
    /// the queue is full.
    pub(super) async fn open_stream(
        &self,
        content: RequestContent,
        cancel: RequestContent,
    ) -> Result<RawStream, RequestError> {
        let deadline = Instant::now() + self.timeout;
        let slot = self.acquire_slot(deadline).await?;
        let (number, request_id) = self.pending.next_id();
        let (producer, consumer) = self.buffers.add();
        let subject = subject(&content);
        let frame = encode(request_id.clone(), content);
        self.pending.add_stream(number, frame, producer, slot);
        let client = self.clone();
        let stream = RawStream { client, number, request_id, cancel, deadline, consumer };
        if let Some(subject) = subject {
            self.pending.set_subject(number, subject)?;
        }
        Ok(stream)
    }

    /// Waits until there is memory for the first message of a stream.
    pub(super) async fn room(&self) {
        self.buffers.room().await;
    }

    /// Whether a request has timed out, and Ankaios has answered nothing since. Its server may
    /// be down, although the link is still connected.
    #[must_use]
    pub fn is_unresponsive(&self) -> bool {
        self.pending.is_unresponsive()
    }

    /// The list of the event streams of this client and its clones.
    #[must_use]
    pub fn event_streams(&self) -> &EventStreams {
        &self.event_streams
    }

    /// Changes when the session with Ankaios was interrupted, even if the link stays connected: the
    /// server may have started anew, without what was changed since its start. A subscription to
    /// events shows the same, but makes each update slower as long as it lasts.
    #[must_use]
    pub fn interruptions(&self) -> watch::Receiver<u64> {
        self.pending.interruptions()
    }

    /// The status of the link, and its changes.
    pub(super) fn link_status(&self) -> watch::Receiver<LinkStatus> {
        self.status.clone()
    }

    /// Waits for a slot in the queue of requests.
    async fn acquire_slot(
        &self,
        deadline: Instant,
    ) -> Result<Option<OwnedSemaphorePermit>, RequestError> {
        if let LinkStatus::Closed { reason } = &*self.status.borrow() {
            return Err(RequestError::Unavailable(reason.clone()));
        }
        timeout_at(deadline, self.pending.acquire_slot())
            .await
            .map_err(|_| RequestError::Unavailable(self.status.borrow().reason()))
    }

    /// Records that Ankaios has not answered a request in time. Returns its error.
    fn timed_out(&self) -> RequestError {
        self.pending.mark_unresponsive();
        RequestError::Timeout(self.timeout)
    }
}

/// What the answer to a request means for the size of the state.
fn subject(content: &RequestContent) -> Option<Subject> {
    match content {
        RequestContent::CompleteStateRequest(request) => {
            Some(Subject::State(request.field_mask.clone()))
        }
        RequestContent::UpdateStateRequest(update) if removes(update) => Some(Subject::Removal),
        _ => None,
    }
}

/// Whether an update may remove a workload, a config, or a part of one.
fn removes(update: &UpdateStateRequest) -> bool {
    let desired = update.new_state.as_ref().and_then(|state| state.desired_state.as_ref());
    let workloads = desired.and_then(|state| state.workloads.as_ref());
    let configs = desired.and_then(|state| state.configs.as_ref());
    update.update_mask.iter().any(|mask| {
        let is_set = match mask.split('.').collect::<Vec<_>>()[..] {
            ["desiredState", "workloads", name] => {
                workloads.is_some_and(|map| map.workloads.contains_key(name))
            }
            ["desiredState", "configs", name] => {
                configs.is_some_and(|map| map.configs.contains_key(name))
            }
            _ => false,
        };
        !is_set
    })
}

fn encode(request_id: String, content: RequestContent) -> Bytes {
    let request = Request { request_id, request_content: Some(content) };
    codec::encode(&ToAnkaios { to_ankaios_enum: Some(ToAnkaiosEnum::Request(request)) })
}

/// The answers to a request for events or logs. Dropping it cancels the request.
#[derive(Debug)]
pub(super) struct RawStream {
    client: Client,
    number: u64,
    request_id: String,
    cancel: RequestContent,
    deadline: Instant,
    consumer: Consumer,
}

impl RawStream {
    /// Waits for the first answer, at most until the request timeout.
    pub(super) async fn first(&mut self) -> Result<ResponseContent, RequestError> {
        match timeout_at(self.deadline, self.consumer.next()).await {
            Ok(Item::Message(ResponseContent::Error(error))) => {
                Err(RequestError::from_message(error.message))
            }
            Ok(Item::Message(content)) if is_continuation(&content) => {
                Err(RequestError::Unavailable(
                    "the first answer to the subscription was lost; try again".into(),
                ))
            }
            Ok(Item::Message(content)) => Ok(content),
            Ok(Item::End(Some(error))) => Err(error),
            Ok(Item::Dropped(_)) => Err(RequestError::Unavailable(
                "too many large messages wait for the uplink; try again".into(),
            )),
            Ok(Item::End(None)) => Err(RequestError::Unavailable(
                "the session was lost a moment ago; try again".into(),
            )),
            Err(_) if self.client.pending.is_unanswered(self.number) => {
                Err(self.client.timed_out())
            }
            Err(_) => Err(RequestError::Unavailable(self.client.status.borrow().reason())),
        }
    }

    /// Waits for the next answer. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Item {
        self.consumer.next().await
    }

    /// A time before which the last answer did not arrive.
    pub(super) fn arrived(&self) -> Moment {
        self.consumer.arrived()
    }
}

impl Drop for RawStream {
    fn drop(&mut self) {
        let frame = encode(self.request_id.clone(), self.cancel.clone());
        self.client.pending.cancel(self.number, frame);
    }
}

/// Whether a message cannot be the first one of a stream. As the first one, an event would be
/// mistaken for the whole state.
fn is_continuation(content: &ResponseContent) -> bool {
    match content {
        ResponseContent::LogEntriesResponse(_) | ResponseContent::LogsStopResponse(_) => true,
        ResponseContent::CompleteStateResponse(response) => response.altered_fields.is_some(),
        _ => false,
    }
}

/// Converts the response to a request into its result.
type Decode<T> = fn(ResponseContent) -> Result<T, RequestError>;

/// A request that is queued or sent, and not yet answered. Dropping it drops the request, if it
/// is not sent yet, or its answer.
#[derive(Debug)]
pub struct Call<T> {
    client: Client,
    deadline: Instant,
    answer: oneshot::Receiver<Answer>,
    removal: RemoveOnDrop,
    decode: Decode<T>,
}

impl<T> Call<T> {
    /// Waits for the result, at most until the request timeout, which begins with the call.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn answer(self) -> Result<T, RequestError> {
        self.answer_with_permit().await.map(|(answer, _)| answer)
    }

    /// Waits for the result like [`Call::answer`], and returns its memory budget, too. An answer
    /// counts towards the limit for answers in use until its permit is dropped; [`Call::answer`]
    /// drops it at once.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn answer_with_permit(mut self) -> Result<(T, AnswerPermit), RequestError> {
        let answer = match timeout_at(self.deadline, &mut self.answer).await {
            Ok(answer) => answer,
            Err(_) => {
                let Client { pending, status, .. } = &self.client;
                let reason = status.borrow().reason();
                match pending.expire(self.removal.number, &reason) {
                    Expired::Unanswered => return Err(self.client.timed_out()),
                    Expired::Unavailable(error) => return Err(error),
                    Expired::Completed => self.answer.await,
                }
            }
        };
        let (content, permit) = answer.unwrap_or_else(|_| {
            Err(RequestError::Unavailable("the connector is stopping".into()))
        })?;
        match content {
            ResponseContent::Error(error) => Err(RequestError::from_message(error.message)),
            content => Ok(((self.decode)(content)?, permit)),
        }
    }
}

/// Removes a request from the pending ones when its caller is dropped.
#[derive(Debug)]
struct RemoveOnDrop {
    number: u64,
    pending: Arc<Pending>,
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        self.pending.remove(self.number);
    }
}
