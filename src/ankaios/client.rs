//! Requests to Ankaios as typed calls.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::buffer::{Budget, Consumer, Item, buffer};
use super::codec;
use super::event_streams::EventStreams;
use super::held::Held;
use super::metrics::Metrics;
use super::pending::{Answer, Expired, Kind, Pending};
use super::status::LinkStatus;
use crate::proto::ank_base::request::RequestContent;
use crate::proto::ank_base::response::ResponseContent;
use crate::proto::ank_base::{
    CompleteState, CompleteStateRequest, Request, UpdateStateRequest, UpdateStateSuccess,
};
use crate::proto::control_api::ToAnkaios;
use crate::proto::control_api::to_ankaios::ToAnkaiosEnum;

/// Why a request has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The access rules of this workload do not allow the request.
    #[error(
        "Ankaios denies this request by the controlInterfaceAccess of the connector's own \
         workload: no allow rule covers it, or a deny rule catches it"
    )]
    AccessDenied,
    /// Ankaios has refused the request. These are its own words.
    #[error("{0}")]
    Rejected(String),
    /// Ankaios has got the request and has not answered in time.
    #[error(
        "Ankaios has not answered within {}; its server may be down or restarting",
        humantime::format_duration(*.0)
    )]
    Timeout(Duration),
    /// There is no link to Ankaios, and why.
    #[error("no link to Ankaios: {0}")]
    Unavailable(String),
    /// The request does not fit into the pipe to Ankaios.
    #[error(
        "the request to Ankaios has {size} bytes, but the pipe to it holds {capacity}; send it in \
         parts"
    )]
    TooLarge {
        /// Size of the frame in bytes.
        size: usize,
        /// Size of the pipe in bytes.
        capacity: usize,
    },
    /// An update without masks would replace the whole state of the vehicle.
    #[error("an update without masks would replace the whole state of the vehicle")]
    NoMask,
    /// Ankaios has answered something that does not belong to the request.
    #[error("Ankaios has answered with {0}, which does not belong to this request")]
    Unexpected(&'static str),
}

/// Sends requests to Ankaios. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    pending: Arc<Pending>,
    status: watch::Receiver<LinkStatus>,
    timeout: Duration,
    budget: Budget,
    event_streams: EventStreams,
}

impl Client {
    pub(super) fn new(
        pending: Arc<Pending>,
        status: watch::Receiver<LinkStatus>,
        timeout: Duration,
        metrics: Metrics,
    ) -> Self {
        let event_streams = EventStreams::new(metrics.clone());
        Self { pending, status, timeout, budget: Budget::new(metrics), event_streams }
    }

    /// Asks for the parts of the state that the field masks name: paths with
    /// dots, `*` for any one element. No mask means everything.
    ///
    /// Like all requests it is handed over in the order of the calls; the
    /// result is awaited apart, by [`Call::answer`].
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn state(
        &self,
        field_mask: Vec<String>,
    ) -> Result<Call<CompleteState>, RequestError> {
        let request = CompleteStateRequest { field_mask, subscribe_for_events: false };
        self.send(RequestContent::CompleteStateRequest(request)).await
    }

    /// Changes the parts of the state that the update masks name.
    ///
    /// # Errors
    /// See [`RequestError`]; [`RequestError::NoMask`] without masks.
    pub async fn update(
        &self,
        update: UpdateStateRequest,
    ) -> Result<Call<UpdateStateSuccess>, RequestError> {
        if update.update_mask.is_empty() {
            return Err(RequestError::NoMask);
        }
        self.send(RequestContent::UpdateStateRequest(update)).await
    }

    /// Waits only if very many requests wait for being written.
    async fn send<T>(&self, content: RequestContent) -> Result<Call<T>, RequestError> {
        let deadline = Instant::now() + self.timeout;
        let place = self.place(deadline).await?;
        let kind = match &content {
            RequestContent::UpdateStateRequest(_) => Kind::Update,
            _ => Kind::Read,
        };
        let (number, request_id) = self.pending.next_id();
        let frame = encode(request_id, content);
        Ok(Call {
            client: self.clone(),
            deadline,
            answer: self.pending.add(number, frame, kind, place),
            removal: Removal { number, pending: Arc::clone(&self.pending) },
            result: PhantomData,
        })
    }

