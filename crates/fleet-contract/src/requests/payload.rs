//! Parses the JSON of requests.

use std::fmt::Display;

use ankaios_model::field_mask_has_empty_part;
use serde::de::DeserializeOwned;

use crate::error::{ErrorCode, ErrorReply};
use crate::fields;

/// Parses a JSON payload. `expected` describes it in the error.
pub(super) fn parse<T: DeserializeOwned>(payload: &[u8], expected: &str) -> Result<T, ErrorReply> {
    fields::from_text(text(payload, expected)?).map_err(|error| invalid(error, expected))
}

/// The payload as text, without leading and trailing white space.
pub(super) fn text<'a>(payload: &'a [u8], expected: &str) -> Result<&'a str, ErrorReply> {
    let text = std::str::from_utf8(payload)
        .map_err(|error| invalid(format!("the payload is not UTF-8: {error}"), expected))?;
    Ok(text.trim())
}

/// Parses an object, or an array of field masks as its short form.
pub(super) fn parse_masks_or<T: DeserializeOwned>(
    text: &str,
    expected: &str,
    from_masks: impl FnOnce(Vec<String>) -> Result<T, String>,
) -> Result<T, ErrorReply> {
    let request = if text.starts_with('[') {
        fields::from_text(text).and_then(from_masks)
    } else {
        fields::from_text(text)
    };
    request.map_err(|error| invalid(error, expected))
}

/// Checks that no mask has an empty part, because such a mask matches nothing.
pub(super) fn check_masks(field: &str, masks: &[String]) -> Result<(), String> {
    match masks.iter().find(|mask| field_mask_has_empty_part(mask)) {
        Some(mask) => Err(format!("{field}: the mask {mask:?} has an empty part")),
        None => Ok(()),
    }
}

/// The error for a payload of the wrong shape.
pub(super) fn invalid(reason: impl Display, expected: &str) -> ErrorReply {
    ErrorReply::new(ErrorCode::InvalidPayload, format!("{reason}; expected {expected}"))
}
