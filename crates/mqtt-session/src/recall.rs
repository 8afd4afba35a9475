//! Withdraws messages that wait to be published.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Withdraws all messages that were handed over with it and that the session has not yet
/// taken from the queue. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Recall(Arc<AtomicBool>);

impl Recall {
    /// Withdraws them, also those that are handed over later.
    pub fn recall(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the messages are withdrawn.
    #[must_use]
    pub fn is_recalled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether there is another clone, for example with a message in the queue.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}
