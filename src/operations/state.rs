//! `state`: reads the state, or the parts of it that field masks name.

use prost::Message;
use serde::Deserialize;

use super::{Answer, LARGE, Outcome, apart, request, to_json};
use crate::ankaios::Client;
use crate::error::ErrorReply;
use crate::json::{self, StateFormat};
use crate::proto::ank_base::CompleteState;

const EXPECTED: &str = "an array of field masks such as [\"workloadStates\"], or \
                        {\"field_masks\": [...], \"format\": \"sdk\" or \"ankaios\"}";

/// What a request for the state asks for.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateRequest {
    /// Paths with dots, without empty parts. None means everything.
    #[serde(default)]
    pub field_masks: Vec<String>,
    /// The format of the reply.
    #[serde(default)]
    pub format: StateFormat,
}

pub(super) async fn start(ankaios: &Client, payload: &[u8]) -> Result<Answer, ErrorReply> {
    let StateRequest { field_masks, format } = StateRequest::parse(payload)?;
    let call = ankaios.state(field_masks).await?;
    Ok(Box::pin(async move {
        // Kept until the reply is written: there may be many large states at once.
        let (state, _held) = call.held_answer().await?;
        reply(state, format).await
    }))
}

async fn reply(state: CompleteState, format: StateFormat) -> Outcome {
    let large = state.encoded_len() > LARGE;
    let write = move || to_json(&json::complete_state(&state, format));
    if large { apart(write).await? } else { write() }
}

impl StateRequest {
    /// Reads an array of field masks, an object, or nothing at all.
    ///
    /// # Errors
    /// `invalid_payload`, with what is wrong and what was expected.
    pub fn parse(payload: &[u8]) -> Result<Self, ErrorReply> {
        let text = request::text(payload, EXPECTED)?;
        if text.is_empty() {
            return Ok(Self::default());
        }
        let of_masks = |field_masks| Self { field_masks, ..Self::default() };
        let request = request::parse_masks_or(text, EXPECTED, of_masks)?;
        request::check_masks("field_masks", &request.field_masks, EXPECTED)?;
        Ok(request)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn the_forms_of_the_request() {
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
    fn what_is_no_request_is_refused() {
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
        // However deep it is.
        let deep = "[".repeat(100_000);
        assert!(StateRequest::parse(deep.as_bytes()).is_err());
    }
}
