//! Podman, and the images of the tests.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::Process;

/// The stages of the shipped Containerfile that become images.
const CONNECTOR: &str = "fleet-connector";
const SENDER: &str = "vehicle-data-sender";

/// The image of a workload that prints a line per second.
pub const WORKLOAD_IMAGE: &str = "localhost/fleet-connector-test-workload:latest";

/// Podman with settings that can start a container on this machine.
#[derive(Clone)]
pub struct Podman {
    config: Option<PathBuf>,
}

impl Podman {
    /// Finds settings with which Podman can start a container: its own, or else those of
    /// `tests/containers.conf`. Builds [`WORKLOAD_IMAGE`] to try it. The error says why Podman
    /// cannot be used.
    pub fn detect() -> Result<Self, String> {
        let shipped = root().join("tests/containers.conf");
        let mut reasons = String::new();
        for config in [None, Some(shipped)] {
            let podman = Self { config };
            let attempt = podman.build_workload_image().and_then(|()| {
                podman.try_run(["run", "--rm", "--net=host", WORKLOAD_IMAGE, "once"])
            });
            match attempt {
                Ok(_) => return Ok(podman),
                Err(error) => reasons = format!("{reasons}{error}\n"),
            }
        }
        Err(format!("Podman cannot start a container on this machine:\n{reasons}"))
    }

    /// Builds the image of the connector from the shipped Containerfile, with a static binary
    /// built by the toolchain of this machine. Returns its id.
    pub fn build_connector_image(&self) -> String {
        self.build_image(CONNECTOR)
    }

    /// Builds the image of the vehicle data sender in the same way.
    pub fn build_sender_image(&self) -> String {
        self.build_image(SENDER)
    }

    /// Tests use the id of the image, because two checkouts on one machine share the tag.
    fn build_image(&self, stage: &str) -> String {
        let script = root().join("scripts/image-local.sh");
        let mut command = self.command(script);
        let tag = format!("localhost/{stage}:test");
        command.args([tag.as_ref(), image_context().as_os_str(), stage.as_ref()]);
        output(&mut command).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts a container in the foreground: the output of the process is the log of the
    /// container. `arguments` follow `podman run --rm --name NAME`.
    pub fn start(&self, name: &str, arguments: &[&str]) -> Container {
        let mut command = self.command("podman");
        command.args(["run", "--rm", "--name", name]).args(arguments);
        Container {
            process: Process::start(name, command.into()),
            podman: self.clone(),
            name: name.to_owned(),
        }
    }

    /// Runs `podman` and returns its standard output.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        self.try_run(arguments).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Like [`run`](Self::run), but returns the standard error of `podman` if it fails.
    pub fn try_run<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<String, String> {
        output(self.command("podman").args(arguments))
    }

    /// A command that uses Podman with these settings.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Some(config) = &self.config {
            command.env("CONTAINERS_CONF", config);
        }
        command
    }

    /// The workload is compiled on this machine, because the tests must not need a registry.
    fn build_workload_image(&self) -> Result<(), String> {
        let images = root().join("tests/images");
        let context = TempDir::new().unwrap();
        let mut compiler = Command::new("rustc");
        compiler
            .args(["--edition", "2024", "-Ctarget-feature=+crt-static"])
            .args(["-Copt-level=z", "-Cstrip=symbols", "-o"])
            .arg(context.path().join("workload"))
            .arg(images.join("workload.rs"));
        output(&mut compiler)?;
        let containerfile = images.join("Containerfile");
        let mut build = self.command("podman");
        build
            .args(["build", "--quiet", "--tag", WORKLOAD_IMAGE, "--file"])
            .args([containerfile.as_path(), context.path()]);
        output(&mut build).map(drop)
    }
}

/// A running container, removed when dropped.
pub struct Container {
    /// The `podman run` that shows the container's log.
    pub process: Process,
    podman: Podman,
    name: String,
}

impl Drop for Container {
    fn drop(&mut self) {
        let arguments = ["rm", "--force", "--time", "0", "--ignore", &self.name];
        // A panic here would hide one that is already unwinding.
        let _ = self.podman.try_run(arguments);
    }
}

/// The directory whose subdirectory `out` holds the files of the connector's image.
pub fn image_context() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("image")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a command. Returns its standard output; the error says what failed.
fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    } else {
        let error = String::from_utf8_lossy(&output.stderr);
        Err(format!("{command:?}: {}", error.trim_end()))
    }
}
