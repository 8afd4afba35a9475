//! Follows the progress of applied manifests until their workloads have settled.
//!
//! ```text
//!  handle         the handle to the task
//!   ├ update        the commands to the task
//!   ├ record        the retained record of a rollout, for the next process
//!   └ reports       messages that wait for the session
//!  tracker        the task, with one subscription for all rollouts
//!   └ tracked       one rollout: its instances, its status, when to publish
//!      └ stale        states that may be older than the rollout
//! ```

mod handle;
mod record;
mod reports;
mod stale;
#[cfg(test)]
mod tests;
mod tracked;
mod tracker;
mod update;

pub(crate) use handle::Rollouts;
pub(crate) use update::{ChangedInstances, FollowedUpdate, RolloutEnded, RolloutOptions};
