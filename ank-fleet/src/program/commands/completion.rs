//! `completion`: the completions of a shell.

use super::super::arguments::{self, CompletionArgs};
use crate::rollout::ExitCode;

/// Runs the command.
pub(crate) fn run(args: &CompletionArgs) -> ExitCode {
    let mut command = arguments::command();
    clap_complete::generate(args.shell, &mut command, "ank-fleet", &mut std::io::stdout());
    ExitCode::Success
}
