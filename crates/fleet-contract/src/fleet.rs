//! Fleets: one message asks all connectors of a fleet for their status.
//!
//! Retained statuses are not enough: some brokers do not give them to subscriptions with wildcards,
//! or only on the node where they were published, and a retained status may be older than the end of
//! its connector.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::fields;

/// Maximum length of the name of a fleet, in characters.
const MAX_NAME: usize = 64;

/// Maximum time over which answers may be spread.
pub const MAX_SPREAD: Duration = Duration::from_secs(60);

const EXPECTED: &str = "expected {\"spread\": \"2s\"}, at most 60s";

/// The name of a fleet: 1 to 64 of `A-Z`, `a-z`, `0-9`, `.`, `_` and `-`, as in trust files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetName(String);

/// The error for text that is not a [`FleetName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid name; use 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'")]
pub struct InvalidFleetName(String);

impl FleetName {
    /// The topic on which the connectors of the fleet are asked for their status.
    #[must_use]
    pub fn who_topic(&self) -> String {
        format!("fleet/{}/who", self.0)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FleetName {
    type Err = InvalidFleetName;

    fn from_str(name: &str) -> Result<Self, InvalidFleetName> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_allowed) {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidFleetName(name.chars().take(MAX_NAME + 1).collect()))
        }
    }
}

impl fmt::Display for FleetName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Asks all connectors of a fleet for their status. Each publishes it again, not retained, at a
/// random moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WhoRequest {
    /// The time over which the answers are spread.
    pub spread: Duration,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    spread: String,
}

impl WhoRequest {
    /// Parses a payload.
    ///
    /// # Errors
    /// What is wrong, and what is expected.
    pub fn parse(payload: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(payload).map_err(|_| format!("not UTF-8; {EXPECTED}"))?;
        // A structure could be read from a list, too.
        if !text.trim_start().starts_with('{') {
            return Err(format!("it is not an object; {EXPECTED}"));
        }
        let request: Payload =
            fields::from_text(text).map_err(|reason| format!("{reason}; {EXPECTED}"))?;
        let spread = humantime::parse_duration(&request.spread)
            .map_err(|reason| format!("spread: {reason}; {EXPECTED}"))?;
        if spread > MAX_SPREAD {
            return Err(format!("spread: it is more than 60s; {EXPECTED}"));
        }
        Ok(Self { spread })
    }

    /// The payload of the message.
    #[must_use]
    pub fn to_payload(self) -> Bytes {
        let spread = humantime::format_duration(self.spread).to_string();
        serde_json::to_vec(&Payload { spread }).expect("strings always become JSON").into()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_topic_level() {
        let fleet: FleetName = "prod-eu.1".parse().unwrap();
        assert_eq!(fleet.who_topic(), "fleet/prod-eu.1/who");
        for name in ["", "a/b", "+", "#", "a b", "ü", &"x".repeat(65)] {
            assert!(name.parse::<FleetName>().is_err(), "{name}");
        }
    }

    #[test]
    fn requests_are_parsed_as_they_are_written() {
        for millis in [0, 1, 2000, 60_000] {
            let request = WhoRequest { spread: Duration::from_millis(millis) };
            assert_eq!(WhoRequest::parse(&request.to_payload()), Ok(request));
        }
    }

    #[test]
    fn other_payloads_say_what_is_expected() {
        for payload in [
            &b""[..],
            b"\xff",
            b"2s",
            b"{}",
            b"[\"2s\"]",
            br#"{"spread": 2}"#,
            br#"{"spread": "2"}"#,
            br#"{"spread": "-2s"}"#,
            br#"{"spread": "61s"}"#,
            br#"{"spread": "2s", "fleet": "x"}"#,
        ] {
            let error = WhoRequest::parse(payload).unwrap_err();
            assert!(error.ends_with("expected {\"spread\": \"2s\"}, at most 60s"), "{error}");
        }
    }
}
