//! Messages that are not wanted any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Takes back all messages that were handed over with it, as far as the session has not
/// taken them yet. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Recall(Arc<AtomicBool>);

impl Recall {
    /// Takes them back, for good.
    pub fn recall(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether they are not wanted any more.
    #[must_use]
    pub fn is_recalled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether anybody else has it, such as a message that waits.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}
