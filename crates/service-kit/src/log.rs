//! The log: to standard error, as text for people or JSON for machines.

use std::fmt;
use std::io::{self, Write, stderr};
use std::time::SystemTime;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::settings::LogSettings;

/// Starts the log. Does nothing if the process already has a log.
pub fn start(log: LogSettings) {
    let builder = tracing_subscriber::fmt()
        .with_max_level(log.level)
        .with_timer(UtcTime)
        .with_writer(stderr)
        .with_target(false);
    // Fails only if there already is a log, as in tests.
    let _ = if log.json {
        tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
    } else {
        let builder = builder.with_ansi(false).with_writer(|| EscapingWriter(stderr()));
        tracing::subscriber::set_global_default(builder.finish())
    };
}

/// Writes the time in UTC, RFC 3339, with microseconds. The timer of tracing-subscriber writes the
/// same in many small parts, which takes a sixth of the time of an entry.
struct UtcTime;

impl FormatTime for UtcTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", humantime::format_rfc3339_micros(SystemTime::now()))
    }
}

/// Escapes control characters. Parts of an entry are untrusted: they must not look like another
/// entry, and must not control the terminal.
struct EscapingWriter<W>(W);

impl<W: Write> Write for EscapingWriter<W> {
    /// Writes an entry; tracing-subscriber calls it once for each.
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

/// Whether UTF-8 text contains a control character: U+0000 to U+001F or U+007F to U+009F.
fn has_control(text: &[u8]) -> bool {
    let mut previous = 0;
    text.iter().any(|&byte| {
        let is_c1 = previous == 0xc2 && byte < 0xa0;
        previous = byte;
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
    fn time_has_microseconds() {
        let mut text = String::new();
        UtcTime.format_time(&mut Writer::new(&mut text)).unwrap();
        assert!(text.ends_with('Z') && text.len() == "2026-01-01T00:00:00.000000Z".len());
    }

    #[test]
    fn an_entry_is_one_line_without_control_characters() {
        let mut written = Vec::new();
        EscapingWriter(&mut written)
            .write_all("a \u{1b}[31m\nERROR ü \u{9b}\t\n".as_bytes())
            .unwrap();
        assert_eq!(written, "a \\u{1b}[31m\\nERROR ü \\u{9b}\\t\n".as_bytes());
    }
}
