//! The progress of what was applied, until it has settled.
//!
//! ```text
//!  handle         commands to the task
//!   ├ update        what it is told
//!   └ record        the retained record of a roll-out, for the next process
//!  tracker        the task: one subscription for all roll-outs
//!   └ tracked       one roll-out: its instances, its status, when to publish
//!      └ stale        states that may be from before it
//! ```

mod handle;
mod record;
mod stale;
#[cfg(test)]
mod tests;
mod tracked;
mod tracker;
mod update;

pub use handle::Rollouts;
pub use update::{Applied, Rollout};
