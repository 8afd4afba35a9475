//! The error reply: `{"error": {"code", "message", "details"?}}`.

use std::fmt;

use bytes::Bytes;
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// Maximum length of the message, in characters.
const MAX_MESSAGE: usize = 2000;

/// The kind of an error, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The payload is not UTF-8, not JSON, or has the wrong shape.
    InvalidPayload,
    /// The payload is not a manifest that Ankaios accepts.
    InvalidManifest,
    /// Ankaios has refused the request; the message contains its reason.
    Rejected,
    /// The connector's access rules in Ankaios do not allow the request.
    AccessDenied,
    /// Ankaios has not answered in time.
    Timeout,
    /// There is no link to Ankaios.
    Unavailable,
    /// The request or its reply is too large.
    PayloadTooLarge,
    /// The operation, workload or subscription does not exist.
    NotFound,
    /// A rule or a limit of the connector forbids the request.
    Forbidden,
    /// The vehicle does not trust the request: it is not signed as its trust file demands.
    Untrusted,
    /// An error in the connector itself.
    Internal,
}

impl ErrorCode {
    /// All codes, in the order of their declaration.
    pub const ALL: [Self; 11] = [
        Self::InvalidPayload,
        Self::InvalidManifest,
        Self::Rejected,
        Self::AccessDenied,
        Self::Timeout,
        Self::Unavailable,
        Self::PayloadTooLarge,
        Self::NotFound,
        Self::Forbidden,
        Self::Untrusted,
        Self::Internal,
    ];

    /// The name in replies, for example `invalid_payload`.
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
            Self::Untrusted => "untrusted",
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

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::ALL.into_iter().find(|code| code.name() == name).ok_or_else(|| {
            D::Error::invalid_value(Unexpected::Str(&name), &"an error code of the contract")
        })
    }
}

/// The reply to a request that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ErrorReply {
    /// The kind of the error, for programs.
    pub code: ErrorCode,
    /// What is wrong, where, and how to correct it; for people.
    pub message: String,
    /// Parts of the message, for programs.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
}

/// The payload of an error reply.
#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    error: T,
}

impl ErrorReply {
    /// An error without details.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        // The message may quote a large part of the request.
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
        serde_json::to_vec(&Envelope { error: self })
            .expect("strings and numbers always become JSON")
            .into()
    }

    /// Parses the payload of a reply; `None` if it is not an error.
    #[must_use]
    pub fn from_payload(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok().map(|Envelope { error }| error)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn codes_are_listed_in_the_order_of_declaration() {
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

    #[test]
    fn an_error_is_parsed_as_it_was_written() {
        let error = ErrorReply::new(ErrorCode::NotFound, "no such workload").with("workload", "w");
        assert_eq!(ErrorReply::from_payload(&error.to_payload()), Some(error));
        for other in [&b"{}"[..], b"[]", br#"{"error": {"code": "other", "message": ""}}"#] {
            assert_eq!(ErrorReply::from_payload(other), None);
        }
    }
}
