//! A broker, a simulated vehicle and a connector.

use std::path::Path;

use rumqttc::v5::mqttbytes::v5::Publish;
use serde_json::{Value, json};

use super::connector::{BASE, start_connector_binary};
use super::vehicle::Vehicle;
use super::{Broker, Client, Message, Process, start_connector};

/// Broker, connector and simulated Ankaios, connected.
pub struct Scene {
    pub broker: Broker,
    pub vehicle: Vehicle,
    pub connector: Process,
}

impl Scene {
    /// Starts everything and waits until requests are served, and until the guard has sent its own.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts everything; `settings` are environment variables of the connector.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        // The broker must queue a burst of requests without dropping any.
        let broker = Broker::with(&["persistence false", "max_queued_messages 0"]).await;
        Self::with_broker(broker, settings).await
    }

    /// Starts everything, with another program that runs the connector.
    pub async fn with_program(program: &Path, settings: &[(&str, &str)]) -> Self {
        let (broker, vehicle) = (Broker::start().await, Vehicle::start().await);
        let connector =
            start_connector_binary(program, broker.port(), vehicle.control_interface(), settings);
        wait_until_connected(&broker).await;
        Self { broker, vehicle, connector }
    }

    /// Starts everything except the broker.
    pub async fn with_broker(broker: Broker, settings: &[(&str, &str)]) -> Self {
        let vehicle = Vehicle::start().await;
        let connector = start_connector(&broker, vehicle.control_interface(), settings);
        wait_until_connected(&broker).await;
        vehicle.wait_for_guard(settings).await;
        Self { broker, vehicle, connector }
    }

    /// Replaces the connector with a new process.
    pub async fn restart_connector(&mut self, settings: &[(&str, &str)]) {
        self.connector = start_connector(&self.broker, self.vehicle.control_interface(), settings);
        wait_until_connected(&self.broker).await;
    }

    /// Sends a request by `mosquitto_rr` and returns the JSON of the reply.
    pub async fn request(&self, operation: &str, payload: impl AsRef<[u8]>) -> Value {
        self.reply(operation, payload, &[]).await.json()
    }

    /// Sends a request by `mosquitto_rr` with additional arguments.
    pub async fn reply(
        &self,
        operation: &str,
        payload: impl AsRef<[u8]>,
        options: &[&str],
    ) -> Message {
        self.broker.request(&format!("{BASE}/{operation}"), payload, options).await
    }

    /// A client that is subscribed to `filter`, relative to the topics of the vehicle.
    pub async fn client(&self, filter: &str) -> Client {
        Client::connect(self.broker.port(), &format!("{BASE}/{filter}")).await
    }
}

/// Waits until the connector announces that it is connected to the broker and to Ankaios.
async fn wait_until_connected(broker: &Broker) {
    let mut status = broker.subscribe(&format!("{BASE}/connector/status"), &[]).await;
    let connected = |status: &Value| {
        status["status"] == json!("online") && status["ankaios"] == json!("connected")
    };
    status.find("online and connected", |message| connected(&message.json())).await;
}

/// The payload of a message as JSON.
pub fn payload(message: &Publish) -> Value {
    serde_json::from_slice(&message.payload).unwrap()
}

/// The next message of a client that satisfies the condition, as JSON.
pub async fn find(client: &mut Client, condition: impl Fn(&Value) -> bool) -> Value {
    loop {
        let message = payload(&client.next().await);
        if condition(&message) {
            return message;
        }
    }
}

/// A manifest of one workload on `agent_A`.
pub fn workload(name: &str, image: &str) -> String {
    format!(
        "apiVersion: v1\nworkloads:\n  {name}:\n    runtime: podman\n    agent: agent_A\n    \
         runtimeConfig: 'image: {image}'\n"
    )
}
