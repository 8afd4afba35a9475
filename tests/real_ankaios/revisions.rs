//! Tests revisions with a real Ankaios: changes of operators outlive restarts of everything, and bad
//! ones are rolled back.

use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::support::connector::BASE;
use super::support::{Client, eventually, say};
use super::vehicle::{PATIENCE, STATE, Vehicle, adapt, needs, with_narrow_deny_rule};

/// The config that says which revision Ankaios has.
pub(crate) const MARKER: &str = "fleetconnector_revision";

/// How often the connector is killed while changes are applied.
const KILLS: u32 = 25;

/// How many changes are sent before each kill.
const CHANGES: u32 = 20;

/// How late after the last request the connector is killed at most, in milliseconds. Most kills
/// come before the last change has been applied.
const LATEST_KILL_MS: u64 = 150;

/// The maximum time between the link and the restoration.
const MAX_RESTORATION: Duration = Duration::from_secs(2);

/// Rolls a change back if it fails.
const ON_FAILURE: [&str; 7] =
    ["-V", "5", "-D", "publish", "user-property", "rollback", "on-failure"];

/// All steps share one deployment, because a start of Ankaios and Podman takes seconds.
#[tokio::test(flavor = "multi_thread")]
async fn keeps_what_operators_have_changed() {
    let Some((programs, podman)) = needs("keeps_what_operators_have_changed") else { return };
    let settings = r#"- "STABLE_TIME=2s"
        - "-e"
        - "ROLLOUT_TIMEOUT=20s"
        - "-e"
        - "STATE_DIR="#;
    let manifest = with_narrow_deny_rule(&adapt(STATE, &[(r#"- "STATE_DIR="#, settings)]));
    let mut vehicle = Vehicle::deploy(programs, podman, &manifest).await;

    vehicle.step("deployed", Vehicle::is_served).await;
    vehicle.step("a bad change", rolls_back_a_bad_change).await;
    vehicle.step("kills during changes", agrees_with_ankaios_after_each_kill).await;
    vehicle.step("a new container", keeps_revisions_in_a_new_container).await;
    vehicle.step("a local change", leaves_a_local_change_alone).await;
    vehicle.step("back by hand", goes_back_by_hand).await;
    vehicle.step("server killed", restores_after_a_restart_of_the_server).await;
    vehicle.step("connector updated", restores_an_update_of_the_connector).await;
    vehicle.step("everything killed", restores_without_a_broker).await;
}

/// A runtime that does not exist fails at once, an image that does not exist when the time for the
/// rollout is over. A workload that was there before is put back, a new one is deleted.
async fn rolls_back_a_bad_change(vehicle: &mut Vehicle) {
    let mut status = vehicle.broker.subscribe(&format!("{BASE}/manifest/apply/status"), &[]).await;
    let applied = vehicle.request("manifest/apply", &vehicle.nginx()).await;
    assert_eq!(applied["revision"], json!(1), "{applied}");
    vehicle.newest_becomes("succeeded").await;
    let before = vehicle.desired_state()["workloads"]["nginx"].take();

    let nginx = vehicle.nginx();
    let unknown_runtime = nginx.replace("runtime: podman", "runtime: docker");
    let unknown_image = adapt(&nginx, &[("image: localhost/", "image: localhost/no-")]);
    let new = nginx.replace("runtime: podman", "runtime: docker").replace("nginx:", "other:");
    for (request_id, manifest, last) in [
        ("runtime", unknown_runtime, "PENDING_STARTING_FAILED"),
        ("image", unknown_image, "PENDING_STARTING"),
        ("new", new, "PENDING_STARTING_FAILED"),
    ] {
        let start = Instant::now();
        let id = ["-D", "publish", "user-property", "request-id", request_id];
        let options = [&ON_FAILURE[..], &id].concat();
        let applied = vehicle.request_with("manifest/apply", &manifest, &options).await;
        assert!(applied["revision"].is_u64(), "{applied}");
        let mut seen: Vec<Value> = Vec::new();
        while !seen.iter().any(|one| *one == "rolled_back" || *one == "rollback_failed") {
            let message = status.next_within(PATIENCE).await;
            let mut message = message.unwrap_or_else(|| panic!("{request_id}: {seen:?}")).json();
            if message["request_id"] == request_id {
                if message["status"] != "in_progress" {
                    let state = &message["workloads"][0]["execution_state"];
                    assert_eq!(state["substate"], last, "{message}");
                    assert_ne!(state["additional_info"], "", "{message}");
                }
                seen.push(message["status"].take());
            }
        }
        seen.dedup();
        // One that fails at once is never in progress.
        seen.retain(|one| *one != "in_progress");
        assert_eq!(seen, ["rolling_back", "rolled_back"], "{request_id}");
        let workloads = vehicle.desired_state()["workloads"].take();
        assert_eq!(workloads["nginx"], before, "{request_id}");
        assert_eq!(workloads.get("other"), None, "{request_id}");
        eventually("nginx runs again", PATIENCE, async || {
            vehicle.ankaios.container("nginx").map(drop)
        })
        .await;
        say(&format!("real Ankaios: rolled back ({request_id}): {:.1?}\n", start.elapsed()));
    }
    let history = vehicle.request("manifest/history", "").await;
    let statuses: Vec<&str> = history["revisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|revision| revision["status"].as_str().unwrap())
        .collect();
    let pair = ["succeeded", "rolled_back"];
    assert_eq!(statuses, [&pair[..], &pair, &pair, &["succeeded"]].concat(), "{history}");
}

/// After each kill, in the middle of a change, all changes are applied, and the store has the
/// revision that Ankaios has.
async fn agrees_with_ankaios_after_each_kill(vehicle: &mut Vehicle) {
    let topic = format!("{BASE}/manifest/apply/req");
    let reply_topic = format!("{BASE}/kills/resp");
    let client = Client::connect(vehicle.broker.port(), &reply_topic).await;
    let (mut in_time, mut in_doubt) = (0, 0);
    for round in 0..KILLS {
        let container = vehicle.running_connector().await;
        // Ankaios makes a container anew after a kill, with an empty log.
        let pid = vehicle.podman.run(["inspect", "--format={{.State.Pid}}", &container]);
        let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
        for number in 0..CHANGES {
            let manifest = format!("apiVersion: v1\nconfigs:\n  c{number}: 'round {round}'\n");
            client.request(&topic, manifest, &reply_topic, number).await;
        }
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..LATEST_KILL_MS))).await;
        // `podman kill` takes longer than all the changes.
        kill_process(pid, Signal::KILL).unwrap();
        let all_applied = || {
            let configs = vehicle.desired_state()["configs"].take();
            let value = format!("round {round}");
            (0..CHANGES).all(|number| configs[format!("c{number}")] == value)
        };
        in_time += u32::from(!all_applied());
        eventually("all changes are applied", PATIENCE, async || all_applied().then_some(())).await;
        vehicle.is_served().await;
        let history = vehicle.request("manifest/history", "").await;
        let current = history["current"].as_u64().unwrap();
        assert_eq!(vehicle.revision_of_ankaios(), current, "round {round}: {history}");
        assert_eq!(history["revisions"][0]["revision"], json!(current), "{history}");
        let log = vehicle.log(&vehicle.running_connector().await);
        in_doubt += log.matches("has the revision that was in doubt").count();
    }
    say(&format!(
        "real Ankaios: {in_time} of {KILLS} kills came before the last change, {in_doubt} after \
         Ankaios had taken an update and before the store knew\n"
    ));
    assert!(in_time > 0, "no kill came before the last change");
}

/// The volume keeps the revisions when the workload is deleted and applied. (Ankaios 1.0.1 does not
/// start a workload again whose container was removed: its state is `FAILED_LOST`.)
async fn keeps_revisions_in_a_new_container(vehicle: &mut Vehicle) {
    let history = vehicle.request("manifest/history", "").await;
    let current = history["current"].as_u64().unwrap();
    let before = vehicle.running_connector().await;
    let manifest = vehicle.state.clone();
    vehicle.redeploy(&manifest).await;
    assert_ne!(vehicle.running_connector().await, before);
    assert_eq!(vehicle.request("manifest/history", "").await, history);
    assert_eq!(vehicle.revision_of_ankaios(), current);
}

/// What was changed by `ank` stays, whatever the connector does.
async fn leaves_a_local_change_alone(vehicle: &mut Vehicle) {
    let local = adapt(&vehicle.nginx(), &[("--net=host", "--net=none")]);
    let local = format!("{local}configs:\n  c0: local\n");
    let manifest = vehicle.ankaios.write_manifest("local.yaml", &local);
    vehicle.ankaios.ank(&["apply", manifest.to_str().unwrap()]);
    let changed = vehicle.desired_state();
    assert_eq!(changed["configs"]["c0"], json!("local"), "{changed}");
    let history = vehicle.request("manifest/history", "").await;

    let container = vehicle.running_connector().await;
    vehicle.podman.run(["kill", &container]);
    vehicle.is_served().await;
    assert_eq!(vehicle.desired_state(), changed);
    assert_eq!(vehicle.request("manifest/history", "").await, history);

    let other = "apiVersion: v1\nconfigs:\n  c1: 'after a local change'\n";
    let applied = vehicle.request("manifest/apply", other).await;
    assert!(applied["revision"].is_u64(), "{applied}");
    let state = vehicle.desired_state();
    assert_eq!(state["configs"]["c0"], json!("local"), "{state}");
    assert_eq!(state["workloads"], changed["workloads"]);
}

/// The server forgets everything but its startup manifest; local changes are not restored.
async fn restores_after_a_restart_of_the_server(vehicle: &mut Vehicle) {
    let expected = vehicle.prepare_restoration().await;
    let container = vehicle.running_connector().await;
    let lines_before = vehicle.log(&container).lines().count();
    vehicle.ankaios.kill_server().await;
    vehicle.ankaios.start_server().await;
    let restored = vehicle.is_restored(&expected).await;
    let log = vehicle.log(&container);
    let link_up = "Ankaios' server has restarted";
    let line = log.lines().skip(lines_before).find(|line| line.contains(link_up));
    vehicle.report_restoration(line.unwrap(), restored);
    eventually("nginx runs", PATIENCE, async || vehicle.ankaios.container("nginx").map(drop)).await;
    vehicle.is_served().await;
}

/// The whole vehicle is switched off. When it starts again, there is no broker.
async fn restores_without_a_broker(vehicle: &mut Vehicle) {
    let expected = vehicle.prepare_restoration().await;
    vehicle.broker.stop().await;
    vehicle.ankaios.power_off().await;
    vehicle.ankaios.start_server().await;
    vehicle.ankaios.start_agent().await;
    // The log cannot tell when the link was up: now and then Ankaios has seen the former container
    // end, and replaces the new one at once.
    let start = Instant::now();
    vehicle.is_restored(&expected).await;
    let elapsed = start.elapsed();
    say(&format!("real Ankaios: restored at most {elapsed:.1?} after the agent is up\n"));
    eventually("nginx runs", PATIENCE, async || vehicle.ankaios.container("nginx").map(drop)).await;

    vehicle.broker.start_again().await;
    vehicle.is_served().await;
    let history = vehicle.request("manifest/history", "").await;
    assert_eq!(history["current"], json!(vehicle.revision_of_ankaios()), "{history}");
}

/// The commands of `docs/operations.md`, with files of the store and `ank`.
async fn goes_back_by_hand(vehicle: &mut Vehicle) {
    vehicle.prepare_restoration().await;
    let deleted = vehicle.request("manifest/delete", "apiVersion: v1\nconfigs:\n  c0: x\n").await;
    let earlier = deleted["revision"].as_u64().unwrap();
    let expected = vehicle.desired_state();
    let app = vehicle.nginx().replace("nginx:", "app:") + "configs:\n  c0: later\n";
    let applied = vehicle.request("manifest/apply", &app).await;
    assert_eq!(applied["revision"], json!(earlier + 1), "{applied}");
    vehicle.newest_becomes("succeeded").await;

    let revisions = vehicle.state_dir().join("revisions");
    let manifest = std::fs::read_to_string(revisions.join(format!("{earlier}.yaml"))).unwrap();
    assert!(manifest.contains("\n# deleted: desiredState.configs.c0\n"), "{manifest}");
    vehicle.ankaios.apply(manifest.as_bytes());
    vehicle.ankaios.ank(&["delete", "workload", "app"]);
    vehicle.ankaios.ank(&["delete", "config", "c0"]);
    let mut state = vehicle.desired_state();
    let marker = state["configs"][MARKER].take();
    assert_eq!(marker["revision"], json!((earlier + 1).to_string()), "{marker}");
    state["configs"][MARKER] = expected["configs"][MARKER].clone();
    assert_eq!(state, expected);
    let history = vehicle.request("manifest/history", "").await;
    assert_eq!(history["current"], json!(earlier + 1), "{history}");

    vehicle.ankaios.ank(&["delete", "workload", "fleetconnector"]);
    eventually("the connector has stopped", PATIENCE, async || {
        vehicle.ankaios.container("fleetconnector").is_none().then_some(())
    })
    .await;
    for extension in ["yaml", "status"] {
        std::fs::remove_file(revisions.join(format!("{}.{extension}", earlier + 1))).unwrap();
    }
    vehicle.ankaios.kill_server().await;
    vehicle.ankaios.kill_agent().await;
    vehicle.ankaios.start_server().await;
    vehicle.ankaios.start_agent().await;
    vehicle.is_restored(&expected).await;
    vehicle.is_served().await;
    let history = vehicle.request("manifest/history", "").await;
    assert_eq!(history["current"], json!(earlier), "{history}");
}

/// The connector of the startup manifest restores its own update, which replaces it.
async fn restores_an_update_of_the_connector(vehicle: &mut Vehicle) {
    let variable = "LOG_LEVEL=debug";
    let updated = vehicle.update_connector(variable).await;
    assert!(updated["revision"].is_u64(), "{updated}");
    let expected = vehicle.prepare_restoration().await;
    assert_eq!(vehicle.has_variable("fleetconnector", variable), Some(true));

    vehicle.ankaios.power_off().await;
    vehicle.ankaios.start_server().await;
    vehicle.ankaios.start_agent().await;
    vehicle.is_restored(&expected).await;
    eventually("the connector has its update", PATIENCE, async || {
        vehicle.has_variable("fleetconnector", variable).filter(|has| *has)
    })
    .await;
    vehicle.is_served().await;
    let history = vehicle.request("manifest/history", "").await;
    assert_eq!(history["current"], json!(vehicle.revision_of_ankaios()), "{history}");
    assert_eq!(vehicle.desired_state(), expected);
}

impl Vehicle {
    /// The desired state of the server, read by `ank`.
    fn desired_state(&self) -> Value {
        let output = self.ankaios.ank(&["get", "state", "-o", "json", "desiredState"]);
        let mut state: Value = serde_json::from_str(&output)
            .unwrap_or_else(|error| panic!("`ank get state`: {error}: {output}"));
        state["desiredState"].take()
    }

    /// The revision that Ankaios has.
    fn revision_of_ankaios(&self) -> u64 {
        let state = self.desired_state();
        let revision = state["configs"][MARKER]["revision"].as_str();
        revision.map_or(0, |revision| revision.parse().unwrap())
    }

    /// Waits until the newest revision has this status. No other one may be its last.
    async fn newest_becomes(&self, status: &str) {
        eventually(&format!("the newest revision is {status}"), PATIENCE, async || {
            let history = self.request("manifest/history", "").await;
            let newest = &history["revisions"][0];
            let is_as_expected = newest["status"] == status;
            assert!(is_as_expected || newest["status"] == "in_progress", "{newest}");
            is_as_expected.then_some(())
        })
        .await;
    }

    /// Waits until the container of the connector runs, and returns its id.
    async fn running_connector(&self) -> String {
        eventually("the connector runs", PATIENCE, async || {
            self.ankaios.container("fleetconnector")
        })
        .await
    }

    /// The log of a container so far.
    fn log(&self, container: &str) -> String {
        let output = self.podman.command("podman").args(["logs", container]).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// Applies a workload and a config, and returns the desired state of all that operators have
    /// changed.
    async fn prepare_restoration(&self) -> Value {
        let manifest = self.nginx() + "configs:\n  c0: operator\n";
        let applied = self.request("manifest/apply", &manifest).await;
        assert!(applied["revision"].is_u64(), "{applied}");
        self.newest_becomes("succeeded").await;
        self.desired_state()
    }

    /// Waits until the server has this desired state again, and returns the time.
    async fn is_restored(&self, expected: &Value) -> SystemTime {
        eventually("everything is restored", PATIENCE, async || {
            (self.desired_state() == *expected).then(SystemTime::now)
        })
        .await
    }

    /// Prints and checks the time between a line of the log, about the link, and the restoration.
    /// The latter is noticed at most 0.1 s late.
    fn report_restoration(&self, link_up: &str, restored: SystemTime) {
        let at = link_up.split_whitespace().next().unwrap();
        let at = humantime::parse_rfc3339(at).unwrap_or_else(|error| panic!("{link_up}: {error}"));
        let duration = restored.duration_since(at).unwrap();
        say(&format!("real Ankaios: restored at most {duration:.1?} after the link is up\n"));
        assert!(duration < MAX_RESTORATION, "{duration:?}");
    }
}
