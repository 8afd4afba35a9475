//! The requirements of label selectors.

use std::collections::BTreeSet;
use std::fmt;

/// The error for text that is not a label selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {reason}")]
pub struct SelectorError {
    /// Where the error is, in characters from 1.
    pub column: usize,
    /// What was found there, and what is expected.
    pub reason: String,
}

/// A condition for one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// `key`: the label exists.
    Exists(String),
    /// `!key`: the label does not exist.
    Absent(String),
    /// `key=a`, `key==a` and `key in (a,b)`: the label has one of the values.
    In(String, BTreeSet<String>),
    /// `key!=a` and `key notin (a,b)`: the label has none of the values, or does not exist.
    NotIn(String, BTreeSet<String>),
}

impl fmt::Display for Requirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: &BTreeSet<String>| {
            values.iter().map(String::as_str).collect::<Vec<_>>().join(",")
        };
        match self {
            Self::Exists(key) => formatter.write_str(key),
            Self::Absent(key) => write!(formatter, "!{key}"),
            Self::In(key, values) if values.len() == 1 => {
                write!(formatter, "{key}={}", list(values))
            }
            Self::In(key, values) => write!(formatter, "{key} in ({})", list(values)),
            Self::NotIn(key, values) if values.len() == 1 => {
                write!(formatter, "{key}!={}", list(values))
            }
            Self::NotIn(key, values) => write!(formatter, "{key} notin ({})", list(values)),
        }
    }
}
