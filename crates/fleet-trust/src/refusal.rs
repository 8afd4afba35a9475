//! Why a request is refused.

use std::fmt;

use crate::key::KeyId;

/// Why a request is refused, for programs: `details.reason` of the error reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The operation needs a signature, and the request is not a bundle.
    Unsigned,
    /// The bundle, a signature or the statement does not have the right form, or a signature is
    /// not one of this statement.
    Malformed,
    /// Too few different keys have signed.
    Threshold,
    /// A signature is by a key that is not one of the role.
    UnknownKey,
    /// The time of the statement has passed.
    Expired,
    /// The time of the statement has not come, or the vehicle does not know the time.
    NotYetValid,
    /// The statement is about another operation.
    WrongOperation,
    /// The statement is for another fleet.
    WrongFleet,
    /// The statement is for other vehicles.
    WrongVehicle,
    /// The payload is not the one that was signed.
    Digest,
    /// A newer request was accepted before.
    Replayed,
}

impl Reason {
    /// All reasons, in the order of their declaration.
    pub const ALL: [Self; 11] = [
        Self::Unsigned,
        Self::Malformed,
        Self::Threshold,
        Self::UnknownKey,
        Self::Expired,
        Self::NotYetValid,
        Self::WrongOperation,
        Self::WrongFleet,
        Self::WrongVehicle,
        Self::Digest,
        Self::Replayed,
    ];

    /// The name in replies, for example `unknown_key`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Malformed => "malformed",
            Self::Threshold => "threshold",
            Self::UnknownKey => "unknown_key",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongOperation => "wrong_operation",
            Self::WrongFleet => "wrong_fleet",
            Self::WrongVehicle => "wrong_vehicle",
            Self::Digest => "digest",
            Self::Replayed => "replayed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A request that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Why, for programs.
    pub reason: Reason,
    /// What is wrong and what to do, for people. One line, without control characters.
    pub message: String,
    /// The keys that it concerns: the unknown key, or those that have signed, as far as that was
    /// verified. For the log.
    pub keys: Vec<KeyId>,
}

impl Refusal {
    /// The refusal of a request that is not a bundle, of an operation that needs one.
    #[must_use]
    pub fn unsigned(operation: &str) -> Self {
        Self::new(
            Reason::Unsigned,
            format!(
                "{operation} needs a signed request, because the trust file of the vehicle \
                 requires it; send a bundle"
            ),
        )
    }

    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: printable(message.into()), keys: Vec::new() }
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(Reason::Malformed, message)
    }

    pub(crate) fn with_keys(mut self, keys: impl IntoIterator<Item = KeyId>) -> Self {
        self.keys = keys.into_iter().collect();
        self
    }
}

/// Messages quote what was sent, at most this many characters.
const MAX_MESSAGE: usize = 1000;

/// The text without what could make another line of it or turn its order around, and not longer
/// than a message may be.
fn printable(text: String) -> String {
    let is_harmful =
        |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    let mut text =
        if text.contains(is_harmful) { text.replace(is_harmful, "\u{FFFD}") } else { text };
    if let Some((end, _)) = text.char_indices().nth(MAX_MESSAGE) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_listed_in_the_order_of_declaration_and_have_different_names() {
        let positions = Reason::ALL.map(|reason| reason as usize);
        assert!(positions.into_iter().eq(0..Reason::ALL.len()));
        let mut names = Reason::ALL.map(Reason::as_str).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }

    #[test]
    fn a_message_is_one_line_of_limited_length() {
        let text = format!("a\nb\u{1b}[31mc\u{2028}d\u{202e}e\u{2067}{}", "é".repeat(5000));
        let refusal = Refusal::malformed(text);
        assert!(refusal.message.starts_with("a\u{FFFD}b\u{FFFD}[31mc\u{FFFD}d\u{FFFD}e\u{FFFD}é"));
        assert_eq!(refusal.message.chars().count(), MAX_MESSAGE + 1);
    }
}
