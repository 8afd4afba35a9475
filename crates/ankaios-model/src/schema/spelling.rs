//! How Ankaios' format spells the values of its enums.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer};

use super::text::{self, FromText};
use crate::proto::ank_base::{
    AddCondition, AgentDisconnected, Failed, NotScheduled, Pending, ReadWriteEnum, Removed,
    RestartPolicy, Running, Stopping, Succeeded,
};

/// An enum of the protobuf schema and its spelling.
pub(crate) trait Spelled: Copy + Into<i32> + 'static {
    /// Every value with its spelling, in the order in which messages list them.
    const SPELLINGS: &'static [(Self, &'static str)];
}

/// The spelling of the value with this number, `UNKNOWN_<number>` for numbers
/// that this version of the schema does not have.
pub(crate) fn spelling<E: Spelled>(number: i32) -> Cow<'static, str> {
    E::SPELLINGS.iter().find(|(value, _)| (*value).into() == number).map_or_else(
        || Cow::Owned(format!("UNKNOWN_{number}")),
        |(_, spelling)| Cow::Borrowed(*spelling),
    )
}

/// A value of the enum `E`, read from its spelling.
#[derive(Debug)]
pub(crate) struct OneOf<E>(pub(crate) E);

impl<E: Spelled> FromText for OneOf<E> {
    fn from_text(text: String) -> Result<Self, String> {
        E::SPELLINGS
            .iter()
            .find(|(_, spelling)| *spelling == text)
            .map(|(value, _)| Self(*value))
            .ok_or_else(|| format!("unknown value {text:?}, use {}", Choice::<E>(PhantomData)))
    }
}

impl<'de, E: Spelled> Deserialize<'de> for OneOf<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

impl<E: Spelled> From<OneOf<E>> for i32 {
    fn from(value: OneOf<E>) -> Self {
        value.0.into()
    }
}

/// Lists the spellings of `E` as `A, B or C`.
struct Choice<E>(PhantomData<E>);

impl<E: Spelled> fmt::Display for Choice<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = E::SPELLINGS.len().saturating_sub(1);
        for (index, (_, spelling)) in E::SPELLINGS.iter().enumerate() {
            match index {
                0 => {}
                _ if index == last => f.write_str(" or ")?,
                _ => f.write_str(", ")?,
            }
            f.write_str(spelling)?;
        }
        Ok(())
    }
}

impl Spelled for RestartPolicy {
    const SPELLINGS: &'static [(Self, &'static str)] =
        &[(Self::Never, "NEVER"), (Self::OnFailure, "ON_FAILURE"), (Self::Always, "ALWAYS")];
}

impl Spelled for AddCondition {
    const SPELLINGS: &'static [(Self, &'static str)] = &[
        (Self::AddCondRunning, "ADD_COND_RUNNING"),
        (Self::AddCondSucceeded, "ADD_COND_SUCCEEDED"),
        (Self::AddCondFailed, "ADD_COND_FAILED"),
    ];
}

impl Spelled for ReadWriteEnum {
    const SPELLINGS: &'static [(Self, &'static str)] = &[
        (Self::RwNothing, "Nothing"),
        (Self::RwRead, "Read"),
        (Self::RwWrite, "Write"),
        (Self::RwReadWrite, "ReadWrite"),
    ];
}

impl Spelled for AgentDisconnected {
    const SPELLINGS: &'static [(Self, &'static str)] =
        &[(Self::AgentDisconnected, "AgentDisconnected")];
}

impl Spelled for Pending {
    const SPELLINGS: &'static [(Self, &'static str)] = &[
        (Self::Initial, "Initial"),
        (Self::WaitingToStart, "WaitingToStart"),
        (Self::Starting, "Starting"),
        (Self::StartingFailed, "StartingFailed"),
    ];
}

impl Spelled for Running {
    const SPELLINGS: &'static [(Self, &'static str)] = &[(Self::Ok, "Ok")];
}

impl Spelled for Stopping {
    const SPELLINGS: &'static [(Self, &'static str)] = &[
        (Self::Stopping, "Stopping"),
        (Self::WaitingToStop, "WaitingToStop"),
        (Self::RequestedAtRuntime, "RequestedAtRuntime"),
        (Self::DeleteFailed, "DeleteFailed"),
    ];
}

impl Spelled for Succeeded {
    const SPELLINGS: &'static [(Self, &'static str)] = &[(Self::Ok, "Ok")];
}

impl Spelled for Failed {
    const SPELLINGS: &'static [(Self, &'static str)] =
        &[(Self::ExecFailed, "ExecFailed"), (Self::Unknown, "Unknown"), (Self::Lost, "Lost")];
}

impl Spelled for NotScheduled {
    const SPELLINGS: &'static [(Self, &'static str)] = &[(Self::NotScheduled, "NotScheduled")];
}

impl Spelled for Removed {
    const SPELLINGS: &'static [(Self, &'static str)] = &[(Self::Removed, "Removed")];
}
