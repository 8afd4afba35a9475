//! Subscriptions to changes of the state.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::buffer::Item;
use super::client::{Client, RequestError, Stream, name};
use super::event_streams::Registration;
use super::status::LinkStatus;
use crate::proto::ank_base::request::RequestContent;
use crate::proto::ank_base::response::ResponseContent;
use crate::proto::ank_base::{
    CompleteState, CompleteStateRequest, CompleteStateResponse, EventsCancelRequest,
};

pub use super::event_streams::EventStreams;
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
    /// The subscription stands, and so does the link that it came over.
    pub subscribed: bool,
    /// When the last event has come.
    pub last_event: Option<SystemTime>,
    /// When the subscription was made again for the last time.
    pub last_resync: Option<SystemTime>,
    /// How often making it again, or a listener, has failed.
    pub failures: u64,
    /// Why it could not be made again the last time; `None` once it was.
    pub reason: Option<String>,
}

/// The health of a subscription that runs elsewhere.
#[derive(Debug, Clone)]
pub struct HealthHandle {
    health: Arc<Mutex<Health>>,
    link: watch::Receiver<LinkStatus>,
}

impl HealthHandle {
    fn new(client: &Client) -> Self {
        Self { health: Arc::default(), link: client.link_status() }
    }

    /// The health at this moment.
    #[must_use]
    pub fn get(&self) -> Health {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // The end of a session shows in the subscription only with the next one.
        health.subscribed &= *self.link.borrow() == LinkStatus::Connected;
        health
    }

    /// Waits until the link is connected, if it is not. Otherwise never returns.
    async fn link_is_back(&self) {
        let mut link = self.link.clone();
        if *link.borrow_and_update() == LinkStatus::Connected
            || link.wait_for(|link| *link == LinkStatus::Connected).await.is_err()
        {
            std::future::pending().await
        }
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Health)) {
        change(&mut self.health.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A subscription that has been handed over. See [`Client::subscribe`].
#[derive(Debug)]
pub struct Subscribing {
    events: EventStream,
    stream: Stream,
}

impl Subscribing {
    /// Waits for the state at this moment; the events that follow come from the
    /// stream.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn answer(self) -> Result<(CompleteState, EventStream), RequestError> {
        let Self { mut events, mut stream } = self;
        let state = snapshot(&mut stream).await?;
        events.stage = Stage::Standing(stream);
        events.health.change(|health| health.subscribed = true);
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
        Ok(Subscribing { events: self.events(field_masks), stream })
    }

    /// The same for those who can wait: the stream subscribes when it is asked
    /// for its first event, as often as it takes. That event holds the whole
    /// state and is marked as `resynced`.
    #[must_use]
    pub fn events(&self, field_masks: Vec<String>) -> EventStream {
        let health = HealthHandle::new(self);
        EventStream {
            client: self.clone(),
            stage: Stage::Due(Instant::now()),
            retry_after: RETRY.0,
            registration: self.event_streams().add(field_masks, health.clone()),
            health,
        }
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
    stage: Stage,
    retry_after: Duration,
    health: HealthHandle,
    registration: Registration,
}

/// How far the subscription has come.
#[derive(Debug)]
enum Stage {
    /// It must be made, but not before this time.
    Due(Instant),
    /// It has been handed over; its answer is awaited.
    Opening(Stream),
    Standing(Stream),
}

impl EventStream {
    /// The next event. Cancelling the future loses none, and no subscription that
    /// is being made: the next call goes on with it.
    ///
    /// # Errors
    /// The subscription was lost and could not be made again this time. The
    /// stream tries again when it is asked for the next event.
    pub async fn next(&mut self) -> Result<Event, RequestError> {
        loop {
            let stream = match &mut self.stage {
                Stage::Due(due) => {
                    // There is nothing to wait for once the link is back.
                    let _ = timeout_at(*due, self.health.link_is_back()).await;
                    match open(&self.client, self.registration.field_masks()).await {
                        Ok(stream) => self.stage = Stage::Opening(stream),
                        Err(error) => return Err(self.failed(error)),
                    }
                    continue;
                }
                Stage::Opening(stream) => match snapshot(stream).await {
                    Ok(state) => return Ok(self.resynced(state)),
                    Err(error) => return Err(self.failed(error)),
                },
                Stage::Standing(stream) => stream,
            };
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
        self.stage = Stage::Due(Instant::now());
        self.health.change(|health| health.subscribed = false);
    }

    fn failed(&mut self, error: RequestError) -> RequestError {
        self.stage = Stage::Due(Instant::now() + self.retry_after);
        self.retry_after = (self.retry_after * 2).min(RETRY.1);
        self.health.change(|health| {
            health.failures += 1;
            health.reason = Some(error.to_string());
        });
        self.client.event_streams().failed();
        error
    }

    fn resynced(&mut self, state: CompleteState) -> Event {
        let opened = std::mem::replace(&mut self.stage, Stage::Due(Instant::now()));
        if let Stage::Opening(stream) = opened {
            self.stage = Stage::Standing(stream);
        }
        self.retry_after = RETRY.0;
        let now = SystemTime::now();
        self.health.change(|health| {
            health.subscribed = true;
            health.last_event = Some(now);
            health.last_resync = Some(now);
            health.reason = None;
        });
        self.client.event_streams().resynced();
        let complete_state = Some(state);
        let response = CompleteStateResponse { complete_state, altered_fields: None };
        Event { response, resynced: true }
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
