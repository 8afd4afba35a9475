//! What commands write to standard error: progress and notes.

use std::io::{self, IsTerminal, Write};

/// Writes a line to standard error.
pub(crate) fn note(line: &str) {
    // If it is closed, there is still the exit code.
    let _ = writeln!(io::stderr(), "{line}");
}

/// A line that is replaced by the next one on a terminal; elsewhere it is not written.
#[derive(Debug)]
pub(crate) struct StatusLine {
    is_terminal: bool,
    shown: usize,
}

impl StatusLine {
    pub(crate) fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), shown: 0 }
    }

    /// Shows a line instead of the former one.
    pub(crate) fn show(&mut self, line: &str) {
        if self.is_terminal {
            let length = line.chars().count();
            let blank = " ".repeat(self.shown.saturating_sub(length));
            let _ = write!(io::stderr(), "\r{line}{blank}");
            self.shown = length;
        }
    }

    /// Writes a line that stays, instead of the former one.
    pub(crate) fn settle(&mut self, line: &str) {
        self.clear();
        note(line);
    }

    /// Removes the line.
    pub(crate) fn clear(&mut self) {
        if self.is_terminal && self.shown > 0 {
            let _ = write!(io::stderr(), "\r{}\r", " ".repeat(self.shown));
            self.shown = 0;
        }
    }
}
