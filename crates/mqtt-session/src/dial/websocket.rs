//! MQTT over WebSocket (MQTT 5, section 6): a stream of bytes in binary messages, whose bounds
//! mean nothing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Sink, Stream};
use hyper::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_websockets::upgrade::Error as UpgradeError;
use tokio_websockets::{ClientBuilder, CloseCode, Error, Limits, Message, WebSocketStream};

use super::line::{Heard, Metered};
use crate::broker_address::BrokerAddress;

/// The subprotocol of MQTT (MQTT 5, 6.0).
const SUBPROTOCOL: &str = "mqtt";

/// Most bytes of the answer to the handshake.
const MAX_HEAD: usize = 16 * 1024;

/// Most payload of a frame that is sent, in bytes. The next frame is made when this one has left,
/// so the progress of sending stays visible.
const MAX_FRAME: usize = 16 * 1024;

/// How many pings may be answered before the answers must have left.
const MAX_PONGS: u32 = 16;

/// Why there is no WebSocket.
#[derive(Debug, thiserror::Error)]
pub enum WebSocketError {
    /// The server does not switch to WebSocket.
    #[error("it answers the WebSocket handshake with HTTP status {0}")]
    Status(u16),
    /// The server does not speak MQTT over WebSocket.
    #[error("it does not agree to the WebSocket subprotocol {SUBPROTOCOL}")]
    Subprotocol,
    /// The server does not speak HTTP, or not as it should.
    #[error("it does not answer the WebSocket handshake with valid HTTP: {0}")]
    Invalid(String),
    /// The answer is too long.
    #[error("its answer to the WebSocket handshake is longer than {MAX_HEAD} bytes")]
    TooLong,
    /// The connection was closed.
    #[error("it closes the connection during the WebSocket handshake")]
    Closed,
    /// The network failed.
    #[error("the WebSocket handshake fails: {0}")]
    Io(io::Error),
}

impl WebSocketError {
    /// What to do about it, where that is known.
    pub(super) fn help(&self) -> Option<String> {
        Some(match self {
            Self::Status(300..=399) => {
                "it redirects: check MQTT_WEBSOCKET_PATH and MQTT_BROKER_PORT, and set \
                 MQTT_TLS=true if it requires TLS"
                    .into()
            }
            Self::Status(401 | 403) => {
                "the server in front of the broker forbids it: check MQTT_WEBSOCKET_PATH, and the \
                 rules of that server"
                    .into()
            }
            Self::Status(500..=599) => "the server in front of the broker does not reach it".into(),
            Self::Status(400) => {
                "check MQTT_WEBSOCKET_PATH; if it is a port for TLS, set MQTT_TLS=true".into()
            }
            Self::Status(_) | Self::Subprotocol => {
                "check MQTT_WEBSOCKET_PATH: there is no MQTT over WebSocket".into()
            }
            Self::Invalid(_) | Self::Closed => {
                "if it is a port for MQTT without WebSocket, set MQTT_TRANSPORT=tcp; if it is one \
                 for TLS, set MQTT_TLS=true"
                    .into()
            }
            Self::TooLong | Self::Io(_) => return None,
        })
    }
}

impl From<Error> for WebSocketError {
    fn from(error: Error) -> Self {
        match error {
            Error::Upgrade(UpgradeError::DidNotSwitchProtocols(status)) => Self::Status(status),
            Error::Upgrade(error) => Self::Invalid(error.to_string()),
            Error::Io(error) => match error.kind() {
                io::ErrorKind::QuotaExceeded => Self::TooLong,
                // The decoder reports the end within an answer as another error.
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::Other => Self::Closed,
                _ => Self::Io(error),
            },
            error => Self::Invalid(error.to_string()),
        }
    }
}

