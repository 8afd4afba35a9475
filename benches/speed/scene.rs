//! What the measuring clients connect to: a Mosquitto, simulated vehicles, and the shipped
//! connector.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use tempfile::TempDir;
use tokio::runtime::Builder;

use crate::support::Broker;
use crate::support::connector::VIN;
use crate::support::vehicle::Vehicle;

/// By default, Mosquitto sends at most 20 unacknowledged messages to a client. The benchmark
/// measures the connector's Receive Maximum of 64.
pub(crate) const BROKER_SETTINGS: [&str; 3] =
    ["persistence false", "max_inflight_messages 1000", "set_tcp_nodelay true"];

/// A broker and vehicles: one for the connector, the others for the bare clients.
pub(crate) struct Scene {
    pub(crate) broker: Broker,
    pub(crate) vehicle: Vehicle,
    pub(crate) bare_vehicle: Vehicle,
    #[allow(dead_code, reason = "not every benchmark has a bridge")]
    pub(crate) bridged_vehicle: Vehicle,
}

impl Scene {
    /// Starts the broker and the vehicles; the vehicles run in their own thread.
    pub(crate) fn start() -> Self {
        let (sender, receiver) = mpsc::channel();
        let run = move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let broker = Broker::quiet(&BROKER_SETTINGS).await;
                let vehicle = Vehicle::start().await;
                let bare_vehicle = Vehicle::start().await;
                let bridged_vehicle = Vehicle::start().await;
                sender.send(Self { broker, vehicle, bare_vehicle, bridged_vehicle }).unwrap();
                std::future::pending::<()>().await;
            })
        };
        thread::Builder::new().name("simulator".into()).spawn(run).unwrap();
        receiver.recv().unwrap()
    }
}

/// The shipped binary, built as for the image.
pub(crate) fn shipped_binary() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image/out");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/build-static.sh");
    let status = Command::new(script).arg(&folder).status().unwrap();
    assert!(status.success(), "the connector does not build");
    folder.join("fleet-connector")
}

/// A running connector with default settings, except for the addresses of its peers. Its log
/// goes to a file.
pub(crate) struct Connector {
    child: Child,
    _log: TempDir,
}

impl Connector {
    pub(crate) fn start(binary: &Path, port: u16, control_interface: &Path) -> Self {
        Self::with(binary, port, control_interface, &[])
    }

    /// With additional settings.
    pub(crate) fn with(
        binary: &Path,
        port: u16,
        control_interface: &Path,
        settings: &[(&str, &str)],
    ) -> Self {
        let log = TempDir::new().unwrap();
        let child = Command::new(binary)
            .env_clear()
            .env("VIN", VIN)
            .env("MQTT_BROKER_ADDR", "127.0.0.1")
            .env("MQTT_BROKER_PORT", port.to_string())
            .env("CONTROL_INTERFACE_DIR", control_interface)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log.path().join("connector.log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, _log: log }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
