//! Ids of roll-outs and of their requests.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::vin::Vin;

/// The id of a roll-out: 4 to 32 of `a-z` and `0-9`. Without `-`, so that a request of its undo,
/// `undo-<id>/…`, never looks like one of another roll-out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RolloutId(String);

/// The error for text that is not a [`RolloutId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the id of a roll-out; it has 4 to 32 of a-z and 0-9")]
pub struct InvalidRolloutId(String);

impl RolloutId {
    /// The id that is made of a random number.
    #[must_use]
    pub fn from_random(random: u32) -> Self {
        Self(format!("{random:08x}"))
    }

    /// The text of the id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RolloutId {
    type Err = InvalidRolloutId;

    fn from_str(text: &str) -> Result<Self, InvalidRolloutId> {
        let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if (4..=32).contains(&text.len()) && text.bytes().all(is_allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidRolloutId(text.chars().take(40).collect()))
        }
    }
}

impl TryFrom<String> for RolloutId {
    type Error = InvalidRolloutId;

    fn try_from(text: String) -> Result<Self, InvalidRolloutId> {
        text.parse()
    }
}

impl From<RolloutId> for String {
    fn from(id: RolloutId) -> Self {
        id.0
    }
}

impl fmt::Display for RolloutId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a request of a roll-out asks of a vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// To make the change: the operation and the payload of the plan.
    Change,
    /// To keep the change: `manifest/confirm`.
    Confirm,
    /// To take the change back: `manifest/rollback` with the id of the roll-out.
    Undo,
}

impl RequestKind {
    const ALL: [Self; 3] = [Self::Change, Self::Confirm, Self::Undo];

    /// Begins the request ids. Only requests for the change itself begin with the id of the
    /// roll-out: a revision that a rollback makes must not look like one that can be rolled back
    /// by the same request.
    fn prefix(self) -> &'static str {
        match self {
            Self::Change => "",
            Self::Confirm => "confirm-",
            Self::Undo => "undo-",
        }
    }
}

/// The id of a request: `<rollout>/<wave>/<VIN>/<try>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId {
    /// The roll-out.
    pub rollout: RolloutId,
    /// What the request asks for.
    pub kind: RequestKind,
    /// The wave of the vehicle, from 1.
    pub wave: usize,
    /// The vehicle.
    pub vin: Vin,
    /// The number of the request to this vehicle, from 1.
    pub attempt: u32,
}

impl RequestId {
    /// What the ids of the requests of this kind begin with.
    #[must_use]
    pub fn beginning(rollout: &RolloutId, kind: RequestKind) -> String {
        format!("{}{rollout}/", kind.prefix())
    }

    /// Parses an id; `None` if it does not belong to a roll-out.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let name = parts.next()?;
        let kind = RequestKind::ALL.into_iter().rev().find(|it| name.starts_with(it.prefix()))?;
        let rollout = name.strip_prefix(kind.prefix())?.parse().ok()?;
        let wave = parts.next()?.parse().ok()?;
        let vin = parts.next()?.parse().ok()?;
        let attempt = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Self { rollout, kind, wave, vin, attempt })
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rollout, kind, wave, vin, attempt } = self;
        write!(formatter, "{}{rollout}/{wave}/{vin}/{attempt}", kind.prefix())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_parsed_as_they_are_written() {
        for (kind, text) in RequestKind::ALL.into_iter().zip([
            "7f3a/2/WDB0412/1",
            "confirm-7f3a/2/WDB0412/1",
            "undo-7f3a/2/WDB0412/1",
        ]) {
            let id = RequestId::parse(text).unwrap();
            assert_eq!((id.kind, id.wave, id.attempt), (kind, 2, 1));
            assert_eq!(id.to_string(), text);
            assert!(text.starts_with(&RequestId::beginning(&id.rollout, kind)));
        }
        for text in ["", "7f3a", "7f3a/2/WDB0412", "7f3a/2/WDB0412/1/1", "x-7f3a/1/A/1", "r/1/A/1"]
        {
            assert_eq!(RequestId::parse(text), None, "{text}");
        }
        assert_eq!(RolloutId::from_random(0x7f3a).as_str(), "00007f3a");
    }
}
