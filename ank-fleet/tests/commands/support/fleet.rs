//! Vehicles with real connectors in this process, and commands of an operator.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleet_connector::connector;
use fleet_connector::settings::Settings;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use vehicle_simulator::{CONNECTOR_WORKLOAD, SimulatedVehicle, VehicleOptions, execution};

use super::{Broker, DEADLINE, Process};

/// A manifest of one workload.
pub(crate) fn manifest(name: &str, tag: &str) -> String {
    format!(
        "apiVersion: v1\nworkloads:\n  {name}:\n    runtime: podman\n    agent: agent_A\n    \
         runtimeConfig: 'image: docker.io/{name}:{tag}'\n"
    )
}

/// A vehicle.
pub(crate) struct TestVehicle {
    pub(crate) ankaios: Arc<SimulatedVehicle>,
    folder: TempDir,
    settings: Vec<(String, String)>,
    connector: Option<(CancellationToken, AbortOnDropHandle<()>)>,
    _crashes: Option<AbortOnDropHandle<()>>,
}

/// A fleet.
pub(crate) struct TestFleet {
    pub(crate) broker: Broker,
    pub(crate) vehicles: BTreeMap<String, TestVehicle>,
    home: TempDir,
}

/// What a command has printed, and its exit code.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// The lines of standard output as JSON.
    pub(crate) fn json_lines(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The name of a vehicle, counted from 1.
pub(crate) fn vin(number: usize) -> String {
    format!("V{number:02}")
}

impl TestFleet {
    /// Starts a broker that keeps everything, and vehicles that are online.
    pub(crate) async fn start(count: usize) -> Self {
        Self::with(Broker::with(&["persistence false"]).await, count, &[]).await
    }

    /// Starts vehicles; `settings` are additional ones of all connectors.
    pub(crate) async fn with(broker: Broker, count: usize, settings: &[(&str, &str)]) -> Self {
        let mut fleet = Self { broker, vehicles: BTreeMap::new(), home: TempDir::new().unwrap() };
        for number in 1..=count {
            fleet.add(number, settings).await;
        }
        fleet.all_online().await;
        fleet
    }

    /// Adds vehicles, and waits until they are online.
    pub(crate) async fn add_and_wait(&mut self, count: usize) {
        for number in 1..=count {
            self.add(number, &[]).await;
        }
        self.all_online().await;
    }

    /// Adds a vehicle.
    pub(crate) async fn add(&mut self, number: usize, settings: &[(&str, &str)]) {
        let folder = TempDir::new().unwrap();
        let interface = folder.path().join("control_interface");
        let ankaios = SimulatedVehicle::start(&interface, VehicleOptions::default()).await.unwrap();
        let region = if number % 2 == 1 { "eu" } else { "us" };
        let mut all = vec![
            ("--vin".to_owned(), vin(number)),
            ("--labels".to_owned(), format!("region={region}")),
            ("--fleet".to_owned(), "test".to_owned()),
        ];
        all.extend(settings.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        let vehicle = TestVehicle {
            ankaios: Arc::new(ankaios),
            folder,
            settings: all,
            connector: None,
            _crashes: None,
        };
        self.vehicles.insert(vin(number), vehicle);
        self.connect(number);
    }

    /// Starts the connector of a vehicle.
    pub(crate) fn connect(&mut self, number: usize) {
        let port = self.broker.port().to_string();
        let vehicle = self.vehicles.get_mut(&vin(number)).unwrap();
        let folder = vehicle.folder.path();
        let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let mut args = vec!["fleet-connector".to_owned()];
        for (name, value) in [
            ("--mqtt-broker-addr", "127.0.0.1".to_owned()),
            ("--mqtt-broker-port", port),
            ("--control-interface-dir", path("control_interface")),
            ("--state-dir", path("state")),
            ("--stable-time", "200ms".to_owned()),
            ("--mqtt-will-delay", "0s".to_owned()),
        ] {
            if !vehicle.settings.iter().any(|(own, _)| own == name) {
                args.extend([name.to_owned(), value]);
            }
        }
        // An empty one is not set.
        let settings = vehicle.settings.iter().filter(|(_, value)| !value.is_empty());
        args.extend(settings.flat_map(|(name, value)| [name.clone(), value.clone()]));
        let mut settings = Settings::from_args(args).unwrap();
        settings.mqtt.brokers = settings.mqtt.brokers.without_proxies();
        let stop = CancellationToken::new();
        let running = connector::run(settings, stop.clone());
        let task = tokio::spawn(async move {
            let _ = running.await;
        });
        vehicle.connector = Some((stop, AbortOnDropHandle::new(task)));
    }

    /// Stops the connector of a vehicle, which is offline then.
    pub(crate) async fn disconnect(&mut self, number: usize) {
        let vehicle = self.vehicles.get_mut(&vin(number)).unwrap();
        let (stop, task) = vehicle.connector.take().unwrap();
        stop.cancel();
        timeout(DEADLINE, task).await.unwrap().unwrap();
    }

    /// Lets a vehicle lose what its connector has stored.
    pub(crate) fn forget(&self, number: usize) {
        let folder = self.vehicles[&vin(number)].folder.path();
        std::fs::remove_dir_all(folder.join("state")).unwrap();
    }

    /// Lets everything crash that is started on a vehicle from now on.
    pub(crate) fn fails(&mut self, number: usize) {
        let vehicle = self.vehicles.get_mut(&vin(number)).unwrap();
        let ankaios = Arc::clone(&vehicle.ankaios);
        let task = tokio::spawn(async move {
            let mut ticks = interval(Duration::from_millis(10));
            loop {
                ticks.tick().await;
                let workloads = ankaios.desired_state().workloads.unwrap_or_default().workloads;
                for name in workloads.keys().filter(|name| *name != CONNECTOR_WORKLOAD) {
                    let instance = ankaios.instance(name);
                    let state = instance.and_then(|instance| ankaios.execution_state(&instance));
                    if state == Some(execution::running()) {
                        let _ = ankaios.log(name, ["it does not work"]).await;
                        let _ = ankaios.crash(name);
                    }
                }
            }
        });
        vehicle._crashes = Some(AbortOnDropHandle::new(task));
    }

    /// Waits until all vehicles with a connector are online and have a link to Ankaios.
    pub(crate) async fn all_online(&self) {
        let is_connected = |vehicle: &&TestVehicle| vehicle.connector.is_some();
        let count = self.vehicles.values().filter(is_connected).count();
        let end = Instant::now() + DEADLINE;
        loop {
            let args = ["get", "vehicles", "--fleet", "test", "--spread", "100ms"];
            let output = self.run(&args).await;
            if output.stdout.matches(" connected ").count() == count {
                return;
            }
            assert!(Instant::now() < end, "{output:?}");
        }
    }

    /// A command of the operator.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ank-fleet"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("MQTT_BROKER_ADDR", "127.0.0.1")
            .env("MQTT_BROKER_PORT", self.broker.port().to_string())
            .current_dir(self.home.path())
            .args(args)
            .kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, args: &[&str]) -> Output {
        let mut command = self.command(args);
        let output = timeout(2 * DEADLINE, command.stdin(std::process::Stdio::null()).output());
        let output = output.await.unwrap_or_else(|_| panic!("{args:?} does not end")).unwrap();
        Output {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Starts a command that goes on.
    pub(crate) fn spawn(&self, args: &[&str]) -> Process {
        Process::start("ank-fleet", self.command(args))
    }

    /// Writes a file into the folder in which commands run.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The folder of the journals.
    pub(crate) fn journals(&self) -> PathBuf {
        self.home.path().join(".local/state/ank-fleet")
    }

    /// The lines of a journal.
    pub(crate) fn journal(&self, id: &str) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.journals().join(id).join("transitions.jsonl"));
        let text = text.unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// How many lines of a type a journal has.
    pub(crate) fn count(&self, id: &str, kind: &str) -> usize {
        self.journal(id).iter().filter(|line| line["type"] == kind).count()
    }

    /// Whether a vehicle has a workload.
    pub(crate) fn has(&self, number: usize, workload: &str) -> bool {
        self.vehicles[&vin(number)].ankaios.instance(workload).is_some()
    }

    /// Keeps all workloads from starting, or no longer.
    pub(crate) fn hold(&self, is_held: bool) {
        let error = is_held.then_some("the disk is slow");
        self.vehicles.values().for_each(|vehicle| vehicle.ankaios.set_runtime_error(error));
    }

    /// A folder for other files.
    pub(crate) fn folder(&self) -> &Path {
        self.home.path()
    }
}
