//! The state of the link to Ankaios.

use std::fmt;

/// State of the link to Ankaios, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkStatus {
    /// There is no agent, or Ankaios does not answer.
    Disconnected {
        /// What is missing and what helps.
        reason: String,
    },
    /// Ankaios answers.
    Connected,
    /// The agent has closed the session and will not answer in it again. The link waits for a
    /// new session.
    Closed {
        /// The agent's own words and what helps.
        reason: String,
    },
}

impl LinkStatus {
    /// The state without its reason.
    #[must_use]
    pub fn state(&self) -> LinkState {
        match self {
            Self::Disconnected { .. } => LinkState::Disconnected,
            Self::Connected => LinkState::Connected,
            Self::Closed { .. } => LinkState::Closed,
        }
    }

    /// The reason for which a request failed, for operators. It can be asked for when the link is
    /// connected again, too.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Connected => "it was lost a moment ago; try again".into(),
            Self::Disconnected { reason } | Self::Closed { reason } => reason.clone(),
        }
    }
}

/// State of the link to Ankaios: a [`LinkStatus`] without its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkState {
    /// Ankaios answers.
    Connected,
    /// There is no agent, or Ankaios does not answer.
    Disconnected,
    /// The agent has closed the session and will not answer in it again.
    Closed,
}

impl LinkState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Connected, Self::Disconnected, Self::Closed];

    /// The name in messages and metrics, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for LinkState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
