//! Subscriptions to events: what is asked for, and the events as MQTT messages.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::id::SubscriptionId;
use super::lifetime::Lifetime;
use super::publisher::Publisher;
use super::record::Record;
use super::subscription::{InvalidField, Outlet, Subscription};
use crate::ankaios::Client;
use crate::ankaios::events::{
    Event, EventListener, EventStream, Failure, ListenerError, Listeners,
};
use crate::json;
use crate::schema::has_empty_part;
use crate::topics::StreamKind;

/// Field masks of one subscription, which Ankaios checks for every change.
const MAX_MASKS: usize = 100;

/// Bytes of all of them.
const MAX_MASKS_SIZE: usize = 16 * 1024;

/// A subscription to events as it comes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsRequest {
    #[serde(default)]
    id: Option<SubscriptionId>,
    field_masks: Vec<String>,
    #[serde(default)]
    ttl: Lifetime,
}

impl EventsRequest {
    /// What an array of field masks stands for.
    #[must_use]
    pub fn of_masks(field_masks: Vec<String>) -> Self {
        Self { id: None, field_masks, ttl: Lifetime::default() }
    }
}

/// A valid subscription to events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "EventsRequest")]
pub struct EventsSubscription {
    id: SubscriptionId,
    field_masks: Vec<String>,
    ttl: Lifetime,
}

impl TryFrom<EventsRequest> for EventsSubscription {
    type Error = InvalidField;

    fn try_from(request: EventsRequest) -> Result<Self, InvalidField> {
        let EventsRequest { id, field_masks, ttl } = request;
        let invalid = |reason: String| Err(InvalidField::new("field_masks", reason));
        if field_masks.is_empty() {
            return invalid("there is none; name the parts whose changes you want".into());
        }
        let (count, size) = (field_masks.len(), field_masks.iter().map(String::len).sum::<usize>());
        if count > MAX_MASKS || size > MAX_MASKS_SIZE {
            return invalid(format!(
                "{count} of {size} bytes together; allowed are {MAX_MASKS} of {MAX_MASKS_SIZE} bytes"
            ));
        }
        if let Some(mask) = field_masks.iter().find(|mask| has_empty_part(mask)) {
            return invalid(format!("the mask {mask:?} has an empty part"));
        }
        Ok(Self { id: id.unwrap_or_else(SubscriptionId::made_up), field_masks, ttl })
    }
}

impl EventsSubscription {
    /// The parts of the state whose changes are wanted.
    #[must_use]
    pub fn field_masks(&self) -> &[String] {
        &self.field_masks
    }
}

impl Subscription for EventsSubscription {
    const KIND: StreamKind = StreamKind::Events;

    const REPLY_HAS_ALL: bool = true;

    type Source = EventStream;

    fn id(&self) -> &SubscriptionId {
        &self.id
    }

    fn ttl(&self) -> Lifetime {
        self.ttl
    }

    fn resume_at(&self) -> Option<String> {
        None
    }

    fn source_again(record: &Record<Self>, ankaios: &Client) -> EventStream {
        ankaios.events(record.subscription.field_masks.clone())
    }

    fn publish(
        _record: Record<Self>,
        events: EventStream,
        Outlet { topic, publisher, .. }: Outlet,
    ) -> impl Future<Output = ()> + Send + 'static {
        Listeners::new().with(Forwarder { topic, publisher }).run(events)
    }
}

/// Publishes each event on the topic of its subscription.
#[derive(Debug)]
struct Forwarder {
    topic: String,
    publisher: Publisher,
}

#[async_trait]
impl EventListener for Forwarder {
    async fn event(&mut self, event: &Event) -> Result<(), Failure> {
        if event.resynced {
            self.publisher.send(&self.topic, &json::resynced_event(&event.response)).await?;
        } else {
            self.publisher.send(&self.topic, &json::event(&event.response)).await?;
        }
        Ok(())
    }

    async fn error(&mut self, error: &ListenerError) {
        tracing::warn!(topic = self.topic, %error, "an event subscription is interrupted");
    }
}
