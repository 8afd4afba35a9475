//! How the trust file changes: `trust/update`, and a mounted file that changes.

use super::*;
use crate::support::scene::find;

/// Version `version` of the trust file, with other release keys.
fn next_file(trusting: &Trusting, version: u32, release: &[&Signer]) -> String {
    let file = fleet_trust::testing::trust_file(2, &trusting.root.each_ref(), release);
    file.replace("version: 1", &format!("version: {version}"))
}

#[tokio::test]
async fn the_root_keys_replace_the_release_keys() {
    let trusting = Trusting::new();
    let mut scene = trusting.start().await;
    let new = [Signer::ed25519(11), Signer::ed25519(12)];
    let file = next_file(&trusting, 2, &new.each_ref());
    let update =
        |signers: &[&Signer]| bundle(&statement("trust/update", 1), file.as_bytes(), signers);
    let reply = scene.request("trust/update", &file).await;
    assert_eq!(refusal(&reply), untrusted("unsigned"), "{reply}");
    let reply = scene.request("trust/update", update(&trusting.release.each_ref())).await;
    assert_eq!(refusal(&reply), untrusted("unknown_key"), "{reply}");
    let reply = scene.request("trust/update", update(&[&trusting.root[0]])).await;
    assert_eq!(refusal(&reply), untrusted("threshold"), "{reply}");
    let both = update(&trusting.root.each_ref());
    // It is delivered again, and after a restart, too.
    for _ in 0..2 {
        let reply = scene.request("trust/update", &both).await;
        assert_eq!(reply["version"], 2, "{reply}");
    }
    scene.connector.kill().await;
    trusting.restart_connector(&mut scene).await;
    let reply = scene.request("trust/update", &both).await;
    assert_eq!(reply["version"], 2, "{reply}");

    let old = trusting.sign(&statement("manifest/apply", 9), &config("door", "open"));
    let reply = scene.request("manifest/apply", old).await;
    assert_eq!(refusal(&reply), untrusted("unknown_key"), "{reply}");
    let signed =
        bundle(&statement("manifest/apply", 9), config("door", "open").as_bytes(), &new.each_ref());
    let reply = scene.request("manifest/apply", signed).await;
    assert_eq!(reply["revision"], 1, "{reply}");
    let mut status = scene.client("connector/status").await;
    find(&mut status, |status| {
        status["trust"]["version"] == 2
            && status["trust"]["problem"].as_str().is_some_and(|text| text.contains("version 1"))
    })
    .await;
}

