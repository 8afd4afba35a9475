//! The command of the gate.

use std::io;
use std::process::Stdio;

use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::rollout::RolloutId;

/// The running command of a gate.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) wave: usize,
    task: JoinHandle<Result<(), String>>,
}

impl Gate {
    /// Starts the command in a shell. What it prints goes to standard error.
    pub(super) fn start(command: &str, id: &RolloutId, wave: usize) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", command])
            .env("ROLLOUT", id.as_str())
            .env("WAVE", wave.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::from(io::stderr()))
            .kill_on_drop(true);
        let task = tokio::spawn(async move {
            match shell.status().await {
                Ok(status) if status.success() => Ok(()),
                Ok(status) => Err(match status.code() {
                    Some(code) => format!("exit code {code}"),
                    None => status.to_string(),
                }),
                Err(error) => Err(format!("it does not start: {error}")),
            }
        });
        Self { wave, task }
    }

    /// Waits for its end. Cancel safe.
    pub(super) async fn ended(&mut self) -> Result<(), String> {
        (&mut self.task).await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}
