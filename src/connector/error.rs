//! Why the connector has ended.

use std::time::Duration;

use crate::health::BindError;

/// How long requests in progress may take when the connector stops. Ankaios kills a workload
/// that has not ended after 10 s.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(4);

/// Why the connector has not ended normally.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was stopped with requests in progress; the broker keeps them.
    #[error(
        "some requests were not answered within {}; the broker delivers them at the next start",
        humantime::format_duration(DRAIN_TIMEOUT)
    )]
    DrainTimeout,
    /// Health and metrics cannot be served.
    #[error(transparent)]
    Health(#[from] BindError),
    /// One of its tasks has ended, which is an error in the connector. Without it the others
    /// would look healthy and answer nothing.
    #[error("{0} has failed; see the log, and please report it")]
    TaskFailed(&'static str),
}
