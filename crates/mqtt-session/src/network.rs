//! Packets over a stream of bytes.
//!
//! Packets that were put are sent with as few system calls as possible, and large payloads
//! without a copy. Buffers that have grown are released.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use rumqttc::v5::mqttbytes;
use rumqttc::v5::mqttbytes::v5::Packet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::io::{poll_read_buf, poll_write_buf};

use crate::dial::Heard;
use crate::foreign::ForeignServer;
use crate::incoming_packet::{ConnAck, Decoder, Reason, Received};
use crate::keep_alive::LineActivity;
use crate::lane::MAX_SEND_BUFFER;
use crate::metrics::SessionMetrics;
use crate::reason_code::ReasonCode;
use crate::unsent::{KEEP_BUFFER, Unsent};

/// How much is read at once, unless a larger packet is expected, in bytes.
const READ_SIZE: usize = 16 * 1024;

/// Why a connection could not be made, or has ended.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// CONNACK with an error.
    #[error("the broker refuses the connection: {0}")]
    Refused(Reason),
    /// CONNACK in the form of MQTT 3.
    #[error("the broker does not speak MQTT 5: it answers in MQTT 3 with the code {}", .0.0)]
    Version3(ReasonCode),
    /// DISCONNECT.
    #[error("the broker ends the connection: {0}")]
    Disconnected(Reason),
    /// It is another server.
    #[error("{0}")]
    Foreign(#[from] ForeignServer),
    /// It is unknown where the next packet begins, or a packet to be sent is too large.
    #[error("the broker violates the protocol: {0}")]
    Packet(#[from] mqttbytes::Error),
    /// CONNECT was answered by another packet.
    #[error("the broker answers CONNECT with a packet other than CONNACK")]
    NoConnAck,
    /// The connection was closed without DISCONNECT.
    #[error("the broker has closed the connection")]
    Closed,
    /// TCP or TLS failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A connection that the broker has accepted, over any stream of bytes.
#[derive(Debug)]
pub(crate) struct Network<S> {
    stream: S,
    incoming: BytesMut,
    decoder: Decoder,
    outgoing: Unsent,
    /// The stream may still buffer what it has taken.
    unflushed: bool,
    /// The stream takes nothing more for now.
    is_blocked: bool,
    /// Why nothing more can be sent. It is reported once all received packets are handled.
    broken: Option<io::Error>,
    alive: Instant,
    sent: Instant,
    /// When bytes last arrived below the stream, if it holds back incomplete messages.
    heard: Option<Heard>,
    metrics: SessionMetrics,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Network<S> {
    /// Sends `connect` and waits for the answer. `max_incoming` is the largest
    /// packet that the broker may send, in bytes.
    pub(crate) async fn open(
        stream: S,
        connect: Packet,
        max_incoming: u32,
        metrics: SessionMetrics,
    ) -> Result<(Self, ConnAck), NetworkError> {
        let now = Instant::now();
        let mut network = Self {
            stream,
            incoming: BytesMut::new(),
            decoder: Decoder::new(max_incoming),
            outgoing: Unsent::default(),
            unflushed: false,
            is_blocked: false,
            broken: None,
            alive: now,
            sent: now,
            heard: None,
            metrics,
        };
        network.put(connect)?;
        let connack = network.connack().await?;
        if connack.is_version_3 {
            return Err(NetworkError::Version3(connack.reason.code));
        }
        if connack.reason.code != ReasonCode::SUCCESS {
            return Err(NetworkError::Refused(connack.reason));
        }
        Ok((network, connack))
    }

    /// Waits for CONNACK.
    async fn connack(&mut self) -> Result<ConnAck, NetworkError> {
        loop {
            // Bytes of another server may look like packets.
            if let Some(server) = ForeignServer::recognise(&self.incoming) {
                return Err(server.into());
            }
            match self.received()? {
                Some(Received::ConnAck(connack)) => return Ok(connack),
                Some(_) => return Err(NetworkError::NoConnAck),
                None => {}
            }
            if let Err(error) = self.exchange().await {
                let server = ForeignServer::of(&self.incoming).map(NetworkError::from);
                return Err(server.unwrap_or(error));
            }
        }
    }

    /// Takes what arrives below the stream as a sign that the line is alive.
    pub(crate) fn hear_by(&mut self, heard: Option<Heard>) {
        self.heard = heard;
    }

    /// Adds a packet to the send buffer. [`Network::next`] sends it.
    pub(crate) fn put(&mut self, packet: Packet) -> Result<(), NetworkError> {
        self.metrics.packet_sent();
        Ok(self.outgoing.put(packet)?)
    }

    /// Sends the packets that were put, and returns the next one that is received; `None` once
    /// there is room again after there was none. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Received>, NetworkError> {
        loop {
            if let Some(packet) = self.received()? {
                return Ok(Some(packet));
            }
            if !self.exchange().await? {
                return Ok(None);
            }
        }
    }

    /// Sends and receives. Returns whether something was received; otherwise there is room again
    /// after there was none. Cancel safe.
    async fn exchange(&mut self) -> Result<bool, NetworkError> {
        match poll_fn(|context| self.poll_exchange(context)).await? {
            Exchanged::Drained => Ok(false),
            Exchanged::Read(0) => Err(NetworkError::Closed),
            Exchanged::Read(bytes) => {
                self.alive = Instant::now();
                self.metrics.received(bytes);
                Ok(true)
            }
        }
    }

    /// The next packet that has been received as a whole.
    pub(crate) fn received(&mut self) -> Result<Option<Received>, NetworkError> {
        let before = self.incoming.len();
        match self.decoder.next(&mut self.incoming)? {
            Some(Received::Disconnect(reason)) => Err(NetworkError::Disconnected(reason)),
            Some(packet) => {
                self.metrics.packet_received();
                if before - self.incoming.len() > KEEP_BUFFER {
                    self.incoming = BytesMut::from(self.incoming.as_ref());
                }
                Ok(Some(packet))
            }
            None => {
                self.incoming.reserve(self.decoder.missing(&self.incoming).max(READ_SIZE));
                Ok(None)
            }
        }
    }

    /// Sends all packets that were put, and reads nothing.
    pub(crate) async fn flush(&mut self) -> Result<(), NetworkError> {
        Ok(poll_fn(|context| self.poll_send(context)).await?)
    }

    /// Whether more packets should be put. If not, [`Network::next`] tells when.
    pub(crate) fn has_room(&self) -> bool {
        self.outgoing.remaining() < MAX_SEND_BUFFER
    }

    /// Whether packets wait to be sent.
    pub(crate) fn has_unsent(&self) -> bool {
        self.unflushed || self.outgoing.has_remaining()
    }

    /// When bytes were last received and sent.
    pub(crate) fn activity(&self) -> LineActivity {
        let heard = self.heard.as_ref().map_or(self.alive, Heard::last);
        LineActivity {
            alive: self.alive.max(heard),
            sent: self.sent,
            is_blocked: self.has_unsent(),
        }
    }

    fn poll_exchange(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Exchanged>> {
        if self.broken.is_none() {
            let was_full = self.is_blocked || !self.has_room();
            match self.poll_send(context) {
                Poll::Ready(Ok(())) if was_full => return Poll::Ready(Ok(Exchanged::Drained)),
                Poll::Ready(Err(error)) => self.broken = Some(error),
                _ => {}
            }
        }
        let read = poll_read_buf(Pin::new(&mut self.stream), context, &mut self.incoming);
        match self.broken.take_if(|_| !matches!(read, Poll::Ready(Ok(1..)))) {
            // Only now: packets that were received before the connection broke are handled.
            Some(error) => Poll::Ready(Err(error)),
            None => read.map_ok(Exchanged::Read),
        }
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = self.poll_write(context);
        self.is_blocked = sent.is_pending();
        sent
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.outgoing.has_remaining() {
            let stream = Pin::new(&mut self.stream);
            let bytes = ready!(poll_write_buf(stream, context, &mut self.outgoing))?;
            self.metrics.sent(bytes);
            self.unflushed = true;
            self.written();
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.unflushed = false;
            self.written();
            self.outgoing.shrink();
        }
        Poll::Ready(Ok(()))
    }

    /// Records that the stream has taken something.
    fn written(&mut self) {
        self.sent = Instant::now();
        if self.is_blocked {
            self.alive = self.sent;
            self.is_blocked = false;
        }
    }
}

enum Exchanged {
    /// The number of bytes that were received.
    Read(usize),
    /// All is sent, after there was no room.
    Drained,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{Connect, PingReq, Publish};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{advance, timeout};

    use super::*;

    const MAX_INCOMING: u32 = 1_000_000;

    /// A connection whose stream buffers `size` bytes.
    async fn connected(size: usize) -> (Network<DuplexStream>, DuplexStream) {
        let (stream, mut broker) = duplex(size);
        broker.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
        let connect =
            Connect { keep_alive: 5, client_id: "1".into(), clean_start: false, properties: None };
        let connect = Packet::Connect(connect, None, None);
        let length = connect.size();
        let (network, _) =
            Network::open(stream, connect, MAX_INCOMING, SessionMetrics::default()).await.unwrap();
        broker.read_exact(&mut vec![0; length]).await.unwrap();
        (network, broker)
    }

    #[tokio::test]
    async fn only_a_connack_opens_a_connection() {
        for (answer, expected) in [
            (&[0x20, 3, 0, 0x87, 0][..], "the broker refuses the connection: NotAuthorized"),
            (&[0x40, 2, 0, 1], "the broker answers CONNECT with a packet other than CONNACK"),
            (&[0xe0, 2, 0x8b, 0], "the broker ends the connection: ServerShuttingDown "),
            (&[0xe0, 1, 0x8e], "the broker ends the connection: SessionTakenOver "),
            (&[0x20, 3, 0, 0xee, 0], "the broker refuses the connection: unknown reason (0xEE)"),
            (&[0x20, 2, 0, 1], "the broker does not speak MQTT 5: it answers in MQTT 3"),
            (&[0x20, 2, 0, 0], "the broker does not speak MQTT 5: it answers in MQTT 3"),
            (&[0x20, 2, 0, 0x84], "the broker refuses the connection: UnsupportedProtocolVersion"),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it is not an MQTT broker: it answers in HTTP"),
            (b"SSH-2.0-x\r\n", "it is not an MQTT broker but an SSH server"),
            (&[0x15, 3, 1, 0, 2, 2, 70], "it is not an MQTT broker without TLS"),
            (&[0x20, 9, 0], "it is not an MQTT broker: it answers with the bytes 20 09 00"),
            (&[0xff; 10], "the broker violates the protocol: Remaining length is malformed"),
            (&[], "the broker has closed the connection"),
        ] {
            let (stream, mut broker) = duplex(1000);
            broker.write_all(answer).await.unwrap();
            let _ = broker.shutdown().await;
            let ping = Packet::PingReq(PingReq);
            let opened = Network::open(stream, ping, MAX_INCOMING, SessionMetrics::default());
            let error = opened.await.unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[tokio::test]
    async fn packets_are_put_together_from_pieces_of_any_size() {
        let (mut network, mut broker) = connected(100_000).await;
        let mut bytes = BytesMut::new();
        let packets = [publish(3), publish(200), publish(20_000), publish(1)];
        packets.iter().for_each(|packet| assert!(packet.write(&mut bytes, None).is_ok()));
        for piece in bytes.chunks(977) {
            broker.write_all(piece).await.unwrap();
            let _ = timeout(
                Duration::from_millis(1),
                poll_fn(|context| {
                    let _ = network.poll_exchange(context);
                    Poll::<()>::Pending
                }),
            )
            .await;
        }
        for packet in packets {
            let Packet::Publish(packet) = packet else { unreachable!() };
            assert_eq!(network.next().await.unwrap(), Some(Received::Publish(packet)));
        }
    }

    #[tokio::test]
    async fn of_a_message_that_is_too_large_nothing_is_kept_and_the_next_one_is_read() {
        let (mut network, mut broker) = connected(1000).await;
        let mut bytes = BytesMut::new();
        publish(2_000_000).write(&mut bytes, None).unwrap();
        publish(1).write(&mut bytes, None).unwrap();
        let read = async {
            let first = network.next().await.unwrap();
            assert!(matches!(first, Some(Received::TooLarge { size: 2_000_000, .. })), "{first:?}");
            let second = network.next().await.unwrap();
            assert_eq!(second, Some(received(1)));
        };
        let ((), written) = tokio::join!(read, broker.write_all(&bytes));
        written.unwrap();
        assert!(network.incoming.capacity() <= 1_000_000);
    }

    #[tokio::test]
    async fn the_memory_of_a_large_packet_is_released() {
        let (mut network, mut broker) = connected(1_000_000).await;
        let mut bytes = BytesMut::new();
        publish(900_000).write(&mut bytes, None).unwrap();
        publish(1).write(&mut bytes, None).unwrap();
        broker.write_all(&bytes).await.unwrap();
        assert_eq!(network.next().await.unwrap(), Some(received(900_000)));
        assert!(network.incoming.capacity() <= KEEP_BUFFER);
        assert_eq!(network.next().await.unwrap(), Some(received(1)));
    }

    #[tokio::test]
    async fn packets_from_before_the_connection_broke_are_handled() {
        let (mut network, mut broker) = connected(1000).await;
        let mut bytes = BytesMut::new();
        publish(1).write(&mut bytes, None).unwrap();
        broker.write_all(&bytes).await.unwrap();
        drop(broker);
        network.put(Packet::PingReq(PingReq)).unwrap();
        assert_eq!(network.next().await.unwrap(), Some(received(1)));
        assert!(matches!(network.next().await, Err(NetworkError::Io(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn room_in_a_full_buffer_proves_that_the_line_is_alive_and_a_write_does_not() {
        let (mut network, mut broker) = connected(1000).await;
        let start = network.activity().alive;
        let wait = Duration::from_secs(1);
        advance(wait).await;
        network.put(Packet::PingReq(PingReq)).unwrap();
        assert!(timeout(wait, network.next()).await.is_err());
        assert!(network.activity().alive == start && network.activity().sent > start);
        assert!(network.has_room() && !network.activity().is_blocked);

        network.put(publish(2 * MAX_SEND_BUFFER)).unwrap();
        assert!(timeout(wait, network.next()).await.is_err());
        assert!(network.activity().alive == start);
        assert!(!network.has_room() && network.activity().is_blocked);

        let mut taken = vec![0; publish(2 * MAX_SEND_BUFFER).size() + 2];
        let (drained, read) = tokio::join!(network.next(), broker.read_exact(&mut taken));
        assert!(drained.unwrap().is_none() && read.is_ok());
        assert!(network.activity().alive > start);
        assert!(network.has_room() && !network.activity().is_blocked);
    }

    fn publish(size: usize) -> Packet {
        match received(size) {
            Received::Publish(publish) => Packet::Publish(publish),
            other => unreachable!("{other:?}"),
        }
    }

    fn received(size: usize) -> Received {
        let mut publish =
            Publish::new("vehicle/1/state/resp", QoS::AtLeastOnce, vec![7; size], None);
        publish.pkid = 5;
        Received::Publish(publish)
    }
}
