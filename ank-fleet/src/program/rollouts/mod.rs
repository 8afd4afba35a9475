//! Carries roll-outs out: between the state machine, the journal, and the session.

mod control;
mod driver;
mod gate;
mod logs;
mod reads;
mod shown;
mod watch;

pub(crate) use control::{Control, ControlFile};
pub(crate) use driver::{Driver, Start, filters};
pub(crate) use reads::{history_call, state_call};
