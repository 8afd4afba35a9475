//! One connection to the broker, from CONNECT to its end.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::{
    ConnAckProperties, Disconnect, DisconnectReasonCode, Packet, PingReq,
};
use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};

use crate::connect;
use crate::connection_error::ConnectionError;
use crate::dial::address_book::AddressBook;
use crate::dial::{self, Dialed, Line};
use crate::incoming_packet::ConnAck;
use crate::keep_alive::KeepAlive;
use crate::lane::MAX_UNACKNOWLEDGED;
use crate::metrics::SessionMetrics;
use crate::network::Network;
use crate::options::SessionOptions;
use crate::piggyback::Piggyback;
use crate::refused_subscriptions::RefusedSubscriptions;
use crate::tls::Tls;
use crate::unsent::MAX_PACKET;

/// How long the broker has at least to answer CONNECT, however long connecting took.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long DISCONNECT may take. Without it nothing is lost.
const DISCONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// The state of one connection. Packet identifiers and acknowledgements of one connection
/// cannot reach the next one, because it has a network of its own.
pub(crate) struct Connection {
    pub(crate) network: Network<Line>,
    keep_alive: KeepAlive,
    /// When to call [`Connection::check`], at the latest.
    pub(crate) next_check: Pin<Box<Sleep>>,
    /// The timer of delayed acknowledgements.
    pub(crate) piggyback: Piggyback,
    /// The largest packet that the broker accepts, in bytes.
    pub(crate) max_packet: usize,
    /// How many messages may be sent without an acknowledgement.
    pub(crate) max_unacknowledged: u16,
    /// How many acknowledgements were sent before the ping that waits for its answer.
    pub(crate) acknowledged_before_ping: Option<u64>,
    /// When the subscriptions were granted.
    pub(crate) ready: Option<Instant>,
    /// The subscriptions that the broker has refused, and when to ask for them again.
    pub(crate) refused: RefusedSubscriptions,
    /// What the broker has said in CONNACK.
    pub(crate) properties: Option<ConnAckProperties>,
    address: SocketAddr,
    addresses: AddressBook,
}

impl Connection {
    /// Opens a connection with the CONNECT `packet`. Also returns whether the broker still has
    /// the session (*Session Present*).
    pub(crate) async fn open(
        options: &SessionOptions,
        packet: Packet,
        metrics: &SessionMetrics,
    ) -> Result<(Self, bool), ConnectionError> {
        let Dialed { line, address, give_up_at } = dial::open(options).await?;
        options.addresses.used(address);
        let client_certificate = options.tls.as_ref().and_then(Tls::client_certificate_end);
        metrics.client_certificate_ends(client_certificate);
        let heard = line.heard();
        let max_packet = connect::max_packet(options);
        let opening = Network::open(line, packet, max_packet, metrics.clone());
        let give_up_at = give_up_at.max(Instant::now() + ANSWER_TIMEOUT);
        let opened = timeout_at(give_up_at, opening).await;
        let (mut network, connack) = opened.map_err(|_| ConnectionError::Timeout)??;
        network.hear_by(heard);
        Ok((Self::new(options, address, network, &connack), connack.session_present))
    }

    fn new(
        options: &SessionOptions,
        address: SocketAddr,
        network: Network<Line>,
        connack: &ConnAck,
    ) -> Self {
        let properties = connack.properties.as_ref();
        let keep_alive = properties.and_then(|properties| properties.server_keep_alive);
        // A dead line must be noticed even if the broker turns keep-alive off (0) or sets it long.
        let own = connect::keep_alive(options);
        let keep_alive = keep_alive.filter(|seconds| *seconds > 0).map_or(own, |max| max.min(own));
        let keep_alive = Duration::from_secs(keep_alive.into());
        let max_packet = properties.and_then(|properties| properties.max_packet_size);
        let max_packet = max_packet.and_then(|max| usize::try_from(max).ok());
        let receive_maximum = properties.and_then(|properties| properties.receive_max);
        Self {
            network,
            keep_alive: KeepAlive::new(keep_alive),
            next_check: Box::pin(sleep_until(Instant::now())),
            piggyback: Piggyback::new(),
            max_packet: max_packet.unwrap_or(MAX_PACKET).min(MAX_PACKET),
            max_unacknowledged: receive_maximum.unwrap_or(u16::MAX).clamp(1, MAX_UNACKNOWLEDGED),
            acknowledged_before_ping: None,
            ready: None,
            refused: RefusedSubscriptions::default(),
            properties: connack.properties.clone(),
            address,
            addresses: options.addresses.clone(),
        }
    }

    /// The subscriptions are granted: the broker at this address works.
    pub(crate) fn granted(&mut self, now: Instant) {
        self.ready = Some(now);
        self.addresses.proved(self.address);
    }

    /// Ends a connection that has nothing to lose.
    pub(crate) async fn close(mut self) {
        let disconnect = Disconnect::new(DisconnectReasonCode::NormalDisconnection);
        let sent = async {
            self.network.put(Packet::Disconnect(disconnect))?;
            self.network.flush().await
        };
        match timeout(DISCONNECT_TIMEOUT, sent).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "DISCONNECT cannot be sent"),
            Err(_) => tracing::debug!("DISCONNECT cannot be sent: the broker reads nothing"),
        }
    }

    /// Pings the broker, or gives it up, if it is time. `unacknowledged` is the size of the
    /// payloads that were sent and not acknowledged, in bytes; `acknowledgements` were sent so
    /// far.
    pub(crate) fn check(
        &mut self,
        unacknowledged: usize,
        acknowledgements: u64,
    ) -> Result<(), ConnectionError> {
        let give_up_at = self.keep_alive.give_up_at(self.network.activity(), unacknowledged);
        self.check_until(give_up_at, acknowledgements)
    }

    /// The same for a connection whose user sees to acknowledgements. The broker may be silent for so
    /// much longer than usual.
    pub(crate) fn check_patiently(&mut self, patience: Duration) -> Result<(), ConnectionError> {
        let give_up_at = self.keep_alive.give_up_at(self.network.activity(), 0) + patience;
        self.check_until(give_up_at, 0)
    }

    fn check_until(
        &mut self,
        give_up_at: Instant,
        acknowledgements: u64,
    ) -> Result<(), ConnectionError> {
        let activity = self.network.activity();
        let now = Instant::now();
        if give_up_at <= now {
            return Err(ConnectionError::Silent);
        }
        let mut next = now + self.keep_alive.ping_interval();
        match self.keep_alive.ping_at(activity) {
            Some(ping_at) if ping_at <= now => {
                self.network.put(Packet::PingReq(PingReq))?;
                self.acknowledged_before_ping.get_or_insert(acknowledgements);
                self.keep_alive.pinged();
            }
            ping_at => next = ping_at.unwrap_or(next),
        }
        self.next_check.as_mut().reset(next.min(give_up_at));
        Ok(())
    }
}
