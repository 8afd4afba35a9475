//! The limit for the memory of answers in use.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory for answers in use, in bytes of their messages.
pub(super) const MAX_ANSWERS: usize = 32 * 1024 * 1024;

/// The memory that answers in use share.
#[derive(Debug)]
pub(super) struct AnswerMemory(Arc<Semaphore>);

impl AnswerMemory {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_ANSWERS)))
    }

    /// Takes memory for an answer of `size` bytes; `None` if there is not enough left. An
    /// answer that is larger than the limit takes all of it.
    pub(super) fn try_acquire(&self, size: usize) -> Option<AnswerPermit> {
        let size = u32::try_from(size.min(MAX_ANSWERS)).ok()?;
        Arc::clone(&self.0).try_acquire_many_owned(size).ok().map(AnswerPermit)
    }
}

/// Memory budget of one answer in use. Dropping it returns the memory.
///
/// All answers of one link share 32 MiB, counted as the bytes of their messages. Keep the
/// permit for as long as the answer, or what is made of it, is in memory.
#[derive(Debug)]
pub struct AnswerPermit(
    #[allow(dead_code, reason = "held until it is dropped")] OwnedSemaphorePermit,
);
