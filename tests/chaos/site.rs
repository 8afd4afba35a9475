//! A connector with its own vehicle and its own connection to the broker.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::time::sleep;

use super::scrape::Endpoint;
use super::secrets::Secrets;
use super::support::connector::start_connector_at;
use super::support::vehicle::Vehicle;
use super::support::{Process, Proxy, free_port};

/// Settings of the connector, with short times.
const SETTINGS: [(&str, &str); 5] = [
    ("MQTT_KEEP_ALIVE", "5s"),
    ("REQUEST_TIMEOUT", "2s"),
    ("MAX_PAYLOAD_SIZE", "256KiB"),
    ("LOG_LEVEL", "info"),
    ("STABLE_TIME", "100ms"),
];

/// The environment of one connector: its vehicle, its uplink and its settings.
pub(crate) struct Site {
    /// The `REPLICA_ID`; empty if there is only one connector.
    pub(crate) name: &'static str,
    pub(crate) vehicle: Vehicle,
    pub(crate) proxy: Proxy,
    pub(crate) endpoint: Endpoint,
    settings: Vec<(&'static str, String)>,
    /// Where revisions are kept. Replicas have vehicles of their own here, whose states have
    /// nothing to do with each other, so they keep none.
    state_dir: Option<TempDir>,
    /// The id of the last process.
    pid: AtomicU32,
}

impl Site {
    /// Creates the environment of connectors that reach the broker on this port.
    pub(crate) async fn new(name: &'static str, broker: u16, secrets: Option<&Secrets>) -> Self {
        let own = SETTINGS.map(|(name, value)| (name, value.to_owned()));
        let mut settings = own.to_vec();
        settings.extend(secrets.into_iter().flat_map(Secrets::of_the_connector));
        let state_dir = name.is_empty().then(|| TempDir::new().unwrap());
        match &state_dir {
            Some(folder) => {
                settings.push(("STATE_DIR", folder.path().to_str().unwrap().to_owned()));
            }
            None => settings.push(("REPLICA_ID", name.to_owned())),
        }
        Self {
            name,
            vehicle: Vehicle::start().await,
            proxy: Proxy::start(broker).await,
            endpoint: Endpoint::default(),
            settings,
            state_dir,
            pid: AtomicU32::new(0),
        }
    }

    /// Whether the connector keeps revisions.
    pub(crate) fn keeps_revisions(&self) -> bool {
        self.state_dir.is_some()
    }

    /// Makes the store unwritable, as on a full disk, or writable again.
    pub(crate) fn set_store_writable(&self, writable: bool) {
        let Some(folder) = &self.state_dir else { return };
        let [store, aside] = ["revisions", "aside"].map(|name| folder.path().join(name));
        // A file in the place of the folder: modes do not keep root from writing.
        if writable && aside.exists() {
            std::fs::remove_file(&store).unwrap();
            std::fs::rename(aside, store).unwrap();
        } else if !writable && store.is_dir() {
            std::fs::rename(&store, aside).unwrap();
            std::fs::write(store, "").unwrap();
        }
    }

    /// Starts a connector.
    pub(crate) fn start(&self) -> Process {
        // A new port, because another process may have taken the former one.
        let port = free_port();
        let health = format!("127.0.0.1:{port}");
        let settings = self.settings.iter().map(|(name, value)| (*name, value.as_str()));
        let settings: Vec<_> = settings.chain([("HEALTH_ADDR", health.as_str())]).collect();
        let folder = self.vehicle.control_interface();
        let connector = start_connector_at(self.proxy.port(), folder, &settings);
        self.pid.store(connector.pid(), Ordering::Relaxed);
        self.endpoint.set_running(port);
        connector
    }

    /// Returns the largest peak of resident memory of any connector until `end`, in kB.
    pub(crate) async fn watch_memory(&self, end: Instant) -> u32 {
        let mut peak_memory = 0;
        while Instant::now() < end {
            let path = format!("/proc/{}/status", self.pid.load(Ordering::Relaxed));
            // The process may just have been killed.
            let status = std::fs::read_to_string(path).unwrap_or_default();
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let peak = peak.and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok());
            peak_memory = peak_memory.max(peak.unwrap_or(0));
            sleep(Duration::from_millis(100)).await;
        }
        peak_memory
    }
}
