//! `manifest/history`: lists the revisions, or reads one.

use serde::{Deserialize, Serialize};

use super::payload::{parse, refused, text};
use crate::error::ErrorReply;

const EXPECTED: &str = "an empty payload, or {\"revision\": 12}";

/// A request for the revisions that are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryRequest {
    /// The revision to read; `None` lists all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

impl HistoryRequest {
    /// Parses an object or an empty payload.
    ///
    /// # Errors
    /// `invalid_payload`, with what is wrong and what is expected.
    pub fn parse(payload: &[u8]) -> Result<Self, ErrorReply> {
        parse_or_empty(payload, EXPECTED)
    }
}

/// Parses an object; an empty payload is an empty object.
pub(super) fn parse_or_empty<T>(payload: &[u8], expected: &str) -> Result<T, ErrorReply>
where
    T: Default + serde::de::DeserializeOwned,
{
    let text = text(payload, expected)?;
    match text.chars().next() {
        None => Ok(T::default()),
        Some('{') => parse(payload, expected),
        // A structure could be read from a list, too.
        Some(_) => Err(refused(payload, text, "it is not an object", expected)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_empty_or_names_a_revision() {
        for all in [&b""[..], b" \n", b"{}"] {
            assert_eq!(HistoryRequest::parse(all).unwrap(), HistoryRequest::default());
        }
        let one = HistoryRequest::parse(br#"{"revision": 12}"#).unwrap();
        assert_eq!(one, HistoryRequest { revision: Some(12) });
    }

    #[test]
    fn other_payloads_say_what_is_expected() {
        for payload in [
            &br#"{"revision": -1}"#[..],
            br#"{"revision": 1.5}"#,
            br#"{"revision": "12"}"#,
            br#"{"revision": 18446744073709551616}"#,
            br#"{"revisions": 1}"#,
            b"[]",
            b"[12]",
            b"12",
            b"\xff",
        ] {
            let error = HistoryRequest::parse(payload).unwrap_err();
            assert!(error.message.ends_with("or {\"revision\": 12}"), "{}", error.message);
        }
    }
}
