//! Events of Ankaios as MQTT messages.

use async_trait::async_trait;

use super::publisher::Publisher;
use crate::ankaios::events::{Event, EventListener, Failure, ListenerError};
use crate::json;

/// Publishes each event on the topic of its subscription.
#[derive(Debug)]
pub(super) struct Forwarder {
    pub(super) topic: String,
    pub(super) publisher: Publisher,
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
