//! What Ankaios can carry: nothing that is accepted makes the vehicle unreachable.

use ankaios_model::json::ankaios::parse_complete_state;
use ankaios_model::proto::ank_base::State;
use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::connector::BASE;
use crate::support::scene::{find, payload};
use crate::support::{DEADLINE, Scene, eventually};

/// The size of a workload of which the fifth is too much, in bytes.
const LARGE: usize = 900_000;

fn large(size: usize) -> Value {
    json!({"runtime": "podman", "agent": "agent_A", "runtimeConfig": "image: x",
        "files": [{"mountPoint": "/large", "data": "x".repeat(size)}]})
}

fn manifest(workloads: Value, configs: Value) -> String {
    json!({"apiVersion": "v1", "workloads": workloads, "configs": configs}).to_string()
}

fn one(name: &str, workload: Value) -> String {
    manifest(json!({name: workload}), json!({}))
}

/// A desired state with workloads of [`LARGE`] bytes.
fn desired(names: &[&str]) -> State {
    let workloads: serde_json::Map<_, _> =
        names.iter().map(|name| ((*name).to_owned(), large(LARGE))).collect();
    let state = json!({"desiredState": {"apiVersion": "v1", "workloads": workloads}});
    parse_complete_state(state).unwrap().desired_state.unwrap()
}

/// A vehicle whose server and agent can exchange messages of 4 MiB, as real ones.
async fn scene(settings: &[(&str, &str)]) -> Scene {
    let scene = Scene::with(settings).await;
    scene.vehicle.set_max_message(4 * 1024 * 1024);
    scene
}

/// Makes the state larger by other means than the connector.
fn set_by_others(scene: &Scene, names: &[&str]) {
    let mut state = scene.vehicle.state();
    let present = state.desired_state.as_mut().unwrap().workloads.as_mut().unwrap();
    present.workloads.extend(desired(names).workloads.unwrap().workloads);
    scene.vehicle.set_state(state);
}

/// Sends a request, which may be too large for a command line, and returns the reply.
async fn ask(scene: &Scene, operation: &str, request: impl Into<Bytes>) -> Value {
    let reply_topic = format!("{BASE}/large/resp");
    let mut client = scene.client("large/resp").await;
    client.request(&format!("{BASE}/{operation}/req"), request, &reply_topic, 1).await;
    payload(&client.next().await)
}

fn code(reply: &Value) -> &Value {
    &reply["error"]["code"]
}

fn assert_too_large(reply: &Value) {
    assert_eq!(*code(reply), "payload_too_large", "{reply}");
}

fn has_workload(scene: &Scene, name: &str) -> bool {
    scene.vehicle.instance(name).is_some()
}

#[tokio::test]
async fn updates_that_add_up_to_more_than_a_reply_can_carry_are_refused() {
    let scene = scene(&[]).await;
    for name in ["a", "b", "c"] {
        let reply = ask(&scene, "manifest/apply", one(name, large(LARGE))).await;
        assert!(reply.get("added_workloads").is_some(), "{reply}");
    }
    // An agent may report an error with all of the options.
    let options =
        json!({"runtime": "podman", "agent": "agent_A", "runtimeConfig": "x".repeat(LARGE)});
    assert_too_large(&ask(&scene, "manifest/apply", one("options", options)).await);
    // By an update of a part, too.
    let update = |name: &str| {
        let state =
            json!({"desiredState": {"workloads": {name: {"tags": {"t": "x".repeat(LARGE)}}}}});
        let mask = format!("desiredState.workloads.{name}.tags");
        json!({"update_mask": [mask], "state": state}).to_string()
    };
    let reply = ask(&scene, "state/update", update("a")).await;
    assert!(reply.get("added_workloads").is_some(), "{reply}");
    let refused = ask(&scene, "manifest/apply", one("d", large(LARGE))).await;
    assert_too_large(&refused);
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("4194304") && message.contains("now 36"), "{message}");
    assert!(!has_workload(&scene, "d"));
    assert_too_large(&ask(&scene, "state/update", update("b")).await);
    // What is small, or makes room, is still done.
    let config = manifest(json!({}), json!({"c": "x"}));
    let reply = ask(&scene, "manifest/apply", config).await;
    assert!(reply.get("error").is_none(), "{reply}");
    let reply = ask(&scene, "manifest/delete", one("a", large(1))).await;
    assert!(reply.get("error").is_none(), "{reply}");
    let reply = ask(&scene, "manifest/apply", one("d", large(LARGE))).await;
    assert!(reply.get("error").is_none(), "{reply}");
    assert_eq!(scene.vehicle.counters().broken_connections, 0);
    assert!(ask(&scene, "state", "[]").await.get("desired_state").is_some());
}

