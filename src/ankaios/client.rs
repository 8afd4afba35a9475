//! Requests to Ankaios as typed calls.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::codec;
use super::link::LinkStatus;
use super::pending::{Answer, Pending};
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
        "Ankaios denies this request; allow it in the controlInterfaceAccess of the connector's \
         own workload"
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
    queue: mpsc::Sender<u64>,
    status: watch::Receiver<LinkStatus>,
    timeout: Duration,
}

impl Client {
    pub(super) fn new(
        pending: Arc<Pending>,
        queue: mpsc::Sender<u64>,
        status: watch::Receiver<LinkStatus>,
        timeout: Duration,
    ) -> Self {
        Self { pending, queue, status, timeout }
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

    /// Waits only for a place in the queue.
    async fn send<T>(&self, content: RequestContent) -> Result<Call<T>, RequestError> {
        if let LinkStatus::Closed { reason } = &*self.status.borrow() {
            return Err(RequestError::Unavailable(reason.clone()));
        }
        let (number, request_id) = self.pending.next_id();
        let request = Request { request_id, request_content: Some(content) };
        let message = ToAnkaios { to_ankaios_enum: Some(ToAnkaiosEnum::Request(request)) };
        let call = Call {
            deadline: Instant::now() + self.timeout,
            timeout: self.timeout,
            answer: self.pending.add(number, codec::encode(&message)),
            removal: Removal { number, pending: Arc::clone(&self.pending) },
            pending: Arc::clone(&self.pending),
            status: self.status.clone(),
            result: PhantomData,
        };
        match timeout_at(call.deadline, self.queue.send(number)).await {
            Ok(Ok(())) => Ok(call),
            Ok(Err(_)) => Err(RequestError::Unavailable("the connector is stopping".into())),
            Err(_) => Err(RequestError::Unavailable(
                "Ankaios does not take the requests that are waiting already".into(),
            )),
        }
    }
}

/// A request that has been handed over. Dropping it gives the request up.
#[derive(Debug)]
pub struct Call<T> {
    deadline: Instant,
    timeout: Duration,
    answer: oneshot::Receiver<Answer>,
    pending: Arc<Pending>,
    status: watch::Receiver<LinkStatus>,
    removal: Removal,
    result: PhantomData<fn() -> T>,
}

impl<T: FromContent> Call<T> {
    /// Waits for the result, at most until the request's timeout.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn answer(self) -> Result<T, RequestError> {
        let content = match timeout_at(self.deadline, self.answer).await {
            Ok(Ok(answer)) => answer?,
            Ok(Err(_)) => {
                return Err(RequestError::Unavailable("the connector is stopping".into()));
            }
            Err(_) if self.pending.remove(self.removal.number) => {
                self.pending.set_overdue();
                return Err(RequestError::Timeout(self.timeout));
            }
            Err(_) => return Err(RequestError::Unavailable(self.status.borrow().reason())),
        };
        match content {
            ResponseContent::Error(error) if error.message == "Access denied" => {
                Err(RequestError::AccessDenied)
            }
            ResponseContent::Error(error) => Err(RequestError::Rejected(error.message)),
            content => T::from_content(content),
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

fn name(content: &ResponseContent) -> &'static str {
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
