//! `state`: reads the state, or the parts of it that field masks select.

use ankaios_model::json::StateFormat;
use serde::{Deserialize, Serialize};

use super::payload::{check_masks, parse_masks_or, refused, text};
use crate::error::ErrorReply;

const EXPECTED: &str = "an array of field masks such as [\"workloadStates\"], or \
                        {\"field_masks\": [...], \"format\": \"sdk\" or \"ankaios\"}";

/// A request for the state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateRequest {
    /// The parts to read: paths, separated by dots, without empty parts. No mask selects the whole
    /// state.
    #[serde(default)]
    pub field_masks: Vec<String>,
    /// The format of the state in the reply.
    #[serde(default)]
    pub format: StateFormat,
}

impl StateRequest {
    /// Parses an array of field masks, an object, or an empty payload.
    ///
    /// # Errors
    /// `invalid_payload`, with what is wrong and what is expected.
    pub fn parse(payload: &[u8]) -> Result<Self, ErrorReply> {
        let text = text(payload, EXPECTED)?;
        if text.is_empty() {
            return Ok(Self::default());
        }
        let from_masks = |field_masks| Ok(Self { field_masks, ..Self::default() });
        let request = parse_masks_or(payload, EXPECTED, from_masks)?;
        check_masks("field_masks", &request.field_masks)
            .map_err(|reason| refused(payload, text, &reason, EXPECTED))?;
        Ok(request)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn a_request_is_empty_or_an_array_or_an_object() {
        for all in [&b""[..], b" \r\n", b"[]", b"[ ]  \n", b"{}", br#"{"format": "sdk"}"#] {
            assert_eq!(StateRequest::parse(all).unwrap(), StateRequest::default());
        }
        let field_masks = vec!["a.*.b".to_owned(), "\u{396}".into()];
        let array = StateRequest { field_masks: field_masks.clone(), format: StateFormat::Sdk };
        assert_eq!(StateRequest::parse(br#"["a.*.b", "\u0396"]"#).unwrap(), array);
        let object = StateRequest { field_masks, format: StateFormat::Ankaios };
        let payload = "{\"field_masks\": [\"a.*.b\", \"\u{396}\"], \"format\": \"ankaios\"}";
        assert_eq!(StateRequest::parse(payload.as_bytes()).unwrap(), object);
    }

    #[test]
    fn other_payloads_are_refused() {
        for payload in [
            &b"\xa4"[..],
            b"[\"a\xff\"]",
            b"[ ]  \n\0",
            b"\xef\xbb\xbf[]",
            b"-0",
            b"14e e \"2\"",
            b"\"a\"",
            b"null",
            b"[,",
            b"[3]",
            b"[[\"a\"]]",
            br#"["a",]"#,
            br#"[""]"#,
            br#"["."]"#,
            br#"["a..b"]"#,
            br#"["a."]"#,
            br#"{"field_masks": [".a"]}"#,
            br#"{"field_masks": null}"#,
            br#"{"field_masks": [], "field_masks": []}"#,
            br#"{"format": "SDK"}"#,
            br#"{"mask": []}"#,
        ] {
            let error = StateRequest::parse(payload).unwrap_err();
            let text = String::from_utf8_lossy(payload);
            assert_eq!(error.code, ErrorCode::InvalidPayload, "{text}");
        }
        // At any nesting depth.
        let deep = "[".repeat(100_000);
        assert!(StateRequest::parse(deep.as_bytes()).is_err());
    }
}
