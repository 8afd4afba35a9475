//! A position in a text.

use yaml_events::YamlEvent;

/// A position in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineColumn {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl LineColumn {
    /// Where an event of a YAML text begins.
    pub(crate) fn of_event(event: &YamlEvent) -> Self {
        // libyaml counts from 0.
        let start = event.start();
        Self { line: start.line + 1, column: start.column + 1 }
    }

    /// The position of a byte of a text.
    pub(crate) fn at(text: &str, offset: usize) -> Self {
        Self::of(text.get(..offset).unwrap_or_default())
    }

    /// The position at the end of a text, which is the beginning of a longer one.
    pub(crate) fn of(before: &str) -> Self {
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
    }
}
