//! Reading the JSON of requests.

use serde::de::DeserializeOwned;

use crate::error::{ErrorCode, ErrorReply};
use crate::json::fields;
use crate::schema::has_empty_part;

/// Reads a JSON payload; `expected` says in the error what it should look like.
pub(super) fn parse<T: DeserializeOwned>(payload: &[u8], expected: &str) -> Result<T, ErrorReply> {
    fields::from_text(text(payload, expected)?).map_err(|error| invalid(error, expected))
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
    let request = if text.starts_with('[') {
        fields::from_text(text).map(of_masks)
    } else {
        fields::from_text(text)
    };
    request.map_err(|error| invalid(error, expected))
}

/// Checks that no mask has an empty part: a path of the state never has.
pub(super) fn check_masks(field: &str, masks: &[String], expected: &str) -> Result<(), ErrorReply> {
    match masks.iter().find(|mask| has_empty_part(mask)) {
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