#[tokio::test]
async fn many_small_updates_are_noticed_as_well() {
    let scene = scene(&[]).await;
    set_by_others(&scene, &["a", "b", "c", "d"]);
    let mut accepted = 0;
    loop {
        let name = format!("c{accepted}");
        let config = manifest(json!({}), json!({name: "x".repeat(30_000)}));
        let reply = ask(&scene, "manifest/apply", config).await;
        if reply.get("error").is_some() {
            assert_too_large(&reply);
            break;
        }
        accepted += 1;
    }
    assert!((8..14).contains(&accepted), "{accepted}");
    assert!(ask(&scene, "state", "[]").await.get("desired_state").is_some());
}

#[tokio::test]
async fn too_many_workloads_and_runaway_templates_are_refused() {
    let scene = scene(&[]).await;
    let many: serde_json::Map<_, _> = (0..2_000)
        .map(|number| {
            (
                format!("w{number}"),
                json!({"runtime": "podman", "agent": "agent_A", "runtimeConfig": ""}),
            )
        })
        .collect();
    let reply = ask(&scene, "manifest/apply", manifest(many.into(), json!({}))).await;
    assert_too_large(&reply);
    let list: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
    let workload = |template: &str| {
        json!({"runtime": "podman", "agent": "agent_A", "configs": {"c": "list"},
            "runtimeConfig": template})
    };
    for template in [
        "{{#each c}}{{#each ../c}}0123456789{{/each}}{{/each}}",
        "{{#*inline \"a\"}}{{> a}}{{/inline}}{{> a}}",
        &"{{c.[0]}}".repeat(50_000),
    ] {
        let manifest = manifest(json!({"w": workload(template)}), json!({"list": list}));
        assert_too_large(&ask(&scene, "manifest/apply", manifest).await);
    }
    // The config that makes a harmless template grow comes later.
    let loops = workload("{{#each c}}{{#each ../c}}0123456789{{/each}}{{/each}}");
    let harmless = manifest(json!({"w": loops}), json!({"list": ["x"]}));
    let reply = ask(&scene, "manifest/apply", harmless).await;
    assert!(reply.get("error").is_none(), "{reply}");
    let reply = ask(&scene, "manifest/apply", manifest(json!({}), json!({"list": list}))).await;
    assert_too_large(&reply);
}

