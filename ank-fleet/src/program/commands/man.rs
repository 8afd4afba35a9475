//! `man`: the man pages, made of the same source as `--help`.

use std::fs;
use std::path::Path;

use super::super::arguments::{ManArgs, command};
use super::super::failure::Failure;
use crate::rollout::ExitCode;

/// Runs the command.
///
/// # Errors
/// The pages cannot be written.
pub(crate) fn run(args: &ManArgs) -> Result<ExitCode, Failure> {
    write(&args.directory)
        .map_err(|error| Failure::usage(format!("{}: {error}", args.directory.display())))?;
    Ok(ExitCode::Success)
}

fn write(directory: &Path) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    clap_mangen::generate_to(command(), directory)
}
