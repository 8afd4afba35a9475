//! An operator's `ank-fleet`.

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::cluster::{Cluster, USER};
use super::support::ank_fleet::ank_fleet;
use super::vehicle::FLEET;

/// The real `ank-fleet` of an operator.
pub(crate) struct AnkFleet {
    program: PathBuf,
    home: TempDir,
    addresses: String,
}

/// How a command has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` if it was killed.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl AnkFleet {
    /// Commands that connect to these nodes.
    pub(crate) async fn new<G>(cluster: &Cluster<G>, nodes: &[u16]) -> Self {
        let program = tokio::task::spawn_blocking(ank_fleet).await.unwrap();
        let home = TempDir::new().unwrap();
        std::fs::write(home.path().join("password"), USER).unwrap();
        Self { program, home, addresses: cluster.addresses(nodes) }
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("HOME", self.home.path())
            .env("FLEET", FLEET)
            .env("MQTT_BROKER_ADDR", &self.addresses)
            .env("MQTT_USERNAME", USER)
            .env("MQTT_PASSWORD_FILE", self.home.path().join("password"))
            .args(arguments)
            .kill_on_drop(true);
        let output = command.output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// The status that `get vehicles` shows for a vehicle; `None` if it is not seen.
    pub(crate) async fn status(&self, vin: &str) -> Option<String> {
        let text = self.run(&["get", "vehicles", "-o", "jsonl"]).await.stdout;
        let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let line = lines.find(|line| line["vin"] == vin)?;
        if line["silent"] == true {
            return Some("silent".to_owned());
        }
        Some(line["status"]["status"].as_str().unwrap_or_else(|| panic!("{line}")).to_owned())
    }

    /// What a version of a workload has as its runtime config.
    pub(crate) fn image(workload: &str, version: u32) -> String {
        format!("image: localhost/{workload}:{version}")
    }

    /// Rolls a version of a workload out to these vehicles, each of which has this time.
    pub(crate) async fn roll_out(
        &self,
        vins: &[String],
        workload: &str,
        version: u32,
        deadline: &str,
    ) -> Ended {
        let file = self.home.path().join("manifest.yaml");
        let manifest = format!(
            "apiVersion: v1\nworkloads:\n  {workload}:\n    runtime: podman\n    \
             agent: agent_A\n    runtimeConfig: '{}'\n",
            Self::image(workload, version)
        );
        std::fs::write(&file, manifest).unwrap();
        let mut arguments = vec!["apply", file.to_str().unwrap(), "--yes", "--deadline", deadline];
        arguments.extend(vins.iter().map(String::as_str));
        self.run(&arguments).await
    }
}
