//! Labels of vehicles, with the rules of Kubernetes for keys and values.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Maximum number of labels of a vehicle.
const MAX_LABELS: usize = 64;

/// Maximum length of a value, and of a key without its prefix, in bytes.
const MAX_NAME: usize = 63;

/// Maximum length of the prefix of a key, in bytes.
const MAX_PREFIX: usize = 253;

/// Maximum length of a label in an error message, in characters.
const MAX_QUOTED: usize = 70;

/// The labels of a vehicle.
///
/// A key has 1 to 63 of `A-Z`, `a-z`, `0-9`, `-`, `_` and `.`, and begins and ends with a letter
/// or a digit. It may have a prefix, a DNS name: `example.com/region`. A value is empty, or has the
/// form of a key without a prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct Labels(BTreeMap<String, String>);

/// The error for text that is not a list of labels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (column {column})")]
pub struct LabelError {
    /// Where the label or the value begins, in characters from 1.
    pub column: usize,
    /// What is wrong, and what is allowed.
    pub reason: String,
}

impl Labels {
    /// The value of a label.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Whether there are no labels.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All labels, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Adds a label, or replaces its value.
    ///
    /// # Errors
    /// What is wrong with the key or the value, or that there are too many labels.
    pub fn insert(&mut self, key: &str, value: &str) -> Result<(), String> {
        check_label_key(key)?;
        check_label_value(value)?;
        if self.0.len() >= MAX_LABELS && !self.0.contains_key(key) {
            return Err(format!("there are more than {MAX_LABELS} labels"));
        }
        self.0.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// These labels, and those of `other` that have other keys.
    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        for (key, value) in &other.0 {
            self.0.entry(key.clone()).or_insert_with(|| value.clone());
        }
        self
    }
}

/// Checks the key of a label.
///
/// # Errors
/// What is wrong, and what is allowed.
pub fn check_label_key(key: &str) -> Result<(), String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if !is_label_name(name) {
        return Err(format!("{} is not a valid label key; {NAME_RULE}", quoted(key)));
    }
    match prefix {
        Some(prefix) if !is_dns_name(prefix) => Err(format!(
            "{} is not a valid label key; before / there must be a DNS name in lower case",
            quoted(key)
        )),
        _ => Ok(()),
    }
}

/// Checks the value of a label.
///
/// # Errors
/// What is wrong, and what is allowed.
pub fn check_label_value(value: &str) -> Result<(), String> {
    if value.is_empty() || is_label_name(value) {
        return Ok(());
    }
    Err(format!("{} is not a valid label value; {NAME_RULE}", quoted(value)))
}

const NAME_RULE: &str = "use 1 to 63 of A-Z, a-z, 0-9, -, _ and ., with a letter or a digit at \
                         both ends";

fn is_label_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    name.len() <= MAX_NAME
        && ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

fn is_dns_name(name: &str) -> bool {
    let is_part = |part: &str| {
        is_label_name(part)
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    name.len() <= MAX_PREFIX && name.split('.').all(is_part)
}

fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}", format!("{}…", text.get(..end).unwrap_or_default())),
    }
}

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = String;

    fn try_from(map: BTreeMap<String, String>) -> Result<Self, String> {
        let mut labels = Self::default();
        for (key, value) in &map {
            labels.insert(key, value)?;
        }
        Ok(labels)
    }
}

/// Parses `region=eu,model=x`. Empty text means no labels.
impl FromStr for Labels {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let mut labels = Self::default();
        if text.trim().is_empty() {
            return Ok(labels);
        }
        let mut column = 1;
        for part in text.split(',') {
            let label = part.trim();
            let indent = part.chars().take_while(|c| c.is_whitespace()).count();
            let error = |reason| LabelError { column: column + indent, reason };
            if label.is_empty() {
                return Err(error("a label is missing; expected key=value".to_owned()));
            }
            let Some((key, value)) = label.split_once('=') else {
                let reason = format!("{} has no value; expected key=value", quoted(label));
                return Err(error(reason));
            };
            let (key, value) = (key.trim(), value.trim());
            if labels.get(key).is_some() {
                return Err(error(format!("{} is listed twice", quoted(key))));
            }
            labels.insert(key, value).map_err(error)?;
            column += part.chars().count() + 1;
        }
        Ok(labels)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_parsed_and_written() {
        let labels: Labels = "region=eu, example.com/model=x-1.b,canary=".parse().unwrap();
        assert_eq!(labels.get("example.com/model"), Some("x-1.b"));
        assert_eq!(labels.get("canary"), Some(""));
        let json = serde_json::to_string(&labels).unwrap();
        assert_eq!(json, r#"{"canary":"","example.com/model":"x-1.b","region":"eu"}"#);
        assert_eq!(serde_json::from_str::<Labels>(&json).unwrap(), labels);
        assert!(" ".parse::<Labels>().unwrap().is_empty());
    }

    #[test]
    fn errors_name_the_column_and_what_is_allowed() {
        for (text, column, reason) in [
            ("region", 1, "\"region\" has no value; expected key=value"),
            ("a=1, b=-x", 6, "\"-x\" is not a valid label value; use 1 to 63"),
            ("a=1,,b=2", 5, "a label is missing"),
            ("a=1,", 5, "a label is missing"),
            ("a=1,a=2", 5, "\"a\" is listed twice"),
            ("ü=1", 1, "is not a valid label key"),
            ("EU/a=1", 1, "a DNS name in lower case"),
            ("a/b/c=1", 1, "is not a valid label key"),
            ("a==b", 1, "\"=b\" is not a valid label value"),
        ] {
            let error = text.parse::<Labels>().unwrap_err();
            assert_eq!(error.column, column, "{text}: {error}");
            assert!(error.reason.contains(reason), "{text}: {error}");
        }
        assert!(serde_json::from_str::<Labels>(r#"{"a b": "1"}"#).is_err());
    }

    #[test]
    fn lengths_are_limited() {
        let longest = "x".repeat(63);
        assert!(check_label_key(&longest).is_ok() && check_label_value(&longest).is_ok());
        let longer = "x".repeat(64);
        assert!(check_label_key(&longer).is_err() && check_label_value(&longer).is_err());
        let many: Vec<_> = (0..65).map(|n| format!("a{n}=1")).collect();
        assert!(many.join(",").parse::<Labels>().unwrap_err().reason.contains("more than 64"));
    }

    #[test]
    fn the_first_labels_have_precedence() {
        let inventory: Labels = "region=eu".parse().unwrap();
        let declared: Labels = "region=us,model=x".parse().unwrap();
        assert_eq!(inventory.or(&declared), "region=eu,model=x".parse().unwrap());
    }
}
