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
    shown: String,
}

impl StatusLine {
    pub(crate) fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), shown: String::new() }
    }

    /// Shows a line instead of the former one.
    pub(crate) fn show(&mut self, line: &str) {
        if self.is_terminal && self.shown != line {
            let former = self.shown.chars().count();
            let blank = " ".repeat(former.saturating_sub(line.chars().count()));
            let _ = write!(io::stderr(), "\r{line}{blank}");
            line.clone_into(&mut self.shown);
        }
    }

    /// Writes a line that stays, instead of the former one.
    pub(crate) fn settle(&mut self, line: &str) {
        self.clear();
        note(line);
    }

    /// Removes the line.
    pub(crate) fn clear(&mut self) {
        if !self.shown.is_empty() {
            let blank = " ".repeat(self.shown.chars().count());
            let _ = write!(io::stderr(), "\r{blank}\r");
            self.shown.clear();
        }
    }
}
