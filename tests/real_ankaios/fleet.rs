//! Tests `ank-fleet` with two vehicles, each with a real Ankaios of its own: a roll-out in waves, a
//! bad one that the vehicles take back, the undo, and the logs.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use super::support::ank_fleet::ank_fleet;
use super::support::ankaios::Ankaios;
use super::support::podman::{Podman, WORKLOAD_IMAGE};
use super::support::{Broker, eventually, say};
use super::vehicle::{PATIENCE, STATE, Volume, adapt, connector_image, needs, state};

/// The VINs of the vehicles.
const VINS: [&str; 2] = ["1", "2"];

/// A vehicle of the fleet.
struct FleetVehicle {
    ankaios: Ankaios,
    /// Removed after the containers of `ankaios`.
    _volume: Volume,
}

/// The vehicles, their broker, and the operator.
struct Fleet {
    vehicles: Vec<FleetVehicle>,
    broker: Broker,
    program: PathBuf,
    home: TempDir,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_changed_in_waves_and_taken_back() {
    let Some((programs, podman)) = needs("a_fleet_is_changed_in_waves_and_taken_back") else {
        return;
    };
    let fleet = Fleet::deploy(programs, &podman).await;

    fleet.step("all online", all_are_online).await;
    fleet.step("applied", applies_in_waves).await;
    fleet.step("logs", shows_the_logs).await;
    fleet.step("a bad one", stops_after_a_bad_change).await;
    fleet.step("undo", takes_back_what_was_applied).await;
}

async fn all_are_online(fleet: &Fleet) {
    eventually("both vehicles are online", PATIENCE, async || {
        let vehicles = fleet.run(&["get", "vehicles", "-o", "wide"]);
        (vehicles.stdout.matches(" connected ").count() == 2).then_some(())
    })
    .await;
}

async fn applies_in_waves(fleet: &Fleet) {
    let apply = ["apply", "nginx.yaml", "-l", "region=eu", "--yes", "--id", "aaaa"];
    let options = ["--waves", "1,100%", "--soak", "3s", "--release", "1"];
    let applied = fleet.run(&[&apply[..], &options].concat());
    assert_eq!(applied.code, 0, "{applied:?}");
    assert!(applied.stdout.starts_with("finished: 2 of 2 succeeded\n"), "{applied:?}");
    assert!(applied.stderr.contains("wave 1/2   1/1   "), "{applied:?}");
    assert!(fleet.vehicles.iter().all(|vehicle| vehicle.ankaios.container("nginx").is_some()));
    let workloads = fleet.run(&["get", "workloads", "--all"]);
    assert_eq!(workloads.stdout.matches("nginx").count(), 2, "{workloads:?}");
    // The same again: nothing is sent.
    let unchanged = fleet.run(&["apply", "nginx.yaml", "--all", "--yes", "--id", "abab"]);
    assert_eq!(unchanged.code, 0, "{unchanged:?}");
    assert_eq!(unchanged.stdout, "2 unchanged\n", "{unchanged:?}");
}

async fn shows_the_logs(fleet: &Fleet) {
    let logs = fleet.run(&["logs", "nginx", "--all", "-n", "2"]);
    assert_eq!(logs.code, 0, "{logs:?}");
    for vin in VINS {
        let is_line = |line: &&str| line.starts_with(vin) && line.contains("tick ");
        assert_eq!(logs.stdout.lines().filter(is_line).count(), 2, "{logs:?}");
    }
}

/// The image does not exist. Only the vehicle of the first wave gets the change, and takes it back.
async fn stops_after_a_bad_change(fleet: &Fleet) {
    let apply = ["apply", "bad.yaml", "--all", "--yes", "--id", "bbbb", "--waves", "1,100%"];
    let stopped = fleet.run(&[&apply[..], &["--rollback", "on-failure"]].concat());
    assert_eq!(stopped.code, 3, "{stopped:?}");
    assert!(stopped.stdout.contains("stopped in wave 1: 1 of 1 failed, limit 0"), "{stopped:?}");
    assert!(stopped.stdout.contains("1× rolled back: "), "{stopped:?}");
    let mut statuses = fleet.statuses("bbbb");
    statuses.sort();
    assert_eq!(statuses, ["pending", "rolled_back"]);
    eventually("nginx runs on both", PATIENCE, async || {
        let runs = |vehicle: &FleetVehicle| vehicle.ankaios.container("nginx").is_some();
        fleet.vehicles.iter().all(runs).then_some(())
    })
    .await;
    // The image of before is wanted again, so there is nothing to do.
    let diff = fleet.run(&["diff", "nginx.yaml", "--all"]);
    assert_eq!(diff.code, 0, "{diff:?}");
}

/// A vehicle on which another change was made, and taken back, is still undone.
async fn takes_back_what_was_applied(fleet: &Fleet) {
    let applied = fleet.run(&["apply", "other.yaml", "--all", "--yes", "--id", "cccc"]);
    assert_eq!(applied.code, 0, "{applied:?}");
    let undone = fleet.run(&["rollout", "undo", "cccc", "--yes"]);
    assert!(undone.stdout.contains("2 taken back"), "{undone:?}");
    assert_eq!(fleet.statuses("cccc"), ["undone", "undone"], "{undone:?}");
    eventually("the containers are gone", PATIENCE, async || {
        let is_gone = |vehicle: &FleetVehicle| vehicle.ankaios.container("other").is_none();
        fleet.vehicles.iter().all(is_gone).then_some(())
    })
    .await;
    assert!(fleet.vehicles.iter().all(|vehicle| vehicle.ankaios.container("nginx").is_some()));
}

/// What a command has printed, and its exit code.
#[derive(Debug)]
struct Printed {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Fleet {
    /// Starts a broker and the vehicles. One manifest fits all vehicles although their agents have
    /// different names: each vehicle has a config with the name.
    async fn deploy(programs: PathBuf, podman: &Podman) -> Self {
        let program = ank_fleet();
        let image = connector_image(podman);
        let broker = Broker::start().await;
        let settings = r#"- "STABLE_TIME=2s"
        - "-e"
        - "ROLLOUT_TIMEOUT=15s"
        - "-e"
        - "LABELS=region=eu"
        - "-e"
        - "STATE_DIR="#;
        let mut vehicles = Vec::new();
        for vin in VINS {
            let volume = Volume::new(podman);
            let vin = format!("VIN={vin}");
            let manifest = adapt(STATE, &[("VIN=1", &vin), (r#"- "STATE_DIR="#, settings)]);
            let startup = |agent: &str| {
                let state = state(&manifest, agent, &image, &volume, &broker);
                format!("{state}configs:\n  agent_name: {agent}\n")
            };
            let ankaios = Ankaios::start(programs.clone(), podman, startup).await;
            vehicles.push(FleetVehicle { ankaios, _volume: volume });
        }
        let home = TempDir::new().unwrap();
        let bad = WORKLOAD_IMAGE.replace("localhost/", "localhost/no-");
        for (file, manifest) in [
            ("nginx.yaml", manifest("nginx", WORKLOAD_IMAGE)),
            ("bad.yaml", manifest("nginx", &bad)),
            ("other.yaml", manifest("other", WORKLOAD_IMAGE)),
        ] {
            std::fs::write(home.path().join(file), manifest).unwrap();
        }
        Self { vehicles, broker, program, home }
    }

    /// Runs one step and prints how long it took.
    async fn step(&self, name: &str, run: impl AsyncFnOnce(&Self)) {
        let start = Instant::now();
        run(self).await;
        say(&format!("real Ankaios: fleet: {name}: {:.1?}\n", start.elapsed()));
    }

    /// Runs `ank-fleet` to its end.
    fn run(&self, args: &[&str]) -> Printed {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("HOME", self.home.path())
            .env("MQTT_BROKER_ADDR", "127.0.0.1")
            .env("MQTT_BROKER_PORT", self.broker.port().to_string())
            .current_dir(self.home.path())
            .args(args)
            .stdin(Stdio::null());
        let Output { status, stdout, stderr } = command.output().unwrap();
        Printed {
            code: status.code().unwrap_or(-1),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    /// The outcomes of a roll-out, by vehicle.
    fn statuses(&self, id: &str) -> Vec<String> {
        let status = self.run(&["rollout", "status", id, "-o", "jsonl"]);
        let outcome = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["outcome"].as_str().unwrap_or_default().to_owned()
        };
        status.stdout.lines().map(outcome).collect()
    }
}

/// A manifest for any vehicle.
fn manifest(workload: &str, image: &str) -> String {
    format!(
        "apiVersion: v1\nworkloads:\n  {workload}:\n    runtime: podman\n    \
         agent: '{{{{agent}}}}'\n    configs:\n      agent: agent_name\n    \
         restartPolicy: ALWAYS\n    runtimeConfig: |\n      image: {image}\n      \
         commandOptions: [\"--net=host\"]\n"
    )
}