    /// Sends a request that has many answers; `cancel` ends them. Waits only if
    /// very many requests wait for being written.
    pub(super) async fn open(
        &self,
        content: RequestContent,
        cancel: RequestContent,
    ) -> Result<Stream, RequestError> {
        let deadline = Instant::now() + self.timeout;
        let place = self.place(deadline).await?;
        let (number, request_id) = self.pending.next_id();
        let (producer, consumer) = buffer(&self.budget);
        let frame = encode(request_id.clone(), content);
        self.pending.add_stream(number, frame, producer, place);
        Ok(Stream { client: self.clone(), number, request_id, cancel, deadline, consumer })
    }

    /// A request has gone unanswered past its timeout, and nothing has been answered
    /// since: Ankaios' server may be down.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        self.pending.is_overdue()
    }

    /// The event streams of this client and its clones.
    #[must_use]
    pub fn event_streams(&self) -> &EventStreams {
        &self.event_streams
    }

    /// The state of the link, to be watched.
    pub(super) fn link_status(&self) -> watch::Receiver<LinkStatus> {
        self.status.clone()
    }

    async fn place(&self, deadline: Instant) -> Result<Option<OwnedSemaphorePermit>, RequestError> {
        if let LinkStatus::Closed { reason } = &*self.status.borrow() {
            return Err(RequestError::Unavailable(reason.clone()));
        }
        timeout_at(deadline, self.pending.place())
            .await
            .map_err(|_| RequestError::Unavailable(self.status.borrow().reason()))
    }

    /// Ankaios has got a request, and its time is over.
    fn overdue(&self) -> RequestError {
        self.pending.set_overdue();
        RequestError::Timeout(self.timeout)
    }
}

fn encode(request_id: String, content: RequestContent) -> Bytes {
    let request = Request { request_id, request_content: Some(content) };
    codec::encode(&ToAnkaios { to_ankaios_enum: Some(ToAnkaiosEnum::Request(request)) })
}

/// Many answers to one request: events or logs. Dropping it cancels them.
#[derive(Debug)]
pub(super) struct Stream {
    client: Client,
    number: u64,
    request_id: String,
    cancel: RequestContent,
    deadline: Instant,
    consumer: Consumer,
}

impl Stream {
    /// The first answer, within the timeout of requests.
    pub(super) async fn first(&mut self) -> Result<ResponseContent, RequestError> {
        match timeout_at(self.deadline, self.consumer.next()).await {
            Ok(Item::Message(ResponseContent::Error(error))) => Err(refusal(error.message)),
            Ok(Item::Message(content)) if is_later(&content) => Err(RequestError::Unavailable(
                "the first answer to the subscription was lost; try again".into(),
            )),
            Ok(Item::Message(content)) => Ok(content),
            Ok(Item::End(Some(error))) => Err(error),
            Ok(Item::Dropped(_)) => Err(RequestError::Unavailable(
                "too many large messages wait for the uplink; try again".into(),
            )),
            Ok(Item::End(None)) => Err(RequestError::Unavailable(
                "the session was lost a moment ago; try again".into(),
            )),
            Err(_) if self.client.pending.is_unanswered(self.number) => Err(self.client.overdue()),
            Err(_) => Err(RequestError::Unavailable(self.client.status.borrow().reason())),
        }
    }

    /// The next answer. Cancelling the future loses nothing.
    pub(super) async fn next(&mut self) -> Item {
        self.consumer.next().await
    }

    /// When the last answer had come.
    pub(super) fn arrived(&self) -> SystemTime {
        self.consumer.arrived()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let frame = encode(self.request_id.clone(), self.cancel.clone());
        self.client.pending.cancel(self.number, frame);
    }
}

