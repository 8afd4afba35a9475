//! Ctrl-C.

use tokio_util::sync::CancellationToken;

/// Whether the operator has pressed Ctrl-C, or the command is terminated. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt(CancellationToken);

impl Interrupt {
    /// An interrupt that comes with a token.
    pub(crate) fn new(token: CancellationToken) -> Self {
        Self(token)
    }

    /// Waits for it. Cancel safe.
    pub(crate) async fn wait(&self) {
        self.0.cancelled().await;
    }
}
