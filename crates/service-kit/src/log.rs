//! The log: to standard error, as text for people or JSON for machines.

use std::fmt;
use std::io::{self, Write, stderr};
use std::time::SystemTime;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::settings::LogSettings;

/// Starts the log. Does nothing if the process has one already.
pub fn start(log: LogSettings) {
    let builder = tracing_subscriber::fmt()
        .with_max_level(log.level)
        .with_timer(Utc)
        .with_writer(stderr)
        .with_target(false);
    // Fails only if there is a log already, as in tests.
    let _ = if log.json {
        tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
    } else {
        let builder = builder.with_ansi(false).with_writer(|| Plain(stderr()));
        tracing::subscriber::set_global_default(builder.finish())
    };
}

/// The time in UTC, RFC 3339, with microseconds. The timer of tracing-subscriber writes the
/// same in pieces, which takes a sixth of the time of a whole entry.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", humantime::format_rfc3339_micros(SystemTime::now()))
    }
}

/// Escapes control characters. Parts of an entry come from outside, and must neither look
/// like an entry of their own nor control the terminal.
struct Plain<W>(W);

impl<W: Write> Write for Plain<W> {
    /// Called once for each entry.
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        let line = entry.strip_suffix(b"\n").unwrap_or(entry);
        if has_control(line) {
            let line = escape(&String::from_utf8_lossy(line));
            self.0.write_all(format!("{line}\n").as_bytes())?;
        } else {
            self.0.write_all(entry)?;
        }
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Whether UTF-8 text has a control character: U+0000 to U+001F or U+007F to U+009F.
fn has_control(text: &[u8]) -> bool {
    let mut before = 0;
    text.iter().any(|&byte| {
        let is_c1 = before == 0xc2 && byte < 0xa0;
        before = byte;
        is_c1 || byte.is_ascii_control()
    })
}

fn escape(line: &str) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.into(),
    };
    line.chars().map(escape).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_found_in_utf_8() {
        for c in '\0'..='\u{2ff}' {
            assert_eq!(has_control(format!("ü{c}µ").as_bytes()), c.is_control(), "{c:?}");
        }
    }

    #[test]
    fn the_time_has_microseconds() {
        let mut text = String::new();
        Utc.format_time(&mut Writer::new(&mut text)).unwrap();
        assert!(text.ends_with('Z') && text.len() == "2026-01-01T00:00:00.000000Z".len());
    }

    #[test]
    fn an_entry_is_one_line_without_control_characters() {
        let mut written = Vec::new();
        Plain(&mut written).write_all("a \u{1b}[31m\nERROR ü \u{9b}\t\n".as_bytes()).unwrap();
        assert_eq!(written, "a \\u{1b}[31m\\nERROR ü \\u{9b}\\t\n".as_bytes());
    }
}
