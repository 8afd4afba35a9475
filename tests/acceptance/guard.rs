//! The guard, tested from outside: real Mosquitto, real binary, simulated Ankaios. A refused
//! request never reaches Ankaios as an update.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ankaios_model::proto::ank_base::request::RequestContent;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::connector::BASE;
use crate::support::scene::payload;
use crate::support::{DEADLINE, Scene, eventually};

const FORCE: [&str; 6] = ["-V", "5", "-D", "publish", "user-property", "force"];

/// The arguments that set the user property `force`.
fn force(value: &'static str) -> Vec<&'static str> {
    FORCE.into_iter().chain([value]).collect()
}

fn is_error(reply: &Value, code: &str) -> bool {
    reply["error"]["code"] == *code
}

fn assert_forbidden(reply: &Value, rule: &str) {
    assert!(is_error(reply, "forbidden"), "{reply}");
    assert_eq!(reply["error"]["details"]["rule"], *rule, "{reply}");
}

/// The number of updates that have reached Ankaios.
fn updates(scene: &Scene) -> usize {
    let requests = scene.vehicle.requests();
    let is_update = |content: &Option<RequestContent>| {
        matches!(content, Some(RequestContent::UpdateStateRequest(_)))
    };
    requests.iter().filter(|request| is_update(&request.request_content)).count()
}

fn manifest(workloads: Value, configs: Value) -> String {
    json!({"apiVersion": "v1", "workloads": workloads, "configs": configs}).to_string()
}

fn workload(config: &str) -> Value {
    json!({"runtime": "podman", "agent": "agent_A", "runtimeConfig": config})
}

/// A policy file, and the setting that names it.
struct Policy {
    folder: TempDir,
    path: PathBuf,
}

impl Policy {
    fn new(text: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("policy.yaml");
        let policy = Self { folder, path };
        policy.replace(text);
        policy
    }

    fn setting(&self) -> (&str, &str) {
        ("POLICY_FILE", self.path.to_str().unwrap())
    }

    fn replace(&self, text: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &self.path).unwrap();
    }
}

/// A vehicle that has the connector itself as a workload with a config.
async fn with_connector_as_workload(settings: &[(&str, &str)]) -> Scene {
    let scene = Scene::with(settings).await;
    let connector = json!({"runtime": "podman", "agent": "agent_A", "configs": {"c": "broker"},
        "runtimeConfig": "image: localhost/fleet-connector\ncommandOptions: ['{{c}}']"});
    let manifest = manifest(
        json!({"fleetconnector": connector}),
        json!({"broker": "--net=host", "other": "x"}),
    );
    let reply = scene.reply("manifest/apply", &manifest, &force("true")).await.json();
    assert!(reply.get("error").is_none(), "{reply}");
    scene
}

#[tokio::test]
async fn a_protected_workload_is_changed_only_with_force() {
    let scene = with_connector_as_workload(&[]).await;
    // The guard learns about the config from an event.
    let config = manifest(json!({}), json!({"broker": "--net=none"}));
    eventually("the guard knows the config", DEADLINE, async || {
        let reply = scene.request("manifest/validate", &config).await;
        is_error(&reply, "forbidden").then_some(())
    })
    .await;
    let before = updates(&scene);
    let desired = scene.vehicle.desired_state();
    let itself = manifest(
        json!({"fleetconnector": workload("image: evil"), "nginx": workload("image: x")}),
        json!({}),
    );
    let update = |mask: &str| json!({"update_mask": [mask], "state": {}}).to_string();
    for (operation, payload) in [
        ("manifest/validate", itself.clone()),
        ("manifest/apply", itself.clone()),
        ("manifest/delete", itself.clone()),
        ("manifest/apply", config.clone()),
        ("manifest/delete", config.clone()),
        ("state/update", update("desiredState")),
        ("state/update", update("desiredState.workloads")),
        ("state/update", update("desiredState.workloads.*")),
        ("state/update", update("desiredState.workloads.fleetconnector.tags.x")),
        ("state/update", update("*.workloads.fleetconnector")),
        ("state/update", update("*")),
        ("state/update", update("desiredState.configs")),
        ("state/update", update("desiredState.configs.broker")),
        ("state/update", update("desiredState.configs.*")),
    ] {
        for options in [vec![], force("false"), force("True"), force("")] {
            // This client cannot send an empty user property.
            let options = if options.last() == Some(&"") { vec![] } else { options };
            let reply = scene.reply(operation, &payload, &options).await.json();
            assert_forbidden(&reply, "PROTECTED_WORKLOADS");
            let error = &reply["error"];
            assert_eq!(error["details"]["workload"], "fleetconnector", "{payload}");
            assert!(error["message"].as_str().unwrap().contains("force: true"), "{reply}");
        }
    }
    assert_eq!(updates(&scene), before);
    assert_eq!(scene.vehicle.desired_state(), desired);

    // All other requests are served.
    let others = manifest(json!({"nginx": workload("image: x")}), json!({"other": "y"}));
    for operation in ["manifest/validate", "manifest/apply"] {
        let reply = scene.request(operation, &others).await;
        assert!(reply.get("error").is_none(), "{reply}");
    }
    for (operation, payload) in
        [("manifest/validate", &config), ("manifest/apply", &config), ("manifest/delete", &itself)]
    {
        let reply = scene.reply(operation, payload, &force("true")).await.json();
        assert!(reply.get("error").is_none(), "{operation}: {reply}");
    }
    assert!(scene.vehicle.instance("fleetconnector").is_none());
}

