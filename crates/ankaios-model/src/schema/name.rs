//! Names of workloads, configs, tags, aliases and agents, and the patterns that match names.

use serde::de::{Deserialize, Deserializer};

use super::text::{self, FromText};
use crate::hints::quoted;

/// Maximum length of a name in Ankaios, in characters.
const MAX_LENGTH: usize = 63;

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// Whether the text is a valid name of a workload, config, tag or alias: 1 to 63 of
/// `[a-zA-Z0-9_-]`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    is_identifier(text, MAX_LENGTH)
}

/// Whether the text consists of 1 to `max_length` characters that are allowed in names,
/// `[a-zA-Z0-9_-]`.
#[must_use]
pub fn is_identifier(text: &str, max_length: usize) -> bool {
    (1..=max_length).contains(&text.len()) && text.bytes().all(is_name_byte)
}

/// Whether a field mask has an empty part, such as `a..b`. Such a mask matches nothing, because
/// no path of the state has an empty part.
#[must_use]
pub fn field_mask_has_empty_part(mask: &str) -> bool {
    mask.split('.').any(str::is_empty)
}

/// A name: 1 to 63 of `[a-zA-Z0-9_-]`.
#[derive(Debug)]
pub(super) struct Name(pub(super) String);

impl FromText for Name {
    fn from_text(text: String) -> Result<Self, String> {
        if is_name(&text) {
            Ok(Self(text))
        } else {
            Err(format!(
                "{} is not a valid name, use 1 to {MAX_LENGTH} of a-z, A-Z, 0-9, _ and -",
                quoted(&text)
            ))
        }
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

/// The name of an agent: any number of `[a-zA-Z0-9_-]`, and templates (`{{alias.key}}`) that
/// the server renders before it checks the name. With an empty name, the workload is not
/// scheduled.
///
/// Ankaios does not limit the length. The text between the braces is not checked here, because
/// the server accepts more than its own schema allows, for example spaces.
#[derive(Debug)]
pub(super) struct AgentName(pub(super) String);

impl FromText for AgentName {
    fn from_text(text: String) -> Result<Self, String> {
        if is_agent_name(&text) {
            Ok(Self(text))
        } else {
            Err(format!(
                "{} is not a valid agent name, use a-z, A-Z, 0-9, _, - and templates \
                 such as {{{{alias.key}}}}",
                quoted(&text)
            ))
        }
    }
}

impl<'de> Deserialize<'de> for AgentName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

fn is_agent_name(mut rest: &str) -> bool {
    while let Some((literal, template)) = rest.split_once("{{") {
        let Some((_, after)) = template.split_once("}}") else {
            return false;
        };
        if !literal.bytes().all(is_name_byte) {
            return false;
        }
        // `{{{x}}}` has one more closing brace.
        rest = after.strip_prefix('}').unwrap_or(after);
    }
    rest.bytes().all(is_name_byte)
}

/// A filter mask of a state rule: parts separated by dots, each `*` or a name of any length.
#[derive(Debug)]
pub(super) struct FilterMask(pub(super) String);

impl FromText for FilterMask {
    fn from_text(text: String) -> Result<Self, String> {
        let is_part =
            |part: &str| part == "*" || !part.is_empty() && part.bytes().all(is_name_byte);
        if text.split('.').all(is_part) {
            Ok(Self(text))
        } else {
            Err(format!(
                "{} is not a valid filter mask, use parts separated by dots, each * or a name",
                quoted(&text)
            ))
        }
    }
}

impl<'de> Deserialize<'de> for FilterMask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

/// A workload name of a log rule, which may contain one `*`.
#[derive(Debug)]
pub(super) struct NamePattern(pub(super) String);

impl FromText for NamePattern {
    fn from_text(text: String) -> Result<Self, String> {
        // The `*` does not count towards the length, because it can match the empty text.
        let is_valid = match text.split_once('*') {
            None => is_name(&text),
            Some((before, after)) => {
                before.len() + after.len() <= MAX_LENGTH
                    && before.bytes().chain(after.bytes()).all(is_name_byte)
            }
        };
        if is_valid {
            Ok(Self(text))
        } else {
            Err(format!(
                "{} is not a valid workload name of a log rule, use 1 to {MAX_LENGTH} \
                 of a-z, A-Z, 0-9, _ and -, and at most one *",
                quoted(&text)
            ))
        }
    }
}

impl<'de> Deserialize<'de> for NamePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}
