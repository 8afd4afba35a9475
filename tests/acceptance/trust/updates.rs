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
