//! Guard, policy, rate limit and revisions see the opened request; what signatures must say is taken
//! from the statement alone.

use serde_json::json;

use super::*;
use crate::support::scene::workload;
use crate::support::{DEADLINE, eventually};

const APPLY: &str = "manifest/apply";
const FORCE: [&str; 6] = ["-V", "5", "-D", "publish", "user-property", "force"];

fn code(reply: &Value) -> &str {
    reply["error"]["code"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn only_the_statement_lifts_the_protection_of_workloads() {
    let trusting = Trusting::new();
    let scene = trusting.start().await;
    let itself = workload("fleetconnector", "localhost/other");
    let request =
        |serial, force| trusting.sign(&Statement { force, ..statement(APPLY, serial) }, &itself);
    for (serial, options) in [(1, vec![]), (2, FORCE.into_iter().chain(["true"]).collect())] {
        let reply = scene.reply(APPLY, request(serial, false), &options).await.json();
        assert_eq!(code(&reply), "forbidden", "{reply}");
        assert_eq!(reply["error"]["details"]["rule"], "PROTECTED_WORKLOADS", "{reply}");
    }
    assert_eq!(updates(&scene), 0);
    let options: Vec<&str> = FORCE.into_iter().chain(["false"]).collect();
    let reply = scene.reply(APPLY, request(3, true), &options).await.json();
    assert_eq!(reply["revision"], 1, "{reply}");
}

#[tokio::test]
async fn a_policy_judges_what_is_signed() {
    let trusting = Trusting::new();
    let policy = trusting.folder.path().join("policy.yaml");
    fs::write(&policy, "images: [registry.example.com/]\n").unwrap();
    let scene = trusting.start_with(&[("POLICY_FILE", policy.to_str().unwrap())]).await;
    let request = |serial, image| trusting.sign(&statement(APPLY, serial), &workload("app", image));
    let reply = scene.request(APPLY, request(1, "localhost/evil")).await;
    assert_eq!(code(&reply), "forbidden", "{reply}");
    assert_eq!(updates(&scene), 0);
    let reply = scene.request(APPLY, request(2, "registry.example.com/app")).await;
    assert_eq!(reply["revision"], 1, "{reply}");
    let reply = scene.request("manifest/validate", workload("app", "localhost/evil")).await;
    assert_eq!(code(&reply), "forbidden", "{reply}");
}

#[tokio::test]
async fn the_rate_limit_counts_what_is_signed_and_nothing_that_is_refused() {
    let trusting = Trusting::new();
    let scene = trusting.start_with(&[("RATE_LIMIT", "1")]).await;
    let mut operator = Operator::connect(&scene).await;
    for number in 0..20 {
        let reply =
            operator.request(APPLY, &format!("unsigned-{number}"), config("door", "x")).await;
        assert_eq!(refusal(&reply), untrusted("unsigned"), "{reply}");
    }
    let request = trusting.sign(&statement(APPLY, 1), &config("door", "open"));
    let reply = operator.request(APPLY, "first", request.clone()).await;
    assert_eq!(reply["revision"], 1, "{reply}");
    for number in 0..10 {
        operator.send(APPLY, &format!("next-{number}"), request.clone(), &[]).await;
    }
    let mut refused = 0;
    for number in 0..10 {
        let reply = operator.reply(&format!("next-{number}")).await;
        refused += usize::from(code(&reply) == "forbidden");
    }
    assert!(refused > 0, "no request was limited");
}

#[tokio::test]
async fn rollback_and_release_come_from_the_statement() {
    let trusting = Trusting::new();
    let scene = trusting.start().await;
    let mut operator = Operator::connect(&scene).await;
    let properties = [("rollback", "unless-confirmed"), ("release", "of-mallory")];
    let signed = Statement { release: Some("2026.11".into()), ..statement(APPLY, 1) };
    let request = trusting.sign(&signed, &workload("app", "localhost/app"));
    operator.send(APPLY, "one", request, &properties).await;
    let reply = operator.reply("one").await;
    assert_eq!(reply["revision"], 1, "{reply}");
    let revision = |history: &Value, number: u64| {
        let revisions = history["revisions"].as_array().unwrap();
        revisions.iter().find(|one| one["revision"] == number).unwrap().clone()
    };
    let one = eventually("the rollout has ended", DEADLINE, async || {
        let history = scene.request("manifest/history", "").await;
        let one = revision(&history, 1);
        (one["status"] == "succeeded").then_some(one)
    })
    .await;
    assert_eq!(one["release"], "2026.11", "{one}");

    // Nobody confirms the next one, so it goes back, and that needs no signature.
    let signed = Statement { rollback: Some("on-failure".into()), ..statement(APPLY, 2) };
    // No agent has this runtime, so it fails at once.
    let bad = workload("app", "localhost/next").replace("runtime: podman", "runtime: docker");
    let request = trusting.sign(&signed, &bad);
    operator.send(APPLY, "two", request, &[("rollback", "off")]).await;
    let reply = operator.reply("two").await;
    assert_eq!(reply["revision"], 2, "{reply}");
    eventually("it fails and is taken back", DEADLINE, async || {
        let history = scene.request("manifest/history", "").await;
        (revision(&history, 2)["status"] == "rolled_back").then_some(())
    })
    .await;
    let state = format!("{:?}", scene.vehicle.desired_state());
    assert!(state.contains("localhost/app") && !state.contains("localhost/next"), "{state}");
    let history = scene.request("manifest/history", "").await;
    assert!(history["revisions"][0]["signed_by"].is_null(), "{history}");
    for (serial, field) in [(10, "rollback"), (11, "release")] {
        let wrong = match field {
            "rollback" => Statement { rollback: Some("maybe".into()), ..statement(APPLY, serial) },
            _ => Statement { release: Some("a b".into()), ..statement(APPLY, serial) },
        };
        let reply = scene.request(APPLY, trusting.sign(&wrong, &config("door", "x"))).await;
        assert_eq!(code(&reply), "invalid_payload", "{reply}");
        let message = reply["error"]["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("signed statement {field}: ")), "{message}");
    }
}

#[tokio::test]
async fn what_changes_everything_makes_every_earlier_request_a_replay() {
    let trusting = Trusting::new();
    let scene = trusting.start().await;
    let apply =
        |serial, name, value| trusting.sign(&statement(APPLY, serial), &config(name, value));
    // It is held back.
    let withheld = apply(2, "window", "open");
    let reply = scene.request(APPLY, apply(1, "door", "open")).await;
    assert_eq!(reply["revision"], 1, "{reply}");
    // Reading has serials of its own.
    let read = |serial| trusting.sign(&statement("state", serial), r#"["desiredState.configs"]"#);
    assert!(scene.request("state", read(50)).await["desired_state"].is_object());
    let whole = json!({"update_mask": ["desiredState.configs"], "state": {"desiredState": {
        "apiVersion": "v1", "configs": {"door": "closed"}}}});
    let update = |serial| {
        let signed = Statement { force: true, ..statement("state/update", serial) };
        trusting.sign(&signed, &whole.to_string())
    };
    let update = update(3);
    let reply = scene.request("state/update", &update).await;
    assert_eq!(reply["revision"], 2, "{reply}");
    for request in [&withheld, &apply(1, "door", "open"), &apply(3, "window", "open")] {
        let reply = scene.request(APPLY, request).await;
        assert_eq!(refusal(&reply), untrusted("replayed"), "{reply}");
    }
    // A redelivery of it is accepted, until something newer was.
    assert!(scene.request("state/update", &update).await["revision"].is_u64());
    assert!(scene.request("state", read(51)).await["desired_state"].is_object());
    let reply = scene.request(APPLY, apply(4, "window", "closed")).await;
    assert!(reply["revision"].is_u64(), "{reply}");
    let reply = scene.request("state/update", &update).await;
    assert_eq!(refusal(&reply), untrusted("replayed"), "{reply}");
    assert!(value_of(&scene, "window").unwrap().contains("closed"));
}

#[tokio::test]
async fn a_large_signed_request_is_served_and_a_too_large_one_is_not() {
    let trusting = Trusting::new();
    let scene = trusting.start_with(&[("MAX_PAYLOAD_SIZE", "2MiB")]).await;
    let mut operator = Operator::connect(&scene).await;
    let large = trusting.sign(&statement(APPLY, 1), &config("door", &"x".repeat(700_000)));
    let reply = operator.request(APPLY, "large", large).await;
    assert_eq!(reply["revision"], 1, "{reply}");
    let too_large = trusting.sign(&statement(APPLY, 2), &config("door", &"x".repeat(2_000_000)));
    let reply = operator.request(APPLY, "too-large", too_large).await;
    assert_eq!(code(&reply), "payload_too_large", "{reply}");
}
