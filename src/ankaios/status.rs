//! What is known of the link to Ankaios.

use std::fmt;

/// State of the link to Ankaios.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkStatus {
    /// No agent is there, or it does not answer.
    Disconnected {
        /// What is missing and what helps.
        reason: String,
    },
    /// Ankaios answers.
    Connected,
    /// The agent has closed the session and will not answer in it again.
    Closed {
        /// The agent's own words and what helps.
        reason: String,
    },
}

impl LinkStatus {
    /// Why there is no link; for people.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Connected => "it was lost a moment ago; try again".into(),
            Self::Disconnected { reason } | Self::Closed { reason } => reason.clone(),
        }
    }
}

impl fmt::Display for LinkStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Disconnected { .. } => "disconnected",
            Self::Connected => "connected",
            Self::Closed { .. } => "closed",
        })
    }
}
