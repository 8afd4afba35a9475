//! A program for which a file of the system has another content.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::{skipped, write_script};

/// A program in a mount namespace of its own, in which a file has another content.
pub struct Sandbox {
    /// Starts the program.
    pub program: PathBuf,
    _folder: TempDir,
}

impl Sandbox {
    /// `None`, with a message, if this system does not allow it.
    pub fn with(test: &str, program: &str, path: &str, content: &str) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let replacement = folder.path().join("content");
        std::fs::write(&replacement, content).unwrap();
        let in_namespace = |command: &str| {
            format!(
                "#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin exec unshare -m sh -c \
                 'mount --bind {} {path} && exec {command}'\n",
                replacement.display()
            )
        };
        let write = |name: &str, command: &str| {
            let program = folder.path().join(name);
            write_script(&program, &in_namespace(command));
            program
        };
        let probe = write("probe", "true");
        let is_possible = Command::new(probe).output().is_ok_and(|output| output.status.success());
        if !is_possible {
            skipped(test, "mount namespaces need root");
            return None;
        }
        let program = write("program", program);
        Some(Self { program, _folder: folder })
    }
}
