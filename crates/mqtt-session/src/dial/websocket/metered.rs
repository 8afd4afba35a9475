//! The stream below a WebSocket.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::answer::Answer;
use super::frames::Frames;
use crate::dial::line::Heard;

/// A stream below WebSocket. It records when bytes arrive: WebSocket reads a frame as a whole,
/// and a slow line takes long for a large one. It also limits the answer to the handshake, and makes
/// each frame a message.
pub(super) struct Metered<S> {
    stream: S,
    heard: Heard,
    answer: Answer,
    frames: Frames,
}

impl<S> Metered<S> {
    /// The head of the answer to the handshake is put into `answer`.
    pub(super) fn new(stream: S, answer: Answer) -> Self {
        Self { stream, heard: Heard::new(), answer, frames: Frames::default() }
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
        if self.answer.is_too_long() {
            return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let Some(read) = buffer.filled_mut().get_mut(before..).filter(|read| !read.is_empty())
        else {
            return Poll::Ready(Ok(()));
        };
        self.heard.now();
        let head = self.answer.take(read);
        self.frames.pass(read.get_mut(head..).unwrap_or_default());
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