/// Whether an answer is one that only comes after the first one of a stream.
/// Taken for the first, an event would pass for the whole state.
fn is_later(content: &ResponseContent) -> bool {
    match content {
        ResponseContent::LogEntriesResponse(_) | ResponseContent::LogsStopResponse(_) => true,
        ResponseContent::CompleteStateResponse(response) => response.altered_fields.is_some(),
        _ => false,
    }
}

fn refusal(message: String) -> RequestError {
    if message == "Access denied" {
        RequestError::AccessDenied
    } else {
        RequestError::Rejected(message)
    }
}

/// A request that has been handed over. Dropping it gives the request up.
#[derive(Debug)]
pub struct Call<T> {
    client: Client,
    deadline: Instant,
    answer: oneshot::Receiver<Answer>,
    removal: Removal,
    result: PhantomData<fn() -> T>,
}

impl<T: FromContent> Call<T> {
    /// Waits for the result, at most until the request's timeout.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn answer(self) -> Result<T, RequestError> {
        self.held_answer().await.map(|(answer, _)| answer)
    }

    /// As [`Call::answer`], with the share of the memory for answers that it takes
    /// until it has been worked on.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn held_answer(mut self) -> Result<(T, Held), RequestError> {
        let answer = match timeout_at(self.deadline, &mut self.answer).await {
            Ok(answer) => answer,
            Err(_) => {
                let Client { pending, status, .. } = &self.client;
                let reason = status.borrow().reason();
                match pending.expire(self.removal.number, &reason) {
                    Expired::Unanswered => return Err(self.client.overdue()),
                    Expired::Unavailable(error) => return Err(error),
                    Expired::Ended => self.answer.await,
                }
            }
        };
        let (content, held) = answer.unwrap_or_else(|_| {
            Err(RequestError::Unavailable("the connector is stopping".into()))
        })?;
        match content {
            ResponseContent::Error(error) => Err(refusal(error.message)),
            content => Ok((T::from_content(content)?, held)),
        }
    }
}

/// Takes a request out of the table when nobody waits for it any more.
#[derive(Debug)]
struct Removal {
    number: u64,
    pending: Arc<Pending>,
}

impl Drop for Removal {
    fn drop(&mut self) {
        self.pending.remove(self.number);
    }
}

/// The result of a request, taken out of its response.
pub trait FromContent: Sized {
    /// # Errors
    /// The response belongs to a request of another kind.
    fn from_content(content: ResponseContent) -> Result<Self, RequestError>;
}

impl FromContent for CompleteState {
    fn from_content(content: ResponseContent) -> Result<Self, RequestError> {
        match content {
            ResponseContent::CompleteStateResponse(response) => {
                Ok(response.complete_state.unwrap_or_default())
            }
            other => Err(RequestError::Unexpected(name(&other))),
        }
    }
}

impl FromContent for UpdateStateSuccess {
    fn from_content(content: ResponseContent) -> Result<Self, RequestError> {
        match content {
            ResponseContent::UpdateStateSuccess(success) => Ok(success),
            other => Err(RequestError::Unexpected(name(&other))),
        }
    }
}

/// The name of a response's kind, for messages.
pub(super) fn name(content: &ResponseContent) -> &'static str {
    match content {
        ResponseContent::Error(_) => "Error",
        ResponseContent::CompleteStateResponse(_) => "CompleteStateResponse",
        ResponseContent::UpdateStateSuccess(_) => "UpdateStateSuccess",
        ResponseContent::LogsRequestAccepted(_) => "LogsRequestAccepted",
        ResponseContent::LogEntriesResponse(_) => "LogEntriesResponse",
        ResponseContent::LogsStopResponse(_) => "LogsStopResponse",
        ResponseContent::LogsCancelAccepted(_) => "LogsCancelAccepted",
        ResponseContent::EventsCancelAccepted(_) => "EventsCancelAccepted",
    }
}
