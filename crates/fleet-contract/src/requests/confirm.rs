//! `manifest/confirm`: keeps a change that would be taken back otherwise.

use serde::{Deserialize, Serialize};

use super::payload::{invalid, parse, text};
use crate::error::ErrorReply;

const EXPECTED: &str = "{\"revision\": 12}";

/// A request to keep a revision. The reply has the same payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmRequest {
    /// The number of the revision, as in the reply to the request that made it.
    pub revision: u64,
}

impl ConfirmRequest {
    /// Parses a request.
    ///
    /// # Errors
    /// `invalid_payload`, with what is wrong and what is expected.
    pub fn parse(payload: &[u8]) -> Result<Self, ErrorReply> {
        if text(payload, EXPECTED)?.is_empty() {
            let reason = "the payload is empty, but must say which revision to keep";
            return Err(invalid(reason, EXPECTED));
        }
        parse(payload, EXPECTED)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_a_revision() {
        assert_eq!(ConfirmRequest::parse(br#"{"revision": 3}"#).unwrap().revision, 3);
        for payload in [&b""[..], b"{}", b"3", br#"{"revision": null}"#] {
            let error = ConfirmRequest::parse(payload).unwrap_err();
            assert!(error.message.ends_with("expected {\"revision\": 12}"), "{}", error.message);
        }
        for payload in [&b""[..], b" \n"] {
            let message = ConfirmRequest::parse(payload).unwrap_err().message;
            assert!(message.starts_with("the payload is empty"), "{message}");
        }
    }
}
