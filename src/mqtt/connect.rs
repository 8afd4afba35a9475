//! The options of a connection.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::NetworkOptions;
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::LastWill;

use super::liveness::SEND_BUFFER;

/// Requests that the broker may send without an acknowledgement (MQTT 5,
/// 3.1.2.11.3).
pub(super) const RECEIVE_MAXIMUM: u16 = 64;

/// Replies that may be sent without an acknowledgement. The client library
/// reserves memory for each.
const MAX_UNACKNOWLEDGED: u16 = 100;

/// Requests up to this many times the allowed size get an error as their reply;
/// larger packets are kept away by the broker (MQTT 5, 3.1.2.11.4).
const OVERSIZE: usize = 4;

/// Room for topic and properties of a packet, in bytes.
const PACKET_OVERHEAD: usize = 64 * 1024;

/// How long to wait for the broker to accept a connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// How to reach the broker.
#[derive(Debug, Clone)]
pub struct Options {
    /// Host name or address of the broker.
    pub host: String,
    /// Port of the broker.
    pub port: u16,
    /// Client identifier; the session belongs to it.
    pub client_id: String,
    /// How long the broker keeps the session without a connection.
    pub session_expiry: Duration,
    /// A broker that is silent for so long is given up. At least 5 s.
    pub keep_alive: Duration,
    /// Largest payload of a request, in bytes.
    pub max_payload: usize,
}

impl Options {
    /// The largest packet that the broker may send, in bytes.
    pub(super) fn max_packet(&self) -> usize {
        self.max_payload.saturating_mul(OVERSIZE).saturating_add(PACKET_OVERHEAD)
    }

    /// The options of one connection, with its last will.
    pub(super) fn connection(&self, will_topic: &str, will: Bytes) -> MqttOptions {
        let mut options = MqttOptions::new(&self.client_id, &self.host, self.port);
        let mut network = NetworkOptions::new();
        // Without it, every reply waits for the broker's delayed ACK of the one before.
        network.set_tcp_nodelay(true);
        // What the kernel holds looks as if it were sent; see `liveness`.
        network.set_tcp_send_buffer_size(SEND_BUFFER as u32);
        options
            .set_network_options(network)
            .set_connection_timeout(CONNECTION_TIMEOUT.as_secs())
            .set_keep_alive(self.keep_alive)
            .set_clean_start(false)
            .set_session_expiry_interval(Some(seconds(self.session_expiry)))
            .set_receive_maximum(Some(RECEIVE_MAXIMUM))
            .set_max_packet_size(Some(u32::try_from(self.max_packet()).unwrap_or(u32::MAX)))
            .set_outgoing_inflight_upper_limit(MAX_UNACKNOWLEDGED)
            .set_manual_acks(true)
            .set_last_will(LastWill::new(will_topic, will, QoS::AtLeastOnce, true, None));
        options
    }
}

/// MQTT counts in seconds; the largest value means for ever.
pub(super) fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
