//! Subscriptions to changes of the state.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until};

use super::buffer::Item;
use super::client::{Client, RequestError, Stream, name};
use crate::proto::ank_base::request::RequestContent;
use crate::proto::ank_base::response::ResponseContent;
use crate::proto::ank_base::{
    CompleteState, CompleteStateRequest, CompleteStateResponse, EventsCancelRequest,
};

pub use super::listener::{Change, EventListener, Failure, ListenerError, Listeners, Listening};

/// The first and the longest wait before a subscription that has failed is made
/// again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What has changed on the vehicle.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// As Ankaios has sent it: the changed parts of the state, and the paths of
    /// the fields that were added, updated and removed. After a gap: the whole
    /// state of the field masks, and no paths.
    pub response: CompleteStateResponse,
    /// There was a gap: the subscription had to be made again.
    pub resynced: bool,
}

/// How a subscription has fared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// The subscription stands.
    pub subscribed: bool,
    /// When the last event has come.
    pub last_event: Option<SystemTime>,
    /// When the subscription was made again for the last time.
    pub last_resync: Option<SystemTime>,
    /// How often making it again, or a listener, has failed.
    pub failures: u64,
}

/// The health of a subscription that runs elsewhere.
#[derive(Debug, Clone, Default)]
pub struct HealthHandle(Arc<Mutex<Health>>);

impl HealthHandle {
    /// The health at this moment.
    #[must_use]
    pub fn get(&self) -> Health {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Health)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A subscription that has been handed over. See [`Client::subscribe`].
#[derive(Debug)]
pub struct Subscribing {
    client: Client,
    field_masks: Vec<String>,
    stream: Stream,
}

impl Subscribing {
    /// Waits for the state at this moment; the events that follow come from the
    /// stream.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn answer(mut self) -> Result<(CompleteState, EventStream), RequestError> {
        let state = snapshot(&mut self.stream).await?;
        let health = HealthHandle::default();
        health.change(|health| health.subscribed = true);
        let events = EventStream {
            client: self.client,
            field_masks: self.field_masks,
            stream: Some(self.stream),
            retry_at: Instant::now(),
            retry_after: RETRY.0,
            health,
        };
        Ok((state, events))
    }
}

impl Client {
    /// Subscribes to changes of the parts of the state that the field masks
    /// name. Handed over in the order of the calls, like all requests.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn subscribe(&self, field_masks: Vec<String>) -> Result<Subscribing, RequestError> {
        let stream = open(self, &field_masks).await?;
        Ok(Subscribing { client: self.clone(), field_masks, stream })
    }
}

/// Events, in order. Dropping it ends the subscription.
///
/// A subscription ends with the session that it was made in: with every restart
/// of Ankaios' agent or server. The stream then makes it again by itself, as it
/// does if its consumer was so slow that events had to be thrown away. In both
/// cases the next event holds the whole state and is marked as `resynced`.
#[derive(Debug)]
pub struct EventStream {
    client: Client,
    field_masks: Vec<String>,
    /// `None` while it has to be made again.
    stream: Option<Stream>,
    retry_at: Instant,
    retry_after: Duration,
    health: HealthHandle,
}

impl EventStream {
    /// The next event. Cancelling the future loses none.
    ///
    /// # Errors
    /// The subscription was lost and could not be made again this time. The
    /// stream tries again when it is asked for the next event.
    pub async fn next(&mut self) -> Result<Event, RequestError> {
        loop {
            let Some(stream) = &mut self.stream else { return self.resubscribe().await };
            match stream.next().await {
                Item::Message(ResponseContent::CompleteStateResponse(response)) => {
                    self.health.change(|health| health.last_event = Some(SystemTime::now()));
                    let resynced = response.altered_fields.is_none();
                    return Ok(Event { response, resynced });
                }
                Item::Message(ResponseContent::EventsCancelAccepted(_)) => {}
                Item::Message(other) => {
                    tracing::warn!(
                        content = name(&other),
                        "an event of an unknown kind is skipped"
                    );
                }
                Item::Dropped(events) => {
                    tracing::warn!(events, "events come faster than they are taken; starting anew");
                    self.lost();
                }
                Item::End(_) => self.lost(),
            }
        }
    }

    /// The health of this subscription, to be read from elsewhere.
    #[must_use]
    pub fn health(&self) -> HealthHandle {
        self.health.clone()
    }

    fn lost(&mut self) {
        self.stream = None;
        self.health.change(|health| health.subscribed = false);
    }

    async fn resubscribe(&mut self) -> Result<Event, RequestError> {
        sleep_until(self.retry_at).await;
        match self.try_resubscribe().await {
            Ok((state, stream)) => {
                self.stream = Some(stream);
                self.retry_after = RETRY.0;
                let now = SystemTime::now();
                self.health.change(|health| {
                    health.subscribed = true;
                    health.last_event = Some(now);
                    health.last_resync = Some(now);
                });
                let complete_state = Some(state);
                let response = CompleteStateResponse { complete_state, altered_fields: None };
                Ok(Event { response, resynced: true })
            }
            Err(error) => {
                self.retry_at = Instant::now() + self.retry_after;
                self.retry_after = (self.retry_after * 2).min(RETRY.1);
                self.health.change(|health| health.failures += 1);
                Err(error)
            }
        }
    }

    async fn try_resubscribe(&self) -> Result<(CompleteState, Stream), RequestError> {
        let mut stream = open(&self.client, &self.field_masks).await?;
        let state = snapshot(&mut stream).await?;
        Ok((state, stream))
    }
}

async fn open(client: &Client, field_masks: &[String]) -> Result<Stream, RequestError> {
    let request =
        CompleteStateRequest { field_mask: field_masks.to_vec(), subscribe_for_events: true };
    client
        .open(
            RequestContent::CompleteStateRequest(request),
            RequestContent::EventsCancelRequest(EventsCancelRequest {}),
        )
        .await
}

/// The answer to a subscription is the state of its masks.
async fn snapshot(stream: &mut Stream) -> Result<CompleteState, RequestError> {
    match stream.first().await? {
        ResponseContent::CompleteStateResponse(response) => {
            Ok(response.complete_state.unwrap_or_default())
        }
        other => Err(RequestError::Unexpected(name(&other))),
    }
}
