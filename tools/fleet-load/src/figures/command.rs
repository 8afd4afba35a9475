//! Runs `ank-fleet` and measures it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::process::Usage;
use crate::vehicle::FLEET;

/// What a command has used.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct CommandFigures {
    pub(crate) seconds: f64,
    pub(crate) peak_memory: u64,
    pub(crate) cpu_seconds: f64,
}

/// `ank-fleet` with a journal of its own.
pub(crate) struct Operator {
    folder: TempDir,
    settings: Vec<(&'static str, String)>,
}

impl Operator {
    /// `settings` are those of the connection.
    pub(crate) fn new(settings: Vec<(&'static str, String)>) -> anyhow::Result<Self> {
        Ok(Self { folder: TempDir::new()?, settings })
    }

    /// The folder in which the commands run.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// The command with these arguments, to be started.
    pub(crate) fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let program = std::env::current_exe()?.with_file_name("ank-fleet");
        anyhow::ensure!(program.exists(), "{} is missing; build it first", program.display());
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .args(arguments)
            .env("FLEET", FLEET)
            .env("XDG_STATE_HOME", self.folder.path())
            .env("XDG_CONFIG_HOME", self.folder.path())
            .envs(self.settings.iter().map(|(name, value)| (name, value.as_str())))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Ok(command)
    }

    /// Runs a command to its end. Returns also its standard output.
    pub(crate) async fn run(&self, arguments: &[&str]) -> anyhow::Result<(CommandFigures, String)> {
        self.run_with(arguments, &[0]).await
    }

    /// The same for a command that may end with one of these exit codes.
    pub(crate) async fn run_with(
        &self,
        arguments: &[&str],
        codes: &[i32],
    ) -> anyhow::Result<(CommandFigures, String)> {
        let mut command = self.command(arguments)?;
        let start = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (mut output, mut errors) = (String::new(), String::new());
        let mut stdout = child.stdout.take().context("it has an output")?;
        let mut stderr = child.stderr.take().context("it has an output")?;
        let mut usage = Usage::default();
        let (_, _, status) = tokio::join!(
            stdout.read_to_string(&mut output),
            stderr.read_to_string(&mut errors),
            watch(&mut child, &mut usage)
        );
        let seconds = start.elapsed().as_secs_f64();
        let status = status?;
        let is_expected = status.code().is_some_and(|code| codes.contains(&code));
        anyhow::ensure!(is_expected, "ank-fleet {arguments:?}: {status}\n{errors}");
        let figures = CommandFigures {
            seconds,
            peak_memory: usage.peak,
            cpu_seconds: usage.cpu.as_secs_f64(),
        };
        Ok((figures, output))
    }
}

/// Waits for the end of a process, and looks often what it has used.
async fn watch(child: &mut Child, usage: &mut Usage) -> std::io::Result<std::process::ExitStatus> {
    loop {
        if let Some(now) = child.id().and_then(Usage::of) {
            *usage = now;
        }
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        sleep(Duration::from_millis(5)).await;
    }
}
