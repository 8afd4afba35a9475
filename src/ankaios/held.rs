//! A bound for the answers that are being worked on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Answers that are being worked on, in bytes as they came. One finds room however
/// large it is.
pub(super) const MAX_HELD: usize = 32 * 1024 * 1024;

/// A share of the memory for answers, until it is dropped.
#[derive(Debug)]
pub struct Held {
    size: usize,
    all: Arc<AtomicUsize>,
}

impl Held {
    /// `None` if there is no room.
    pub(super) fn new(size: usize, all: &Arc<AtomicUsize>) -> Option<Self> {
        let add = |held: usize| (held == 0 || held + size <= MAX_HELD).then_some(held + size);
        all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        Some(Self { size, all: Arc::clone(all) })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.size, Ordering::Relaxed);
    }
}
