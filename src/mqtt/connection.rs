//! One connection to the broker, from CONNECT to its end.

use std::pin::Pin;
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet, PingReq};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::connect::{CONNECTION_TIMEOUT, Options, Stream};
use super::connection_error::ConnectionError;
use super::liveness::Liveness;
use super::metrics::Metrics;
use super::network::Network;
use super::piggyback::Piggyback;
use super::unsent::MAX_PACKET;

/// Messages that are sent without an acknowledgement, unless the broker's own
/// Receive Maximum is less.
const MAX_UNACKNOWLEDGED: u16 = 100;

/// What belongs to one connection only.
pub(super) struct Connection {
    pub(super) network: Network<Stream>,
    liveness: Liveness,
    /// When to look after `liveness`, at the latest.
    pub(super) look: Pin<Box<Sleep>>,
    /// What waits for being sent together with something else.
    pub(super) piggyback: Piggyback,
    /// Largest packet that the broker takes.
    pub(super) max_packet: usize,
    /// Messages that the broker takes without acknowledging them.
    pub(super) max_unacknowledged: u16,
    /// How many acknowledgements were sent before the ping that is to be answered.
    pub(super) pinged_after: Option<u64>,
    /// Since when session and subscriptions stand.
    pub(super) ready: Option<Instant>,
}

impl Connection {
    /// Opens a connection by `connect`. Says also whether the broker still had the
    /// session.
    pub(super) async fn open(
        options: &Options,
        connect: Packet,
        metrics: &Metrics,
    ) -> Result<(Self, bool), ConnectionError> {
        let opening = async {
            let stream = options.open().await?;
            Ok(Network::open(stream, connect, options.max_packet(), metrics.clone()).await?)
        };
        let opened = timeout(CONNECTION_TIMEOUT, opening).await;
        let (network, connack) = opened.unwrap_or(Err(ConnectionError::Timeout))?;
        Ok((Self::new(options, network, &connack), connack.session_present))
    }

    fn new(options: &Options, network: Network<Stream>, connack: &ConnAck) -> Self {
        let properties = connack.properties.as_ref();
        let keep_alive = properties.and_then(|properties| properties.server_keep_alive);
        // A broker that turns it off (0) or sets it long must not keep a dead line unnoticed.
        let own = options.keep_alive();
        let keep_alive = keep_alive.filter(|seconds| *seconds > 0).map_or(own, |max| max.min(own));
        let keep_alive = Duration::from_secs(keep_alive.into());
        let max_packet = properties.and_then(|properties| properties.max_packet_size);
        let max_packet = max_packet.and_then(|max| usize::try_from(max).ok());
        let receive_maximum = properties.and_then(|properties| properties.receive_max);
        Self {
            network,
            liveness: Liveness::new(keep_alive),
            look: Box::pin(sleep_until(Instant::now())),
            piggyback: Piggyback::new(),
            max_packet: max_packet.unwrap_or(MAX_PACKET).min(MAX_PACKET),
            max_unacknowledged: receive_maximum.unwrap_or(u16::MAX).clamp(1, MAX_UNACKNOWLEDGED),
            pinged_after: None,
            ready: None,
        }
    }

    /// Pings the broker, or gives it up, if it is time. `under_way` is the size
    /// of what was sent and not acknowledged, in bytes; `acknowledgements` were sent so far.
    pub(super) fn look(
        &mut self,
        under_way: usize,
        acknowledgements: u64,
    ) -> Result<(), ConnectionError> {
        let signs = self.network.signs();
        let now = Instant::now();
        let give_up_at = self.liveness.give_up_at(signs, under_way);
        if give_up_at <= now {
            return Err(ConnectionError::Silent);
        }
        let mut next = now + self.liveness.ping_interval();
        match self.liveness.ping_at(signs) {
            Some(ping_at) if ping_at <= now => {
                self.network.put(Packet::PingReq(PingReq))?;
                self.pinged_after.get_or_insert(acknowledgements);
                self.liveness.pinged();
            }
            ping_at => next = ping_at.unwrap_or(next),
        }
        self.look.as_mut().reset(next.min(give_up_at));
        Ok(())
    }
}
