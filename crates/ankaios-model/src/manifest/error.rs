//! The error for a manifest that cannot be used.

use std::fmt;

use crate::hints::without_text;
use crate::line_column::LineColumn;
use crate::node_limit::TooManyNodes;

/// The error for a manifest that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The bytes are not UTF-8 text, or those of another encoding or of a binary file.
    #[error("{message}{}", AtPosition(Some(*.position)))]
    NotUtf8 {
        /// What the bytes are, if that is known, and how to correct it.
        message: String,
        /// Offset of the first invalid byte, from 0.
        offset: usize,
        /// Where the first invalid byte is. Bytes that are not text are one line.
        position: LineColumn,
    },
    /// The text is not a manifest that Ankaios accepts.
    #[error("{message}{}", AtPosition(*.position))]
    Invalid {
        /// What is wrong, and how to correct it. Begins with the path of the field if there is
        /// one, for example `workloads.nginx.restartPolicy`.
        message: String,
        /// Where the error is, if known.
        position: Option<LineColumn>,
    },
}

impl ManifestError {
    /// Where the error is, if known.
    pub fn position(&self) -> Option<LineColumn> {
        match self {
            Self::NotUtf8 { position, .. } => Some(*position),
            Self::Invalid { position, .. } => *position,
        }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), position: None }
    }

    pub(super) fn at(message: impl Into<String>, line: usize, column: usize) -> Self {
        Self::Invalid { message: message.into(), position: Some(LineColumn { line, column }) }
    }
}

impl From<TooManyNodes> for ManifestError {
    fn from(error: TooManyNodes) -> Self {
        Self::at(error.to_string(), error.at.line, error.at.column)
    }
}

impl From<serde_yaml::Error> for ManifestError {
    fn from(error: serde_yaml::Error) -> Self {
        let text = without_text(&error.to_string());
        let Some(location) = error.location() else {
            return Self::invalid(text);
        };
        let (line, column) = (location.line(), location.column());
        // The text also contains the position, which is stored separately.
        Self::at(text.replacen(&format!(" at line {line} column {column}"), "", 1), line, column)
    }
}

/// Writes the position, or nothing if it is not known.
struct AtPosition(Option<LineColumn>);

impl fmt::Display for AtPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(LineColumn { line, column }) => write!(f, " (line {line}, column {column})"),
            None => Ok(()),
        }
    }
}
