//! The events that a roll-out receives, and the actions that it returns.

use fleet_contract::error::ErrorReply;
use fleet_contract::revision::RevisionStatus;
use fleet_contract::rollout::RolloutProgress;

use super::id::RequestId;
use super::transition::Line;
use crate::time::Time;
use crate::vin::Vin;

/// Something that has happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The presence of the vehicles is known as far as it can be: the roll-out may start them.
    Begin,
    /// There is a connection to the broker again.
    Connected,
    /// The connection to the broker is lost.
    Disconnected,
    /// The status of a vehicle says whether it is online.
    Presence {
        /// The vehicle.
        vin: Vin,
        /// Whether it is online.
        is_online: bool,
    },
    /// A reply to a request of this roll-out.
    Reply {
        /// The id of the request.
        request: RequestId,
        /// The number of the revision, if the vehicle keeps revisions; or the error.
        result: Result<Option<u64>, ErrorReply>,
    },
    /// Before it has begun: what was read from a vehicle that an earlier start of this roll-out,
    /// whose journal is not here, may have changed.
    Found {
        /// The vehicle.
        vin: Vin,
        /// What was read.
        state: VehicleState,
    },
    /// A message on `manifest/apply/status`.
    Status {
        /// The vehicle.
        vin: Vin,
        /// The message.
        progress: RolloutProgress,
    },
    /// The answer to [`Action::ReadState`].
    StateRead {
        /// The vehicle.
        vin: Vin,
        /// What was read.
        state: VehicleState,
    },
    /// The answer to [`Action::ReadLog`].
    Log {
        /// The vehicle.
        vin: Vin,
        /// The last lines, the oldest first.
        lines: Vec<String>,
    },
    /// A workload of the change has failed after it was up.
    WorkloadFailed {
        /// The vehicle.
        vin: Vin,
        /// The workload.
        workload: String,
        /// Why.
        message: String,
    },
    /// The gate of a wave has ended: `Err` says how it has failed.
    Gate {
        /// The wave, from 1.
        wave: usize,
        /// Whether it has passed.
        result: Result<(), String>,
    },
    /// Time has passed.
    Tick,
    /// The operator pauses the roll-out.
    Pause,
    /// The operator goes on with it, after a pause, a stop, or `--until`.
    Resume {
        /// Nothing is started after this time.
        until: Option<Time>,
    },
    /// The operator ends it.
    Abort,
    /// The operator has pressed Ctrl-C.
    Interrupt,
    /// The operator takes back what it has changed.
    Undo,
    /// The operator attempts those again that have failed; pending ones are attempted anyway.
    RetryFailed,
}

/// What was read from a vehicle: its desired state, the states of the workloads, and its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VehicleState {
    /// Whether the desired state is as the change makes it.
    pub is_applied: bool,
    /// The states of the workloads that the change names.
    pub workloads: Settled,
    /// The newest revision that this roll-out has made. `None` also if the vehicle does not keep
    /// revisions.
    pub own: Option<OwnRevision>,
    /// Whether a newer revision was made by the undo of this roll-out.
    pub is_undone: bool,
}

impl VehicleState {
    /// Whether the roll-out has changed the vehicle before. Not if its revision is the current one, and
    /// the state is another: then its id was used for another change, or the vehicle was changed
    /// locally.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.own.is_some_and(|own| {
            self.is_applied || self.is_undone || !own.has_succeeded() || !own.is_current
        })
    }
}

/// A revision that the roll-out has made on a vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnRevision {
    /// Its number.
    pub revision: u64,
    /// The wave of the request that has made it, from 1.
    pub wave: usize,
    /// The number of this request.
    pub attempt: u32,
    /// Its status.
    pub status: RevisionStatus,
    /// Whether no later revision was made.
    pub is_current: bool,
}

impl OwnRevision {
    pub(super) fn has_succeeded(&self) -> bool {
        matches!(self.status, RevisionStatus::Succeeded | RevisionStatus::Unconfirmed)
    }
}

/// The states of workloads, taken together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// All are running or have succeeded.
    Up,
    /// Some are being started or stopped.
    Starting,
    /// One has failed.
    Failed {
        /// The workload.
        workload: String,
        /// Its state, and the details of the runtime.
        message: String,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send a request to the vehicle that its id names.
    Send {
        /// The id of the request.
        request: RequestId,
        /// The revision to keep, for a confirmation.
        revision: Option<u64>,
        /// When the broker must drop it (Message Expiry).
        expires: Time,
    },
    /// Read state and history of a vehicle.
    ReadState {
        /// The vehicle.
        vin: Vin,
    },
    /// Read the last lines of the log of a workload that has failed.
    ReadLog {
        /// The vehicle.
        vin: Vin,
        /// The workload.
        workload: String,
    },
    /// Make the connection to the broker anew: it may be dead. [`Event::Connected`] follows.
    Reconnect,
    /// Start the command of the gate.
    StartGate {
        /// The wave, from 1.
        wave: usize,
    },
    /// Tell the operator: nothing more happens by itself.
    Report(Verdict),
}

/// Why nothing more happens by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All waves are over, or all was taken back.
    Finished,
    /// It has stopped.
    Halted(super::Halt),
    /// The operator has pressed Ctrl-C; requests may be in progress.
    Interrupted,
}

/// What a step of the roll-out results in. The journal must be written and synced before the
/// actions are done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// Lines for the journal.
    pub journal: Vec<Line>,
    /// What is to be done after that.
    pub actions: Vec<Action>,
}
