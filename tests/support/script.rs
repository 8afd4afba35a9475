//! Scripts that tests run.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes an executable file. Another process does so, because every process that a test starts
/// inherits the open files of this one for a moment, and the kernel runs no file that a process
/// has open for writing (`ETXTBSY`).
pub fn write_script(path: &Path, content: &str) {
    let mut command = Command::new("install");
    command.args(["--mode=700", "/dev/stdin"]).arg(path).stdin(Stdio::piped());
    let mut install = command.spawn().unwrap();
    install.stdin.take().unwrap().write_all(content.as_bytes()).unwrap();
    assert!(install.wait().unwrap().success());
}
