//! The error for a manifest that cannot be used.

use std::fmt;

/// The error for a manifest that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The bytes are not UTF-8 text.
    #[error("the manifest is not UTF-8 text: there is an invalid byte at offset {offset}")]
    NotUtf8 {
        /// Offset of the first invalid byte, from 0.
        offset: usize,
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

/// A position in the text of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineColumn {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl ManifestError {
    /// Where the error is, if known.
    pub fn position(&self) -> Option<LineColumn> {
        match self {
            Self::NotUtf8 { .. } => None,
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

impl From<serde_yaml::Error> for ManifestError {
    fn from(error: serde_yaml::Error) -> Self {
        let text = error.to_string();
        let Some(location) = error.location() else {
            return Self::invalid(text);
        };
        let (line, column) = (location.line(), location.column());
        // The text also contains the position, which is stored separately.
        let message =
            text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
        Self::at(message, line, column)
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
