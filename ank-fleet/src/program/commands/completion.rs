//! `completion`: the completions of a shell.

use super::super::arguments::{self, CompletionArgs};
use super::super::failure::Failure;
use super::super::output;
use crate::rollout::ExitCode;

/// Runs the command.
///
/// # Errors
/// Standard output is closed.
pub(crate) fn run(args: &CompletionArgs) -> Result<ExitCode, Failure> {
    let (mut command, mut script) = (arguments::command(), Vec::new());
    clap_complete::generate(args.shell, &mut command, "ank-fleet", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::Success)
}
