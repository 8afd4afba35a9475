//! A child process whose output is recorded and can be waited for.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{DEADLINE, say};

/// How many lines of a process's output are shown when the test fails.
const LINES_SHOWN: usize = 40;

/// A running child process. When dropped, it is killed, and its output is shown if the test
/// failed.
pub struct Process {
    name: String,
    child: Child,
    output: watch::Receiver<Vec<String>>,
}

impl Process {
    /// Starts `command`; messages call it `name`.
    pub fn start(name: &str, mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let (lines, output) = watch::channel(Vec::new());
        collect(child.stdout.take().unwrap(), lines.clone());
        collect(child.stderr.take().unwrap(), lines);
        Self { name: name.to_owned(), child, output }
    }

    /// The process id; the process must be running.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// The peak resident memory of the process, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.proc_status("VmHWM:").trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// All lines of standard output and standard error so far.
    pub fn output(&self) -> Vec<String> {
        self.output.borrow().clone()
    }

    /// Waits for the first line that contains `part`.
    pub async fn line(&self, part: &str) -> String {
        self.line_from(0, DEADLINE, |line| line.contains(part))
            .await
            .map(|(_, line)| line)
            .unwrap_or_else(|| panic!("{}: no line with '{part}'", self.name))
    }

    /// Waits for the first line at or after the index `start` that matches, and returns it with
    /// its index. `None` at the deadline or when the output has ended.
    pub async fn line_from(
        &self,
        start: usize,
        deadline: Duration,
        matches: impl Fn(&str) -> bool,
    ) -> Option<(usize, String)> {
        let find = |lines: &Vec<String>| {
            let found = lines.iter().enumerate().skip(start);
            found
                .into_iter()
                .find(|(_, line)| matches(line))
                .map(|(index, line)| (index, line.clone()))
        };
        let mut output = self.output.clone();
        let seen = timeout(deadline, output.wait_for(|lines| find(lines).is_some())).await;
        seen.ok()?.ok().and_then(|lines| find(&lines))
    }

    /// Waits until the process exits.
    pub async fn wait(&mut self) -> ExitStatus {
        timeout(DEADLINE, self.child.wait())
            .await
            .unwrap_or_else(|_| panic!("{} does not exit", self.name))
            .unwrap()
    }

    /// Sends SIGTERM and waits until the process has exited. The signal is sent when the process
    /// handles it: one that has just started could only die of it.
    pub async fn terminate(&mut self) -> ExitStatus {
        let handles = async {
            while !self.handles(Signal::TERM) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let handles = timeout(DEADLINE, handles).await;
        handles.unwrap_or_else(|_| panic!("{} does not handle SIGTERM", self.name));
        self.signal(Signal::TERM);
        self.wait().await
    }

    /// Whether the process has installed a handler for a signal, or has ended.
    pub fn handles(&self, signal: Signal) -> bool {
        let caught = u64::from_str_radix(&self.proc_status("SigCgt:"), 16).unwrap();
        caught & (1 << (signal.as_raw() - 1)) != 0 || self.proc_status("State:").starts_with('Z')
    }

    /// Sends SIGSTOP and waits until the process is suspended.
    pub async fn suspend(&self) {
        self.signal(Signal::STOP);
        while !self.proc_status("State:").starts_with('T') {
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// A field of `/proc/<pid>/status`.
    fn proc_status(&self, name: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let field = status.lines().find_map(|line| line.strip_prefix(name));
        field.unwrap().trim().to_owned()
    }

    /// Sends SIGKILL and waits until the process has exited.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends a signal, such as `Signal::STOP` to suspend the process.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.unwrap(), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.output.borrow();
            let shown = lines.iter().skip(lines.len().saturating_sub(LINES_SHOWN));
            let text: String = shown.map(|line| format!("    {line}\n")).collect();
            say(&format!("--- last output of {}:\n{text}", self.name));
        }
    }
}

/// Records every line of a stream until it ends.
fn collect(stream: impl AsyncRead + Unpin + Send + 'static, lines: watch::Sender<Vec<String>>) {
    tokio::spawn(async move {
        let mut reader = BufReader::new(stream);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).await.unwrap_or(0) > 0 {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            lines.send_modify(|all| all.push(line));
            bytes.clear();
        }
    });
}
