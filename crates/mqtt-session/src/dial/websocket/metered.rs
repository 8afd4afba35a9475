//! The stream below a WebSocket.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::answer::Answer;
use super::frames::Frames;
use crate::dial::line::Heard;

/// A stream below WebSocket. It records when bytes arrive, limits the answer to the handshake, and
/// makes the frames short messages.
pub(super) struct Metered<S> {
    stream: S,
    heard: Heard,
    answer: Answer,
    frames: Frames,
    /// What is to be read next.
    ready: BytesMut,
}

impl<S> Metered<S> {
    /// The head of the answer to the handshake is put into `answer`.
    pub(super) fn new(stream: S, answer: Answer) -> Self {
        let (heard, frames, ready) = (Heard::new(), Frames::default(), BytesMut::new());
        Self { stream, heard, answer, frames, ready }
    }

    pub(super) fn heard(&self) -> Heard {
        self.heard.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, heard, answer, frames, ready } = &mut *self;
        let before = buffer.filled().len();
        while ready.is_empty() {
            if answer.is_too_long() {
                return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
            }
            ready!(Pin::new(&mut *stream).poll_read(context, buffer))?;
            let read = buffer.filled().get(before..).unwrap_or_default();
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            heard.now();
            let (head, rest) = read.split_at(answer.take(read));
            ready.extend_from_slice(head);
            frames.pass(rest, ready);
            buffer.set_filled(before);
        }
        let size = ready.len().min(buffer.remaining());
        buffer.put_slice(&ready.split_to(size));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
