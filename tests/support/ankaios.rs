//! A real Ankaios: server, agent and command line tool on the loopback interface.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::podman::Podman;
use super::{Process, eventually, free_port};

/// How often the cleanup lists the containers: the killed agent may just have started a `podman
/// run`.
const CLEAN_UP_ROUNDS: usize = 5;

/// How long to wait for the server.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server and an agent with the runtime `podman`. When dropped, it kills both and removes the
/// containers of the agent.
pub struct Ankaios {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    podman: Podman,
    agent_name: String,
    server: Option<Process>,
    agent: Option<Process>,
}

impl Ankaios {
    /// Starts the server and the agent, with the programs in the directory `programs`.
    /// `manifest` returns the startup manifest for an agent of the given name. The name is
    /// unique, because at its start an agent removes the containers of that name that it does
    /// not know.
    pub async fn start(
        programs: PathBuf,
        podman: &Podman,
        manifest: impl Fn(&str) -> String,
    ) -> Self {
        let port = free_port();
        let agent_name = format!("agent_test_{port}");
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("state.yaml"), manifest(&agent_name)).unwrap();
        std::fs::create_dir(folder.path().join("run")).unwrap();
        let mut ankaios = Self {
            programs,
            folder,
            port,
            podman: podman.clone(),
            agent_name,
            server: None,
            agent: None,
        };
        ankaios.start_server().await;
        ankaios.start_agent().await;
        ankaios
    }

    /// The name of the agent.
    pub fn agent_name(&self) -> &str {
        &self.agent_name
    }

    /// Starts the server, with the startup manifest, and waits until it accepts connections.
    pub async fn start_server(&mut self) {
        let mut command = self.program("ank-server");
        command
            .arg("--insecure")
            .args(["--address", &format!("127.0.0.1:{}", self.port)])
            .arg("--startup-manifest")
            .arg(self.folder.path().join("state.yaml"));
        let server = Process::start("ank-server", command.into());
        // Its log says that it starts before it listens.
        eventually("ank-server listens", PATIENCE, async || {
            TcpStream::connect(("127.0.0.1", self.port)).await.ok()
        })
        .await;
        self.server = Some(server);
    }

    /// Starts the agent and waits until it has received the server's hello.
    pub async fn start_agent(&mut self) {
        let mut command = self.program("ank-agent");
        command
            .arg("--insecure")
            .args(["--name", &self.agent_name])
            .args(["--server-url", &self.server_url()])
            .arg("--run-folder")
            .arg(self.folder.path().join("run"));
        let agent = Process::start("ank-agent", command.into());
        agent.line("Received the server hello").await;
        self.agent = Some(agent);
    }

    /// Kills the server.
    pub async fn kill_server(&mut self) {
        self.server.take().unwrap().kill().await;
    }

    /// Kills the agent.
    pub async fn kill_agent(&mut self) {
        self.agent.take().unwrap().kill().await;
    }

    /// Kills the server, the agent and all containers of the agent, as if the vehicle lost its
    /// power.
    pub async fn power_off(&mut self) {
        self.kill_server().await;
        self.kill_agent().await;
        let containers = self.podman.run(["ps", "--quiet", &self.own()]);
        self.podman.run(["kill"].into_iter().chain(containers.lines()));
    }

    /// The process of the running agent, with its log.
    pub fn agent(&self) -> &Process {
        self.agent.as_ref().unwrap()
    }

    /// Runs `ank` with these arguments and returns its output.
    pub fn ank(&self, arguments: &[&str]) -> String {
        let mut command = self.program("ank");
        command.args(["--insecure", "--server-url", &self.server_url()]);
        let output = command.args(arguments).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// Pipes a manifest to `ank apply -` and returns its output.
    ///
    /// # Panics
    /// `ank` refuses the manifest.
    pub fn apply(&self, manifest: &[u8]) -> String {
        let mut command = self.program("ank");
        command.args(["--insecure", "--server-url", &self.server_url(), "apply", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut ank = command.spawn().unwrap();
        ank.stdin.take().unwrap().write_all(manifest).unwrap();
        let output = ank.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "`ank apply -`: {text}");
        text
    }

    /// Writes a manifest to a file, for `ank`.
    pub fn write_manifest(&self, name: &str, manifest: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, manifest).unwrap();
        path
    }

    /// The id of the running container of a workload, if there is one.
    pub fn container(&self, workload: &str) -> Option<String> {
        // Ankaios names a container <workload>.<short id>.<agent>.
        let name = format!("--filter=name=^{workload}[.]");
        let list = self.podman.run(["ps", "--quiet", &self.own(), &name]);
        list.lines().next().map(str::to_owned)
    }

    /// The directory with the FIFOs of a running workload, if there is one.
    pub fn control_interface(&self, workload: &str) -> Option<PathBuf> {
        // Ankaios names the folder of a workload <workload>.<id>.
        let run = self.folder.path().join("run").join(format!("{}_io", self.agent_name));
        let folders = std::fs::read_dir(run).ok()?.flatten();
        let mut own = folders.filter(|entry| {
            entry.file_name().to_str().and_then(|name| name.split('.').next()) == Some(workload)
        });
        let folder = own.next()?.path().join("control_interface");
        folder.join("input").exists().then_some(folder)
    }

    /// A filter for the containers of this agent.
    fn own(&self) -> String {
        format!("--filter=label=agent={}", self.agent_name)
    }

    fn server_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A command that runs a program of Ankaios, with the Podman settings that work on this
    /// machine.
    fn program(&self, name: &str) -> Command {
        let mut command = self.podman.command(self.programs.join(name));
        command.env("RUST_LOG", "info");
        command
    }
}

impl Drop for Ankaios {
    fn drop(&mut self) {
        drop(self.agent.take());
        drop(self.server.take());
        for _ in 0..CLEAN_UP_ROUNDS {
            let list = ["ps", "--all", "--quiet", &self.own()];
            let Ok(containers) = self.podman.try_run(list) else {
                return;
            };
            if containers.is_empty() {
                return;
            }
            let remove = ["rm", "--force", "--time", "0", "--ignore"];
            let _ = self.podman.try_run(remove.into_iter().chain(containers.lines()));
        }
    }
}

/// The directory with `ank-server`, `ank-agent` and `ank`, from the environment variable
/// `ANKAIOS_BIN_DIR`; the error says what is missing.
pub fn programs() -> Result<PathBuf, String> {
    let folder = std::env::var_os("ANKAIOS_BIN_DIR").ok_or(
        "ANKAIOS_BIN_DIR is not set: it must be the directory with ank-server, ank-agent and ank",
    )?;
    let folder = PathBuf::from(folder);
    for name in ["ank-server", "ank-agent", "ank"] {
        if !folder.join(name).is_file() {
            return Err(format!("{name} is missing in {}", folder.display()));
        }
    }
    Ok(folder)
}
