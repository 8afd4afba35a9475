//! The transitions of a roll-out: all that has to survive the end of the command.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::id::RequestKind;
use super::outcome::Outcome;
use crate::time::Time;
use crate::vin::Vin;

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When it happened.
    pub at: Time,
    /// What happened.
    #[serde(flatten)]
    pub transition: Transition,
}

/// A change of the state of a roll-out. Waves are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Transition {
    /// A request is about to be sent. It may never have been.
    Sent {
        /// The vehicle.
        vin: Vin,
        /// What it asks for.
        request: RequestKind,
        /// The wave of the vehicle.
        wave: usize,
        /// The number of the request to this vehicle.
        attempt: u32,
        /// By when it must be answered and settled.
        deadline: Time,
        /// Whether the vehicle is offline, and the broker keeps the request for it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        queued: bool,
    },
    /// An earlier start of this roll-out, whose journal is not here, has changed a vehicle.
    Found {
        /// The vehicle.
        vin: Vin,
        /// Its wave.
        wave: usize,
        /// The number of the request that it has accepted.
        attempt: u32,
        /// The revision that it has made.
        revision: u64,
        /// By when it must be settled.
        deadline: Time,
    },
    /// A vehicle has not got the request, and nothing new is sent: it is pending again.
    Missed {
        /// The vehicle.
        vin: Vin,
    },
    /// A vehicle has accepted the change.
    Answered {
        /// The vehicle.
        vin: Vin,
        /// The revision that it has made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<u64>,
    },
    /// It is over for a vehicle.
    Ended {
        /// The vehicle.
        vin: Vin,
        /// The wave of the vehicle.
        wave: usize,
        /// How it has ended.
        #[serde(flatten)]
        outcome: Outcome,
    },
    /// A vehicle keeps the change.
    Confirmed {
        /// The vehicle.
        vin: Vin,
    },
    /// The last log lines of a workload that has failed.
    Log {
        /// The vehicle.
        vin: Vin,
        /// The lines.
        lines: Vec<String>,
    },
    /// All vehicles of a wave have ended, and what runs must stay up.
    Soaking {
        /// The wave.
        wave: usize,
        /// Until when.
        until: Time,
    },
    /// What runs has stayed up, or there is no soak time: the gate is next.
    Soaked {
        /// The wave.
        wave: usize,
    },
    /// The gate has passed, or there is none: confirmations are next.
    GatePassed {
        /// The wave.
        wave: usize,
    },
    /// The wave is over, and the next one begins.
    WavePassed {
        /// The wave.
        wave: usize,
    },
    /// Nothing new is sent.
    Halted {
        /// Why.
        reason: Halt,
    },
    /// The operator goes on. Failures until now no longer count for the limits.
    Resumed {
        /// Nothing is started after this time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Time>,
    },
    /// What has failed is attempted again.
    Retried,
    /// What has been changed is taken back.
    UndoStarted,
    /// The roll-out is over.
    Finished,
}

/// Why nothing new is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Halt {
    /// The operator has paused it, or `--pause-after` has.
    Paused,
    /// `--until` has passed.
    Until,
    /// All vehicles that are left are offline.
    NoneOnline,
    /// More vehicles of a wave have failed than the limit allows.
    Failures {
        /// The wave.
        wave: usize,
    },
    /// More vehicles of a wave were unreachable than the limit allows.
    Unreachable {
        /// The wave.
        wave: usize,
    },
    /// No vehicle of a wave has succeeded.
    NoSuccess {
        /// The wave.
        wave: usize,
    },
    /// The gate has failed.
    Gate {
        /// The wave.
        wave: usize,
        /// How.
        message: String,
    },
    /// The operator takes everything back.
    Undo,
    /// The operator has ended it.
    Aborted,
}

impl Halt {
    /// Whether `--on-failure undo` takes everything back.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Failures { .. }
            | Self::Unreachable { .. }
            | Self::NoSuccess { .. }
            | Self::Gate { .. } => true,
            Self::Paused | Self::Until | Self::NoneOnline | Self::Undo | Self::Aborted => false,
        }
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused => formatter.write_str("paused"),
            Self::Until => formatter.write_str("nothing is started after --until"),
            Self::NoneOnline => formatter.write_str("all vehicles that are left are offline"),
            Self::Failures { wave } => write!(formatter, "too many failures in wave {wave}"),
            Self::Unreachable { wave } => {
                write!(formatter, "too many unreachable vehicles in wave {wave}")
            }
            Self::NoSuccess { wave } => write!(formatter, "no vehicle of wave {wave} succeeded"),
            Self::Gate { wave, message } => {
                write!(formatter, "the gate after wave {wave} failed: {message}")
            }
            Self::Undo => formatter.write_str("undo"),
            Self::Aborted => formatter.write_str("aborted"),
        }
    }
}
