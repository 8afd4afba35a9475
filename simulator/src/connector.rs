//! The connector of the demo: the real one, as a process of its own.

use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long the connector may take to say goodbye.
const GRACE: Duration = Duration::from_secs(5);

/// A running connector.
pub(crate) struct Connector {
    process: Child,
}

/// Starts the connector for one vehicle. It lies next to this program.
pub(crate) fn start_connector(
    broker_host: &str,
    broker_port: u16,
    control_interface_dir: &Path,
    vin: &str,
) -> anyhow::Result<Connector> {
    let own = std::env::current_exe().context("can't find out where this program lies")?;
    let program = own.with_file_name("fleet-connector");
    if !program.exists() {
        bail!(
            "there is no connector at {}; build it with `cargo build`, or run this program \
             with --no-connector",
            program.display()
        );
    }
    let process = Command::new(&program)
        .env("VIN", vin)
        .env("MQTT_BROKER_ADDR", broker_host)
        .env("MQTT_BROKER_PORT", broker_port.to_string())
        .env("CONTROL_INTERFACE_DIR", control_interface_dir)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("can't start the connector {}", program.display()))?;
    Ok(Connector { process })
}

impl Connector {
    /// Waits until it ends, which it should not do by itself.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        self.process.wait().await.context("can't wait for the connector")
    }

    /// Asks it to end and waits.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let id = self.process.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        if let Some(id) = id {
            // If it has just ended by itself, there is nobody left to ask.
            let _gone = kill_process(id, Signal::TERM);
        }
        match timeout(GRACE, self.ended()).await {
            Ok(ended) => ended.map(|_status| ()),
            Err(_) => self.process.kill().await.context("can't stop the connector"),
        }
    }
}
