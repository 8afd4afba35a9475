//! Results on standard output.

use std::io::{self, Write};

use serde::Serialize;

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
    table.lines().iter().try_for_each(|text| line(text))
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
