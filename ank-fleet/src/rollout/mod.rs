//! The roll-out: a state machine without I/O and without a clock.
//!
//! ```text
//!  Event, now ──► Rollout::step ──► Step { journal: lines to sync, actions: to be done then }
//!                      │
//!                      ▼ Transition
//!                    State (plan, vehicles, wave, stage)   ◄── Rollout::resume: the same lines
//! ```
//!
//! Of a wave: *changing* (requests, replies, status messages, deadlines) → *soaking* → *gate* →
//! *confirming* → the next wave. A limit, a gate, the operator or `--until` halts the roll-out: what
//! is in flight is followed to its end, and nothing new is sent.
//!
//! | file | what it does |
//! |---|---|
//! | `plan` | the order of the vehicles, waves, options |
//! | `machine`, `step` | the roll-out; what follows from an event |
//! | `event`, `events` | what may happen, and how each is handled |
//! | `start` | which vehicle is next |
//! | `stages` | waves, soak time, gates, confirmation, undo |
//! | `limits`, `looks` | limits of failures and deadlines; vehicles from which nothing is heard |
//! | `judge`, `outcome` | what states, replies and statuses mean for a vehicle |
//! | `state`, `transition`, `vehicle` | what the journal has |
//! | `tally`, `id` | counts of outcomes; the name of a roll-out |
//!
//! Which vehicle is next: one that is to be attempted again, otherwise the first of the plan's order.
//! Those that are offline are skipped, and attempted when they come online, unless `--queue` is set. A
//! wave has room for so many *attempted* vehicles as `--waves` says: those that have the change already
//! take no room, so the first wave is a real trial.
//!
//! What may have been missed is read: after each connection to the broker, when a vehicle comes
//! online, when nothing was heard for a while, and before a deadline is judged, the state of the
//! vehicle decides, not the absence of a message. If the roll-out learns late that time has passed,
//! the command did not run, because a laptop has slept: what it knows is old and its connection may
//! be dead, so it judges nothing until there is a new one. After each connection it waits for the
//! presence of the vehicles. What a lost connection has not delivered is sent again, and pending if
//! nothing may be sent any more.
//!
//! A roll-out that is started again on a machine without its journal reads the histories of the
//! vehicles: they say what it has done with them.

mod event;
mod events;
mod id;
mod judge;
mod limits;
mod looks;
mod machine;
mod outcome;
mod plan;
mod stages;
mod start;
mod state;
mod step;
mod tally;
mod transition;
mod vehicle;

pub use event::{Action, Event, OwnRevision, Settled, Step, VehicleState, Verdict};
pub use id::{InvalidRolloutId, RequestId, RequestKind, RolloutId};
pub(crate) use judge::{describe, has_failed};
pub use machine::{READ_TIMEOUT, Rollout};
pub use outcome::{Code, Outcome, OutcomeKind};
pub use plan::{Change, OnFailure, Options, Plan};
pub use stages::ExitCode;
pub use state::{Stage, State};
pub use tally::Tally;
pub use transition::{Halt, Line, Transition};
pub use vehicle::{Phase, Vehicle};
