//! Reading the JSON of requests.

use serde::de::DeserializeOwned;

use crate::error::{ErrorCode, ErrorReply};

/// Reads a JSON payload; `expected` says in the error what it should look like.
pub(super) fn parse<T: DeserializeOwned>(payload: &[u8], expected: &str) -> Result<T, ErrorReply> {
    from_json(text(payload, expected)?).map_err(|error| invalid(error, expected))
}

/// Reads JSON; the error says which field is wrong.
fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        // That of the whole is a dot.
        if path == "." { error.inner().to_string() } else { format!("{path}: {}", error.inner()) }
    })?;
    json.end().map_err(|error| error.to_string())?;
    Ok(value)
}

/// The payload as text without blanks around it.
pub(super) fn text<'a>(payload: &'a [u8], expected: &str) -> Result<&'a str, ErrorReply> {
    let text = std::str::from_utf8(payload)
        .map_err(|error| invalid(format!("the payload is not UTF-8: {error}"), expected))?;
    Ok(text.trim())
}

/// Reads what is either an array of field masks or an object.
pub(super) fn parse_masks_or<T: DeserializeOwned>(
    text: &str,
    expected: &str,
    of_masks: impl FnOnce(Vec<String>) -> T,
) -> Result<T, ErrorReply> {
    let request =
        if text.starts_with('[') { from_json(text).map(of_masks) } else { from_json(text) };
    request.map_err(|error| invalid(error, expected))
}

/// Checks that no mask has an empty part: a path of the state never has.
pub(super) fn check_masks(field: &str, masks: &[String], expected: &str) -> Result<(), ErrorReply> {
    let empty = |mask: &&String| mask.split('.').any(str::is_empty);
    match masks.iter().find(empty) {
        Some(mask) => {
            Err(invalid(format!("{field}: the mask {mask:?} has an empty part"), expected))
        }
        None => Ok(()),
    }
}

/// The error for a payload of the wrong shape.
pub(super) fn invalid(reason: impl std::fmt::Display, expected: &str) -> ErrorReply {
    ErrorReply::new(ErrorCode::InvalidPayload, format!("{reason}; expected {expected}"))
}
