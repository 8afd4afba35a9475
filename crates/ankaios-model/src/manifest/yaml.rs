//! Deserializes untrusted YAML and JSON.

use std::str::Utf8Error;

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned, IgnoredAny};

use super::error::ManifestError;
use super::explain::{Expected, explain, explain_limit};
use super::limits;
use crate::line_column::LineColumn;
use crate::{foreign, node_limit};

/// The text of a manifest.
pub(super) fn text(payload: &[u8]) -> Result<&str, ManifestError> {
    let text = std::str::from_utf8(payload).map_err(|error| not_utf8(payload, error))?;
    Ok(without_byte_order_mark(text))
}

fn not_utf8(payload: &[u8], error: Utf8Error) -> ManifestError {
    let offset = error.valid_up_to();
    let before = payload.get(..offset).and_then(|before| std::str::from_utf8(before).ok());
    let foreign = foreign::recognize(payload);
    let message = match foreign {
        Some(foreign) => foreign.sentence("a manifest"),
        None => format!(
            "the manifest is not UTF-8 text: there is an invalid byte at offset {offset}; save it \
             as UTF-8, or convert it: {}",
            foreign::conversion(payload, offset)
        ),
    };
    // Of a foreign format, only the beginning counts.
    let before = before.filter(|_| foreign.is_none()).unwrap_or_default();
    ManifestError::NotUtf8 { message, offset, position: LineColumn::of(before) }
}

/// Deserializes a manifest from one YAML document, or from JSON.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, ManifestError> {
    // JSON is valid YAML, with one exception: many JSON writers escape a character outside the
    // Basic Multilingual Plane as a surrogate pair, `"\ud83d\ude97"`, which YAML refuses.
    if text.trim_start().starts_with('{') {
        match node_limit::check_json(text) {
            Ok(()) => {
                if let Ok(value) = serde_json::from_str(text) {
                    return Ok(value);
                }
            }
            // YAML in braces is counted below.
            Err(error) if serde_json::from_str::<IgnoredAny>(text).is_ok() => {
                return Err(error.into());
            }
            Err(_) => {}
        }
    }
    read_document(text, "the manifest is empty", Expected::Manifest)
}

/// Deserializes a YAML document that is not a manifest, with the same limits.
///
/// # Errors
/// See [`ManifestError`]. Text without content is an error, too.
pub fn read_yaml<T: DeserializeOwned>(text: &str) -> Result<T, ManifestError> {
    read_document(without_byte_order_mark(text), "it is empty", Expected::Document)
}

/// Writes a value as YAML that [`Manifest::parse`](super::Manifest::parse) and [`read_yaml`] read
/// as the same value.
///
/// # Errors
/// The value cannot be written, for example because the key of a map is not a text.
pub fn to_yaml(value: &impl Serialize) -> Result<String, ManifestError> {
    Ok(serde_yaml::to_string(value)?)
}

fn without_byte_order_mark(text: &str) -> &str {
    text.strip_prefix('\u{FEFF}').unwrap_or(text)
}

fn read_document<T: DeserializeOwned>(
    text: &str,
    if_empty: &str,
    expected: Expected,
) -> Result<T, ManifestError> {
    // White space that YAML does not allow is empty, too.
    if text.trim().is_empty() {
        return Err(ManifestError::at(if_empty, 1, 1));
    }
    let documents = limits::check(text).map_err(|error| explain_limit(text, error))?;
    let explained = |error: ManifestError| explain(text, error, expected);
    let empty = || explained(ManifestError::at(if_empty, 1, 1));
    let first = documents.first.ok_or_else(empty)?;
    if let Some(LineColumn { line, column }) = documents.second {
        let message = "there are several YAML documents, send each as a separate manifest; the \
                       second begins here";
        return Err(explained(ManifestError::at(message, line, column)));
    }
    let mut rest = serde_yaml::Deserializer::from_str(text);
    let document = rest.nth(first).ok_or_else(empty)?;
    let value = T::deserialize(document).map_err(|error| explained(error.into()))?;
    // The other documents are empty, or the text ends with a syntax error.
    match rest.find_map(|document| IgnoredAny::deserialize(document).err()) {
        None => Ok(value),
        Some(error) => Err(explained(error.into())),
    }
}
