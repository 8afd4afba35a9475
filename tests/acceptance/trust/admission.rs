//! Which requests are accepted.

use serde_json::json;

use super::*;

#[tokio::test]
async fn only_what_enough_keys_have_signed_reaches_ankaios() {
    let trusting = Trusting::new();
    let scene = trusting.start().await;

    let reply = scene.request("manifest/apply", config("door", "open")).await;
    assert_eq!(refusal(&reply), untrusted("unsigned"), "{reply}");
    let one = bundle(
        &statement("manifest/apply", 1),
        config("door", "open").as_bytes(),
        &[&trusting.release[0]],
    );
    let reply = scene.request("manifest/apply", one).await;
    assert_eq!(refusal(&reply), untrusted("threshold"), "{reply}");
    assert_eq!(value_of(&scene, "door"), None);

    let signed = statement("manifest/apply", 5);
    let signed = Statement { release: Some("2026.11".into()), ..signed };
    let request = trusting.sign(&signed, &config("door", "closed"));
    let reply = scene.request("manifest/apply", &request).await;
    assert_eq!(reply["revision"], 1, "{reply}");
    assert!(value_of(&scene, "door").unwrap().contains("closed"));

    // A redelivery is accepted, an older one and another one with the same serial are not.
    let reply = scene.request("manifest/apply", &request).await;
    assert_eq!(reply["revision"], 1, "{reply}");
    for serial in [4, 5] {
        let old = trusting.sign(&statement("manifest/apply", serial), &config("door", "open"));
        let reply = scene.request("manifest/apply", old).await;
        assert_eq!(refusal(&reply), untrusted("replayed"), "{reply}");
    }
    assert!(value_of(&scene, "door").unwrap().contains("closed"));

    let history = scene.request("manifest/history", "").await;
    let keys: Vec<String> = trusting.release.iter().map(|key| key.id().to_string()).collect();
    let mut signed_by: Vec<String> =
        serde_json::from_value(history["revisions"][0]["signed_by"].clone()).unwrap();
    signed_by.sort();
    let mut expected = keys.clone();
    expected.sort();
    assert_eq!(signed_by, expected, "{history}");
    assert_eq!(history["revisions"][0]["release"], "2026.11");
    let log = scene.connector.output();
    let accepted = log.iter().find(|line| line.contains("a signed request is accepted")).unwrap();
    assert!(keys.iter().all(|key| accepted.contains(key)), "{accepted}");
    assert!(log.iter().any(|line| line.contains("an untrusted request is refused")));
}

