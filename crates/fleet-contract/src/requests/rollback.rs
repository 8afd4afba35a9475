//! `manifest/rollback`: goes back to an earlier revision.

use serde::{Deserialize, Serialize};

use super::history::parse_or_empty;
use super::payload::refused;
use crate::error::ErrorReply;

const EXPECTED: &str = "an empty payload, or {\"revision\": 12, \"if_current\": 13} or \
                        {\"rollout\": \"7f3a\"}, all of them optional";

/// Maximum length of `rollout`, in bytes.
const MAX_ROLLOUT: usize = 256;

/// A request to go back to an earlier revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The revision to go back to; 0 is the startup manifest. `None` means the one before the
    /// current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Go back only if this is the current revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_current: Option<u64>,
    /// Go back to before the current revision, if a request whose id begins with this and `/` has
    /// made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
}

impl RollbackRequest {
    /// Parses an object or an empty payload.
    ///
    /// # Errors
    /// `invalid_payload`, with what is wrong and what is expected.
    pub fn parse(payload: &[u8]) -> Result<Self, ErrorReply> {
        let request: Self = parse_or_empty(payload, EXPECTED)?;
        if let Some(rollout) = &request.rollout {
            if rollout.is_empty() || rollout.len() > MAX_ROLLOUT {
                let reason = format!("rollout: it has not 1 to {MAX_ROLLOUT} bytes");
                return Err(refused(payload, "", &reason, EXPECTED));
            }
            if request.revision.is_some() {
                let reason = "revision: with rollout, it is always the one before the current one";
                return Err(refused(payload, "", reason, EXPECTED));
            }
        }
        Ok(request)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn all_fields_are_optional() {
        assert_eq!(RollbackRequest::parse(b"").unwrap(), RollbackRequest::default());
        let request = RollbackRequest::parse(br#"{"revision": 0, "if_current": 13}"#).unwrap();
        assert_eq!((request.revision, request.if_current), (Some(0), Some(13)));
        let request = RollbackRequest::parse(br#"{"rollout": "7f3a"}"#).unwrap();
        assert_eq!(request.rollout.as_deref(), Some("7f3a"));
    }

    #[test]
    fn other_payloads_are_refused() {
        for (payload, part) in [
            (&br#"{"revision": "12"}"#[..], "revision: invalid type"),
            (br#"{"revision": -1}"#, "revision: invalid value"),
            (br#"{"rollout": ""}"#, "rollout: it has not 1 to 256 bytes"),
            (br#"{"rollout": "a", "revision": 1}"#, "revision: with rollout"),
            (br#"{"to": 1}"#, "unknown field"),
            (b"null", "it is not an object"),
        ] {
            let error = RollbackRequest::parse(payload).unwrap_err();
            assert!(error.message.contains(part), "{}", error.message);
        }
    }
}
