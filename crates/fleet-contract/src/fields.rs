//! Deserializes JSON with errors that name the field.

use serde::de::{DeserializeOwned, Deserializer};

/// Deserializes JSON text that contains one value.
///
/// # Errors
/// The path of the field that is wrong, and the reason.
pub(crate) fn from_text<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = from(&mut json)?;
    json.end().map_err(|error| error.to_string())?;
    Ok(value)
}

/// Deserializes a value.
///
/// # Errors
/// The path of the field that is wrong, and the reason.
pub fn from<'de, T: DeserializeOwned>(deserializer: impl Deserializer<'de>) -> Result<T, String> {
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        // The path of the value as a whole is a dot.
        if path == "." { error.inner().to_string() } else { format!("{path}: {}", error.inner()) }
    })
}