#[tokio::test]
async fn operations_that_need_no_signature_are_served_and_verified_if_signed() {
    let trusting = Trusting::new();
    let scene = trusting.start().await;
    let reply = scene.request("state", r#"["desiredState.configs"]"#).await;
    assert!(reply["desired_state"].is_object(), "{reply}");
    let signed = trusting.sign(&statement("state", 1), r#"["desiredState.configs"]"#);
    let reply = scene.request("state", &signed).await;
    assert!(reply["desired_state"].is_object(), "{reply}");
    let other = trusting.sign(&statement("manifest/apply", 2), r#"["desiredState.configs"]"#);
    let reply = scene.request("state", other).await;
    assert_eq!(refusal(&reply), untrusted("wrong_operation"), "{reply}");
    let empty = json!({"payloadType": "", "payload": "W10="}).to_string();
    let reply = scene.request("state", empty).await;
    assert_eq!(refusal(&reply), untrusted("malformed"), "{reply}");
}

#[tokio::test]
async fn a_rollback_makes_every_earlier_request_a_replay() {
    let trusting = Trusting::new();
    let scene = trusting.start().await;
    let (first, second) = (config("door", "closed"), config("door", "open"));
    let first = trusting.sign(&statement("manifest/apply", 1), &first);
    let second = trusting.sign(&statement("manifest/apply", 2), &second);
    for request in [&first, &second] {
        let reply = scene.request("manifest/apply", request).await;
        assert!(reply["revision"].is_u64(), "{reply}");
    }
    let reply = scene.request("manifest/rollback", "{}").await;
    assert_eq!(refusal(&reply), untrusted("unsigned"), "{reply}");
    let old = trusting.sign(&statement("manifest/rollback", 1), "{}");
    let reply = scene.request("manifest/rollback", old).await;
    assert_eq!(refusal(&reply), untrusted("replayed"), "{reply}");
    let rollback = trusting.sign(&statement("manifest/rollback", 3), "{}");
    let reply = scene.request("manifest/rollback", &rollback).await;
    assert!(reply["revision"].is_u64(), "{reply}");
    assert!(value_of(&scene, "door").unwrap().contains("closed"));
    let reply = scene.request("manifest/apply", &second).await;
    assert_eq!(refusal(&reply), untrusted("replayed"), "{reply}");
    assert!(value_of(&scene, "door").unwrap().contains("closed"));
}

/// The id of a request is not signed. If it decided, then whoever holds the broker could undo the
/// rollback by delivering it again.
#[tokio::test]
async fn a_rollback_that_is_delivered_again_with_another_id_is_not_made_again() {
    let trusting = Trusting::new();
    let mut scene = trusting.start().await;
    for (serial, value) in [(1, "closed"), (2, "open")] {
        let apply = trusting.sign(&statement("manifest/apply", serial), &config("door", value));
        let reply = scene.request("manifest/apply", apply).await;
        assert_eq!(reply["revision"], serial, "{reply}");
    }
    let rollback = trusting.sign(&statement("manifest/rollback", 3), "{}");
    let mut operator = Operator::connect(&scene).await;
    for id in ["one", "two", "rollback-2", "rollback-3"] {
        let reply = operator.request("manifest/rollback", id, rollback.clone()).await;
        assert_eq!(reply["revision"], 3, "{id}: {reply}");
        assert!(value_of(&scene, "door").unwrap().contains("closed"), "{id}");
    }
    scene.connector.kill().await;
    trusting.restart_connector(&mut scene).await;
    let reply = operator.request("manifest/rollback", "three", rollback).await;
    assert_eq!(reply["revision"], 3, "{reply}");
    assert!(value_of(&scene, "door").unwrap().contains("closed"));
}

#[tokio::test]
async fn serials_outlive_the_connector() {
    let trusting = Trusting::new();
    let mut scene = trusting.start().await;
    let newest = trusting.sign(&statement("manifest/apply", 7), &config("door", "closed"));
    let old = trusting.sign(&statement("manifest/apply", 6), &config("door", "open"));
    let reply = scene.request("manifest/apply", &newest).await;
    assert_eq!(reply["revision"], 1, "{reply}");
    scene.connector.kill().await;
    trusting.restart_connector(&mut scene).await;
    // The first request may be delivered again, so the replies need topics of their own.
    let mut operator = Operator::connect(&scene).await;
    let reply = operator.request("manifest/apply", "old", old).await;
    assert_eq!(refusal(&reply), untrusted("replayed"), "{reply}");
    let reply = operator.request("manifest/apply", "newest", newest).await;
    assert_eq!(reply["revision"], 1, "{reply}");
}

#[tokio::test]
async fn a_signed_request_to_a_connector_without_a_trust_file_is_refused() {
    let trusting = Trusting::new();
    let scene = Scene::start().await;
    let request = trusting.sign(&statement("manifest/apply", 1), &config("door", "open"));
    let reply = scene.request("manifest/apply", request).await;
    assert_eq!(refusal(&reply), untrusted("unknown_key"), "{reply}");
    assert!(reply["error"]["message"].as_str().unwrap().contains("TRUST_FILE"), "{reply}");
    let reply = scene.request("trust/update", "{}").await;
    assert_eq!(reply["error"]["code"], "unavailable", "{reply}");
}
