//! A connector between a scripted broker and a simulated vehicle.

use rumqttc::v5::mqttbytes::v5::{Packet, Publish};

use super::connector::start_connector_at;
use super::scripted_broker::{Connection, ScriptedBroker};
use super::vehicle::Vehicle;
use super::{DEADLINE, Process};

/// A connector between a scripted broker and a simulated vehicle.
pub struct ScriptedScene {
    pub broker: ScriptedBroker,
    pub vehicle: Vehicle,
    pub connector: Process,
}

impl ScriptedScene {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    pub async fn with(settings: &[(&str, &str)]) -> Self {
        let broker = ScriptedBroker::start().await;
        let vehicle = Vehicle::start().await;
        let connector = start_connector_at(broker.port(), vehicle.control_interface(), settings);
        connector.line("the link to Ankaios is up").await;
        vehicle.wait_for_guard(settings).await;
        Self { broker, vehicle, connector }
    }

    /// Lets the connector serve a request that Ankaios receives, but does not answer until its
    /// server is up again.
    pub async fn hold_request(&self, connection: &mut Connection, pkid: u16, number: u32) {
        self.vehicle.set_server_down(true);
        let requests = self.vehicle.request_count();
        connection.request(pkid, false, number).await;
        self.vehicle.wait_for_requests(requests + 1, DEADLINE).await.unwrap();
    }
}

/// The next published message, acknowledged.
pub async fn take_publish(connection: &mut Connection) -> Publish {
    loop {
        if let Packet::Publish(publish) = connection.read().await {
            connection.puback(publish.pkid).await;
            return publish;
        }
    }
}

/// The next reply, acknowledged.
pub async fn take_reply(connection: &mut Connection) -> Publish {
    let reply = connection.reply().await;
    connection.puback(reply.pkid).await;
    reply
}
