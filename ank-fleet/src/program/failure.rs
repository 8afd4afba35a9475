//! Why a command ends without its result, and the exit code for it.

use crate::journal::JournalError;
use crate::rollout::ExitCode;

/// Why a command ends without its result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line, or a file that it names, is wrong.
    #[error("{0}")]
    Usage(String),
    /// There is no broker, or it refuses the login.
    #[error("{0}")]
    NoBroker(String),
    /// A signature is wrong, or missing.
    #[error("{0}")]
    Untrusted(String),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Standard output cannot be written, for example.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// A mistake of the user.
    pub(crate) fn usage(message: impl std::fmt::Display) -> Self {
        Self::Usage(message.to_string())
    }

    /// The exit code.
    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Journal(_) => ExitCode::Usage,
            Self::NoBroker(_) => ExitCode::NoBroker,
            Self::Untrusted(_) => ExitCode::Untrusted,
            Self::Io(_) => ExitCode::SomeFailed,
            Self::Interrupted => ExitCode::Interrupted,
        }
    }
}
