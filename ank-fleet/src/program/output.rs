//! Results on standard output.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::arguments::Output;
use super::failure::Failure;
use crate::table::Table;
use crate::text::{are_safe_lines, escaped_json, one_line};

/// The colours of the prefixes of lines.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// Writes a line. Whatever it contains, it stays one line and does not control the terminal.
///
/// # Errors
/// Standard output is closed.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    document(&one_line(text))
}

/// Writes a line with a prefix, in a colour of its own on a terminal.
///
/// # Errors
/// Standard output is closed.
pub(crate) fn prefixed_line(prefix: &str, text: &str) -> Result<(), Failure> {
    let (prefix, text) = (one_line(prefix), one_line(text));
    if !io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some() {
        return document(&format!("{prefix} | {text}"));
    }
    let sum: usize = prefix.bytes().map(usize::from).sum();
    let colour = COLOURS.get(sum % COLOURS.len()).copied().unwrap_or_default();
    document(&format!("\u{1b}[{colour}m{prefix}\u{1b}[0m | {text}"))
}

/// Writes lines as they are: nothing in them may come from outside.
///
/// # Errors
/// Standard output is closed.
pub(crate) fn document(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}

/// Writes a table. Without rows, nothing.
///
/// # Errors
/// Standard output is closed.
pub(crate) fn table(table: &Table) -> Result<(), Failure> {
    if table.is_empty() {
        return Ok(());
    }
    table.lines().try_for_each(|text| line(&text))
}

/// Writes a value as one line of JSON.
///
/// # Errors
/// Standard output is closed.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    document(&escaped_json(&serde_json::to_string(value).map_err(io::Error::from)?))
}

/// Writes a value as JSON for people.
///
/// # Errors
/// Standard output is closed.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    document(&escaped_json(&serde_json::to_string_pretty(value).map_err(io::Error::from)?))
}

/// A JSON array that is written as its items come: all of them may not fit into memory.
#[derive(Debug, Default)]
pub(crate) struct JsonList {
    has_items: bool,
}

impl JsonList {
    /// Writes an item.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) fn item(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
        let start = if std::mem::replace(&mut self.has_items, true) { ",\n" } else { "[\n" };
        write!(io::stdout(), "{start}{}", escaped_json(&text))?;
        Ok(())
    }

    /// Writes the end of the array.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) fn end(self) -> Result<(), Failure> {
        document(if self.has_items { "\n]" } else { "[]" })
    }
}

/// Writes a value as YAML; as JSON, which is YAML too, if only that can escape what it contains.
///
/// # Errors
/// Standard output is closed.
pub(crate) fn yaml(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_yaml::to_string(value).map_err(io::Error::other)?;
    if are_safe_lines(&text) { document(text.trim_end()) } else { json(value) }
}

/// Writes one of several values that are not all known at the beginning: as a document of YAML, or as
/// a line of JSON.
///
/// # Errors
/// Standard output is closed.
pub(crate) fn item(form: Output, value: &impl Serialize) -> Result<(), Failure> {
    match form {
        Output::Yaml | Output::Wide => {
            line("---")?;
            yaml(value)
        }
        Output::Json | Output::Jsonl | Output::Name => json_line(value),
    }
}
