//! Counts of the vehicles of a wave.

use super::outcome::OutcomeKind;
use super::vehicle::{Phase, Vehicle};

/// Counts of the vehicles of a wave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Vehicles to which the change was sent, or is sent again.
    pub attempted: usize,
    /// Vehicles that are being changed, confirmed or taken back.
    pub in_flight: usize,
    /// Vehicles that are attempted again.
    pub again: usize,
    /// Vehicles that have succeeded.
    pub succeeded: usize,
    /// Vehicles that had the change already.
    pub unchanged: usize,
    /// Vehicles that have failed, taken the change back, refused it, or timed out.
    pub failed: usize,
    /// Vehicles that did not answer.
    pub unreachable: usize,
    /// Vehicles that were changed otherwise.
    pub superseded: usize,
    /// Vehicles that are offline, with the request at the broker.
    pub queued: usize,
    /// Vehicles that were taken back.
    pub undone: usize,
    /// Whether the operator has gone on after the wave was stopped.
    pub is_accepted: bool,
    /// Failures that the operator has seen, and gone on.
    pub accepted_failures: usize,
    /// Unreachable vehicles that the operator has seen, and gone on.
    pub accepted_unreachable: usize,
}

impl Tally {
    /// Failures that count for the limit.
    #[must_use]
    pub fn new_failures(&self) -> usize {
        self.failed.saturating_sub(self.accepted_failures)
    }

    /// Unreachable vehicles that count for the limit.
    #[must_use]
    pub fn new_unreachable(&self) -> usize {
        self.unreachable.saturating_sub(self.accepted_unreachable)
    }

    /// Vehicles for which it is over.
    #[must_use]
    pub fn done(&self) -> usize {
        self.succeeded
            + self.unchanged
            + self.failed
            + self.unreachable
            + self.superseded
            + self.undone
    }

    /// Counts a vehicle of the wave, or no longer counts it.
    pub(super) fn count(&mut self, vehicle: &Vehicle, is_added: bool) {
        let add = |field: &mut usize| {
            *field = if is_added { *field + 1 } else { field.saturating_sub(1) };
        };
        if vehicle.outcome() != Some(OutcomeKind::Unchanged) {
            add(&mut self.attempted);
        }
        match vehicle.phase {
            Phase::Waiting => add(&mut self.again),
            Phase::Queued { .. } => add(&mut self.queued),
            Phase::Changing { .. } | Phase::Settling { .. } => add(&mut self.in_flight),
            Phase::Done(_) => {}
        }
        match vehicle.outcome() {
            None | Some(OutcomeKind::Pending) => {}
            Some(OutcomeKind::Succeeded) => add(&mut self.succeeded),
            Some(OutcomeKind::Unchanged) => add(&mut self.unchanged),
            Some(OutcomeKind::Unreachable) => add(&mut self.unreachable),
            Some(OutcomeKind::Superseded) => add(&mut self.superseded),
            Some(OutcomeKind::Undone) => add(&mut self.undone),
            Some(
                OutcomeKind::Failed
                | OutcomeKind::RolledBack
                | OutcomeKind::Rejected
                | OutcomeKind::TimedOut,
            ) => add(&mut self.failed),
        }
    }
}
