//! Each operation and each error of the contract: real Mosquitto, real binary, simulated
//! Ankaios.

use std::time::{Duration, Instant};

use ankaios_model::manifest::Manifest;
use ankaios_model::proto::ank_base::ControlInterfaceAccess;
use serde_json::{Value, json};
use vehicle_simulator::access;

use crate::support::Scene;
use crate::support::connector::BASE;

const MANIFEST: &str = "
apiVersion: v1
workloads:
  nginx:
    runtime: podman
    agent: agent_A
    restartPolicy: ALWAYS
    runtimeConfig: |
      image: docker.io/library/nginx
configs:
  web:
    ports: ['8080']
";

/// Overrides the protection of workloads.
const FORCE: [&str; 7] = ["-V", "5", "-D", "publish", "user-property", "force", "true"];

const STATE: &str = include_str!("../../manifests/state.yaml");

/// The access rights of the connector in a manifest.
fn access_in(manifest: &str) -> ControlInterfaceAccess {
    let manifest = Manifest::parse(manifest.as_bytes()).unwrap();
    let workloads = manifest.desired_state().workloads.clone().unwrap().workloads;
    workloads["fleetconnector"].control_interface_access.clone().unwrap()
}

fn code(reply: &Value) -> &str {
    reply["error"]["code"].as_str().unwrap_or_else(|| panic!("no error: {reply}"))
}

fn message(reply: &Value) -> &str {
    reply["error"]["message"].as_str().unwrap_or_else(|| panic!("no error: {reply}"))
}

#[tokio::test]
async fn a_manifest_is_applied_and_deleted() {
    let scene = Scene::start().await;
    let applied = scene.request("manifest/apply", MANIFEST).await;
    let instance = &applied["added_workloads"][0];
    assert_eq!(instance["workload_name"], json!("nginx"));
    assert_eq!(instance["agent_name"], json!("agent_A"));
    assert_eq!(instance["workload_id"].as_str().map(str::len), Some(64));
    assert_eq!(applied["deleted_workloads"], json!([]));
    let desired = scene.vehicle.desired_state();
    assert!(desired.configs.unwrap().configs.contains_key("web"));

    let deleted = scene.request("manifest/delete", MANIFEST).await;
    assert_eq!(deleted, json!({"added_workloads": [], "deleted_workloads": [instance]}));
    let desired = scene.vehicle.desired_state();
    assert!(!desired.workloads.unwrap_or_default().workloads.contains_key("nginx"));
    assert!(desired.configs.unwrap_or_default().configs.is_empty());
}