/// Attacks of the Uptane standard on the trust file itself.
#[tokio::test]
async fn a_trust_file_that_does_not_follow_the_one_in_force_is_refused() {
    let trusting = Trusting::new();
    trusting.mount(&trusting.file().replace("min_serial: 0", "min_serial: 5"));
    let scene = trusting.start().await;
    let release = trusting.release.each_ref();
    let next = next_file(&trusting, 2, &release).replace("min_serial: 0", "min_serial: 5");
    // Root keys that nobody trusts yet.
    let new = [Signer::ed25519(21), Signer::ed25519(22)];
    let [alice, bob] = trusting.root.each_ref();
    let [carol, dave] = new.each_ref();
    let of_new = fleet_trust::testing::trust_file(2, &new.each_ref(), &release)
        .replace("version: 1", "version: 2")
        .replace("min_serial: 0", "min_serial: 5");
    let with = |from: &str, to: &str| {
        let changed = next.replace(from, to);
        assert_ne!(changed, next);
        changed
    };
    let same_version = with("version: 2", "version: 1").replace("min_serial: 5", "min_serial: 6");
    for (attack, file, signers, reason, message) in [
        (
            "skips a version",
            &with("version: 2", "version: 3"),
            &[alice, bob][..],
            "malformed",
            "send version 2 first",
        ),
        (
            "lowers min_serial",
            &with("min_serial: 5", "min_serial: 4"),
            &[alice, bob],
            "malformed",
            "lowers min_serial from 5 to 4",
        ),
        (
            "omits min_serial",
            &with("min_serial: 5\n", ""),
            &[alice, bob],
            "malformed",
            "lowers min_serial from 5 to 0",
        ),
        ("new root keys alone", &of_new, &[carol, dave], "unknown_key", "role root"),
        ("old root keys alone", &of_new, &[alice, bob], "threshold", "of the new trust file"),
        (
            "too few new root keys",
            &of_new,
            &[alice, bob, carol],
            "threshold",
            "of the new trust file",
        ),
        ("too few old root keys", &of_new, &[alice, carol, dave], "threshold", "role root needs 2"),
        (
            "one old root key twice",
            &of_new,
            &[alice, alice, carol, dave],
            "threshold",
            "role root needs 2",
        ),
        ("the version in force", &same_version, &[alice, bob], "replayed", "has version 1"),
        ("an unknown field", &format!("{next}force: true\n"), &[alice, bob], "malformed", "force"),
    ] {
        let update = bundle(&statement("trust/update", 1), file.as_bytes(), signers);
        let reply = scene.request("trust/update", update).await;
        assert_eq!(refusal(&reply), untrusted(reason), "{attack}: {reply}");
        let text = reply["error"]["message"].as_str().unwrap();
        assert!(text.contains(message), "{attack}: {text}");
    }
    // Nothing has changed.
    let mut status = scene.client("connector/status").await;
    find(&mut status, |status| status["trust"]["version"] == 1).await;
    let stored = fs::read_to_string(trusting.state_dir().join("trust/trust.yaml")).unwrap();
    assert!(stored.contains("version: 1"), "{stored}");
    let request = trusting.sign(&statement("manifest/apply", 5), &config("door", "open"));
    let reply = scene.request("manifest/apply", request).await;
    assert_eq!(reply["revision"], 1, "{reply}");

    // All four may replace the keys of root. Then the former keys are worth nothing.
    let update =
        bundle(&statement("trust/update", 1), of_new.as_bytes(), &[alice, bob, carol, dave]);
    let reply = scene.request("trust/update", update).await;
    assert_eq!(reply, serde_json::json!({"version": 2}));
    let third = of_new.replace("version: 2", "version: 3");
    let update =
        |signers: &[&Signer]| bundle(&statement("trust/update", 1), third.as_bytes(), signers);
    let reply = scene.request("trust/update", update(&[alice, bob])).await;
    assert_eq!(refusal(&reply), untrusted("unknown_key"), "{reply}");
    // Those who were replaced send an older file with the signatures that they still have.
    let old = next_file(&trusting, 2, &release);
    let old = bundle(&statement("trust/update", 1), old.as_bytes(), &[alice, bob]);
    let reply = scene.request("trust/update", old).await;
    assert_eq!(refusal(&reply), untrusted("unknown_key"), "{reply}");
    let reply = scene.request("trust/update", update(&[carol, dave])).await;
    assert_eq!(reply["version"], 3, "{reply}");
}

#[tokio::test]
async fn a_changed_mounted_file_is_read_and_a_wrong_or_older_one_is_not_used() {
    let trusting = Trusting::new();
    let scene = trusting.start().await;
    let mut status = scene.client("connector/status").await;
    let new = [Signer::ed25519(11), Signer::ed25519(12)];
    let file = next_file(&trusting, 3, &new.each_ref());
    // Half of a file.
    trusting.mount(&file[..file.len() / 2]);
    find(&mut status, |status| {
        let trust = &status["trust"];
        trust["version"] == 1 && trust["problem"].as_str().is_some_and(|text| text.contains("line"))
    })
    .await;
    let request = trusting.sign(&statement("manifest/apply", 1), &config("door", "open"));
    let reply = scene.request("manifest/apply", &request).await;
    assert_eq!(reply["revision"], 1, "{reply}");

    trusting.mount(&file);
    find(&mut status, |status| {
        status["trust"]["version"] == 3 && status["trust"]["problem"].is_null()
    })
    .await;
    let reply = scene.request("manifest/apply", &request).await;
    assert_eq!(refusal(&reply), untrusted("unknown_key"), "{reply}");

    trusting.mount(&trusting.file());
    find(&mut status, |status| {
        let trust = &status["trust"];
        trust["version"] == 3
            && trust["problem"].as_str().is_some_and(|text| text.contains("version 1"))
    })
    .await;
    let reply = scene.request("manifest/apply", &request).await;
    assert_eq!(refusal(&reply), untrusted("unknown_key"), "{reply}");
}
