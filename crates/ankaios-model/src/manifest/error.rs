//! Why a manifest is refused.

use std::fmt;

/// Why a manifest is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The payload is no text.
    #[error("the manifest is not UTF-8 text: there is an invalid byte at offset {offset}")]
    NotUtf8 {
        /// Offset of the first invalid byte, from 0.
        offset: usize,
    },
    /// The text is no manifest that Ankaios would take.
    #[error("{message}{}", AtPosition(*.position))]
    Invalid {
        /// What is wrong, and what to do; begins with the path of the field, such
        /// as `workloads.nginx.restartPolicy`, where there is one.
        message: String,
        /// Where it was found, if known.
        position: Option<Position>,
    },
}

/// A place in the text of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl ManifestError {
    /// Where the error was found, if known.
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::NotUtf8 { .. } => None,
            Self::Invalid { position, .. } => *position,
        }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), position: None }
    }

    pub(super) fn at(message: impl Into<String>, line: usize, column: usize) -> Self {
        Self::Invalid { message: message.into(), position: Some(Position { line, column }) }
    }
}

impl From<serde_yaml::Error> for ManifestError {
    fn from(error: serde_yaml::Error) -> Self {
        let text = error.to_string();
        let Some(location) = error.location() else {
            return Self::invalid(text);
        };
        let (line, column) = (location.line(), location.column());
        // The position has fields of its own; it is in the text as well.
        let message =
            text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
        Self::at(message, line, column)
    }
}

struct AtPosition(Option<Position>);

impl fmt::Display for AtPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(Position { line, column }) => write!(f, " (line {line}, column {column})"),
            None => Ok(()),
        }
    }
}
