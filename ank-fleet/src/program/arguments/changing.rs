//! The arguments of commands that change vehicles.

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::ArgValueCandidates;

use super::candidates::rollouts;
use super::reading::{FilesArgs, Output};
use super::rollout::RolloutArgs;
use crate::rollout::RolloutId;

/// The form of the output of a roll-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lines {
    /// A line of JSON for each transition.
    Jsonl,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    pub(crate) files: FilesArgs,
    /// Delete what the manifests contain
    #[arg(short, long)]
    pub(crate) delete: bool,
    /// jsonl: print a line of JSON for each transition
    #[arg(short, long, value_name = "FORM")]
    pub(crate) output: Option<Lines>,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RolloutCommand {
    /// List all roll-outs of this machine
    #[command(after_help = "Example:\n  ank-fleet rollout list")]
    List,
    /// Show a roll-out
    #[command(after_help = "Example:\n  ank-fleet rollout status 7f3a -o jsonl")]
    Status(StatusArgs),
    /// Send nothing new until resume
    #[command(after_help = "Example:\n  ank-fleet rollout pause 7f3a")]
    Pause(IdArgs),
    /// Go on with a roll-out that was interrupted, paused or stopped
    #[command(after_help = "Example:\n  ank-fleet rollout resume 7f3a --until 05:00")]
    Resume(ResumeArgs),
    /// Attempt vehicles again that have failed, or are pending
    #[command(after_help = "Example:\n  ank-fleet rollout retry 7f3a --failed")]
    Retry(RetryArgs),
    /// End a roll-out; what was changed stays
    #[command(after_help = "Example:\n  ank-fleet rollout abort 7f3a")]
    Abort(IdArgs),
    /// Take back what a roll-out has changed
    #[command(after_help = "Example:\n  ank-fleet rollout undo 7f3a")]
    Undo(UndoArgs),
}

#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    /// The id of the roll-out
    #[arg(add = ArgValueCandidates::new(rollouts))]
    pub(crate) id: RolloutId,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The id of the roll-out
    #[arg(add = ArgValueCandidates::new(rollouts))]
    pub(crate) id: RolloutId,
    /// The form of the output; all but the default are of the vehicles
    #[arg(short, long, value_name = "FORM")]
    pub(crate) output: Option<Output>,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The id of the roll-out
    #[arg(add = ArgValueCandidates::new(rollouts))]
    pub(crate) id: RolloutId,
    /// Start nothing after this time: 05:00 in the local time zone (TZ), or 2026-01-31T05:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// jsonl: print a line of JSON for each transition
    #[arg(short, long, value_name = "FORM")]
    pub(crate) output: Option<Lines>,
}

#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// The id of the roll-out
    #[arg(add = ArgValueCandidates::new(rollouts))]
    pub(crate) id: RolloutId,
    /// Those that have failed, too
    #[arg(long)]
    pub(crate) failed: bool,
    /// Those that are pending (the default)
    #[arg(long, conflicts_with = "failed")]
    pub(crate) pending: bool,
    /// jsonl: print a line of JSON for each transition
    #[arg(short, long, value_name = "FORM")]
    pub(crate) output: Option<Lines>,
}

#[derive(Debug, Args)]
pub(crate) struct UndoArgs {
    /// The id of the roll-out
    #[arg(add = ArgValueCandidates::new(rollouts))]
    pub(crate) id: RolloutId,
    /// Go on without a question
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// A signed manifest/rollback with the payload {"rollout": ID}, for vehicles with a trust file
    #[arg(long, value_name = "FILE")]
    pub(crate) signed: Option<String>,
    /// jsonl: print a line of JSON for each transition
    #[arg(short, long, value_name = "FORM")]
    pub(crate) output: Option<Lines>,
}
