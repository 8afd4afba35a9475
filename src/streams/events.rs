//! Event subscriptions: publishes events as MQTT messages.

use ankaios_control::{
    Client, Event, EventListener, EventStream, Failure, ListenerError, Listeners,
};
use ankaios_model::json;
use async_trait::async_trait;
use fleet_contract::requests::EventsRequest;

use super::expiry::Expiry;
use super::feed::{Feed, Outlet};
use super::publisher::Publisher;
use super::record::SubscriptionRecord;

impl Feed for EventsRequest {
    const REPLY_HAS_ALL: bool = true;

    type Source = EventStream;

    fn resume(record: &SubscriptionRecord<Self>, ankaios: &Client) -> EventStream {
        ankaios.events(record.spec.field_masks.clone())
    }

    fn publish(
        _record: SubscriptionRecord<Self>,
        _expiry: Expiry,
        events: EventStream,
        Outlet { topic, publisher, .. }: Outlet,
    ) -> impl Future<Output = ()> + Send + 'static {
        Listeners::new().with(EventPublisher { topic, publisher }).run(events)
    }
}

/// Publishes each event on the topic of its subscription.
#[derive(Debug)]
struct EventPublisher {
    topic: String,
    publisher: Publisher,
}

#[async_trait]
impl EventListener for EventPublisher {
    async fn event(&mut self, event: &Event) -> Result<(), Failure> {
        if event.resynced {
            self.publisher.send_next(&self.topic, &json::resynced_event(&event.response)).await?;
        } else {
            self.publisher.send_next(&self.topic, &json::event(&event.response)).await?;
        }
        Ok(())
    }

    async fn error(&mut self, error: &ListenerError) {
        tracing::warn!(topic = self.topic, %error, "an event subscription is interrupted");
    }
}
