//! What a change would do to vehicles, by their states.

use fleet_contract::operation::Operation;

use super::answers::Missing;
use super::arguments::AskingArgs;
use super::call::Call;
use super::context::Context;
use super::failure::Failure;
use crate::Vin;
use crate::changes::{ChangeGroup, Known, WantedChange, group};

/// What a change would do.
#[derive(Debug)]
pub(crate) struct Survey {
    /// Vehicles with the same answer together.
    pub(crate) groups: Vec<ChangeGroup>,
    /// Vehicles without an answer.
    pub(crate) missing: Missing,
}

impl Survey {
    /// The vehicles that have the change already.
    pub(crate) fn unchanged(&self) -> impl Iterator<Item = &Vin> {
        let unchanged = self.groups.iter().filter(|group| group.changes.is_empty());
        unchanged.flat_map(|group| &group.vins)
    }
}

/// Reads the states of vehicles, and compares them with a change.
///
/// # Errors
/// Ctrl-C.
pub(crate) async fn survey(
    context: &mut Context,
    vins: &[Vin],
    wanted: &WantedChange,
    asking: &AskingArgs,
) -> Result<Survey, Failure> {
    let payload = serde_json::json!({"field_masks": ["desiredState"], "format": "ankaios"});
    let payload = payload.to_string();
    let calls: Vec<Call> = vins
        .iter()
        .map(|vin| Call::new(vin, Operation::State, payload.clone(), asking.timeout))
        .collect();
    let mut missing = Missing::default();
    let mut diffs = Vec::new();
    let ask = context.ask(calls, asking.parallel(), |vin, answer| {
        if let Some(payload) = missing.reply(vin, answer) {
            match Known::parse(&payload) {
                Ok(known) => diffs.push((vin.clone(), wanted.diff(&known))),
                Err(error) => missing.failed(vin, error.to_string()),
            }
        }
        Ok(())
    });
    ask.await?;
    Ok(Survey { groups: group(diffs), missing })
}
