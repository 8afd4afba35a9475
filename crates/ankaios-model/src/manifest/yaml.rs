//! From the bytes of a manifest to typed fields, whatever the bytes are.

use serde::de::{Deserialize, DeserializeOwned, IgnoredAny};

use super::error::ManifestError;
use super::limits;

/// Reads one YAML document, or JSON.
pub(super) fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, ManifestError> {
    let text = std::str::from_utf8(payload)
        .map_err(|error| ManifestError::NotUtf8 { offset: error.valid_up_to() })?;
    let text = without_byte_order_mark(text);
    // JSON is YAML but for one thing: `"\ud83d\ude97"`, as many JSON writers put
    // a character outside of the Basic Multilingual Plane, is an error in YAML.
    if text.trim_start().starts_with('{')
        && let Ok(value) = serde_json::from_str(text)
    {
        return Ok(value);
    }
    read_document(text, "the manifest is empty")
}

/// Reads another YAML document, within the limits of a manifest.
///
/// # Errors
/// See [`ManifestError`]. A text without content is one of them.
pub fn read_yaml<T: DeserializeOwned>(text: &str) -> Result<T, ManifestError> {
    read_document(without_byte_order_mark(text), "it is empty")
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
            "there are several YAML documents, send each as a manifest of its own",
        )),
        Some(Err(error)) => Err(error.into()),
    }
}
