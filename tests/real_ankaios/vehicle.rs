//! A vehicle with a real Ankaios, and the actions of the test steps.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::ankaios::{self, Ankaios};
use super::support::connector::BASE;
use super::support::podman::{Podman, WORKLOAD_IMAGE};
use super::support::{Broker, eventually, say, skipped};

/// The time limit for Ankaios and Podman to start, stop or restart a workload.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The requirements of a test: the directory with Ankaios' programs, and Podman. Prints why the
/// test is skipped and returns `None` if one is missing.
pub(crate) fn needs(test: &str) -> Option<(PathBuf, Podman)> {
    let programs = match ankaios::programs() {
        Ok(programs) => programs,
        Err(missing) => {
            // Not skipped(): a real Ankaios cannot be expected everywhere.
            say(&format!("\nSKIPPED {test}: {missing}\n"));
            return None;
        }
    };
    match Podman::detect() {
        Ok(podman) => Some((programs, podman)),
        Err(missing) => {
            skipped(test, &missing);
            None
        }
    }
}

/// The shipped startup manifest.
pub(crate) const STATE: &str = include_str!("../../manifests/state.yaml");

/// The volume in the shipped manifests.
pub(crate) const VOLUME: &str = "fleet-connector-state:";

/// Overrides the protection of workloads.
pub(crate) const FORCE: [&str; 7] = ["-V", "5", "-D", "publish", "user-property", "force", "true"];

/// The field that an update of the connector changes.
pub(crate) const RUNTIME_CONFIG: &str = "desiredState.workloads.fleetconnector.runtimeConfig";

const NGINX: &str = include_str!("../../manifests/nginx.yaml");

/// A vehicle with the deployed connector, and its broker.
pub(crate) struct Vehicle {
    pub(crate) podman: Podman,
    pub(crate) broker: Broker,
    pub(crate) ankaios: Ankaios,
    /// The startup manifest, with the connector.
    pub(crate) state: String,
    /// The id of the connector's image.
    pub(crate) image: String,
    /// Removed after the containers of `ankaios`.
    volume: Volume,
}

/// A volume of Podman. When dropped, it is removed.
pub(crate) struct Volume {
    podman: Podman,
    name: String,
}

impl Volume {
    /// A unique name; Podman creates the volume when a container uses it.
    pub(crate) fn new(podman: &Podman) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("fleet-connector-test-{}-{number}", std::process::id());
        Self { podman: podman.clone(), name }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let remove = ["volume", "rm", "--force", "--time", "0", &self.name];
        // A panic here would hide one that is already unwinding.
        let _ = self.podman.try_run(remove);
    }
}

/// The id of the connector's image, which is built once.
pub(crate) fn connector_image(podman: &Podman) -> String {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| podman.build_connector_image()).clone()
}

/// A startup manifest: a variant of [`STATE`] with this agent, image, volume and broker.
pub(crate) fn state(
    manifest: &str,
    agent: &str,
    image: &str,
    volume: &Volume,
    broker: &Broker,
) -> String {
    adapt(
        manifest,
        &[
            ("agent: agent_A", &format!("agent: {agent}")),
            ("localhost/fleet-connector:0.1.0", image),
            (VOLUME, &format!("{}:", volume.name())),
            ("MQTT_BROKER_PORT=1883", &format!("MQTT_BROKER_PORT={}", broker.port())),
        ],
    )
}

impl Vehicle {
    /// Starts a broker, and Ankaios with this variant of [`STATE`].
    pub(crate) async fn deploy(programs: PathBuf, podman: Podman, manifest: &str) -> Self {
        let image = connector_image(&podman);
        let volume = Volume::new(&podman);
        let broker = Broker::start().await;
        let state = |agent: &str| state(manifest, agent, &image, &volume, &broker);
        let ankaios = Ankaios::start(programs, &podman, state).await;
        let state = state(ankaios.agent_name());
        Self { podman, broker, ankaios, state, image, volume }
    }

    /// Runs one step and prints how long it took.
    pub(crate) async fn step(&mut self, name: &str, run: impl AsyncFnOnce(&mut Self)) {
        let start = Instant::now();
        run(self).await;
        say(&format!("real Ankaios: {name}: {:.1?}\n", start.elapsed()));
    }

    /// Sends a request as an operator and returns the reply.
    pub(crate) async fn request(&self, operation: &str, payload: &str) -> Value {
        self.request_with(operation, payload, &[]).await
    }

    /// Like [`request`](Self::request), with additional arguments for `mosquitto_rr`.
    pub(crate) async fn request_with(
        &self,
        operation: &str,
        payload: &str,
        options: &[&str],
    ) -> Value {
        let base = format!("{BASE}/{operation}");
        self.broker.request(&base, payload, options).await.json()
    }

    /// Replaces the connector from within the vehicle. The workload is deleted first: Ankaios
    /// treats a workload with other access rights and the same `runtimeConfig` as unchanged,
    /// and loses track of its container.
    pub(crate) async fn redeploy(&mut self, manifest: &str) {
        let manifest = self.ankaios.write_manifest("connector.yaml", manifest);
        self.ankaios.ank(&["delete", "workload", "fleetconnector"]);
        self.ankaios.ank(&["apply", manifest.to_str().unwrap()]);
        self.is_served().await;
    }

