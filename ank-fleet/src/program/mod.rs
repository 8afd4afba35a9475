//! The program: command line, connection, and commands.
//!
//! ```text
//!  arguments, config ─► commands ─► context: session, fleet, selection
//!                          │            │
//!                          │            ▼
//!                          │         session: presence, calls ─► link: connects again and again
//!                          ▼
//!                       rollouts: driver ─► rollout (state machine), journal, session, gate
//! ```
//!
//! All of it is a thin shell: what decides is in the other modules of this crate.

mod answers;
mod arguments;
mod call;
mod commands;
mod config;
mod context;
mod exporter;
mod failure;
mod follow;
mod following;
mod input;
mod interrupt;
mod link;
mod local_time;
mod output;
mod payload;
mod pending_calls;
mod progress;
mod retained;
mod rollouts;
mod session;
mod silence;
mod survey;
mod who;

use std::ffi::OsString;

use tokio_util::sync::CancellationToken;

use crate::rollout::ExitCode;
use arguments::{ArgumentsError, Command, CommandLine};
use failure::Failure;
use interrupt::Interrupt;

/// Answers a shell that completes a command line, and ends the process then. Does nothing if no shell
/// asks.
pub fn complete() {
    clap_complete::CompleteEnv::with_factory(arguments::command).complete();
}

/// Runs a command. `args` begin with the name of the program; `stop` is cancelled by Ctrl-C.
/// Returns the exit code.
pub async fn run(args: &[OsString], stop: CancellationToken) -> u8 {
    let command = match CommandLine::read(args) {
        Ok(command) => command,
        Err(ArgumentsError::CommandLine(error)) => {
            // The exit code is the same if the output is closed.
            let _ = error.print();
            let is_mistake = error.use_stderr();
            return if is_mistake { ExitCode::Usage as u8 } else { 0 };
        }
        Err(ArgumentsError::Config(failure)) => return report(&failure),
    };
    match execute(command, &Interrupt::new(stop)).await {
        Ok(code) => code as u8,
        Err(failure) => report(&failure),
    }
}

async fn execute(command: CommandLine, interrupt: &Interrupt) -> Result<ExitCode, Failure> {
    let CommandLine { connection, command } = command;
    match command {
        Command::Get(args) => commands::get::run(&connection, args, interrupt).await,
        Command::Request(args) => commands::request::run(&connection, args, interrupt).await,
        Command::Validate(args) => commands::validate::run(&connection, args, interrupt).await,
        Command::Apply(args) => commands::apply::run(&connection, args, interrupt).await,
        Command::Diff(args) => commands::diff::run(&connection, args, interrupt).await,
        Command::History(args) => commands::history::run(&connection, args, interrupt).await,
        Command::Wait(args) => commands::wait::run(&connection, args, interrupt).await,
        Command::Logs(args) => commands::logs::run(&connection, args, interrupt).await,
        Command::Sign(args) => commands::sign::run(&connection, &args, interrupt).await,
        Command::Verify(args) => commands::verify::run(&args, interrupt).await,
        Command::Exporter(args) => commands::exporter::run(&connection, args, interrupt).await,
        Command::Completion(args) => commands::completion::run(&args),
        Command::Man(args) => commands::man::run(&args),
        Command::Rollout(args) => commands::rollout::run(&connection, args, interrupt).await,
    }
}

/// Says why there is no result.
fn report(failure: &Failure) -> u8 {
    let is_broken_pipe =
        matches!(failure, Failure::Io(error) if error.kind() == std::io::ErrorKind::BrokenPipe);
    if !is_broken_pipe && !matches!(failure, Failure::Interrupted) {
        progress::notes(&format!("ank-fleet: {failure}"));
    }
    failure.code() as u8
}
