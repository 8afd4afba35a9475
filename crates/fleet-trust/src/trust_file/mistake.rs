//! Mistakes in a trust file.

use std::fmt;

use yaml_events::tree::Position;

/// A mistake in a trust file, with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, and what to write. One line.
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, text } = self;
        write!(formatter, "line {line}, column {column}: {text}")
    }
}

impl Mistake {
    /// A mistake at a position.
    pub(super) fn new(at: Position, text: impl Into<String>) -> Self {
        let mut text = text.into().replace(char::is_control, "\u{FFFD}");
        // The text may quote a part of the file.
        if let Some((end, _)) = text.char_indices().nth(500) {
            text.truncate(end);
            text.push('…');
        }
        Self { line: at.line, column: at.column, text }
    }
}
