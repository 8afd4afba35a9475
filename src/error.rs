//! Errors as operators see them: `{"error": {"code", "message", "details"?}}`.

use std::fmt;

use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// Longest message, in characters.
const MAX_MESSAGE: usize = 2000;

/// What went wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The payload is not UTF-8, not JSON, or has the wrong shape.
    InvalidPayload,
    /// The manifest is not one that Ankaios would take.
    InvalidManifest,
    /// Ankaios has refused the request; the message holds its own words.
    Rejected,
    /// The connector's access rules in Ankaios do not allow the request.
    AccessDenied,
    /// Ankaios has not answered in time.
    Timeout,
    /// There is no link to Ankaios.
    Unavailable,
    /// The request, or its reply, is larger than allowed.
    PayloadTooLarge,
    /// There is no such operation, workload or subscription.
    NotFound,
    /// A limit of the connector does not allow it.
    Forbidden,
    /// A fault of the connector.
    Internal,
}

impl ErrorCode {
    /// All codes, in the order in which they are declared.
    pub const ALL: [Self; 10] = [
        Self::InvalidPayload,
        Self::InvalidManifest,
        Self::Rejected,
        Self::AccessDenied,
        Self::Timeout,
        Self::Unavailable,
        Self::PayloadTooLarge,
        Self::NotFound,
        Self::Forbidden,
        Self::Internal,
    ];

    /// The code as it is written in a reply.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidPayload => "invalid_payload",
            Self::InvalidManifest => "invalid_manifest",
            Self::Rejected => "rejected",
            Self::AccessDenied => "access_denied",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::PayloadTooLarge => "payload_too_large",
            Self::NotFound => "not_found",
            Self::Forbidden => "forbidden",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// An error that becomes the reply to a request.
#[derive(Debug, Clone, PartialEq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct ErrorReply {
    /// What went wrong, for programs.
    pub code: ErrorCode,
    /// What is wrong, where, and what to do; for people.
    pub message: String,
    /// The parts of the message that a program may want.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
}

impl ErrorReply {
    /// An error without details.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        // It may repeat what was sent.
        if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE) {
            message.truncate(end);
            message.push('…');
        }
        Self { code, message, details: Map::new() }
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.into(), value.into());
        self
    }

    /// The payload of the reply.
    #[must_use]
    pub fn to_payload(&self) -> Bytes {
        #[derive(Serialize)]
        struct Reply<'a> {
            error: &'a ErrorReply,
        }
        serde_json::to_vec(&Reply { error: self })
            .expect("strings and numbers always become JSON")
            .into()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_codes_are_in_the_order_of_their_declaration() {
        let positions = ErrorCode::ALL.map(|code| code as usize);
        assert!(positions.into_iter().eq(0..ErrorCode::ALL.len()));
    }

    #[test]
    fn an_error_has_the_shape_of_the_contract() {
        let error = ErrorReply::new(ErrorCode::InvalidManifest, "line 3: \"x\"").with("line", 3);
        let payload: Value = serde_json::from_slice(&error.to_payload()).unwrap();
        assert_eq!(
            payload,
            json!({"error": {
                "code": "invalid_manifest",
                "message": "line 3: \"x\"",
                "details": {"line": 3},
            }})
        );
        let payload: Value =
            serde_json::from_slice(&ErrorReply::new(ErrorCode::PayloadTooLarge, "").to_payload())
                .unwrap();
        assert_eq!(payload, json!({"error": {"code": "payload_too_large", "message": ""}}));
    }
}
