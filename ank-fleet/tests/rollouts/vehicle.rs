//! A model vehicle.

use std::time::Duration;

use ank_fleet::Time;
use ank_fleet::rollout::{OutcomeKind, OwnRevision, RequestId, Settled, VehicleState};
use fleet_contract::revision::RevisionStatus;

pub(crate) const SETTLES_AFTER: Duration = Duration::from_secs(5);

/// When a vehicle fails that [`FailsLater`](Behaviour::FailsLater).
pub(crate) const FAILS_AFTER: Duration = Duration::from_secs(20);

/// How a vehicle behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Good,
    Fails,
    Refuses,
    NeverSettles,
    Silent,
    Offline,
    /// It fails when it has been up for a while.
    FailsLater,
}

impl Behaviour {
    pub(crate) fn outcome(self) -> OutcomeKind {
        match self {
            Self::Good | Self::FailsLater => OutcomeKind::Succeeded,
            Self::Fails => OutcomeKind::Failed,
            Self::Refuses => OutcomeKind::Rejected,
            Self::NeverSettles => OutcomeKind::TimedOut,
            Self::Silent => OutcomeKind::Unreachable,
            Self::Offline => OutcomeKind::Pending,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct ModelVehicle {
    pub(crate) behaviour: Behaviour,
    pub(crate) is_online: bool,
    /// When the change was made.
    pub(crate) changed: Option<Time>,
    pub(crate) is_confirmed: bool,
    pub(crate) is_undone: bool,
    /// Somebody else has made a later change.
    pub(crate) is_taken: bool,
    pub(crate) keeps_revisions: bool,
    /// The change is another one, with the same id.
    pub(crate) is_other: bool,
    /// The wave of the request that has made the change.
    pub(crate) wave: usize,
    pub(crate) changes: usize,
    /// Requests that the broker keeps for it, and until when.
    pub(crate) kept: Vec<(RequestId, Time)>,
}

impl ModelVehicle {
    pub(crate) fn new(behaviour: Behaviour) -> Self {
        Self {
            behaviour,
            is_online: behaviour != Behaviour::Offline,
            changed: None,
            is_confirmed: false,
            is_undone: false,
            is_taken: false,
            keeps_revisions: true,
            is_other: false,
            wave: 1,
            changes: 0,
            kept: Vec::new(),
        }
    }

    /// Whether the change of the roll-out is in force.
    pub(crate) fn has_own(&self) -> bool {
        self.changed.is_some() && !self.is_taken && !self.is_undone
    }

    /// What can be read from it now.
    pub(crate) fn read(&self, now: Time) -> Option<VehicleState> {
        if !self.is_online || self.behaviour == Behaviour::Silent {
            return None;
        }
        let Some(changed) = self.changed else {
            return Some(VehicleState {
                is_applied: false,
                workloads: Settled::Up,
                own: None,
                is_undone: false,
            });
        };
        let up = now.since(changed);
        let is_settled = up >= SETTLES_AFTER && self.behaviour != Behaviour::NeverSettles;
        let has_failed = self.behaviour == Behaviour::Fails
            || (self.behaviour == Behaviour::FailsLater && up >= FAILS_AFTER);
        let failed = Settled::Failed { workload: "w".into(), message: "Failed(ExecFailed)".into() };
        let (workloads, status) = match (is_settled, has_failed) {
            (false, _) => (Settled::Starting, RevisionStatus::InProgress),
            (true, true) if self.behaviour == Behaviour::Fails => (failed, RevisionStatus::Failed),
            (true, has_failed) => (
                if has_failed { failed } else { Settled::Up },
                if self.is_confirmed {
                    RevisionStatus::Succeeded
                } else {
                    RevisionStatus::Unconfirmed
                },
            ),
        };
        let is_current = !self.is_undone && !self.is_taken;
        let own = OwnRevision { revision: 1, wave: self.wave, attempt: 1, status, is_current };
        let own = self.keeps_revisions.then_some(own);
        Some(VehicleState {
            is_applied: is_current && !self.is_other,
            workloads,
            own,
            is_undone: self.is_undone,
        })
    }
}
