//! Subscriptions to changes of the state, which subscribe again after a restart of Ankaios.

use std::time::{Duration, SystemTime};

use ankaios_model::proto::ank_base::request::RequestContent;
use ankaios_model::proto::ank_base::response::ResponseContent;
use ankaios_model::proto::ank_base::{
    CompleteState, CompleteStateRequest, CompleteStateResponse, EventsCancelRequest,
};
use service_kit::backoff::Backoff;
use tokio::time::{Instant, timeout_at};

use super::buffer::Item;
use super::client::{Client, RawStream};
use super::error::RequestError;
use super::event_streams::Registration;
use super::response;
use super::stream_health::StreamHealthHandle;

/// The first and the longest wait after a failed attempt to subscribe again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A change of the state.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The message of Ankaios: the changed parts of the state, and the paths of the fields that
    /// were added, updated and removed. After a gap: the whole state of the field masks, and no
    /// paths.
    pub response: CompleteStateResponse,
    /// There was a gap before this event: the stream has subscribed again.
    pub resynced: bool,
}

/// A subscription that is queued or sent, and not yet answered. See [`Client::subscribe`].
/// Dropping it cancels the subscription.
#[derive(Debug)]
pub struct SubscribeCall {
    events: EventStream,
    stream: RawStream,
}

impl SubscribeCall {
    /// Waits for the answer, at most until the request timeout: the present state of the field
    /// masks. The stream delivers all changes of that state.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn answer(self) -> Result<(CompleteState, EventStream), RequestError> {
        let Self { mut events, mut stream } = self;
        let state = snapshot(&mut stream).await?;
        events.stage = SubscriptionStage::Subscribed(stream);
        events.health.update(|health| health.subscribed = true);
        Ok((state, events))
    }
}

impl Client {
    /// Subscribes to changes of parts of the state: field masks as for [`Client::state`]. No mask
    /// means everything.
    ///
    /// Like all requests, this is sent in the order of the calls;
    /// [`SubscribeCall::answer`] waits for the answer.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn subscribe(&self, field_masks: Vec<String>) -> Result<SubscribeCall, RequestError> {
        let stream = open(self, &field_masks).await?;
        Ok(SubscribeCall { events: self.events(field_masks), stream })
    }

    /// Returns a stream of events that subscribes with the first call of
    /// [`EventStream::next`]. So it can be made while there is no link. The first event
    /// contains the whole state of the field masks and is marked as `resynced`.
    #[must_use]
    pub fn events(&self, field_masks: Vec<String>) -> EventStream {
        let health = StreamHealthHandle::new(self.link_status());
        EventStream {
            client: self.clone(),
            stage: SubscriptionStage::Due(Instant::now()),
            retry: Backoff::new(RETRY.0, RETRY.1),
            registration: self.event_streams().add(field_masks, health.clone()),
            health,
        }
    }
}

/// Events, in order. Dropping it cancels the subscription.
///
/// Ankaios forgets subscriptions when its agent or its server restarts. The stream then
/// subscribes again by itself, and so it does if it was read so slowly that events were dropped.
/// In both cases the next event contains the whole state of the field masks and is marked as
/// `resynced`.
#[derive(Debug)]
pub struct EventStream {
    client: Client,
    stage: SubscriptionStage,
    retry: Backoff,
    health: StreamHealthHandle,
    registration: Registration,
}

/// The stage of a subscription.
#[derive(Debug)]
enum SubscriptionStage {
    /// To be requested, but not before this time.
    Due(Instant),
    /// Requested, and not yet answered.
    Requested(RawStream),
    Subscribed(RawStream),
}

impl EventStream {
    /// Waits for the next event. Dropping the future loses none, and a request to subscribe that
    /// is under way is continued by the next call.
    ///
    /// # Errors
    /// An attempt to subscribe again has failed. The next call makes another attempt, after a
    /// wait of 100 ms to 5 s, which ends early when the link is restored.
    pub async fn next(&mut self) -> Result<Event, RequestError> {
        loop {
            let stream = match &mut self.stage {
                SubscriptionStage::Due(due) => {
                    // A timeout is the usual case; otherwise the attempt comes early.
                    let _ = timeout_at(*due, self.health.link_restored()).await;
                    self.client.room().await;
                    match open(&self.client, self.registration.field_masks()).await {
                        Ok(stream) => self.stage = SubscriptionStage::Requested(stream),
                        Err(error) => return Err(self.failed(error)),
                    }
                    continue;
                }
                SubscriptionStage::Requested(stream) => match snapshot(stream).await {
                    Ok(state) => return Ok(self.resynced(state)),
                    Err(error) => return Err(self.failed(error)),
                },
                SubscriptionStage::Subscribed(stream) => stream,
            };
            match stream.next().await {
                Item::Message(ResponseContent::CompleteStateResponse(response)) => {
                    self.health.update(|health| health.last_event = Some(SystemTime::now()));
                    let resynced = response.altered_fields.is_none();
                    return Ok(Event { response, resynced });
                }
                Item::Message(ResponseContent::EventsCancelAccepted(_)) => {}
                Item::Message(other) => {
                    tracing::warn!(
                        content = response::name(&other),
                        "an event of an unknown kind is skipped"
                    );
                }
                Item::Dropped(events) => {
                    tracing::warn!(
                        events,
                        "events arrive faster than they are processed; subscribing again"
                    );
                    self.lost();
                }
                Item::End(_) => self.lost(),
            }
        }
    }

    /// A handle that reads the health of this stream while it is used elsewhere.
    #[must_use]
    pub fn health(&self) -> StreamHealthHandle {
        self.health.clone()
    }

    fn lost(&mut self) {
        self.stage = SubscriptionStage::Due(Instant::now());
        self.health.update(|health| health.subscribed = false);
    }

    fn failed(&mut self, error: RequestError) -> RequestError {
        self.stage = SubscriptionStage::Due(Instant::now() + self.retry.next_wait());
        self.health.update(|health| {
            health.failures += 1;
            health.reason = Some(error.to_string());
        });
        self.client.event_streams().count_failure();
        error
    }

    fn resynced(&mut self, state: CompleteState) -> Event {
        let opened = std::mem::replace(&mut self.stage, SubscriptionStage::Due(Instant::now()));
        if let SubscriptionStage::Requested(stream) = opened {
            self.stage = SubscriptionStage::Subscribed(stream);
        }
        self.retry.reset();
        let now = SystemTime::now();
        self.health.update(|health| {
            health.subscribed = true;
            health.last_event = Some(now);
            health.last_resync = Some(now);
            health.reason = None;
        });
        self.client.event_streams().count_resync();
        let complete_state = Some(state);
        let response = CompleteStateResponse { complete_state, altered_fields: None };
        Event { response, resynced: true }
    }
}

async fn open(client: &Client, field_masks: &[String]) -> Result<RawStream, RequestError> {
    let request =
        CompleteStateRequest { field_mask: field_masks.to_vec(), subscribe_for_events: true };
    client
        .open_stream(
            RequestContent::CompleteStateRequest(request),
            RequestContent::EventsCancelRequest(EventsCancelRequest {}),
        )
        .await
}

/// Waits for the answer to a subscription: the present state of its masks.
async fn snapshot(stream: &mut RawStream) -> Result<CompleteState, RequestError> {
    response::complete_state(stream.first().await?)
}
