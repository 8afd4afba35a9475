//! Results on standard output.

use std::io::{self, Write};

use serde::Serialize;

use super::arguments::Output;
use super::failure::Failure;
use crate::table::Table;

/// Writes a line.
///
/// # Errors
/// Standard output is closed.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
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
    line(&serde_json::to_string(value).map_err(io::Error::from)?)
}

/// Writes a value as JSON for people.
///
/// # Errors
/// Standard output is closed.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(&serde_json::to_string_pretty(value).map_err(io::Error::from)?)
}

/// Writes a value as YAML.
///
/// # Errors
/// Standard output is closed.
pub(crate) fn yaml(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_yaml::to_string(value).map_err(io::Error::other)?;
    line(text.trim_end())
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

/// Text of a vehicle, which must not control the terminal.
pub(crate) fn without_control(line: &str) -> String {
    line.chars().map(|one| if one.is_control() && one != '\t' { ' ' } else { one }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_cannot_control_the_terminal() {
        assert_eq!(without_control("a\u{1b}[31mb\tc\r"), "a [31mb\tc ");
    }
}
