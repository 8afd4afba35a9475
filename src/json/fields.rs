//! Reading what comes from outside, with errors that say which field is wrong.

use serde::de::{DeserializeOwned, Deserializer};

/// Reads JSON text that holds one value and nothing behind it. The error names the
/// field that is wrong, and why.
pub(crate) fn from_text<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = from(&mut json)?;
    json.end().map_err(|error| error.to_string())?;
    Ok(value)
}

/// Reads a value. The error names the field that is wrong, and why.
pub(crate) fn from<'de, T: DeserializeOwned>(
    deserializer: impl Deserializer<'de>,
) -> Result<T, String> {
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        // That of the whole is a dot.
        if path == "." { error.inner().to_string() } else { format!("{path}: {}", error.inner()) }
    })
}
