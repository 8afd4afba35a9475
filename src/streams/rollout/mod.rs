//! Follows the progress of applied manifests until their workloads have settled.
//!
//! ```text
//!  handle         the handle to the task
//!   ├ update        the commands to the task
//!   └ record        the retained record of a rollout, for the next process
//!  tracker        the task, with one subscription for all rollouts
//!   └ tracked       one rollout: its instances, its status, when to publish
//!      └ stale        states that may be older than the rollout
//! ```

mod handle;
mod record;
mod stale;
#[cfg(test)]
mod tests;
mod tracked;
mod tracker;
mod update;

pub(crate) use handle::Rollouts;
pub(crate) use update::{AcceptedUpdate, AppliedManifest};
