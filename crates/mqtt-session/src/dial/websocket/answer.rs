//! The answer to a WebSocket handshake, as far as the library does not show it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::{MAX_HEAD, WebSocketError};

/// Longest address of a redirection that a message shows.
const MAX_LOCATION: usize = 200;

/// The head of the answer while it arrives. Cheap to clone. Behind a lock because the stream that
/// fills it belongs to the library.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer(Arc<Mutex<Head>>);

#[derive(Debug, Default)]
struct Head {
    bytes: Vec<u8>,
    has_text: bool,
    /// The last line has text, and has not ended.
    is_in_line: bool,
    is_complete: bool,
}

impl Answer {
    /// Takes the bytes of the head from those that have arrived. Returns how many that are.
    pub(super) fn take(&self, arrived: &[u8]) -> usize {
        let mut head = self.head();
        if head.is_complete {
            return 0;
        }
        let end = arrived.iter().position(|byte| head.ends_with(*byte));
        let size = end.map_or(arrived.len(), |last| last + 1);
        head.bytes.extend(arrived.iter().take(size));
        size
    }

    /// Whether no more bytes may be read.
    pub(super) fn is_too_long(&self) -> bool {
        let head = self.head();
        !head.is_complete && head.bytes.len() >= MAX_HEAD
    }

    /// What the answer means if its status is not 101.
    pub(super) fn refusal(&self) -> Option<WebSocketError> {
        let head = self.head();
        let text = String::from_utf8_lossy(&head.bytes);
        let (status, headers) = text.trim_ascii_start().split_once('\n')?;
        let mut status = status.split_ascii_whitespace();
        status.next()?.strip_prefix("HTTP/1.")?;
        let status = status.next()?.parse().ok().filter(|status| *status != 101)?;
        let location = headers.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("location").then(|| value.trim())
        });
        let is_shown = |location: &&str| {
            (1..=MAX_LOCATION).contains(&location.len())
                && location.chars().all(|character| character.is_ascii_graphic())
        };
        let location = location.filter(is_shown).map(str::to_owned);
        Some(WebSocketError::Status { status, location })
    }

    /// Releases the memory of an answer that is good.
    pub(super) fn forget(&self) {
        self.head().bytes = Vec::new();
    }

    fn head(&self) -> MutexGuard<'_, Head> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Head {
    /// Records a byte. Returns whether the head ends with it.
    fn ends_with(&mut self, byte: u8) -> bool {
        match byte {
            // Empty lines in front of the answer are no end.
            b'\n' if self.has_text && !self.is_in_line => self.is_complete = true,
            b'\n' => self.is_in_line = false,
            b'\r' => {}
            _ => (self.has_text, self.is_in_line) = (true, true),
        }
        self.is_complete
    }
}
