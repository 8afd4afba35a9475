//! Deserializes untrusted YAML and JSON.

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned, IgnoredAny};

use super::error::ManifestError;
use super::limits;

/// Deserializes a manifest from one YAML document, or from JSON.
pub(super) fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, ManifestError> {
    let text = std::str::from_utf8(payload)
        .map_err(|error| ManifestError::NotUtf8 { offset: error.valid_up_to() })?;
    let text = without_byte_order_mark(text);
    // JSON is valid YAML, with one exception: many JSON writers escape a character outside the
    // Basic Multilingual Plane as a surrogate pair, `"\ud83d\ude97"`, which YAML refuses.
    if text.trim_start().starts_with('{')
        && let Ok(value) = serde_json::from_str(text)
    {
        return Ok(value);
    }
    read_document(text, "the manifest is empty")
}

/// Deserializes a YAML document that is not a manifest, with the same limits.
///
/// # Errors
/// See [`ManifestError`]. Text without content is an error, too.
pub fn read_yaml<T: DeserializeOwned>(text: &str) -> Result<T, ManifestError> {
    read_document(without_byte_order_mark(text), "it is empty")
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

fn read_document<T: DeserializeOwned>(text: &str, if_empty: &str) -> Result<T, ManifestError> {
    let empty = || ManifestError::invalid(if_empty);
    if text.trim().is_empty() || !limits::check(text)? {
        return Err(empty());
    }
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let value = T::deserialize(documents.next().ok_or_else(empty)?)?;
    match documents.next().map(IgnoredAny::deserialize) {
        None => Ok(value),
        Some(Ok(_)) => Err(ManifestError::invalid(
            "there are several YAML documents, send each as a separate manifest",
        )),
        Some(Err(error)) => Err(error.into()),
    }
}
