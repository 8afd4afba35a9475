//! MQTT over WebSocket (MQTT 5, section 6): a stream of bytes in binary messages, whose bounds
//! mean nothing.

mod answer;
mod error;
mod frames;
mod metered;
#[cfg(test)]
mod tests;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Sink, Stream};
use hyper::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_websockets::{ClientBuilder, CloseCode, Error, Limits, Message, WebSocketStream};

use super::line::Heard;
use crate::broker_address::BrokerAddress;
use answer::Answer;
pub use error::WebSocketError;
use error::{SUBPROTOCOL, invalid};
use frames::MAX_PIECE;
use metered::Metered;

/// Most payload of a frame that is sent, in bytes. The next frame is made when this one has left,
/// so the progress of sending stays visible.
const MAX_FRAME: usize = 16 * 1024;

/// How many pings may be answered before the answers must have left.
const MAX_PONGS: u32 = 16;

/// Why a WebSocket has ended; inside of an [`io::Error`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebSocketFault {
    #[error("the broker sends a text message over WebSocket instead of a binary one")]
    Text,
    #[error("the broker closes the WebSocket: {code}{}", reason_text(.reason))]
    Closed { code: u16, reason: String },
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

/// Opens a WebSocket on `stream`. The broker may send frames up to `max_frame` bytes. Also returns when bytes arrive on the stream.
pub(super) async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    broker: &BrokerAddress,
    is_tls: bool,
    path: &str,
) -> Result<(WebSocket<S>, Heard), WebSocketError> {
    let uri = uri(broker, is_tls, path);
    let client = ClientBuilder::new().uri(&uri).map_err(|error| invalid(&error))?;
    let client = client
        .add_header(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL))?
        .limits(Limits::default().max_payload_len(Some(MAX_PIECE)));
    let answer = Answer::default();
    let stream = Metered::new(stream, answer.clone());
    let heard = stream.heard();
    let (socket, response) = client
        .connect_on(stream)
        .await
        .map_err(|error| answer.refusal().unwrap_or_else(|| error.into()))?;
    answer.forget();
    let agreed = response.headers().get(SEC_WEBSOCKET_PROTOCOL);
    if !agreed.is_some_and(|agreed| agreed.as_bytes().eq_ignore_ascii_case(SUBPROTOCOL.as_bytes()))
    {
        return Err(WebSocketError::Subprotocol);
    }
    Ok((WebSocket { socket, received: Bytes::new(), pings: 0 }, heard))
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
