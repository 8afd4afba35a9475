//! Lists of VINs.

use std::collections::BTreeSet;

use crate::vin::{InvalidVin, Vin};

/// The error for text that is not a list of VINs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct VinListError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub reason: InvalidVin,
}

/// Parses VINs that are separated by white space or commas; the rest of a line after `#` is a
/// comment.
///
/// # Errors
/// The first word that is not a VIN.
pub fn parse_vins(text: &str) -> Result<BTreeSet<Vin>, VinListError> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let mut vins = BTreeSet::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let mut column = 1;
        for word in line.split(|c: char| c.is_whitespace() || c == ',') {
            if !word.is_empty() {
                let vin = word.parse().map_err(|reason| VinListError {
                    line: index + 1,
                    column,
                    reason,
                })?;
                vins.insert(vin);
            }
            column += word.chars().count() + 1;
        }
    }
    Ok(vins)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_one_or_more_vins_per_line() {
        let vins = parse_vins("# fleet\nA1, A2\r\n\nA3 # spare\nA1\n").unwrap();
        assert_eq!(vins.iter().map(Vin::as_str).collect::<Vec<_>>(), ["A1", "A2", "A3"]);
        let error = parse_vins("A1\n  ä2").unwrap_err();
        assert_eq!((error.line, error.column), (2, 3));
    }
}