#[tokio::test]
async fn the_protected_workloads_are_a_setting() {
    let scene = Scene::with(&[("PROTECTED_WORKLOADS", "a,b")]).await;
    let apply = async |name: &str| {
        let manifest = manifest(json!({name: workload("image: x")}), json!({}));
        scene.request("manifest/apply", manifest).await
    };
    assert_forbidden(&apply("b").await, "PROTECTED_WORKLOADS");
    assert!(apply("fleetconnector").await.get("error").is_none());
    drop(scene);
    // Without rollouts only the guard would need events.
    let scene = Scene::with(&[("PROTECTED_WORKLOADS", ""), ("ROLLOUT_TIMEOUT", "0s")]).await;
    let manifest = manifest(json!({"fleetconnector": workload("image: x")}), json!({"c": "x"}));
    let reply = scene.request("manifest/apply", manifest).await;
    assert!(reply.get("error").is_none(), "{reply}");
    assert!(scene.vehicle.streams()["events"].is_empty(), "the guard needs no events");
}

const POLICY: &str = "
images: [docker.io/library/]
forbidden_options: [--privileged, --volume=/*, --mount]
control_interface_access: false
";

#[tokio::test]
async fn a_policy_limits_manifests_and_updates_with_and_without_force() {
    let policy = Policy::new(POLICY);
    let scene = Scene::with(&[policy.setting()]).await;
    let before = updates(&scene);
    let image = "image: docker.io/library/nginx\n";
    for (config, rule) in [
        ("image: evil.io/x".to_owned(), "images"),
        (format!("{image}commandOptions: [evil.io/x]"), "images"),
        (format!("{image}commandOptions: [-dv, '/:/host']"), "forbidden_options"),
        (format!("{image}commandOptions: [--privileged=1]"), "forbidden_options"),
        ("no yaml: [".to_owned(), "images"),
    ] {
        let manifest =
            manifest(json!({"fine": workload(image), "w": workload(&config)}), json!({}));
        for operation in ["manifest/validate", "manifest/apply"] {
            for options in [vec![], force("true")] {
                let reply = scene.reply(operation, &manifest, &options).await.json();
                assert_forbidden(&reply, rule);
                let details = &reply["error"]["details"];
                assert_eq!(details["workload"], "w", "{reply}");
                assert!(details["field"].as_str().unwrap().starts_with("runtimeConfig"), "{reply}");
            }
        }
        let update = json!({"update_mask": ["desiredState.workloads.w"],
            "state": {"desiredState": {"workloads": {"w": workload(&config)}}}});
        assert_forbidden(&scene.request("state/update", update.to_string()).await, rule);
    }
    assert_eq!(updates(&scene), before);
    let fine = manifest(json!({"w": workload(image)}), json!({}));
    for operation in ["manifest/validate", "manifest/apply"] {
        let reply = scene.request(operation, &fine).await;
        assert!(reply.get("error").is_none(), "{reply}");
    }
    // A single field of an allowed workload.
    let update = json!({"update_mask": ["desiredState.workloads.w.runtimeConfig"],
        "state": {"desiredState": {"workloads": {"w": {"runtimeConfig": "image: evil.io/x"}}}}});
    assert_forbidden(&scene.request("state/update", update.to_string()).await, "images");
    assert!(scene.request("manifest/delete", &fine).await.get("error").is_none());
}

/// The connector has what a policy forbids: the network and a directory of the host, and the
/// control interface. So it is updated from within the vehicle.
#[tokio::test]
async fn a_policy_applies_to_the_connector_itself_with_and_without_force() {
    let policy = Policy::new("control_interface_access: false");
    let scene = Scene::with(&[policy.setting()]).await;
    let before = updates(&scene);
    let update = json!({"update_mask": ["desiredState.workloads.fleetconnector.runtimeConfig"],
        "state": {"desiredState": {"workloads": {"fleetconnector":
            {"runtimeConfig": "image: localhost/fleet-connector:0.2.0"}}}}});
    let reply = scene.request("state/update", update.to_string()).await;
    assert_forbidden(&reply, "PROTECTED_WORKLOADS");
    let reply = scene.reply("state/update", update.to_string(), &force("true")).await.json();
    assert_forbidden(&reply, "control_interface_access");
    assert_eq!(updates(&scene), before);
}

#[tokio::test]
async fn a_config_alone_cannot_bypass_the_policy() {
    let policy = Policy::new(POLICY);
    let scene = Scene::with(&[policy.setting()]).await;
    let mut client = scene.client("guarded/resp").await;
    let uses = |config: &str| {
        json!({"runtime": "podman", "agent": "agent_A", "configs": {"c": config},
            "runtimeConfig": "image: docker.io/library/nginx\ncommandOptions: ['{{c}}']"})
    };
    let config = |name: &str, value: &str| manifest(json!({}), json!({name: value}));
    // All at once: the guard must consider the updates before each one, although it cannot have
    // received their events yet.
    let apply = format!("{BASE}/manifest/apply/req");
    let reply_topic = format!("{BASE}/guarded/resp");
    for round in 0..10 {
        let (first, second) = (format!("a{round}"), format!("b{round}"));
        let requests = [
            (manifest(json!({"w": uses(&first)}), json!({&first: "--tty"})), true),
            (config(&first, "--privileged"), false),
            (config(&second, "--privileged"), true),
            (manifest(json!({"w": uses(&second)}), json!({})), false),
            (config(&second, "--tty"), true),
            (manifest(json!({"w": uses(&second)}), json!({})), true),
            (config(&second, "--mount=type=bind,src=/,dst=/x"), false),
            (config(&first, "--privileged"), true),
        ];
        for (number, (payload, _)) in requests.iter().enumerate() {
            let number = u32::try_from(number).unwrap();
            client.request(&apply, payload.clone(), &reply_topic, number).await;
        }
        for _ in &requests {
            let reply = client.next().await;
            let number = crate::support::client::number(&reply).unwrap() as usize;
            let allowed = requests[number].1;
            let reply = payload(&reply);
            assert_eq!(reply.get("error").is_none(), allowed, "{round} {number}: {reply}");
            assert!(allowed || is_error(&reply, "forbidden"), "{round} {number}: {reply}");
        }
    }
    let desired = scene.vehicle.desired_state();
    let configs = desired.workloads.unwrap().workloads["w"].configs.clone().unwrap();
    assert_eq!(configs.configs["c"], "b9");
}

#[tokio::test]
async fn a_changed_policy_is_reloaded_and_an_invalid_one_is_ignored() {
    let policy = Policy::new("images: [docker.io/]");
    let scene = Scene::with(&[policy.setting()]).await;
    let manifest = manifest(json!({"w": workload("image: example.com/x")}), json!({}));
    let apply = async || scene.request("manifest/validate", &manifest).await;
    assert_forbidden(&apply().await, "images");
    policy.replace("images: [docker.io/, example.com]");
    eventually("the new policy allows it", DEADLINE, async || {
        apply().await.get("error").is_none().then_some(())
    })
    .await;
    policy.replace("images: [docker.io/]\nimage: [x]\n");
    let ask = eventually("the log reports the mistake", DEADLINE, async || {
        assert!(apply().await.get("error").is_none());
        let output = scene.connector.output();
        output.into_iter().find(|line| line.contains("the previous one stays in force"))
    });
    let line = ask.await;
    assert!(line.contains("policy.yaml") && line.contains("line 2"), "{line}");
    policy.replace("images: [docker.io/]");
    eventually("the next policy refuses it", DEADLINE, async || {
        is_error(&apply().await, "forbidden").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_invalid_policy_at_the_start_exits_with_64() {
    let policy = Policy::new("images: [docker.io/]\nimage: [x]\n");
    let mut connector = crate::support::connector::start_connector_at(
        crate::support::free_port(),
        Path::new("/nowhere"),
        &[policy.setting()],
    );
    assert_eq!(connector.wait().await.code(), Some(64));
    let line = connector.line("POLICY_FILE").await;
    assert!(line.contains("policy.yaml") && line.contains("line 2"), "{line}");
}

#[tokio::test]
async fn without_a_link_the_guard_says_why_and_delays_no_request() {
    let policy = Policy::new(POLICY);
    let scene = Scene::with(&[policy.setting(), ("REQUEST_TIMEOUT", "1s")]).await;
    let mut client = scene.client("guarded/resp").await;
    let reply_topic = format!("{BASE}/guarded/resp");
    scene.vehicle.set_server_down(true);
    let config = manifest(json!({}), json!({"c": "x"}));
    for number in 0..4 {
        let topic = format!("{BASE}/manifest/apply/req");
        client.request(&topic, config.clone(), &reply_topic, number).await;
    }
    let topic = format!("{BASE}/manifest/validate/req");
    client.request(&topic, manifest(json!({}), json!({})), &reply_topic, 9).await;
    let first = client.next_within(Duration::from_millis(900)).await.unwrap();
    assert_eq!(crate::support::client::number(&first), Some(9), "{first:?}");
    for _ in 0..4 {
        let reply = payload(&client.next().await);
        assert!(is_error(&reply, "timeout") || is_error(&reply, "unavailable"), "{reply}");
    }
    scene.vehicle.set_server_down(false);
    eventually("updates are served again", DEADLINE, async || {
        scene.request("manifest/apply", &config).await.get("error").is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_rate_limit_refuses_excess_requests_and_says_when_to_try_again() {
    let scene = Scene::with(&[("RATE_LIMIT", "2")]).await;
    let mut client = scene.client("limited/resp").await;
    let reply_topic = format!("{BASE}/limited/resp");
    let request = async |operation: &str, number: u32| {
        let topic = format!("{BASE}/{operation}/req");
        let properties = PublishProperties {
            response_topic: Some(reply_topic.clone()),
            correlation_data: Some(number.to_be_bytes().to_vec().into()),
            ..PublishProperties::default()
        };
        client.publish_with(&topic, "[\"agents\"]", properties).await;
    };
    for number in 0..20 {
        request("state", number).await;
    }
    request("manifest/validate", 20).await;
    let mut refused = Vec::new();
    let mut numbers = Vec::new();
    for _ in 0..21 {
        let reply = client.next().await;
        numbers.push(crate::support::client::number(&reply).unwrap());
        let reply = payload(&reply);
        if is_error(&reply, "forbidden") {
            assert_forbidden(&reply, "RATE_LIMIT");
            let message = reply["error"]["message"].as_str().unwrap();
            assert!(message.contains("2 requests of state per second"), "{message}");
            refused.push(reply["error"]["details"]["retry_after_ms"].as_u64().unwrap());
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..21).collect::<Vec<_>>(), "each has one reply");
    assert!((10..=18).contains(&refused.len()), "{refused:?}");
    let wait = *refused.iter().max().unwrap();
    assert!((1..=500).contains(&wait), "{refused:?}");
    tokio::time::sleep(Duration::from_millis(wait)).await;
    let reply = scene.request("state", "[\"agents\"]").await;
    assert!(reply.get("error").is_none(), "{reply}");
}
