//! What a change would do to vehicles, by their states; and what an earlier start of the same roll-out
//! has done with them, by their histories.

use std::collections::BTreeMap;

use bytes::Bytes;
use fleet_contract::operation::Operation;
use fleet_contract::revision::HistoryReply;

use super::answers::Missing;
use super::arguments::AskingArgs;
use super::call::{Answer, Call};
use super::context::Context;
use super::failure::Failure;
use super::rollouts::{history_call, state_call};
use crate::Vin;
use crate::changes::{ChangeGroup, Known, Observed, WantedChange, group, vehicle_state};
use crate::rollout::{RolloutId, VehicleState};

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
    let payload = Bytes::from(payload.to_string());
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

/// A [`Survey`] for a roll-out that may have been started before, on another machine.
#[derive(Debug)]
pub(crate) struct Resurvey {
    /// What it would do to the vehicles that it has not changed.
    pub(crate) survey: Survey,
    /// The states of those that it has changed.
    pub(crate) found: BTreeMap<Vin, VehicleState>,
}

/// Reads the states and the histories of vehicles, and compares them with a change that this roll-out
/// may have made already. For vehicles without a history the state decides alone.
///
/// # Errors
/// Ctrl-C.
pub(crate) async fn resurvey(
    context: &mut Context,
    vins: &[Vin],
    wanted: &WantedChange,
    asking: &AskingArgs,
    id: &RolloutId,
) -> Result<Resurvey, Failure> {
    let mut missing = Missing::default();
    let mut states: BTreeMap<Vin, Observed> = BTreeMap::new();
    let calls: Vec<Call> = vins.iter().map(|vin| state_call(vin, asking.timeout)).collect();
    let ask = context.ask(calls, asking.parallel(), |vin, answer| {
        if let Some(payload) = missing.reply(vin, answer) {
            match Known::parse(&payload) {
                Ok(known) => {
                    states.insert(vin.clone(), Observed::new(&known, wanted));
                }
                Err(error) => missing.failed(vin, error.to_string()),
            }
        }
        Ok(())
    });
    ask.await?;
    let mut found = BTreeMap::new();
    let calls: Vec<Call> = states.keys().map(|vin| history_call(vin, asking.timeout)).collect();
    let ask = context.ask(calls, asking.parallel(), |vin, answer| {
        let history: Option<HistoryReply> = match answer {
            Answer::Reply(payload) => serde_json::from_slice(&payload).ok(),
            // It keeps no revisions, or does not answer any more.
            Answer::Error(_) | Answer::None(_) => None,
        };
        if let Some(observed) = states.get(vin) {
            let state = vehicle_state(observed, history.as_ref(), id);
            if state.is_changed() {
                found.insert(vin.clone(), state);
            }
        }
        Ok(())
    });
    ask.await?;
    let others = states.into_iter().filter(|(vin, _)| !found.contains_key(vin));
    let diffs = others.map(|(vin, observed)| (vin, observed.changes));
    let survey = Survey { groups: group(diffs), missing };
    Ok(Resurvey { survey, found })
}
