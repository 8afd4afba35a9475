//! Reads of the state and the history of vehicles, as a roll-out asks for them.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet_contract::operation::Operation;
use fleet_contract::revision::HistoryReply;
use serde_json::json;

use super::super::call::{Answer, Call};
use crate::Vin;
use crate::changes::{Known, Observed, WantedChange, vehicle_state};
use crate::rollout::{Event, RolloutId};

/// Reads that are not complete.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// By the call that is in progress. The state is read first, then the history.
    calls: BTreeMap<u64, Stage>,
}

#[derive(Debug)]
enum Stage {
    State { vin: Vin },
    History { vin: Vin, observed: Observed },
}

/// What follows from an answer.
#[derive(Debug)]
pub(super) enum Next {
    /// It is not of a read.
    NotARead,
    /// The history of the vehicle is next.
    History(Vin, Observed),
    /// The read is complete.
    Event(Event),
    /// There is no result: the roll-out gives the read up by itself.
    Nothing,
}

/// The request for the state of a vehicle, as far as changes concern it.
pub(crate) fn state_call(vin: &Vin, timeout: Duration) -> Call {
    let masks = ["desiredState", "workloadStates"];
    let payload = json!({"field_masks": masks, "format": "ankaios"}).to_string();
    Call::new(vin, Operation::State, payload, timeout)
}

/// The request for the history of a vehicle.
pub(crate) fn history_call(vin: &Vin, timeout: Duration) -> Call {
    Call::new(vin, Operation::ManifestHistory, "", timeout)
}

impl Reads {
    /// Notes that the state of a vehicle is read by this call.
    pub(super) fn started(&mut self, token: u64, vin: Vin) {
        self.calls.insert(token, Stage::State { vin });
    }

    /// Notes that a read goes on with this call.
    pub(super) fn goes_on(&mut self, token: u64, vin: Vin, observed: Observed) {
        self.calls.insert(token, Stage::History { vin, observed });
    }

    /// Handles an answer.
    pub(super) fn answered(
        &mut self,
        token: u64,
        answer: Answer,
        wanted: &WantedChange,
        rollout: &RolloutId,
    ) -> Next {
        match self.calls.remove(&token) {
            None => Next::NotARead,
            Some(Stage::State { vin }) => match &answer {
                Answer::Reply(payload) => Known::parse(payload).map_or(Next::Nothing, |known| {
                    Next::History(vin, Observed::new(&known, wanted))
                }),
                Answer::Error(_) | Answer::None(_) => Next::Nothing,
            },
            Some(Stage::History { vin, observed }) => {
                let history: Option<HistoryReply> = match answer {
                    Answer::Reply(payload) => serde_json::from_slice(&payload).ok(),
                    // It does not keep revisions.
                    Answer::Error(_) => None,
                    Answer::None(_) => return Next::Nothing,
                };
                let state = vehicle_state(&observed, history.as_ref(), rollout);
                Next::Event(Event::StateRead { vin, state })
            }
        }
    }
}
