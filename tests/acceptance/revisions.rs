//! Revisions: what operators have changed outlives restarts, and bad changes go back by themselves.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use ankaios_model::proto::ank_base::config_item::ConfigItemEnum;
use ankaios_model::proto::ank_base::request::RequestContent;
use serde_json::{Value, json};
use tempfile::TempDir;
use vehicle_simulator::execution;

use crate::support::openmetrics::Scrape;
use crate::support::scene::{find, payload, workload};
use crate::support::{Client, DEADLINE, Scene, eventually, free_port, start_connector};

/// A scene with a store, and its folder.
struct Kept {
    scene: Scene,
    state_dir: TempDir,
    settings: Vec<(String, String)>,
}

impl Kept {
    async fn start() -> Self {
        Self::with(&[]).await
    }

    async fn with(settings: &[(&str, &str)]) -> Self {
        let state_dir = TempDir::new().unwrap();
        let mut all = vec![("STATE_DIR", state_dir.path().to_str().unwrap())];
        all.push(("STABLE_TIME", "300ms"));
        all.extend_from_slice(settings);
        let scene = Scene::with(&all).await;
        scene.vehicle.wait_for_guard(&all).await;
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self { scene, settings: all.into_iter().map(owned).collect(), state_dir }
    }

    fn settings(&self) -> Vec<(&str, &str)> {
        self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// Waits until the connector has acknowledged the requests so far. Otherwise the broker delivers
    /// them again to the next process. They are acknowledged with the reply to another one.
    async fn settle(&self) {
        self.history().await;
    }

    /// Kills the connector and starts it again.
    async fn kill_connector(&mut self) {
        self.scene.connector.kill().await;
        let settings = self.settings.clone();
        let settings: Vec<_> =
            settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.scene.restart_connector(&settings).await;
    }

    /// Restarts server and agent, which has FIFOs for a new connector then.
    async fn restart_ankaios(&self) {
        self.scene.vehicle.kill_agent().await.unwrap();
        self.scene.vehicle.restart_server().await.unwrap();
        self.scene.vehicle.start_agent().await.unwrap();
    }

    async fn request(&self, operation: &str, payload: impl AsRef<[u8]>) -> Value {
        self.scene.request(operation, payload).await
    }

    /// Sends a request with a user property.
    async fn request_with(&self, operation: &str, payload: &str, name: &str, value: &str) -> Value {
        let options = ["-V", "5", "-D", "publish", "user-property", name, value];
        self.scene.reply(operation, payload, &options).await.json()
    }

    async fn apply(&self, manifest: &str) -> Value {
        let reply = self.request("manifest/apply", manifest).await;
        assert!(reply["revision"].is_u64(), "{reply}");
        reply
    }

    /// Restarts the server while no request is under way: one that reaches the new session before
    /// its Hello would close it for good. The connector sends nothing by itself once the rollout of
    /// the newest revision has ended, which is recorded after its subscription was started, and
    /// once that subscription has ended, too. That of the guard stays.
    async fn restart_server(&self) {
        self.newest_is("succeeded").await;
        eventually("no rollout is followed", DEADLINE, async || {
            (self.scene.vehicle.streams()["events"].len() == 1).then_some(())
        })
        .await;
        self.scene.vehicle.restart_server().await.unwrap();
    }

    /// The configs of the vehicle, without the marker.
    async fn configs(&self) -> Value {
        let mut state = self.request("state", r#"["desiredState.configs"]"#).await;
        let mut configs = state["desired_state"]["configs"].take();
        configs.as_object_mut().unwrap().remove(MARKER);
        configs
    }

    async fn has_workload(&self, name: &str) -> bool {
        let state = self.request("state", r#"["desiredState.workloads"]"#).await;
        state["desired_state"]["workloads"].get(name).is_some()
    }

    /// The revision that Ankaios has.
    async fn marker(&self) -> Value {
        let mask = format!(r#"["desiredState.configs.{MARKER}"]"#);
        self.request("state", mask).await["desired_state"]["configs"][MARKER].take()
    }

    async fn history(&self) -> Value {
        self.request("manifest/history", "").await
    }

    /// Waits until the newest revision has this status.
    async fn newest_is(&self, status: &str) -> Value {
        eventually(&format!("the newest revision is {status}"), DEADLINE, async || {
            let mut history = self.history().await;
            (history["revisions"][0]["status"] == status).then(|| history["revisions"][0].take())
        })
        .await
    }

    async fn eventually_has(&self, configs: Value) {
        eventually(&format!("the configs are {configs}"), DEADLINE, async || {
            (self.configs().await == configs).then_some(())
        })
        .await;
    }

    fn has_revision(&self, number: u64) -> bool {
        self.state_dir.path().join(format!("revisions/{number}.yaml")).exists()
    }
}

const MARKER: &str = "fleetconnector_revision";

fn config(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nconfigs:\n  {name}: '{value}'\n")
}

fn code(reply: &Value) -> &str {
    reply["error"]["code"].as_str().unwrap_or_default()
}

async fn statuses_until(client: &mut Client, last: &str) -> Vec<Value> {
    let mut seen = Vec::new();
    while seen.last().is_none_or(|status| *status != last) {
        let status = payload(&client.next().await)["status"].take();
        seen.push(status);
    }
    seen.dedup();
    seen
}

#[tokio::test]
async fn a_change_outlives_a_restart_of_the_server() {
    let kept = Kept::start().await;
    assert_eq!(kept.apply(&config("door", "open")).await["revision"], 1);
    let reply = kept.apply(&workload("app", "localhost/app")).await;
    assert_eq!(
        (&reply["revision"], reply["added_workloads"].as_array().map(Vec::len)),
        (&json!(2), Some(1))
    );
    let marker = kept.marker().await;
    assert_eq!(marker["revision"], "2");
    assert_eq!((&marker["workloads"], &marker["configs"]), (&json!(["app"]), &json!(["door"])));
    let mut status = kept.scene.client("manifest/apply/status").await;
    let start = Instant::now();
    kept.restart_server().await;
    kept.eventually_has(json!({"door": "open"})).await;
    assert!(kept.has_workload("app").await);
    assert_eq!(kept.marker().await["revision"], "2");
    let restored = |message: &Value| message["request_id"] == "restore-2";
    let done =
        find(&mut status, |message| restored(message) && message["status"] == "succeeded").await;
    assert_eq!(done["workloads"][0]["workload_name"], "app");
    assert!(start.elapsed() < DEADLINE);
}

#[tokio::test]
async fn a_change_outlives_a_restart_of_everything_without_a_broker() {
    let mut kept = Kept::start().await;
    kept.apply(&config("door", "open")).await;
    kept.apply(&workload("app", "localhost/app")).await;
    kept.request("manifest/delete", config("door", "x")).await;
    kept.scene.connector.kill().await;
    kept.restart_ankaios().await;
    // A connector that has no broker.
    let port = free_port().to_string();
    let mut settings = kept.settings();
    settings.push(("MQTT_BROKER_PORT", &port));
    let connector =
        start_connector(&kept.scene.broker, kept.scene.vehicle.control_interface(), &settings);
    eventually("it is put back", DEADLINE, async || {
        let state = kept.scene.vehicle.desired_state();
        let workloads = state.workloads.unwrap_or_default().workloads;
        workloads.contains_key("app").then_some(())
    })
    .await;
    drop(connector);
    kept.kill_connector().await;
    assert_eq!(kept.configs().await, json!({}));
    assert_eq!(kept.history().await["current"], 3);
}

#[tokio::test]
async fn a_local_change_is_left_alone() {
    let mut kept = Kept::start().await;
    kept.apply(&config("door", "open")).await;
    kept.settle().await;
    kept.kill_connector().await;
    let mut complete = kept.scene.vehicle.state();
    let state = complete.desired_state.as_mut().unwrap();
    let local = state.configs.as_mut().unwrap().configs.get_mut("door").unwrap();
    local.config_item_enum = Some(ConfigItemEnum::String("local".into()));
    kept.scene.vehicle.set_state(complete);
    kept.kill_connector().await;
    kept.apply(&config("other", "1")).await;
    assert_eq!(kept.configs().await, json!({"door": "local", "other": "1"}));
}

#[tokio::test]
async fn history_and_rollback_show_and_take_back_changes() {
    let kept = Kept::start().await;
    assert_eq!(kept.history().await, json!({"current": 0, "revisions": []}));
    kept.request_with("manifest/apply", &config("door", "1"), "release", "2026.11.2").await;
    kept.request_with("manifest/apply", &config("door", "2"), "request-id", "7f3a/1").await;
    let history = kept.history().await;
    let revisions = history["revisions"].as_array().unwrap();
    assert_eq!((&history["current"], revisions.len()), (&json!(2), 2));
    assert_eq!(
        (&revisions[0]["request_id"], &revisions[1]["release"]),
        (&json!("7f3a/1"), &json!("2026.11.2"))
    );
    assert_eq!(
        revisions[0]["changed"],
        json!({"workloads": [], "configs": ["door"], "deleted": []})
    );
    let one = kept.request("manifest/history", r#"{"revision": 1}"#).await;
    assert_eq!(one["manifest"], json!({"apiVersion": "v1", "configs": {"door": "1"}}));
    // The manifest can be applied.
    let applied = kept.request("manifest/apply", one["manifest"].to_string()).await;
    assert_eq!(applied["revision"], 3);
    assert_eq!(kept.configs().await, json!({"door": "1"}));

    let reply = kept.request("manifest/rollback", "").await;
    assert_eq!(reply, json!({"added_workloads": [], "deleted_workloads": [], "revision": 4}));
    assert_eq!(kept.configs().await, json!({"door": "2"}));
    assert_eq!(kept.history().await["revisions"][0]["reverts"], 3);
    for (request, expected) in [
        (r#"{"if_current": 3}"#, "rejected"),
        (r#"{"rollout": "7f3a"}"#, "rejected"),
        (r#"{"revision": 99}"#, "not_found"),
        (r#"{"revision": "1"}"#, "invalid_payload"),
    ] {
        let reply = kept.request("manifest/rollback", request).await;
        assert_eq!(code(&reply), expected, "{reply}");
    }
    kept.request("manifest/rollback", r#"{"revision": 0, "if_current": 4}"#).await;
    assert_eq!(kept.configs().await, json!({}));
    kept.request_with("manifest/apply", &config("door", "9"), "request-id", "7f3a/2").await;
    let reply = kept.request("manifest/rollback", r#"{"rollout": "7f3a"}"#).await;
    assert_eq!(reply["revision"], 7);
    assert_eq!(kept.configs().await, json!({}));
    let reply = kept.request("manifest/history", r#"{"revision": 99}"#).await;
    assert_eq!(code(&reply), "not_found");
    let reply = kept.request("manifest/history", r#"{"revision": 0}"#).await;
    assert_eq!(code(&reply), "not_found");
    let message = reply["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("revision 0 is the startup manifest"), "{message}");
}

#[tokio::test]
async fn a_bad_change_goes_back_by_itself() {
    let kept = Kept::with(&[("ROLLBACK", "on-failure")]).await;
    let mut status = kept.scene.client("manifest/apply/status").await;
    kept.apply(&workload("app", "localhost/good")).await;
    statuses_until(&mut status, "succeeded").await;
    let bad = workload("app", "localhost/bad").replace("runtime: podman", "runtime: docker");
    let reply = kept.request_with("manifest/apply", &bad, "request-id", "bad").await;
    assert_eq!(reply["revision"], 2);
    let seen = statuses_until(&mut status, "rolled_back").await;
    assert!(seen.contains(&json!("rolling_back")) && !seen.contains(&json!("failed")), "{seen:?}");
    let state = kept.request("state", r#"["desiredState.workloads.app"]"#).await;
    assert_eq!(
        state["desired_state"]["workloads"]["app"]["runtimeConfig"],
        "image: localhost/good"
    );
    let history = kept.history().await;
    let statuses: Vec<_> =
        history["revisions"].as_array().unwrap().iter().map(|one| one["status"].clone()).collect();
    assert_eq!(statuses, ["succeeded", "rolled_back", "succeeded"]);
    assert_eq!(history["revisions"][0]["reverts"], 2);
}

#[tokio::test]
async fn a_change_that_nobody_confirms_goes_back() {
    let timeout = ("ROLLOUT_TIMEOUT", "3s");
    let mut kept = Kept::with(&[timeout]).await;
    let mode = ("rollback", "unless-confirmed");
    kept.request_with("manifest/apply", &config("door", "1"), mode.0, mode.1).await;
    kept.newest_is("unconfirmed").await;
    assert_eq!(
        kept.request("manifest/confirm", r#"{"revision": 1}"#).await,
        json!({"revision": 1})
    );
    kept.newest_is("succeeded").await;
    let mut status = kept.scene.client("manifest/apply/status").await;
    kept.request_with("manifest/apply", &config("door", "2"), mode.0, mode.1).await;
    kept.newest_is("unconfirmed").await;
    kept.kill_connector().await;
    statuses_until(&mut status, "rolled_back").await;
    assert_eq!(kept.configs().await, json!({"door": "1"}));
    for (request, expected) in
        [(r#"{"revision": 2}"#, "rejected"), (r#"{"revision": 7}"#, "not_found")]
    {
        let reply = kept.request("manifest/confirm", request).await;
        assert_eq!(code(&reply), expected, "{reply}");
    }
}

#[tokio::test]
async fn a_crash_loop_is_not_success() {
    let kept = Kept::with(&[("ROLLBACK", "on-failure"), ("STABLE_TIME", "2s")]).await;
    let mut status = kept.scene.client("manifest/apply/status").await;
    let app = workload("app", "localhost/app") + "    restartPolicy: ALWAYS\n";
    let reply = kept.apply(&app).await;
    let instance = kept.scene.vehicle.instance("app").unwrap();
    assert_eq!(reply["added_workloads"][0]["workload_id"], instance.workload_id.as_str());
    let waiting = json!({"workload_name": "app", "state": "RUNNING"});
    for _ in 0..3 {
        kept.request("workload/wait", waiting.to_string()).await;
        kept.scene.vehicle.set_execution_state(&instance, execution::failed(1));
        kept.scene.vehicle.set_execution_state(&instance, execution::running());
    }
    statuses_until(&mut status, "rolled_back").await;
    assert!(!kept.has_workload("app").await);
}

#[tokio::test]
async fn the_marker_is_the_connectors_own() {
    let kept = Kept::start().await;
    for (operation, payload) in [
        ("manifest/apply", config(MARKER, "x")),
        ("manifest/validate", config(MARKER, "x")),
        ("manifest/delete", config(MARKER, "x")),
        (
            "state/update",
            json!({"update_mask": [format!("desiredState.configs.{MARKER}.revision")],
                   "state": {"desiredState": {"configs": {MARKER: {"revision": "9"}}}}})
            .to_string(),
        ),
    ] {
        let reply = kept.request(operation, payload).await;
        assert_eq!(code(&reply), "forbidden", "{operation}: {reply}");
    }
    // A wide mask keeps it.
    kept.apply(&config("door", "1")).await;
    let update = json!({"update_mask": ["desiredState.configs"],
                        "state": {"desiredState": {"configs": {"a": "1"}}}});
    assert_eq!(kept.request("state/update", update.to_string()).await["revision"], 2);
    assert_eq!(kept.marker().await["revision"], "2");
    kept.restart_server().await;
    kept.eventually_has(json!({"a": "1"})).await;
}

#[tokio::test]
async fn a_pattern_does_not_match_the_marker() {
    let kept = Kept::start().await;
    kept.apply(&config("door", "1")).await;
    let marker = kept.marker().await;
    for mask in [
        "desiredState.configs.*",
        "desiredState.configs.*.revision",
        "desiredState.configs.fleetconnector_*",
        "desiredState.*.fleetconnector_revision",
        "desiredState.*",
        "*.configs.fleetconnector_revision",
        "*",
    ] {
        let forged = json!({"configs": {MARKER: {"revision": "9"}}});
        for state in [forged, json!({"apiVersion": "v1"})] {
            let update = json!({"update_mask": [mask], "state": {"desiredState": state}});
            let reply = kept.request("state/update", update.to_string()).await;
            let is_unchanged = reply["revision"] == 1 || reply["error"].is_object();
            assert!(is_unchanged, "{mask}: {reply}");
            assert_eq!(kept.marker().await, marker, "{mask}");
        }
    }
    assert_eq!(kept.configs().await, json!({"door": "1"}));
}

#[tokio::test]
async fn bad_user_properties_say_what_is_possible() {
    let kept = Kept::start().await;
    let reply = kept.request_with("manifest/apply", &config("a", "1"), "rollback", "always").await;
    assert_eq!(code(&reply), "invalid_payload");
    let message = reply["error"]["message"].as_str().unwrap();
    assert!(message.contains("off, on-failure and unless-confirmed"), "{message}");
    let reply = kept.request_with("manifest/apply", &config("a", "1"), "release", "a b").await;
    assert!(reply["error"]["message"].as_str().unwrap().contains("release: \"a b\""), "{reply}");
    assert_eq!(kept.history().await["current"], 0);
}

#[tokio::test]
async fn without_a_store_nothing_is_kept_and_the_log_says_so() {
    let scene = Scene::start().await;
    scene.connector.line("STATE_DIR is not set").await;
    let reply = scene.request("manifest/apply", config("a", "1")).await;
    assert_eq!(reply, json!({"added_workloads": [], "deleted_workloads": []}));
    for operation in ["manifest/history", "manifest/rollback"] {
        let reply = scene.request(operation, "").await;
        assert_eq!(code(&reply), "unavailable");
        assert!(reply["error"]["message"].as_str().unwrap().contains("STATE_DIR"), "{reply}");
    }
}

#[tokio::test]
async fn a_second_connector_on_the_folder_does_not_start() {
    let kept = Kept::start().await;
    let mut second = start_connector(
        &kept.scene.broker,
        kept.scene.vehicle.control_interface(),
        &kept.settings(),
    );
    second.line("is used by another connector").await;
    assert!(!second.wait().await.success());
    kept.apply(&config("a", "1")).await;
}

#[tokio::test]
async fn files_can_be_read_by_their_owner_only_and_applied_by_a_person() {
    let kept = Kept::start().await;
    kept.apply(&config("secret", "abc")).await;
    kept.request("manifest/delete", config("other", "x")).await;
    let file = kept.state_dir.path().join("revisions/1.yaml");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# fleet-connector store 1 sha256:"), "{text}");
    assert!(text.contains("\nconfigs:\n  secret: abc\n"), "{text}");
    assert_eq!(kept.request("manifest/validate", &text).await["valid"], true);
}

#[tokio::test]
async fn a_revision_with_deleted_items_can_be_applied() {
    let kept = Kept::start().await;
    kept.apply(&(config("a", "1") + "  b: '2'\n")).await;
    let reply = kept.request("manifest/delete", config("b", "")).await;
    assert_eq!(reply["revision"], 2, "{reply}");
    kept.apply(&config("a", "3")).await;
    // The file of the store, and the reply to the operation.
    let file = std::fs::read(kept.state_dir.path().join("revisions/2.yaml")).unwrap();
    let text = String::from_utf8(file.clone()).unwrap();
    assert!(text.contains("\n# deleted: desiredState.configs.b\n"), "{text}");
    let history = kept.request("manifest/history", r#"{"revision": 2}"#).await;
    let manifest = history["manifest"].to_string();
    for (payload, expected) in [(file, 4), (manifest.into_bytes(), 6)] {
        let reply = kept.request("manifest/apply", payload).await;
        assert_eq!(reply["revision"], expected, "{reply}");
        assert_eq!(kept.configs().await, json!({"a": "1"}));
        kept.apply(&config("a", "3")).await;
    }
    // Others say what to send.
    let listed = config("a", "5") + "deleted: [desiredState.configs.b]\n";
    for operation in ["manifest/apply", "manifest/validate", "manifest/delete"] {
        for (payload, expected) in [
            (history.to_string(), "send only the content of its field manifest"),
            (listed.clone(), "send what is to be deleted to manifest/delete"),
        ] {
            let reply = kept.request(operation, payload).await;
            assert_eq!(code(&reply), "invalid_manifest", "{operation}: {reply}");
            assert!(reply["error"]["message"].as_str().unwrap().contains(expected), "{reply}");
        }
    }
    assert_eq!(kept.configs().await, json!({"a": "3"}));
}

#[tokio::test]
async fn going_back_to_revision_0_gives_the_values_of_a_new_startup_manifest() {
    let kept = Kept::start().await;
    let startup = |door: &str| {
        let manifest = config("door", door) + &format!("  new: '{door}'\n");
        let manifest = ankaios_model::manifest::Manifest::parse(manifest.as_bytes()).unwrap();
        let state = manifest.into_apply_request().new_state.unwrap().desired_state.unwrap();
        kept.scene.vehicle.set_startup_manifest(state).unwrap();
    };
    kept.apply(&config("door", "operator")).await;
    kept.apply(&workload("app", "localhost/app")).await;
    assert_eq!(kept.configs().await, json!({"door": "operator"}));
    // The software of the vehicle is updated.
    startup("vendor");
    kept.restart_server().await;
    kept.eventually_has(json!({"door": "operator", "new": "vendor"})).await;
    let reply = kept.request("manifest/rollback", r#"{"revision": 0}"#).await;
    assert_eq!(reply["revision"], 3, "{reply}");
    assert_eq!(reply["deleted_workloads"][0]["workload_name"], "app", "{reply}");
    assert_eq!(kept.configs().await, json!({"door": "vendor", "new": "vendor"}));
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_the_newest_whole_one_is_used() {
    let mut kept = Kept::start().await;
    kept.apply(&config("a", "1")).await;
    kept.apply(&config("a", "2")).await;
    kept.settle().await;
    kept.scene.connector.kill().await;
    let file = kept.state_dir.path().join("revisions/2.yaml");
    let mut content = std::fs::read(&file).unwrap();
    let last = content.len() - 2;
    content[last] ^= 1;
    std::fs::write(&file, content).unwrap();
    kept.restart_ankaios().await;
    kept.kill_connector().await;
    kept.eventually_has(json!({"a": "1"})).await;
    assert!(kept.state_dir.path().join("revisions/2.yaml.damaged").exists());
    assert_eq!(kept.history().await["current"], 1);
}

#[tokio::test]
async fn a_lost_folder_is_filled_from_ankaios() {
    let mut kept = Kept::start().await;
    kept.apply(&config("a", "1")).await;
    kept.apply(&config("b", "2")).await;
    kept.scene.connector.kill().await;
    std::fs::remove_dir_all(kept.state_dir.path().join("revisions")).unwrap();
    kept.kill_connector().await;
    eventually("the revision is known", DEADLINE, async || {
        (kept.history().await["current"] == 2).then_some(())
    })
    .await;
    kept.restart_ankaios().await;
    kept.eventually_has(json!({"a": "1", "b": "2"})).await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_refuses_changes_but_not_reads() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let state_dir = file.join("state");
    let health = format!("127.0.0.1:{}", free_port());
    let settings = [("STATE_DIR", state_dir.to_str().unwrap()), ("HEALTH_ADDR", health.as_str())];
    let scene = Scene::with(&settings).await;
    let reply = scene.request("manifest/apply", config("a", "1")).await;
    assert_eq!(code(&reply), "unavailable");
    assert!(reply["error"]["message"].as_str().unwrap().contains("STATE_DIR"), "{reply}");
    assert!(scene.request("state", "").await["desired_state"].is_object());
    let mut status = scene.client("connector/status").await;
    let status = find(&mut status, |status| status["status"] == "online").await;
    assert!(status["reason"].as_str().unwrap().contains("cannot be kept"), "{status}");
    // The folder appears later.
    std::fs::remove_file(&file).unwrap();
    eventually("the store is open", DEADLINE, async || {
        (scene.request("manifest/apply", config("a", "1")).await["revision"] == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn many_workloads_are_put_back_in_one_update() {
    let kept = Kept::start().await;
    let mut manifest = "apiVersion: v1\nworkloads:\n".to_owned();
    for number in 0..100 {
        manifest += &format!(
            "  w{number}:\n    runtime: podman\n    agent: agent_A\n    runtimeConfig: 'image: x'\n"
        );
    }
    let reply = kept.apply(&manifest).await;
    assert_eq!(reply["added_workloads"].as_array().map(Vec::len), Some(100));
    kept.scene.vehicle.clear_observations();
    kept.restart_server().await;
    eventually("all are back", DEADLINE, async || {
        let workloads = kept.scene.vehicle.desired_state().workloads.unwrap_or_default().workloads;
        (0..100).all(|number| workloads.contains_key(&format!("w{number}"))).then_some(())
    })
    .await;
    kept.newest_is("succeeded").await;
    let requests = kept.scene.vehicle.requests().into_iter();
    let updates = requests.filter_map(|request| match request.request_content {
        Some(RequestContent::UpdateStateRequest(update)) => Some(update.update_mask),
        _ => None,
    });
    let masks: Vec<_> = updates.collect();
    assert_eq!(masks.len(), 1, "{masks:?}");
    let of_workloads = masks[0].iter().filter(|mask| mask.starts_with("desiredState.workloads."));
    assert_eq!(of_workloads.count(), 100);
}

#[tokio::test]
async fn status_and_metrics_show_the_revision() {
    let port = free_port();
    let health = format!("127.0.0.1:{port}");
    let kept = Kept::with(&[("HEALTH_ADDR", &health)]).await;
    let mut status = kept.scene.client("connector/status").await;
    find(&mut status, |status| status["revision"] == 0).await;
    kept.request_with("manifest/apply", &config("a", "1"), "release", "r1").await;
    let one = find(&mut status, |status| status["rollout"] == "succeeded").await;
    assert_eq!((&one["revision"], &one["release"]), (&json!(1), &json!("r1")));
    kept.restart_server().await;
    kept.eventually_has(json!({"a": "1"})).await;
    let metrics = Scrape::of(port).await;
    assert_eq!(metrics.get("fleet_connector_revision"), 1.0);
    assert_eq!(metrics.get("fleet_connector_restorations_total{outcome=\"succeeded\"}"), 1.0);
    assert!(metrics.get("fleet_connector_store_sync_seconds_count") >= 2.0);
}

#[tokio::test]
async fn kills_at_random_moments_leave_store_and_marker_alike() {
    let mut kept = Kept::start().await;
    for round in 0..15_u64 {
        let client = kept.scene.client("kills/resp").await;
        let topic = format!("{}/manifest/apply/req", crate::support::connector::BASE);
        let reply_topic = format!("{}/kills/resp", crate::support::connector::BASE);
        for number in 0..5 {
            let manifest = config(&format!("c{number}"), &round.to_string());
            client.request(&topic, manifest, &reply_topic, number).await;
        }
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..30))).await;
        kept.kill_connector().await;
        // The broker delivers again what was not acknowledged.
        eventually("all are applied", DEADLINE, async || {
            let (configs, value) = (kept.configs().await, round.to_string());
            let all = (0..5).all(|number| configs[format!("c{number}")] == value);
            all.then_some(())
        })
        .await;
        let current = kept.history().await["current"].as_u64().unwrap();
        assert_eq!(kept.marker().await["revision"], current.to_string(), "{round}");
        assert!(kept.has_revision(current));
    }
    let folder: &Path = kept.state_dir.path();
    let files = std::fs::read_dir(folder.join("revisions")).unwrap().count();
    assert!(files <= 2 * 11 + 1, "{files} files");
}

#[tokio::test]
async fn a_subscription_outlives_a_broker_that_loses_retained_messages() {
    let mut kept = Kept::start().await;
    let request = r#"{"id": "e", "field_masks": ["desiredState.configs.door"]}"#;
    kept.request("events/subscribe", request).await;
    kept.request("events/subscribe", r#"{"id": "gone", "field_masks": ["agents"]}"#).await;
    kept.request("events/unsubscribe", r#"{"id": "gone"}"#).await;
    kept.scene.connector.kill().await;
    let records = kept.state_dir.path().join("records");
    let names: Vec<_> =
        std::fs::read_dir(&records).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["events-e.record"]);
    kept.scene.broker.stop().await;
    kept.scene.broker.start_again().await;
    let mut events = kept.scene.client("events/e").await;
    kept.kill_connector().await;
    find(&mut events, |event| event["resynced"] == true).await;
    kept.apply(&config("door", "open")).await;
    find(&mut events, |event| {
        event["complete_state"]["desired_state"]["configs"]["door"] == "open"
    })
    .await;
}

/// As replicas do that take over from each other, each with a folder of its own.
#[tokio::test]
async fn connectors_with_folders_of_their_own_take_over_each_others_revisions() {
    let mut kept = Kept::start().await;
    let other = TempDir::new().unwrap();
    kept.apply(&config("a", "1")).await;
    kept.settle().await;
    let mut folders = [other.path().to_path_buf(), kept.state_dir.path().to_path_buf()];
    for (number, revision) in [(2, 1), (3, 2), (4, 3)] {
        kept.scene.connector.kill().await;
        kept.settings[0].1 = folders[0].to_str().unwrap().to_owned();
        folders.swap(0, 1);
        kept.kill_connector().await;
        eventually("the revision is taken over", DEADLINE, async || {
            (kept.history().await["current"] == revision).then_some(())
        })
        .await;
        let reply = kept.apply(&config("a", &number.to_string())).await;
        assert_eq!(reply["revision"], revision + 1, "{reply}");
        kept.settle().await;
    }
    kept.scene.connector.kill().await;
    kept.restart_ankaios().await;
    kept.kill_connector().await;
    kept.eventually_has(json!({"a": "4"})).await;
}

#[tokio::test]
async fn what_is_put_back_is_judged_by_the_policy_and_so_is_the_rest_with_the_next_change() {
    let folder = TempDir::new().unwrap();
    let policy = folder.path().join("policy.yaml");
    let allow = |runtimes: &str| {
        std::fs::write(&policy, format!("runtimes: {runtimes}\n")).unwrap();
    };
    allow("[podman]");
    let port = free_port();
    let health = format!("127.0.0.1:{port}");
    let settings = [("POLICY_FILE", policy.to_str().unwrap()), ("HEALTH_ADDR", health.as_str())];
    let mut kept = Kept::with(&settings).await;
    kept.apply(&workload("app", "localhost/app")).await;
    // Without reading the state, because the overlay has the item.
    kept.apply(&workload("app", "localhost/app:2")).await;
    kept.restart_server().await;
    eventually("it is put back", DEADLINE, async || kept.has_workload("app").await.then_some(()))
        .await;
    kept.settle().await;
    allow("[docker]");
    kept.scene.connector.kill().await;
    kept.restart_ankaios().await;
    kept.kill_connector().await;
    let mut status = kept.scene.client("connector/status").await;
    let refused = find(&mut status, |status| status["restore"] == "refused").await;
    assert!(refused["reason"].as_str().unwrap().contains("runtimes"), "{refused}");
    let reply = kept.request("manifest/apply", config("a", "1")).await;
    assert_eq!(code(&reply), "forbidden", "{reply}");
    assert!(!kept.has_workload("app").await);
    let reply = kept.request("manifest/rollback", r#"{"revision": 0}"#).await;
    assert_eq!(reply["revision"], 3, "{reply}");
    assert_eq!(kept.apply(&config("a", "1")).await["revision"], 4);
}
