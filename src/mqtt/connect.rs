//! How a connection is opened: socket and CONNECT packet.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Connect, ConnectProperties, LastWill, Packet};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::liveness::SEND_BUFFER;
use super::login::{Login, PasswordError};
use super::request::MAX_RECORD;
use super::tls::Tls;

/// Requests that the broker may send without an acknowledgement (MQTT 5,
/// 3.1.2.11.3).
pub(super) const RECEIVE_MAXIMUM: u16 = 64;

/// Requests up to this many times the allowed size get an error as their reply;
/// larger packets are kept away by the broker (MQTT 5, 3.1.2.11.4).
const OVERSIZE: usize = 4;

/// Room for topic and properties of a packet, in bytes.
const PACKET_OVERHEAD: usize = 64 * 1024;

/// How long to wait for the broker to accept a connection, and at the end for it
/// to take DISCONNECT.
pub(super) const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// What packets go over.
pub(super) type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// How to reach the broker.
#[derive(Debug, Clone)]
pub struct Options {
    /// Host name or address of the broker.
    pub host: String,
    /// Port of the broker.
    pub port: u16,
    /// How the connection is protected; `None` if it is not.
    pub tls: Option<Tls>,
    /// How the connector logs in; `None` if the broker needs no login.
    pub login: Option<Login>,
    /// Client identifier; the session belongs to it.
    pub client_id: String,
    /// How long the broker keeps the session without a connection.
    pub session_expiry: Duration,
    /// A broker that is silent for so long is given up. At least 5 s.
    pub keep_alive: Duration,
    /// Largest payload of a request, in bytes.
    pub max_payload: usize,
    /// The name of this one of several connectors for the vehicle; `None` if it is
    /// the only one.
    pub replica: Option<String>,
}

impl Options {
    /// The largest packet that the broker may send, in bytes.
    pub(super) fn max_packet(&self) -> u32 {
        let max_payload = self.max_payload.max(MAX_RECORD);
        let max_packet = max_payload.saturating_mul(OVERSIZE).saturating_add(PACKET_OVERHEAD);
        u32::try_from(max_packet).unwrap_or(u32::MAX)
    }

    /// The keep-alive time that is proposed to the broker, in seconds.
    pub(super) fn keep_alive(&self) -> u16 {
        u16::try_from(self.keep_alive.as_secs()).unwrap_or(u16::MAX)
    }

    /// The client identifier of the connection by which a standby replica watches.
    pub(super) fn standby_id(&self, replica: &str) -> String {
        format!("{}-standby-{replica}", self.client_id)
    }

    /// The CONNECT packet of a connection that only watches: nothing of it remains
    /// when it ends.
    ///
    /// # Errors
    /// The password cannot be read.
    pub(super) fn watching_packet(&self, client_id: String) -> Result<Packet, PasswordError> {
        let connect = Connect {
            keep_alive: self.keep_alive(),
            client_id,
            clean_start: true,
            properties: Some(ConnectProperties {
                session_expiry_interval: Some(0),
                receive_maximum: Some(RECEIVE_MAXIMUM),
                max_packet_size: Some(self.max_packet()),
                ..ConnectProperties::new()
            }),
        };
        let login = self.login.as_ref().map(Login::packet).transpose()?;
        Ok(Packet::Connect(connect, None, login))
    }

    /// The CONNECT packet of one connection, with its last will.
    ///
    /// # Errors
    /// The password cannot be read.
    pub(super) fn packet(&self, will_topic: &str, will: Bytes) -> Result<Packet, PasswordError> {
        let connect = Connect {
            keep_alive: self.keep_alive(),
            client_id: self.client_id.clone(),
            clean_start: false,
            properties: Some(ConnectProperties {
                session_expiry_interval: Some(seconds(self.session_expiry)),
                receive_maximum: Some(RECEIVE_MAXIMUM),
                max_packet_size: Some(self.max_packet()),
                ..ConnectProperties::new()
            }),
        };
        let will = LastWill::new(will_topic, will, QoS::AtLeastOnce, true, None);
        let login = self.login.as_ref().map(Login::packet).transpose()?;
        Ok(Packet::Connect(connect, Some(will), login))
    }

    /// Connects to the broker, with TLS if that is wanted.
    pub(super) async fn open(&self) -> io::Result<Stream> {
        let stream = self.dial().await?;
        Ok(match &self.tls {
            None => Either::Left(stream),
            Some(tls) => Either::Right(tls.connect(&self.host, stream).await?),
        })
    }

    /// Connects to the first address of the broker that answers.
    async fn dial(&self) -> io::Result<TcpStream> {
        let mut outcome = Err(io::Error::new(io::ErrorKind::NotFound, "its name has no address"));
        for address in lookup_host((self.host.as_str(), self.port)).await? {
            outcome = dial(address).await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }
}

async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Without it, every reply waits for the broker's delayed ACK of the one before.
    socket.set_nodelay(true)?;
    // What the kernel holds looks as if it were sent; see `liveness`.
    socket.set_send_buffer_size(SEND_BUFFER as u32)?;
    socket.connect(address).await
}

/// MQTT counts in seconds; the largest value means for ever.
pub(super) fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
