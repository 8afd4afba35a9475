//! The log: to standard error, as text for people or JSON for machines.

use std::borrow::Cow;
use std::io::{self, Write, stderr};

use tracing_subscriber::fmt;

use crate::settings::Log;

/// Begins to log. Does nothing if the process logs already.
pub fn start(log: Log) {
    let builder = fmt().with_max_level(log.level).with_writer(stderr).with_target(false);
    // Fails only if there is a log already, as in tests.
    let _ = if log.json {
        tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
    } else {
        let builder = builder.with_ansi(false).with_writer(|| Plain(stderr()));
        tracing::subscriber::set_global_default(builder.finish())
    };
}

/// Writes entries without control characters: parts of an entry come from outside,
/// and must neither look like an entry of their own nor command the terminal.
struct Plain<W>(W);

impl<W: Write> Write for Plain<W> {
    /// Gets an entry as a whole.
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(entry);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        self.0.write_all(format!("{}\n", plain(line)).as_bytes())?;
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn plain(line: &str) -> Cow<'_, str> {
    if !line.contains(char::is_control) {
        return line.into();
    }
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.into(),
    };
    line.chars().map(escape).collect::<String>().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line_without_control_characters() {
        let mut written = Vec::new();
        Plain(&mut written).write_all("a \u{1b}[31m\nERROR ü \u{9b}\t\n".as_bytes()).unwrap();
        assert_eq!(written, "a \\u{1b}[31m\\nERROR ü \\u{9b}\\t\n".as_bytes());
    }
}