    /// Waits until the connector replies with the state of Ankaios.
    pub(crate) async fn is_served(&mut self) {
        let base = format!("{BASE}/state");
        let patience = Duration::from_secs(2);
        eventually("the connector returns the state", PATIENCE, async || {
            let attempt = self.broker.try_request(&base, r#"["agents"]"#, patience, &[]);
            let reply = attempt.await.ok()?.json();
            reply.get("agents").is_some().then_some(())
        })
        .await;
    }

    /// Waits until an instance of a workload has this state.
    pub(crate) async fn becomes(&self, workload: &str, instance: &Value, state: &str) {
        let path = format!(
            "/workload_states/{}/{workload}/{}/state",
            self.ankaios.agent_name(),
            instance["workload_id"].as_str().unwrap()
        );
        eventually(&format!("{workload} is {state}"), PATIENCE, async || {
            let reply = self.request("state", r#"["workloadStates"]"#).await;
            (reply.pointer(&path)? == state).then_some(())
        })
        .await;
    }

    /// Waits until the last table in `ank logs dashboard` satisfies `wanted`, and returns its
    /// rows.
    pub(crate) async fn table(
        &self,
        what: &str,
        wanted: impl Fn(&[String]) -> bool,
    ) -> Vec<String> {
        eventually(&format!("the dashboard shows: {what}"), PATIENCE, async || {
            let log = self.ankaios.ank(&["logs", "dashboard"]);
            let lines: Vec<String> = log.lines().map(str::to_owned).collect();
            let head = lines.iter().rposition(|line| line.contains("WORKLOAD NAME"))?;
            let table = lines.get(head.saturating_sub(1)..)?.to_vec();
            wanted(&table).then_some(table)
        })
        .await
    }

    /// The only instance in the list `list` of a reply, which must belong to `workload`.
    pub(crate) fn only_instance(&self, reply: &Value, list: &str, workload: &str) -> Value {
        let instances = reply[list].as_array();
        let Some([instance]) = instances.map(Vec::as_slice) else {
            panic!("one instance of {workload} expected in {list}: {reply}");
        };
        assert_eq!(instance["workload_name"], json!(workload), "{reply}");
        assert_eq!(instance["agent_name"], json!(self.ankaios.agent_name()), "{reply}");
        instance.clone()
    }

    /// Adds an environment variable to the connector, through the connector itself. Returns the
    /// reply.
    pub(crate) async fn update_connector(&self, variable: &str) -> Value {
        let question = json!({"field_masks": [RUNTIME_CONFIG], "format": "ankaios"}).to_string();
        let state = self.request("state", &question).await.to_string();
        let both = format!(r#"VIN=1\"\n  - \"-e\"\n  - \"{variable}"#);
        let state = adapt(&state, &[("VIN=1", &both)]);
        let update = format!(r#"{{"update_mask": ["{RUNTIME_CONFIG}"], "state": {state}}}"#);
        self.request_with("state/update", &update, &with_expiry()).await
    }

    /// Whether the container of a workload runs and has this environment variable, `NAME=value`.
    pub(crate) fn has_variable(&self, workload: &str, variable: &str) -> Option<bool> {
        let container = self.ankaios.container(workload)?;
        let format = "--format={{json .Config.Env}}";
        // The container may have been removed meanwhile.
        let environment = self.podman.try_run(["inspect", format, &container]).ok()?;
        let environment: Vec<String> = serde_json::from_str(&environment).unwrap();
        Some(environment.iter().any(|one| one == variable))
    }

    /// The manifest of the tutorial, with a workload that prints one line per second.
    pub(crate) fn nginx(&self) -> String {
        adapt(
            NGINX,
            &[
                ("agent: agent_A", &self.agent()),
                ("docker.io/library/nginx:1.29-alpine", WORKLOAD_IMAGE),
                (r#"["-p", "8081:80"]"#, r#"["--net=host"]"#),
            ],
        )
    }

    /// The folder of the revisions on the host.
    pub(crate) fn state_dir(&self) -> PathBuf {
        let format = "--format={{.Mountpoint}}";
        self.podman.run(["volume", "inspect", format, self.volume.name()]).into()
    }

    /// The line of a manifest that names the agent.
    pub(crate) fn agent(&self) -> String {
        format!("agent: {}", self.ankaios.agent_name())
    }
}

/// Options of a request that stops the connector before it has replied.
pub(crate) fn with_expiry() -> Vec<&'static str> {
    [&FORCE[..], &["-D", "publish", "message-expiry-interval", "60"]].concat()
}

/// Lets the connector change itself, but not its own access rules, as the manifest documents.
pub(crate) fn with_narrow_deny_rule(manifest: &str) -> String {
    let deny = "- \"desiredState.workloads.fleetconnector";
    let narrow = format!("{deny}.controlInterfaceAccess\"");
    adapt(manifest, &[(&format!("{deny}\""), &narrow)])
}

/// Replaces parts of a shipped manifest with values of the test; each part must occur.
pub(crate) fn adapt(manifest: &str, replacements: &[(&str, &str)]) -> String {
    let mut adapted = manifest.to_owned();
    for (from, to) in replacements {
        assert!(adapted.contains(from), "no '{from}' in:\n{adapted}");
        adapted = adapted.replace(from, to);
    }
    adapted
}
