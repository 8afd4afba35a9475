//! Vehicles with a trust file.

use std::path::Path;
use std::process::Command;

use crate::support::{Broker, TestFleet, manifest};

/// Makes a key pair, and returns its public key.
fn key(folder: &Path, name: &str) -> String {
    let path = folder.join(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
        .arg(&path)
        .status();
    assert!(made.unwrap().success());
    std::fs::read_to_string(path.with_extension("pub")).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_accepts_what_two_people_have_signed() {
    let keys = tempfile::tempdir().unwrap();
    let [alice, bob] = ["alice", "bob"].map(|name| key(keys.path(), name));
    let trust = keys.path().join("trust.yaml");
    let text = format!(
        "fleet: test\nversion: 1\nroles:\n  root: {{threshold: 1, keys: ['{alice}']}}\n  \
         release: {{threshold: 2, keys: ['{alice}', '{bob}']}}\n"
    );
    std::fs::write(&trust, text).unwrap();
    let trust = trust.to_str().unwrap();
    let broker = Broker::with(&["persistence false"]).await;
    let fleet = TestFleet::with(broker, 2, &[("--trust-file", trust)]).await;
    fleet.write("a.yaml", &manifest("nginx", "1"));

    let unsigned = fleet.run(&["apply", "a.yaml", "--all", "--yes"]).await;
    assert_eq!(unsigned.code, 6, "{unsigned:?}");
    let path = |name: &str| keys.path().join(name).to_str().unwrap().to_owned();
    let sign = |file: &'static str, key: &'static str, more: &'static [&'static str]| {
        let (fleet, key) = (&fleet, path(key));
        async move {
            let args = ["sign", file, "--key", &key, "--output", "signed.json"];
            fleet.run(&[&args[..], more].concat()).await
        }
    };
    let first = sign("a.yaml", "alice", &["--fleet", "test", "--release", "9"]).await;
    assert_eq!(first.code, 0, "{first:?}");
    let one = fleet.run(&["verify", "signed.json", "--trust-file", trust]).await;
    assert_eq!(one.code, 6, "{one:?}");
    let refused = fleet.run(&["apply", "signed.json", "--all", "--yes"]).await;
    assert_eq!(refused.code, 6, "{refused:?}");
    assert_eq!(sign("signed.json", "bob", &[]).await.code, 0);
    let both = fleet.run(&["verify", "signed.json", "--trust-file", trust]).await;
    assert_eq!((both.code, both.stdout.matches("signed by SHA256:").count()), (0, 2), "{both:?}");
    let wrong = fleet.run(&["apply", "-d", "signed.json", "--all", "--yes"]).await;
    assert_eq!(wrong.code, 6, "{wrong:?}");
    let applied = fleet.run(&["apply", "signed.json", "--all", "--yes", "--id", "aaaa"]).await;
    assert_eq!(applied.code, 0, "{applied:?}");
    let vehicles = fleet.run(&["get", "vehicles", "V01"]).await;
    assert!(vehicles.stdout.contains("9         1          succeeded"), "{vehicles:?}");

    // The undo of a roll-out is one request for all, so it can be signed once.
    let unsigned = fleet.run(&["rollout", "undo", "aaaa", "--yes"]).await;
    assert!(unsigned.stdout.contains("not taken back: "), "{unsigned:?}");
    assert!(fleet.has(1, "nginx"));
    fleet.write("b.yaml", &manifest("other", "1"));
    fleet.write("undo.json", r#"{"rollout": "bbbb"}"#);
    // Serials are seconds by default; these are signed in the same one.
    for (from, to, operation, serial) in [
        ("b.yaml", "b.json", "manifest/apply", "9000000000"),
        ("undo.json", "undo.signed.json", "manifest/rollback", "9000000001"),
    ] {
        for (file, key) in [(from, "alice"), (to, "bob")] {
            let key = path(key);
            let args = ["sign", file, "--fleet", "test", "--key", &key, "--output", to];
            let what = ["--operation", operation, "--serial", serial];
            let signed = fleet.run(&[&args[..], &what].concat()).await;
            assert_eq!(signed.code, 0, "{signed:?}");
        }
    }
    let applied = fleet.run(&["apply", "b.json", "--all", "--yes", "--id", "bbbb"]).await;
    assert_eq!(applied.code, 0, "{applied:?}");
    let undo = ["rollout", "undo", "bbbb", "--yes", "--signed", "undo.signed.json"];
    let undone = fleet.run(&undo).await;
    assert!(undone.stdout.contains("2 taken back"), "{undone:?}");
    assert!(!fleet.has(1, "other") && fleet.has(1, "nginx"));
}
