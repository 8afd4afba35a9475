//! Trials that end badly: without a broker, without Ankaios, or with a rollback that is not possible.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::scene::{find, workload};
use crate::support::{DEADLINE, Scene, eventually};

/// A scene with a store, and the folder of the store.
async fn scene_with(settings: &[(&str, &str)]) -> (Scene, TempDir) {
    let folder = TempDir::new().unwrap();
    let mut all = vec![("STATE_DIR", folder.path().to_str().unwrap()), ("STABLE_TIME", "300ms")];
    all.extend_from_slice(settings);
    (Scene::with(&all).await, folder)
}

async fn apply(scene: &Scene, manifest: &str, rollback: &str) -> Value {
    let options = ["-V", "5", "-D", "publish", "user-property", "rollback", rollback];
    let reply = scene.reply("manifest/apply", manifest, &options).await.json();
    assert!(reply["revision"].is_u64(), "{reply}");
    reply
}

fn config(value: &str) -> String {
    format!("apiVersion: v1\nconfigs:\n  door: '{value}'\n")
}

async fn newest_is(scene: &Scene, status: &str) {
    eventually(&format!("the newest revision is {status}"), DEADLINE, async || {
        let history = scene.request("manifest/history", "").await;
        (history["revisions"][0]["status"] == status).then_some(())
    })
    .await;
}

/// The change may be the reason that there is no broker any more.
#[tokio::test]
async fn a_change_that_cuts_the_vehicle_off_goes_back_without_a_broker() {
    let (mut scene, _folder) = scene_with(&[("ROLLOUT_TIMEOUT", "3s")]).await;
    apply(&scene, &workload("app", "localhost/app"), "unless-confirmed").await;
    newest_is(&scene, "unconfirmed").await;
    scene.broker.stop().await;
    eventually("it is taken back", DEADLINE, async || {
        let workloads = scene.vehicle.desired_state().workloads.unwrap_or_default().workloads;
        (!workloads.contains_key("app")).then_some(())
    })
    .await;
    scene.broker.start_again().await;
    let mut status = scene.client("connector/status").await;
    find(&mut status, |status| status["status"] == "online").await;
    newest_is(&scene, "succeeded").await;
    let history = scene.request("manifest/history", "").await;
    assert_eq!(history["revisions"][0]["reverts"], 1, "{history}");
    assert_eq!(history["revisions"][1]["status"], "rolled_back", "{history}");
}

#[tokio::test]
async fn what_is_about_to_be_taken_back_cannot_be_confirmed() {
    let (scene, _folder) = scene_with(&[("ROLLOUT_TIMEOUT", "3s")]).await;
    let mut status = scene.client("manifest/apply/status").await;
    apply(&scene, &config("1"), "unless-confirmed").await;
    newest_is(&scene, "unconfirmed").await;
    // It cannot be taken back now.
    scene.vehicle.kill_agent().await.unwrap();
    find(&mut status, |status| status["status"] == "rolling_back").await;
    let reply = scene.request("manifest/confirm", r#"{"revision": 1}"#).await;
    assert_eq!(reply["error"]["code"], "rejected", "{reply}");
    assert!(reply["error"]["message"].as_str().unwrap().contains("rolled back"), "{reply}");
    scene.vehicle.start_agent().await.unwrap();
    find(&mut status, |status| status["status"] == "rolled_back").await;
    let reply = scene.request("manifest/confirm", r#"{"revision": 1}"#).await;
    assert_eq!(reply["error"]["code"], "rejected", "{reply}");
}

#[tokio::test]
async fn a_rollback_that_is_not_possible_says_why() {
    let folder = TempDir::new().unwrap();
    let policy = folder.path().join("policy.yaml");
    fs::write(&policy, "runtimes: [podman, docker]\n").unwrap();
    let (scene, _folder) = scene_with(&[("POLICY_FILE", policy.to_str().unwrap())]).await;
    let mut status = scene.client("manifest/apply/status").await;
    apply(&scene, &workload("app", "localhost/app"), "off").await;
    find(&mut status, |status| status["status"] == "succeeded").await;
    // What it goes back to is no longer allowed.
    fs::write(&policy, "runtimes: [docker]\n").unwrap();
    let bad = workload("app", "localhost/app").replace("runtime: podman", "runtime: docker");
    eventually("the policy is read again", DEADLINE, async || {
        let manifest = workload("other", "localhost/app");
        let reply = scene.request("manifest/validate", manifest).await;
        reply["error"].is_object().then_some(())
    })
    .await;
    apply(&scene, &bad, "on-failure").await;
    let failed = find(&mut status, |status| status["status"] == "rollback_failed").await;
    assert!(failed["reason"].as_str().unwrap().contains("runtimes"), "{failed}");
    // The failed change stays, and can be corrected.
    let history = scene.request("manifest/history", "").await;
    assert_eq!(history["revisions"][0]["status"], "failed", "{history}");
}
