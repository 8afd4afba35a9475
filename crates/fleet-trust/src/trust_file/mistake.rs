//! Mistakes in a trust file.

use std::fmt;

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

/// A position in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// Line, from 1.
    pub(super) line: usize,
    /// Column in characters, from 1.
    pub(super) column: usize,
}

impl Position {
    /// The position of a byte of a text.
    pub(super) fn of_byte(text: &[u8], offset: usize) -> Self {
        let before = String::from_utf8_lossy(text.get(..offset).unwrap_or(text));
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
    }

    pub(super) fn mistake(self, text: impl Into<String>) -> Mistake {
        let mut text = text.into().replace(char::is_control, "\u{FFFD}");
        // The text may quote a part of the file.
        if let Some((end, _)) = text.char_indices().nth(500) {
            text.truncate(end);
            text.push('…');
        }
        Mistake { line: self.line, column: self.column, text }
    }
}
