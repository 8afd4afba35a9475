//! The spellings of enum values in Ankaios' own format.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer};

use super::text::{self, FromText};
use crate::hints::quoted;
use crate::proto::ank_base::{
    AddCondition, AgentDisconnected, Failed, NotScheduled, Pending, ReadWriteEnum, Removed,
    RestartPolicy, Running, Stopping, Succeeded,
};

/// An enum of the protobuf schema with the spellings of its values.
pub(crate) trait SpelledEnum: Copy + Into<i32> + 'static {
    /// All values with their spellings, in the order in which error messages list them.
    const SPELLINGS: &'static [(Self, &'static str)];
}

/// The spelling of the value with this number, or `UNKNOWN_<number>` if this version of the
/// schema has no such value.
pub(crate) fn spelling<E: SpelledEnum>(number: i32) -> Cow<'static, str> {
    E::SPELLINGS.iter().find(|(value, _)| (*value).into() == number).map_or_else(
        || Cow::Owned(format!("UNKNOWN_{number}")),
        |(_, spelling)| Cow::Borrowed(*spelling),
    )
}

/// A value of the enum `E`, parsed from its spelling.
#[derive(Debug)]
pub(crate) struct EnumValue<E>(pub(crate) E);

impl<E: SpelledEnum> FromText for EnumValue<E> {
    fn from_text(text: String) -> Result<Self, String> {
        E::SPELLINGS
            .iter()
            .find(|(_, spelling)| *spelling == text)
            .map(|(value, _)| Self(*value))
            .ok_or_else(|| {
                format!("unknown value {}, use {}", quoted(&text), SpellingList::<E>(PhantomData))
            })
    }
}

impl<'de, E: SpelledEnum> Deserialize<'de> for EnumValue<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

impl<E: SpelledEnum> From<EnumValue<E>> for i32 {
    fn from(value: EnumValue<E>) -> Self {
        value.0.into()
    }
}

/// Writes the spellings of `E` as `A, B or C`.
struct SpellingList<E>(PhantomData<E>);

impl<E: SpelledEnum> fmt::Display for SpellingList<E> {
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

impl SpelledEnum for RestartPolicy {
    const SPELLINGS: &'static [(Self, &'static str)] =
        &[(Self::Never, "NEVER"), (Self::OnFailure, "ON_FAILURE"), (Self::Always, "ALWAYS")];
}

impl SpelledEnum for AddCondition {
    const SPELLINGS: &'static [(Self, &'static str)] = &[
        (Self::AddCondRunning, "ADD_COND_RUNNING"),
        (Self::AddCondSucceeded, "ADD_COND_SUCCEEDED"),
        (Self::AddCondFailed, "ADD_COND_FAILED"),
    ];
}

impl SpelledEnum for ReadWriteEnum {
    const SPELLINGS: &'static [(Self, &'static str)] = &[
        (Self::RwNothing, "Nothing"),
        (Self::RwRead, "Read"),
        (Self::RwWrite, "Write"),
        (Self::RwReadWrite, "ReadWrite"),
    ];
}

impl SpelledEnum for AgentDisconnected {
    const SPELLINGS: &'static [(Self, &'static str)] =
        &[(Self::AgentDisconnected, "AgentDisconnected")];
}

impl SpelledEnum for Pending {
    const SPELLINGS: &'static [(Self, &'static str)] = &[
        (Self::Initial, "Initial"),
        (Self::WaitingToStart, "WaitingToStart"),
        (Self::Starting, "Starting"),
        (Self::StartingFailed, "StartingFailed"),
    ];
}

impl SpelledEnum for Running {
    const SPELLINGS: &'static [(Self, &'static str)] = &[(Self::Ok, "Ok")];
}

impl SpelledEnum for Stopping {
    const SPELLINGS: &'static [(Self, &'static str)] = &[
        (Self::Stopping, "Stopping"),
        (Self::WaitingToStop, "WaitingToStop"),
        (Self::RequestedAtRuntime, "RequestedAtRuntime"),
        (Self::DeleteFailed, "DeleteFailed"),
    ];
}

impl SpelledEnum for Succeeded {
    const SPELLINGS: &'static [(Self, &'static str)] = &[(Self::Ok, "Ok")];
}

impl SpelledEnum for Failed {
    const SPELLINGS: &'static [(Self, &'static str)] =
        &[(Self::ExecFailed, "ExecFailed"), (Self::Unknown, "Unknown"), (Self::Lost, "Lost")];
}

impl SpelledEnum for NotScheduled {
    const SPELLINGS: &'static [(Self, &'static str)] = &[(Self::NotScheduled, "NotScheduled")];
}

impl SpelledEnum for Removed {
    const SPELLINGS: &'static [(Self, &'static str)] = &[(Self::Removed, "Removed")];
}
