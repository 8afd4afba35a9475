//! An MQTT 5 client for what Mosquitto's command line clients cannot do: many
//! requests at once, and all properties.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::{DEADLINE, contract};

/// A connection to a broker.
pub struct Client {
    client: AsyncClient,
    messages: mpsc::Receiver<Publish>,
    _polling: AbortOnDropHandle<()>,
}

impl Client {
    /// Connects, and subscribes to `filter` with QoS 1; the broker has acknowledged both on
    /// return.
    pub async fn connect(port: u16, filter: &str) -> Self {
        Self::log_in(port, None, filter).await
    }

    /// Like [`connect`](Self::connect), with a user name and a password.
    pub async fn log_in(port: u16, login: Option<(&str, &str)>, filter: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let id = format!("test-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut options = MqttOptions::new(id, "127.0.0.1", port);
        options.set_max_packet_size(Some(64 * 1024 * 1024));
        options.set_keep_alive(Duration::from_secs(60));
        if let Some((user, password)) = login {
            options.set_credentials(user, password);
        }
        let (client, mut events) = AsyncClient::new(options, 100);
        client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        let (sender, messages) = mpsc::channel(10_000);
        let (ready, mut subscribed) = mpsc::channel(1);
        let polling = tokio::spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        if sender.send(publish).await.is_err() {
                            return;
                        }
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => drop(ready.try_send(())),
                    Ok(_) => {}
                    // The test restarts the broker.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        });
        timeout(DEADLINE, subscribed.recv()).await.unwrap().unwrap();
        Self { client, messages, _polling: AbortOnDropHandle::new(polling) }
    }

    /// Publishes with QoS 1.
    pub async fn publish(&self, topic: &str, payload: impl Into<Bytes>) {
        self.publish_with(topic, payload, PublishProperties::default()).await;
    }

    /// Publishes a retained message with QoS 1.
    pub async fn retain(&self, topic: &str, payload: impl Into<Bytes>) {
        let payload = payload.into();
        contract::published(topic, &payload);
        self.client.publish(topic, QoS::AtLeastOnce, true, payload).await.unwrap();
    }

    /// Publishes with QoS 1 and properties.
    pub async fn publish_with(
        &self,
        topic: &str,
        payload: impl Into<Bytes>,
        properties: PublishProperties,
    ) {
        let qos = QoS::AtLeastOnce;
        let payload = payload.into();
        contract::published(topic, &payload);
        self.client.publish_with_properties(topic, qos, false, payload, properties).await.unwrap();
    }

    /// Publishes a request with `number` as its correlation data; see [`number`].
    pub async fn request(&self, topic: &str, payload: impl Into<Bytes>, reply: &str, number: u32) {
        let properties = PublishProperties {
            response_topic: Some(reply.to_owned()),
            correlation_data: Some(Bytes::copy_from_slice(&number.to_be_bytes())),
            ..PublishProperties::default()
        };
        self.publish_with(topic, payload, properties).await;
    }

    /// The next message.
    pub async fn next(&mut self) -> Publish {
        self.next_within(DEADLINE).await.unwrap_or_else(|| panic!("no message within {DEADLINE:?}"))
    }

    /// The next message, if one arrives in time. It must have the shape of the contract.
    pub async fn next_within(&mut self, limit: Duration) -> Option<Publish> {
        let publish = timeout(limit, self.messages.recv()).await.ok().flatten()?;
        check(&publish);
        Some(publish)
    }
}

/// Checks that a message has the shape of the contract.
pub fn check(publish: &Publish) {
    let topic = String::from_utf8_lossy(&publish.topic);
    let has_user_properties = publish
        .properties
        .as_ref()
        .is_some_and(|properties| !properties.user_properties.is_empty());
    contract::received(&topic, &publish.payload, has_user_properties);
}

/// The number in the correlation data of a reply.
pub fn number(reply: &Publish) -> Option<u32> {
    let data = reply.properties.as_ref()?.correlation_data.as_ref()?;
    Some(u32::from_be_bytes(data.as_ref().try_into().ok()?))
}