#[tokio::test]
async fn a_request_that_breaks_the_link_is_not_repeated() {
    let scene = scene(&[]).await;
    let mut events = scene.client("events/small").await;
    let subscribe = json!({"id": "small", "field_masks": ["desiredState.configs"]});
    ask(&scene, "events/subscribe", subscribe.to_string()).await;
    set_by_others(&scene, &["a", "b", "c", "d", "e"]);
    let reply = ask(&scene, "state", r#"["desiredState"]"#).await;
    assert_too_large(&reply);
    let message = reply["error"]["message"].as_str().unwrap();
    assert!(message.contains("4 MiB") && message.contains("workloadStates"), "{message}");
    let broken = scene.vehicle.counters().broken_connections;
    assert_eq!(broken, 1);
    // Neither is one that would contain the same.
    for masks in ["[]", r#"["desiredState"]"#, r#"["agents", "desiredState"]"#] {
        assert_too_large(&ask(&scene, "state", masks).await);
    }
    assert_eq!(scene.vehicle.counters().broken_connections, broken);
    // Everything else is served, and the events go on.
    let one = r#"["desiredState.workloads.a.agent"]"#;
    assert!(ask(&scene, "state", one).await.get("desired_state").is_some());
    find(&mut events, |event| event["resynced"] == json!(true)).await;
    // What would add more is refused, and what makes room is done.
    let more = manifest(json!({}), json!({"c": "x"}));
    assert_too_large(&ask(&scene, "manifest/apply", more.clone()).await);
    let delete = manifest(json!({"a": large(1)}), json!({}));
    let reply = ask(&scene, "manifest/delete", delete).await;
    assert!(reply.get("error").is_none(), "{reply}");
    eventually("the state is read again", DEADLINE, async || {
        let reply = ask(&scene, "state", r#"["desiredState"]"#).await;
        reply.get("desired_state").is_some().then_some(())
    })
    .await;
    let reply = ask(&scene, "manifest/apply", more).await;
    assert!(reply.get("error").is_none(), "{reply}");
}

#[tokio::test]
async fn what_the_vehicle_cannot_carry_any_more_is_not_put_back() {
    let state_dir = TempDir::new().unwrap();
    let scene = scene(&[("STATE_DIR", state_dir.path().to_str().unwrap())]).await;
    for size in [10, LARGE] {
        let reply = ask(&scene, "manifest/apply", one("a", large(size))).await;
        assert!(reply.get("error").is_none(), "{reply}");
    }
    eventually("no rollout is followed", DEADLINE, async || {
        (scene.vehicle.streams()["events"].len() <= 2).then_some(())
    })
    .await;
    scene.vehicle.set_startup_manifest(desired(&["c", "d", "e", "f"])).unwrap();
    let mut status = scene.broker.subscribe(&format!("{BASE}/connector/status"), &[]).await;
    scene.vehicle.restart_server().await.unwrap();
    let refused = status.find("the revision is not put back", |message| {
        message.json()["restore"] == json!("refused")
    });
    let refused = refused.await.json();
    assert!(refused["reason"].as_str().unwrap().contains("4194304"), "{refused}");
    assert!(!has_workload(&scene, "a") && has_workload(&scene, "c"));
}

#[tokio::test]
async fn a_rollback_to_what_the_vehicle_cannot_carry_any_more_is_refused() {
    let state_dir = TempDir::new().unwrap();
    let scene = scene(&[("STATE_DIR", state_dir.path().to_str().unwrap())]).await;
    for size in [LARGE, 10] {
        let reply = ask(&scene, "manifest/apply", one("a", large(size))).await;
        assert!(reply.get("error").is_none(), "{reply}");
    }
    set_by_others(&scene, &["c", "d", "e", "f"]);
    assert_too_large(&ask(&scene, "manifest/rollback", r#"{"revision": 1}"#).await);
    let small = ask(&scene, "manifest/rollback", r#"{"revision": 0}"#).await;
    assert!(small.get("error").is_none(), "{small}");
    assert!(ask(&scene, "state", "[]").await.get("desired_state").is_some());
}

#[tokio::test]
async fn masks_that_would_keep_the_server_busy_are_refused() {
    let scene = scene(&[]).await;
    for masks in [vec!["workloadStates.*.*.*"; 10_000], vec!["desiredState"; 10_000]] {
        let reply = ask(&scene, "state", json!(masks).to_string()).await;
        assert_eq!(*code(&reply), "invalid_payload", "{reply}");
        let update = json!({"update_mask": masks, "state": {}}).to_string();
        let reply = ask(&scene, "state/update", update).await;
        assert_eq!(*code(&reply), "invalid_payload", "{reply}");
    }
    let different: Vec<_> = (0..10_000).map(|n| format!("desiredState.configs.c{n}")).collect();
    let reply = ask(&scene, "state", json!(different).to_string()).await;
    assert!(reply.get("desired_state").is_some(), "{reply}");
}