/// Why a WebSocket has ended; inside of an [`io::Error`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebSocketFault {
    #[error("the broker sends a text message over WebSocket instead of a binary one")]
    Text,
    #[error("the broker closes the WebSocket: {code}{}", reason_text(.reason))]
    Closed { code: u16, reason: String },
    #[error("the broker sends a WebSocket message of {size} bytes, more than the {limit} allowed")]
    TooLarge { size: usize, limit: usize },
    #[error("the broker violates the WebSocket protocol: {0}")]
    Protocol(String),
}

fn reason_text(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" {reason:?}") }
}

fn fault(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        Error::PayloadTooLong { len, max_len } => {
            io::Error::other(WebSocketFault::TooLarge { size: len, limit: max_len })
        }
        error => io::Error::other(WebSocketFault::Protocol(error.to_string())),
    }
}

/// The bytes in the messages of a WebSocket.
pub(super) struct WebSocket<S> {
    socket: WebSocketStream<Metered<S>>,
    /// What is left of the last message.
    received: Bytes,
    /// Pings since all answers have left.
    pings: u32,
}

/// Opens a WebSocket on `stream`. The broker may send messages up to `max_message` bytes. Also
/// returns when bytes arrive on the stream.
pub(super) async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    broker: &BrokerAddress,
    is_tls: bool,
    path: &str,
    max_message: usize,
) -> Result<(WebSocket<S>, Heard), WebSocketError> {
    let uri = uri(broker, is_tls, path);
    let client = ClientBuilder::new().uri(&uri).map_err(|error| invalid(&error))?;
    let client = client
        .add_header(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL))?
        .limits(Limits::default().max_payload_len(Some(max_message)));
    let (mut socket, response) = client.connect_on(Metered::new(stream, MAX_HEAD)).await?;
    let agreed = response.headers().get(SEC_WEBSOCKET_PROTOCOL);
    if !agreed.is_some_and(|agreed| agreed.as_bytes().eq_ignore_ascii_case(SUBPROTOCOL.as_bytes()))
    {
        return Err(WebSocketError::Subprotocol);
    }
    let line = socket.get_mut();
    line.lift_limit();
    let heard = line.heard();
    Ok((WebSocket { socket, received: Bytes::new(), pings: 0 }, heard))
}

fn invalid(error: &dyn std::error::Error) -> WebSocketError {
    WebSocketError::Invalid(error.to_string())
}

fn uri(broker: &BrokerAddress, is_tls: bool, path: &str) -> String {
    let (scheme, default_port) = if is_tls { ("wss", 443) } else { ("ws", 80) };
    let (host, port) = (broker.tls_host(), broker.port());
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    // Some servers compare the header `Host` with their name.
    if port == default_port {
        format!("{scheme}://{host}{path}")
    } else {
        format!("{scheme}://{host}:{port}{path}")
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Waits for bytes. `false` after the end.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.received.is_empty() {
            if self.pings >= MAX_PONGS {
                // Answers would pile up if the broker did not read them.
                ready!(self.poll_sent(context))?;
            }
            let message = match ready!(Pin::new(&mut self.socket).poll_next(context)) {
                Some(message) => message.map_err(fault)?,
                None => return Poll::Ready(Ok(false)),
            };
            if let Some((code, reason)) = message.as_close() {
                // Sends the answer, if there is room.
                let _ = self.poll_sent(context);
                return Poll::Ready(closed(code, reason));
            } else if message.is_text() {
                return Poll::Ready(Err(io::Error::other(WebSocketFault::Text)));
            } else if message.is_binary() {
                self.received = message.into_payload().into();
            } else if message.is_ping() {
                self.pings += 1;
            }
        }
        Poll::Ready(Ok(true))
    }

    /// Waits until all that was put has left.
    fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_flush(context)).map_err(fault)?;
        self.pings = 0;
        Poll::Ready(Ok(()))
    }
}

