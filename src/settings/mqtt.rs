//! The settings of the connection to the MQTT broker.

use std::time::Duration;

use clap::Args;
use fleet_contract::topics::is_vin;
use mqtt_session::{BrokerArgs, BrokerSettings};
use service_kit::settings::Check;

/// How long the last will is delayed if it is not set: longer than a tunnel or a handover of the
/// radio network interrupts the connection.
const WILL_DELAY: Duration = Duration::from_secs(5);

/// Over how long the connectors of a fleet come back to a broker that was lost, if it is not set.
const RECONNECT_SPREAD: Duration = Duration::from_secs(1);

/// The settings of the connection to the broker as text.
#[derive(Debug, Args)]
pub(super) struct MqttArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    /// Client identifier of the session, unique per broker [default: fleet-connector-<VIN>]
    #[arg(long, env, value_name = "ID", hide_env_values = true)]
    mqtt_client_id: Option<String>,
    /// How long the broker keeps requests while the vehicle is offline
    #[arg(long, env, value_name = "DURATION", default_value = "24h", hide_env_values = true)]
    mqtt_session_expiry: String,
    /// How long the broker waits before it publishes that the connector is offline [default: 5s,
    /// with REPLICA_ID or several addresses 0s]
    #[arg(long, env, value_name = "DURATION", hide_env_values = true)]
    mqtt_will_delay: Option<String>,
    /// After a lost connection, wait for a random part of this time: so a fleet does not come back
    /// all at once. About one second for 500 vehicles [default: 1s, with REPLICA_ID 0s]
    #[arg(long, env, value_name = "DURATION", hide_env_values = true)]
    mqtt_reconnect_spread: Option<String>,
    /// MQTT keep-alive: the connection is closed if the broker sends nothing for this time
    #[arg(long, env, value_name = "DURATION", default_value = "30s", hide_env_values = true)]
    mqtt_keep_alive: String,
    /// Name of this replica if several connectors run for the vehicle, one of which is active
    #[arg(long, env, value_name = "NAME", hide_env_values = true)]
    replica_id: Option<String>,
}

/// The checked settings of the session.
pub(super) struct MqttSettings {
    pub(super) broker: BrokerSettings,
    pub(super) client_id: String,
    pub(super) session_expiry: Duration,
    pub(super) will_delay: Duration,
    pub(super) reconnect_spread: Duration,
    pub(super) keep_alive: Duration,
    pub(super) replica: Option<String>,
}

impl MqttArgs {
    /// Checks the settings, and the files that they name.
    pub(super) fn check(self, vin: &str, check: &mut Check) -> Option<MqttSettings> {
        let broker = self.broker.check(check);
        let client_id = match self.mqtt_client_id {
            Some(id) if id.is_empty() || id.len() > 256 || id.contains('\0') => {
                check.mistake("MQTT_CLIENT_ID", "it must have 1 to 256 characters");
                None
            }
            Some(id) => Some(id),
            None => Some(format!("fleet-connector-{vin}")),
        };
        let session_expiry = check.duration("MQTT_SESSION_EXPIRY", &self.mqtt_session_expiry);
        let keep_alive = check.duration_within(
            "MQTT_KEEP_ALIVE",
            &self.mqtt_keep_alive,
            Duration::from_secs(5)..=Duration::from_secs(u16::MAX.into()),
        );
        let replica = self.replica_id.filter(|id| !id.is_empty());
        if let Some(id) = replica.as_ref().filter(|id| !is_vin(id)) {
            check.mistake(
                "REPLICA_ID",
                format!("{id:?} is not a valid name; use 1 to 64 of A-Z, a-z, 0-9, _ and -"),
            );
        }
        let spread = self.mqtt_reconnect_spread.as_deref().filter(|spread| !spread.is_empty());
        let reconnect_spread = match spread {
            // A standby takes over sooner than a wait would end.
            None if replica.is_some() => Some(Duration::ZERO),
            None => Some(RECONNECT_SPREAD),
            Some(text) => {
                let hour = Duration::from_hours(1);
                check.duration_within("MQTT_RECONNECT_SPREAD", text, Duration::ZERO..=hour)
            }
        };
        let will_delay = self.mqtt_will_delay.as_deref().filter(|delay| !delay.is_empty());
        let will_delay = match will_delay {
            None if replica.is_some() => Some(Duration::ZERO),
            // RabbitMQ keeps a delayed last will on one node, and lets its client connect again only
            // when it can delete it: not as long as this node is down.
            None if broker.as_ref().is_some_and(|broker| broker.brokers.are_several()) => {
                Some(Duration::ZERO)
            }
            None => Some(WILL_DELAY),
            Some(text) => check.duration("MQTT_WILL_DELAY", text),
        };
        if replica.is_some() && will_delay.is_some_and(|delay| !delay.is_zero()) {
            check.mistake(
                "MQTT_WILL_DELAY",
                "with REPLICA_ID it must be 0s: a standby takes over when it receives the last will",
            );
        }
        Some(MqttSettings {
            broker: broker?,
            client_id: client_id?,
            session_expiry: session_expiry?,
            will_delay: will_delay?,
            reconnect_spread: reconnect_spread?,
            keep_alive: keep_alive?,
            replica,
        })
    }
}
