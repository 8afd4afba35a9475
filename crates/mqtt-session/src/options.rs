//! How to reach the broker, and what the session asks of it.

use std::time::Duration;

use crate::broker_address::BrokerAddress;
use crate::brokers::Brokers;
use crate::dial::address_book::AddressBook;
use crate::dial::proxy::ProxyChoice;
use crate::dial::transport::Transport;
use crate::login::Login;
use crate::tls::Tls;

/// The settings of a session. The name after each description is that of the environment
/// variable that messages of this crate refer to.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// The addresses of the broker: `MQTT_BROKER_ADDR` and `MQTT_BROKER_PORT`; and the proxy that
    /// leads to each: `HTTPS_PROXY` and `NO_PROXY`.
    pub brokers: Brokers,
    /// What carries MQTT: `MQTT_TRANSPORT` and `MQTT_WEBSOCKET_PATH`.
    pub transport: Transport,
    /// What is known about addresses. Shared by all connections with clones of these options.
    pub addresses: AddressBook,
    /// TLS; `None` for a plain connection: `MQTT_TLS`.
    pub tls: Option<Tls>,
    /// User name and password; `None` if the broker needs none: `MQTT_USERNAME` and
    /// `MQTT_PASSWORD_FILE`.
    pub login: Option<Login>,
    /// *Client Identifier*; the session at the broker belongs to it: `MQTT_CLIENT_ID`.
    pub client_id: String,
    /// *Session Expiry Interval*: how long the broker keeps the session without a
    /// connection: `MQTT_SESSION_EXPIRY`.
    pub session_expiry: Duration,
    /// *Will Delay Interval*: how long the broker waits before it publishes the last will, unless
    /// the session is resumed before: `MQTT_WILL_DELAY`.
    pub will_delay: Duration,
    /// Over how long the clients of a broker that was lost come back: `MQTT_RECONNECT_SPREAD`.
    pub reconnect_spread: Duration,
    /// *Keep Alive*: a broker that is silent for so long is given up. At least 5 s:
    /// `MQTT_KEEP_ALIVE`.
    pub keep_alive: Duration,
    /// How long what is in progress may take when the session is stopped.
    pub drain_timeout: Duration,
    /// The largest payload that the application accepts, in bytes. Messages up to four times
    /// as large are still received, so that the application can answer them with an error.
    pub max_payload: usize,
    /// The topic below which the client publishes and subscribes. Only messages for people
    /// name it.
    pub base_topic: String,
    /// *Content Type* of everything that is published.
    pub content_type: &'static str,
    /// Names of the user properties that the application reads. Others are not kept.
    pub user_properties: &'static [&'static str],
}

impl SessionOptions {
    /// The address of the broker that is used, or is to be used next.
    #[must_use]
    pub fn broker(&self) -> &BrokerAddress {
        &self.brokers.current().address
    }

    /// The proxy that leads to [`broker`](Self::broker).
    #[must_use]
    pub fn proxy(&self) -> &ProxyChoice {
        &self.brokers.current().proxy
    }
}

#[cfg(test)]
impl SessionOptions {
    /// Options for tests that make no connection.
    pub(crate) fn for_tests() -> Self {
        Self {
            brokers: BrokerAddress::from_settings("localhost", None, 1883)
                .expect("it is valid")
                .into(),
            transport: Transport::Tcp,
            addresses: AddressBook::default(),
            tls: None,
            login: None,
            client_id: "fleet-connector-1".into(),
            session_expiry: Duration::from_hours(24),
            will_delay: Duration::ZERO,
            reconnect_spread: Duration::ZERO,
            keep_alive: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(4),
            max_payload: 1024,
            base_topic: "vehicle/1".into(),
            content_type: "application/json",
            user_properties: &["request-id", "force"],
        }
    }
}
