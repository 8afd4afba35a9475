//! What a roll-out has to know of a vehicle.

use fleet_contract::revision::HistoryReply;

use super::diff::ItemDiff;
use super::known::Known;
use super::wanted::WantedChange;
use crate::rollout::{OwnRevision, RequestId, RequestKind, RolloutId, Settled, VehicleState};

/// What a change has to know of the state of a vehicle. It is small, unlike the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// What the change would change; empty if the vehicle has it already.
    pub changes: Vec<ItemDiff>,
    workloads: Settled,
}

impl Observed {
    /// Compares a state with a change.
    #[must_use]
    pub fn new(known: &Known, wanted: &WantedChange) -> Self {
        Self { changes: wanted.diff(known), workloads: wanted.settled(known) }
    }
}

/// What a roll-out has to know of a vehicle. `history` is the reply to `manifest/history`, if the
/// vehicle keeps revisions.
#[must_use]
pub fn vehicle_state(
    observed: &Observed,
    history: Option<&HistoryReply>,
    rollout: &RolloutId,
) -> VehicleState {
    let revisions = || history.into_iter().flat_map(|history| &history.revisions);
    let newest = |kind| {
        let beginning = RequestId::beginning(rollout, kind);
        revisions()
            .filter(|revision| revision.request_id.starts_with(&beginning))
            .max_by_key(|revision| revision.revision)
    };
    let own = newest(RequestKind::Change);
    let undo = newest(RequestKind::Undo);
    VehicleState {
        is_applied: observed.changes.is_empty(),
        workloads: observed.workloads.clone(),
        own: own.map(|own| {
            let request = RequestId::parse(&own.request_id);
            OwnRevision {
                revision: own.revision,
                wave: request.as_ref().map_or(1, |request| request.wave),
                attempt: request.map_or(1, |request| request.attempt),
                status: own.status,
                is_current: history.is_some_and(|history| history.current == own.revision),
            }
        }),
        is_undone: undo.is_some_and(|undo| own.is_none_or(|own| undo.revision > own.revision)),
    }
}