/// What a close frame means. A regular end is one of the stream, too.
fn closed(code: CloseCode, reason: &str) -> io::Result<bool> {
    let is_regular = [CloseCode::NORMAL_CLOSURE, CloseCode::NO_STATUS_RECEIVED].contains(&code);
    if is_regular && reason.is_empty() {
        return Ok(false);
    }
    let (code, reason) = (code.into(), reason.to_owned());
    Err(io::Error::other(WebSocketFault::Closed { code, reason }))
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if ready!(self.poll_receive(context))? {
            let size = self.received.len().min(buffer.remaining());
            let bytes = self.received.split_to(size);
            buffer.put_slice(&bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_sent(context))?;
        let size = slices.iter().map(|slice| slice.len()).sum::<usize>().min(MAX_FRAME);
        let mut frame = BytesMut::with_capacity(size);
        for slice in slices {
            let part = slice.take(size - frame.len());
            frame.extend_from_slice(part.chunk());
        }
        if size > 0 {
            Pin::new(&mut self.socket).start_send(Message::binary(frame)).map_err(fault)?;
        }
        Poll::Ready(Ok(size))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_sent(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(context).map_err(fault)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;

    const LIMIT: usize = 100_000;

    fn broker(address: &str) -> BrokerAddress {
        BrokerAddress::from_settings(address, None, 80).unwrap()
    }

    /// Opens a WebSocket. `answer` follows the line of the status, with ACCEPT for the right key.
    /// Also returns the request, and the other end.
    async fn open_with(
        answer: &[u8],
    ) -> (Result<WebSocket<DuplexStream>, WebSocketError>, String, DuplexStream) {
        let (stream, mut peer) = duplex(1_000_000);
        let broker = broker("[::1]");
        let opening = open(stream, &broker, false, "/mqtt?a=b", LIMIT);
        let serving = async {
            let mut request = vec![0; 10_000];
            let read = peer.read(&mut request).await.unwrap();
            let request = String::from_utf8(request[..read].to_vec()).unwrap();
            let key = request.lines().find_map(|line| {
                let (name, key) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("Sec-WebSocket-Key").then(|| key.to_owned())
            });
            let accept = accept(&key.unwrap());
            let answer = match answer.windows(6).position(|part| part == b"ACCEPT") {
                Some(at) => [&answer[..at], accept.as_bytes(), &answer[at + 6..]].concat(),
                None => answer.to_vec(),
            };
            peer.write_all(&answer).await.unwrap();
            let _ = peer.flush().await;
            (request, peer)
        };
        let limit = Duration::from_secs(5);
        let (opened, (request, peer)) =
            timeout(limit, async { tokio::join!(opening, serving) }).await.unwrap();
        (opened.map(|(socket, _)| socket), request, peer)
    }

    /// `Sec-WebSocket-Accept`.
    fn accept(key: &str) -> String {
        use base64::Engine;
        let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        base64::engine::general_purpose::STANDARD.encode(digest)
    }

    const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Connection: upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\nsec-websocket-protocol: mqtt\r\n\r\n";

    async fn opened() -> (WebSocket<DuplexStream>, DuplexStream) {
        let (opened, _, peer) = open_with(SWITCH).await;
        (opened.unwrap(), peer)
    }

    /// A frame of a server: the last of its message or not.
    fn frame(opcode: u8, is_last: bool, payload: &[u8]) -> Vec<u8> {
        let first = if is_last { 0x80 | opcode } else { opcode };
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        match payload.len() {
            size @ ..126 => [&[first, size as u8], payload].concat(),
            _ => [&[first, 126, length[0], length[1]], payload].concat(),
        }
    }

    /// The next frame that the client sends: its opcode and its payload.
    async fn read_frame(peer: &mut DuplexStream) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        peer.read_exact(&mut head).await.unwrap();
        let size = match head[1] & 0x7f {
            126 => peer.read_u16().await.unwrap().into(),
            size => usize::from(size),
        };
        let mut mask = [0; 4];
        peer.read_exact(&mut mask).await.unwrap();
        let mut payload = vec![0; size];
        peer.read_exact(&mut payload).await.unwrap();
        let unmasked = payload.iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]);
        (head[0] & 0x0f, unmasked.collect())
    }

    #[tokio::test]
    async fn the_handshake_asks_for_mqtt() {
        let (opened, request, _peer) = open_with(SWITCH).await;
        assert!(opened.is_ok());
        assert!(request.starts_with("GET /mqtt?a=b HTTP/1.1\r\n"), "{request}");
        let request = request.to_ascii_lowercase();
        for header in ["host: [::1]", "sec-websocket-protocol: mqtt", "upgrade: websocket"] {
            assert!(request.contains(&format!("\r\n{header}\r\n")), "{header} in {request}");
        }
        let host = uri(&broker("b.:8443"), true, "/");
        assert_eq!(host, "wss://b:8443/");
        assert_eq!(uri(&broker("b:443"), true, "/"), "wss://b/");
    }

    #[tokio::test]
    async fn a_message_may_arrive_with_the_answer() {
        let (opened, _, _peer) = open_with(&[SWITCH, &frame(2, true, b"hello")[..]].concat()).await;
        let mut bytes = [0; 5];
        opened.unwrap().read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"hello");
    }

    #[tokio::test]
    async fn a_ping_is_answered_while_nothing_is_written() {
        let (mut socket, mut peer) = opened().await;
        peer.write_all(&frame(9, true, b"are you there")).await.unwrap();
        let mut byte = [0];
        tokio::select! {
            _ = socket.read(&mut byte) => unreachable!(),
            pong = read_frame(&mut peer) => assert_eq!(pong, (10, b"are you there".to_vec())),
        }
    }

    #[tokio::test]
    async fn other_answers_are_errors() {
        let long = [b"HTTP/1.1 101 Switching\r\nA: ".as_slice(), &vec![b'a'; 100_000]].concat();
        let other_protocol = String::from_utf8_lossy(SWITCH).replace("mqtt", "chat");
        let no_protocol =
            String::from_utf8_lossy(SWITCH).replace("sec-websocket-protocol: mqtt\r\n", "");
        let wrong_key = String::from_utf8_lossy(SWITCH).replace("ACCEPT", "AAAA");
        for (answer, expected, help) in [
            (&b"HTTP/1.1 404 Not Found\r\n\r\n"[..], "HTTP status 404", "MQTT_WEBSOCKET_PATH"),
            (b"HTTP/1.1 301 Moved\r\nLocation: x\r\n\r\n", "HTTP status 301", "redirects"),
            (b"HTTP/1.1 403 Forbidden\r\n\r\n", "HTTP status 403", "forbids"),
            (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "HTTP status 502", "does not reach"),
            (b"HTTP/1.1 200 OK\r\n\r\n<html>", "HTTP status 200", "MQTT_WEBSOCKET_PATH"),
            (other_protocol.as_bytes(), "subprotocol mqtt", "MQTT_WEBSOCKET_PATH"),
            (no_protocol.as_bytes(), "subprotocol mqtt", "MQTT_WEBSOCKET_PATH"),
            (wrong_key.as_bytes(), "valid HTTP", "MQTT_TRANSPORT=tcp"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "valid HTTP", "MQTT_TRANSPORT=tcp"),
            (&long, "longer than 16384 bytes", ""),
        ] {
            let (opened, ..) = open_with(answer).await;
            let error = opened.err().unwrap();
            assert!(error.to_string().contains(expected), "{error}, not {expected}");
            assert!(error.help().unwrap_or_default().contains(help), "{:?}", error.help());
        }
        for begin in ["", "HTTP/1.1 101 Swit"] {
            let (stream, mut peer) = duplex(10_000);
            peer.write_all(begin.as_bytes()).await.unwrap();
            peer.shutdown().await.unwrap();
            let opened = open(stream, &broker("b"), false, "/", LIMIT).await;
            assert!(matches!(opened.err(), Some(WebSocketError::Closed)));
        }
    }

    #[tokio::test]
    async fn messages_are_a_stream_of_bytes_however_they_are_cut() {
        let (mut socket, mut peer) = opened().await;
        let large = vec![7; 60_000];
        for bytes in [
            frame(2, true, b"ab"),
            frame(2, true, b""),
            frame(2, false, b"c"),
            frame(9, true, b"ping"),
            frame(0, false, b""),
            frame(0, true, b"d"),
            frame(10, true, b"pong"),
            frame(2, true, &large),
        ] {
            peer.write_all(&bytes).await.unwrap();
        }
        let mut bytes = vec![0; 4 + large.len()];
        socket.read_exact(&mut bytes).await.unwrap();
        assert!(bytes.starts_with(b"abcd") && bytes.ends_with(&large));
        socket.flush().await.unwrap();
        assert_eq!(read_frame(&mut peer).await, (10, b"ping".to_vec()));
    }

    #[tokio::test]
    async fn what_is_written_leaves_in_binary_frames_of_limited_size() {
        let (mut socket, mut peer) = opened().await;
        let bytes: Vec<_> = (0..40_000_u32).map(|number| number as u8).collect();
        socket.write_all(&bytes).await.unwrap();
        socket.flush().await.unwrap();
        let mut received = Vec::new();
        while received.len() < bytes.len() {
            let (opcode, payload) = read_frame(&mut peer).await;
            assert!(opcode == 2 && payload.len() <= MAX_FRAME);
            received.extend(payload);
        }
        assert!(received == bytes);
        // Small slices share a frame.
        let slices = [IoSlice::new(b"ab"), IoSlice::new(b"cd")];
        assert_eq!(socket.write_vectored(&slices).await.unwrap(), 4);
        socket.flush().await.unwrap();
        assert_eq!(read_frame(&mut peer).await, (2, b"abcd".to_vec()));
    }

    #[tokio::test]
    async fn the_end_of_a_websocket_says_why() {
        for (bytes, expected) in [
            (frame(8, true, b"\x03\xf0no access"), "closes the WebSocket: 1008 \"no access\""),
            (frame(8, true, b"\x03\xe9"), "closes the WebSocket: 1001"),
            (frame(1, true, b"hello"), "text message"),
            (frame(3, true, b""), "violates the WebSocket protocol"),
            (frame(8, true, b"\x00"), "violates the WebSocket protocol"),
            (vec![0x82, 0xff], "violates the WebSocket protocol"),
            ([&[0x82, 127], &200_000_u64.to_be_bytes()[..]].concat(), "200000 bytes, more than"),
            (frame(2, false, &[0; 60_000]).repeat(1), ""),
        ] {
            let (mut socket, mut peer) = opened().await;
            peer.write_all(&bytes).await.unwrap();
            if expected.is_empty() {
                // A message of several frames that is too large as a whole.
                peer.write_all(&frame(0, true, &[0; 60_000])).await.unwrap();
            }
            let error = socket.read_u8().await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}, not {expected}");
        }
        for bytes in [frame(8, true, b""), frame(8, true, b"\x03\xe8"), Vec::new()] {
            let (mut socket, mut peer) = opened().await;
            peer.write_all(&bytes).await.unwrap();
            peer.shutdown().await.unwrap();
            assert_eq!(socket.read(&mut [0]).await.unwrap(), 0, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_peer_that_only_pings_does_not_fill_the_memory() {
        let (stream, mut peer) = duplex(4096);
        let mut socket = WebSocket {
            socket: ClientBuilder::new().take_over(Metered::new(stream, usize::MAX)),
            received: Bytes::new(),
            pings: 0,
        };
        let ping = frame(9, true, &[0; 100]);
        let flood = async {
            for _ in 0..1000 {
                if timeout(Duration::from_millis(50), peer.write_all(&ping)).await.is_err() {
                    return true;
                }
            }
            false
        };
        let mut byte = [0];
        let (is_slowed_down, _) =
            tokio::join!(flood, timeout(Duration::from_millis(200), socket.read(&mut byte)));
        assert!(is_slowed_down);
    }
}
