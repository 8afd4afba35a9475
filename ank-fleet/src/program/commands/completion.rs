//! `completion`: the completions of a shell.

use super::super::arguments::CompletionArgs;
use super::super::failure::Failure;
use super::super::output;
use crate::rollout::ExitCode;

/// Runs the command. The script calls the program for each completion, so that vehicles, workloads
/// and roll-outs are completed, too.
///
/// # Errors
/// The shell is not known, or standard output is closed.
pub(crate) fn run(args: &CompletionArgs) -> Result<ExitCode, Failure> {
    let shells = clap_complete::env::Shells::builtins();
    let name = args.shell.to_string();
    let Some(shell) = shells.completer(&name) else {
        let known: Vec<&str> = shells.names().collect();
        return Err(Failure::usage(format!("{name} is not one of {}", known.join(", "))));
    };
    let mut script = Vec::new();
    shell.write_registration("COMPLETE", "ank-fleet", "ank-fleet", "ank-fleet", &mut script)?;
    output::document(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::Success)
}
