//! An addition to an error.

use crate::line_column::LineColumn;

/// An addition to an error.
pub(super) struct Hint {
    pub(super) text: String,
    pub(super) at: Option<LineColumn>,
    /// Whether the text replaces the message.
    pub(super) replaces: bool,
}

impl Hint {
    /// A hint that follows the message.
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), at: None, replaces: false }
    }

    /// A text instead of the message.
    pub(super) fn instead(text: impl Into<String>) -> Self {
        Self { text: text.into(), at: None, replaces: true }
    }

    /// Moves the error to this position.
    pub(super) fn at(self, at: LineColumn) -> Self {
        Self { at: Some(at), ..self }
    }
}