#[tokio::test]
async fn the_rights_of_the_shipped_manifest_allow_every_operation_and_no_wiping() {
    let scene = Scene::start().await;
    scene.vehicle.set_access(access_in(STATE));
    let tags = json!({"update_mask": ["agents.agent_A.tags"],
        "state": {"agents": {"agent_A": {"tags": {"fleet": "north"}}}}});
    let config = json!({"update_mask": ["desiredState.configs.web"],
        "state": {"desiredState": {"configs": {"web": "on"}}}});
    let wait = json!({"workload_name": "nginx", "state": "RUNNING"});
    let logs = json!({"id": "l", "workloads": ["nginx"], "follow": true});
    for (operation, payload) in [
        ("manifest/apply", MANIFEST.to_owned()),
        ("state", "[]".into()),
        ("state/update", tags.to_string()),
        ("state/update", config.to_string()),
        ("workload/wait", wait.to_string()),
        ("events/subscribe", r#"{"id": "e", "field_masks": ["desiredState"]}"#.into()),
        ("events/unsubscribe", r#"{"id": "e"}"#.into()),
        ("logs/subscribe", logs.to_string()),
        ("logs/unsubscribe", r#"{"id": "l"}"#.into()),
        ("manifest/delete", MANIFEST.to_owned()),
    ] {
        let reply = scene.request(operation, &payload).await;
        assert!(reply.get("error").is_none(), "{operation}: {reply}");
    }
    let tags = &scene.request("state", r#"["agents"]"#).await["agents"]["agent_A"]["tags"];
    assert_eq!(*tags, json!({"fleet": "north"}));
    for mask in ["desiredState", "desiredState.workloads", "desiredState.configs", "agents"] {
        let update = json!({"update_mask": [mask], "state": {}});
        let reply = scene.reply("state/update", &update.to_string(), &FORCE).await.json();
        assert_eq!(code(&reply), "access_denied", "{mask}");
    }
}

#[tokio::test]
async fn the_rights_of_the_shipped_manifest_deny_changes_of_the_connector_itself() {
    let scene = Scene::start().await;
    let before = scene.vehicle.desired_state();
    scene.vehicle.set_access(access_in(STATE));
    let path = "desiredState.workloads.fleetconnector";
    let update = |mask: String| {
        let connector = json!({"runtimeConfig": "image: x"});
        let state = json!({"desiredState": {"workloads": {"fleetconnector": connector}}});
        json!({"update_mask": [mask], "state": state}).to_string()
    };
    let field = || update(format!("{path}.runtimeConfig"));
    let whole = [
        ("manifest/apply", STATE.to_owned()),
        ("manifest/delete", STATE.to_owned()),
        ("state/update", update(path.to_owned())),
        ("state/update", update(format!("{path}.controlInterfaceAccess"))),
    ];
    for (operation, payload) in whole.iter().cloned().chain([("state/update", field())]) {
        let reply = scene.reply(operation, &payload, &FORCE).await.json();
        assert_eq!(code(&reply), "access_denied", "{operation}");
    }
    assert_eq!(scene.vehicle.desired_state(), before);

    // The variant for updates of the connector through itself allows single fields, but never
    // the access rights.
    let mask = format!("- \"{path}\"");
    assert_eq!(STATE.matches(&mask).count(), 1);
    let variant = format!("- \"{path}.controlInterfaceAccess\"");
    scene.vehicle.set_access(access_in(&STATE.replace(&mask, &variant)));
    for (operation, payload) in whole {
        let reply = scene.reply(operation, &payload, &FORCE).await.json();
        assert_eq!(code(&reply), "access_denied", "{operation}");
    }
    assert_eq!(code(&scene.request("state/update", field()).await), "forbidden");
    let reply = scene.reply("state/update", field(), &FORCE).await.json();
    assert_eq!(reply["added_workloads"][0]["workload_name"], "fleetconnector", "{reply}");
}

#[tokio::test]
async fn a_manifest_is_validated_without_ankaios() {
    let scene = Scene::start().await;
    let requests = scene.vehicle.request_count();
    let reply = scene.request("manifest/validate", MANIFEST).await;
    assert_eq!(
        reply,
        json!({
            "valid": true,
            "workloads": ["nginx"],
            "configs": ["web"],
            "update_mask": ["desiredState.workloads.nginx", "desiredState.configs.web"],
        })
    );
    let reply = scene.request("manifest/validate", "apiVersion: v1").await;
    assert_eq!(code(&reply), "invalid_manifest");
    assert_eq!(scene.vehicle.request_count(), requests);
}

#[tokio::test]
async fn a_manifest_is_validated_with_the_errors_of_apply() {
    let marker = "apiVersion: v1\nconfigs:\n  fleetconnector_revision: x\n";
    let cases = [
        ("request-id", "r", marker, "forbidden"),
        ("force", "true", marker, "forbidden"),
        ("rollback", "always", MANIFEST, "invalid_payload"),
        ("rollback", "", MANIFEST, "invalid_payload"),
        ("release", "a b", MANIFEST, "invalid_payload"),
        ("release", "", MANIFEST, "invalid_payload"),
        // The user properties come first.
        ("release", "a b", "workloads: 7", "invalid_payload"),
        ("release", "a", "workloads: 7", "invalid_manifest"),
        // There is no store to go back to, or nobody follows the change.
        ("rollback", "on-failure", MANIFEST, "invalid_payload"),
        ("rollback", "unless-confirmed", MANIFEST, "invalid_payload"),
    ];
    let state_dir = tempfile::tempdir().unwrap();
    let kept = [("STATE_DIR", state_dir.path().to_str().unwrap()), ("ROLLOUT_TIMEOUT", "0s")];
    for settings in [&[][..], &kept] {
        let scene = Scene::with(settings).await;
        for (name, value, manifest, expected) in cases {
            let options = ["-V", "5", "-D", "publish", "user-property", name, value];
            let context = format!("{settings:?}, {name}: {value}");
            let validated = scene.reply("manifest/validate", manifest, &options).await.json();
            let applied = scene.reply("manifest/apply", manifest, &options).await.json();
            assert_eq!(code(&validated), expected, "{context}: {validated}");
            assert_eq!(validated, applied, "{context}");
        }
    }
}

#[tokio::test]
async fn the_state_is_returned_whole_in_parts_and_in_both_formats() {
    let scene = Scene::start().await;
    scene.request("manifest/apply", MANIFEST).await;
    for everything in ["", "[]", " ", "{}"] {
        let state = scene.request("state", everything).await;
        assert_eq!(state["desired_state"]["workloads"]["nginx"]["restartPolicy"], json!("ALWAYS"));
        assert!(
            state["workload_states"]["agent_A"]["nginx"].is_object(),
            "{everything:?}: {state}"
        );
        assert!(state["agents"]["agent_A"]["status"]["free_memory"].is_u64());
    }
    let state = scene.request("state", r#"["workloadStates.agent_A.nginx"]"#).await;
    assert_eq!(state["desired_state"]["workloads"], json!({}));
    let states = state["workload_states"]["agent_A"].as_object().unwrap();
    assert_eq!(states.keys().collect::<Vec<_>>(), ["nginx"]);

    let request = r#"{"field_masks": ["desiredState.workloads"], "format": "ankaios"}"#;
    let state = scene.request("state", request).await;
    let nginx = &state["desiredState"]["workloads"]["nginx"];
    assert_eq!(nginx["runtime"], json!("podman"));
    // The state that was read can be applied again.
    let manifest = json!({"apiVersion": "v1", "workloads": {"nginx": nginx}}).to_string();
    let applied = scene.request("manifest/apply", manifest).await;
    assert_eq!(applied, json!({"added_workloads": [], "deleted_workloads": []}));
}

#[tokio::test]
async fn invalid_payloads_are_refused_and_never_reach_ankaios() {
    let scene = Scene::start().await;
    let requests = scene.vehicle.request_count();
    let deep = "[".repeat(100_000);
    let bomb = (0..30).fold("a0: &a0 [x]\n".to_owned(), |bomb, level| {
        let next = level + 1;
        bomb + &format!("a{next}: &a{next} [*a{level},*a{level},*a{level},*a{level}]\n")
    });
    let state: &[(&[u8], &str)] = &[
        (b"\xff\xfe", "invalid_payload"),
        (b"workloadStates", "invalid_payload"),
        (b"[1]", "invalid_payload"),
        (b"[\"\"]", "invalid_payload"),
        (b"[\"a..b\"]", "invalid_payload"),
        (b"null", "invalid_payload"),
        (b"{\"field_mask\": []}", "invalid_payload"),
        (b"{\"format\": \"xml\"}", "invalid_payload"),
        (deep.as_bytes(), "invalid_payload"),
    ];
    let manifest: &[(&[u8], &str)] = &[
        (b"", "invalid_manifest"),
        (b"\xff\xfe", "invalid_payload"),
        (b"[]", "invalid_manifest"),
        (b"apiVersion: v1", "invalid_manifest"),
        (b"apiVersion: v9\nworkloads: {}", "invalid_manifest"),
        (b"apiVersion: v1\nworkloads:\n  a b: {}", "invalid_manifest"),
        (b"apiVersion: v1\nworkloads:\n  a: {runtime: podman}", "invalid_manifest"),
        (b"apiVersion: v1\nconfigs:\n  a: 1", "invalid_manifest"),
        (b"apiVersion: v1\nconfigs:\n  a: x\n  a: y", "invalid_manifest"),
        (deep.as_bytes(), "invalid_manifest"),
        (bomb.as_bytes(), "invalid_manifest"),
    ];
    let start = Instant::now();
    for (operation, cases) in
        [("state", state), ("manifest/apply", manifest), ("manifest/delete", manifest)]
    {
        for (payload, expected) in cases {
            let reply = scene.request(operation, payload).await;
            let shown = String::from_utf8_lossy(&payload[..payload.len().min(60)]);
            assert_eq!(code(&reply), *expected, "{operation} {shown}: {reply}");
            assert!(message(&reply).len() < 1000, "{operation} {shown}: {reply}");
        }
    }
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(scene.vehicle.request_count(), requests);
    let reply = scene.request("manifest/apply", "apiVersion: v1\nworkloads:\n  a: [").await;
    assert!(reply["error"]["details"]["line"].is_u64(), "{reply}");
    assert!(reply["error"]["details"]["column"].is_u64(), "{reply}");
}

#[tokio::test]
async fn an_unknown_operation_is_answered() {
    let scene = Scene::start().await;
    for operation in ["stat", "manifest/aply", "connector/status"] {
        let reply = scene.request(operation, "[]").await;
        assert_eq!(code(&reply), "not_found");
        assert!(message(&reply).contains("manifest/apply"), "{reply}");
    }
}

#[tokio::test]
async fn rejections_of_ankaios_are_passed_on_with_its_message() {
    let scene = Scene::start().await;
    let manifest = "
apiVersion: v1
workloads:
  a: {runtime: podman, agent: agent_A, runtimeConfig: '{{missing.value}}', configs: {missing: nowhere}}
";
    let reply = scene.request("manifest/apply", manifest).await;
    assert_eq!(code(&reply), "rejected", "{reply}");
    assert!(message(&reply).contains("Update rejected"), "{reply}");

    scene.vehicle.set_access(access::allow_all());
    scene.vehicle.set_access(Default::default());
    for (operation, payload) in [("state", "[]"), ("manifest/apply", MANIFEST)] {
        let reply = scene.request(operation, payload).await;
        assert_eq!(code(&reply), "access_denied", "{reply}");
        assert!(message(&reply).contains("controlInterfaceAccess"), "{reply}");
    }
}

#[tokio::test]
async fn a_request_without_an_answer_times_out_and_delays_no_other() {
    let scene = Scene::with(&[("REQUEST_TIMEOUT", "1s")]).await;
    let mut client = scene.client("late/resp").await;
    scene.vehicle.drop_requests(1);
    let requests = scene.vehicle.request_count();
    let lost = format!("{BASE}/late/resp");
    client.request(&format!("{BASE}/state/req"), "[]", &lost, 1).await;
    scene.vehicle.wait_for_requests(requests + 1, Duration::from_secs(5)).await.unwrap();
    let start = Instant::now();
    scene.request("state", "[]").await;
    assert!(start.elapsed() < Duration::from_secs(1));
    let reply = crate::support::scene::payload(&client.next().await);
    assert_eq!(code(&reply), "timeout", "{reply}");
    assert!(message(&reply).contains("1s"), "{reply}");
}

#[tokio::test]
async fn without_a_link_the_reply_says_why() {
    let scene = Scene::with(&[("REQUEST_TIMEOUT", "1s")]).await;
    scene.vehicle.kill_agent().await.unwrap();
    scene.connector.line("is the Ankaios agent running").await;
    let reply = scene.request("state", "[]").await;
    assert_eq!(code(&reply), "unavailable", "{reply}");
    assert!(message(&reply).contains("is the Ankaios agent running"), "{reply}");
    scene.vehicle.start_agent().await.unwrap();
    scene.request("state", "[]").await["agents"].as_object().unwrap();

    scene.vehicle.close_session("for a test").await.unwrap();
    scene.connector.line("Ankaios has closed the control interface").await;
    let reply = scene.request("state", "[]").await;
    assert_eq!(code(&reply), "unavailable", "{reply}");
    assert!(message(&reply).contains("for a test"), "{reply}");
}

#[tokio::test]
async fn a_request_that_is_too_large_is_answered_without_being_parsed() {
    let scene = Scene::with(&[("MAX_PAYLOAD_SIZE", "64KiB")]).await;
    let mut client = scene.client("big/resp").await;
    let reply_topic = format!("{BASE}/big/resp");
    for size in [64 * 1024 + 1, 256 * 1024] {
        for operation in ["state", "manifest/apply", "manifest/validate"] {
            let topic = format!("{BASE}/{operation}/req");
            client.request(&topic, vec![b' '; size], &reply_topic, 1).await;
            let reply = crate::support::scene::payload(&client.next().await);
            assert_eq!(code(&reply), "payload_too_large", "{reply}");
            assert_eq!(reply["error"]["details"], json!({"size": size, "max_size": 65536}));
        }
    }
    client.request(&format!("{BASE}/state/req"), vec![b' '; 64 * 1024], &reply_topic, 1).await;
    assert!(crate::support::scene::payload(&client.next().await)["agents"].is_object());
}

#[tokio::test]
async fn a_manifest_of_the_largest_size_is_applied_if_it_fits_into_the_pipe() {
    let scene = Scene::start().await;
    let mut client = scene.client("big/resp").await;
    let topic = format!("{BASE}/manifest/apply/req");
    let reply_topic = format!("{BASE}/big/resp");
    let mut apply = async |manifest: String| {
        client.request(&topic, manifest, &reply_topic, 1).await;
        crate::support::scene::payload(&client.next().await)
    };
    let lines: String =
        (0..50).map(|line| format!("  {line:08}: {}\n", "x".repeat(20_000))).collect();
    let head = "apiVersion: v1\nconfigs:\n";
    let padding = "#".repeat(1024 * 1024 - head.len() - lines.len());
    let reply = apply(format!("{head}{lines}{padding}")).await;
    assert_eq!(reply, json!({"added_workloads": [], "deleted_workloads": []}));
    assert_eq!(scene.vehicle.desired_state().configs.unwrap().configs.len(), 50);

    // One value of this size, which is larger in the request to Ankaios.
    let head = "apiVersion: v1\nconfigs:\n  big: ";
    let reply = apply(format!("{head}{}", "x".repeat(1024 * 1024 - head.len()))).await;
    assert_eq!(code(&reply), "payload_too_large", "{reply}");
    assert!(message(&reply).contains("in parts"), "{reply}");
}
