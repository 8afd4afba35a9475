//! Errors that end the connector.

use crate::health::BindError;
use crate::revisions::OpenError;
use crate::settings::DRAIN_TIMEOUT;

/// An error that ends the connector.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connector was stopped with requests in progress; the broker keeps them.
    #[error(
        "some requests were not answered within {}; the broker delivers them at the next start",
        humantime::format_duration(DRAIN_TIMEOUT)
    )]
    DrainTimeout,
    /// Health and metrics cannot be served.
    #[error(transparent)]
    Health(#[from] BindError),
    /// The store of revisions cannot be used.
    #[error("STATE_DIR cannot be used")]
    Store(#[from] OpenError),
    /// A task has ended, which is a bug in the connector. Without it the other tasks would look
    /// healthy but answer nothing.
    #[error("{0} has failed; see the log, and please report it")]
    TaskFailed(&'static str),
}
