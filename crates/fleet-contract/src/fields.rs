//! Deserializes JSON with errors that name the field.

use ankaios_model::hints::{in_json_terms, without_text};
use serde::de::{DeserializeOwned, Deserializer};
use serde_path_to_error::Path;

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
/// The path of the field that is wrong, and the reason, without the text that was found.
pub fn from<'de, T: DeserializeOwned>(deserializer: impl Deserializer<'de>) -> Result<T, String> {
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let reason = in_json_terms(&without_text(&error.inner().to_string()));
        match known(error.path()) {
            None => reason,
            Some(path) => format!("{path}: {reason}"),
        }
    })
}

/// The path as far as it is known; `None` for the value as a whole. If the text is broken, the
/// last part is not known, which is written as `?`.
fn known(path: &Path) -> Option<String> {
    let path = path.to_string();
    let path = path.trim_end_matches(".?");
    (!matches!(path, "" | "." | "?")).then(|| path.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;

    #[test]
    fn an_error_begins_with_the_path_only_where_it_is_known() {
        type Lists = std::collections::BTreeMap<String, Vec<u8>>;
        let error = |text: &str| from_text::<Lists>(text).unwrap_err();
        for text in ["{bad", "{", "", "nginx", "[", "{\"a\"", "{\"a\":"] {
            assert!(!error(text).contains(['?', '`']), "{}", error(text));
        }
        assert!(error("{\"a\": [bad").starts_with("a"), "{}", error("{\"a\": [bad"));
        assert!(error("{\"a\": [1, \"SECRET\"]}").starts_with("a[1]: invalid type: string, "));
        assert!(from_text::<Map<String, Value>>("{} x").unwrap_err().starts_with("trailing"));
    }
}
