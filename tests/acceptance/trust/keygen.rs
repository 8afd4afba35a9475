//! Signatures of the real `ssh-keygen`, and bundles that a shell makes of them.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::*;
use crate::support::{Process, eventually};

/// Runs commands of a shell in a folder and returns their output.
async fn shell(folder: &Path, commands: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-ec", commands]).current_dir(folder).stdin(Stdio::null());
    command.env("SSH_AUTH_SOCK", folder.join("agent"));
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{commands}\n{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Makes a bundle of `statement.json`, `manifest.yaml`, `one.sig` and `two.sig`.
const BUNDLE: &str = r#"
    armoured() { awk '{printf "%s\\n", $0}' "$1"; }
    printf '{"payloadType": "%s", "statement": "%s", "payload": "%s", "signatures": ["%s", "%s"]}' \
        application/vnd.fleet-connector.bundle.v1+json \
        "$(base64 -w0 statement.json)" "$(base64 -w0 manifest.yaml)" \
        "$(armoured one.sig)" "$(armoured two.sig)" > bundle.json"#;

/// Writes a manifest and its statement, as a person would.
async fn prepare(folder: &Path, serial: u64, value: &str) {
    fs::write(folder.join("manifest.yaml"), config("door", value)).unwrap();
    let commands = format!(
        r#"cat > statement.json <<END
{{
  "type": "fleet-connector/statement/v1",
  "operation": "manifest/apply",
  "fleet": "{FLEET}",
  "vehicles": ["{VIN}"],
  "serial": {serial},
  "not_before": "$(date -u -d '1 minute ago' +%Y-%m-%dT%H:%M:%SZ)",
  "expires": "$(date -u -d '14 days' +%Y-%m-%dT%H:%M:%SZ)",
  "release": "2026.11.2",
  "payload_sha256": "$(sha256sum manifest.yaml | cut -d' ' -f1)"
}}
END"#
    );
    shell(folder, &commands).await;
}

/// Signs the statement with a key file, or a public key whose private key an agent has.
async fn sign(folder: &Path, key: &str, signature: &str) {
    let command = format!(
        "ssh-keygen -Y sign -n {} -f {key} < statement.json > {signature}",
        fleet_trust::NAMESPACE
    );
    shell(folder, &command).await;
}

/// A trust file with the keys of these `.pub` files for both roles.
fn trust_file(folder: &Path, keys: &[&str]) -> String {
    let lines = keys.iter().map(|key| fs::read_to_string(folder.join(key)).unwrap());
    let lines: Vec<String> = lines.map(|line| format!("{:?}", line.trim())).collect();
    let keys = format!("{{threshold: 2, keys: [{}]}}", lines.join(", "));
    format!("fleet: {FLEET}\nversion: 1\nroles:\n  root: {keys}\n  release: {keys}\n")
}

async fn fingerprint(folder: &Path, key: &str) -> String {
    let line = shell(folder, &format!("ssh-keygen -l -f {key}")).await;
    line.split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn ssh_keygen_and_an_agent_sign_what_mosquitto_publishes() {
    let trusting = Trusting::new();
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    for kind in ["ed25519", "ecdsa"] {
        shell(path, &format!("ssh-keygen -q -t {kind} -N '' -C {kind}@example.com -f {kind}"))
            .await;
    }
    trusting.mount(&trust_file(path, &["ed25519.pub", "ecdsa.pub"]));
    let scene = trusting.start().await;

    prepare(path, 1, "closed").await;
    sign(path, "ed25519", "one.sig").await;
    sign(path, "ecdsa", "two.sig").await;
    shell(path, BUNDLE).await;
    let rr = format!(
        r#"mosquitto_rr -h 127.0.0.1 -p {} -q 1 -W 20 -t {BASE}/manifest/apply/req \
            -e {BASE}/manifest/apply/resp -m "$(cat bundle.json)""#,
        scene.broker.port()
    );
    let reply: Value = serde_json::from_str(&shell(path, &rr).await).unwrap();
    assert_eq!(reply["revision"], 1, "{reply}");
    assert!(value_of(&scene, "door").unwrap().contains("closed"));
    let history = scene.request("manifest/history", "").await;
    let signed_by = history["revisions"][0]["signed_by"].to_string();
    for key in ["ed25519", "ecdsa"] {
        assert!(signed_by.contains(&fingerprint(path, key).await), "{history}");
    }
    assert_eq!(history["revisions"][0]["release"], "2026.11.2", "{history}");

    // The same keys in an agent; their files are away.
    let mut agent = Command::new("ssh-agent");
    agent.args(["-D", "-a"]).arg(path.join("agent"));
    let _agent = Process::start("ssh-agent", agent);
    eventually("the agent listens", crate::support::DEADLINE, async || {
        path.join("agent").exists().then_some(())
    })
    .await;
    shell(path, "ssh-add -q ed25519 ecdsa; rm ed25519 ecdsa").await;
    prepare(path, 2, "open").await;
    sign(path, "ed25519.pub", "one.sig").await;
    sign(path, "ecdsa.pub", "two.sig").await;
    shell(path, BUNDLE).await;
    let mut replies = scene.client("manifest/apply/resp").await;
    let publish = format!(
        "mosquitto_pub -h 127.0.0.1 -p {} -q 1 -t {BASE}/manifest/apply/req -f bundle.json",
        scene.broker.port()
    );
    shell(path, &publish).await;
    let reply = payload(&replies.next().await);
    assert_eq!(reply["revision"], 2, "{reply}");
    assert!(value_of(&scene, "door").unwrap().contains("open"));

    // The manifest is changed after it was signed.
    fs::write(path.join("manifest.yaml"), config("door", "gone")).unwrap();
    shell(path, BUNDLE).await;
    shell(path, &publish).await;
    let reply = payload(&replies.next().await);
    assert_eq!(refusal(&reply), untrusted("digest"), "{reply}");
}

#[tokio::test]
async fn signatures_of_other_kinds_of_keys_are_refused() {
    let trusting = Trusting::new();
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    for kind in ["rsa -b 2048", "ecdsa -b 384", "ecdsa -b 521"] {
        let name = kind.replace(" -b ", "");
        shell(path, &format!("ssh-keygen -q -t {kind} -N '' -f {name}")).await;
    }
    shell(path, "ssh-keygen -q -t ed25519 -N '' -f one").await;
    let scene = trusting.start().await;
    let before = scene.vehicle.desired_state();
    prepare(path, 1, "open").await;
    sign(path, "one", "one.sig").await;
    for key in ["rsa2048", "ecdsa384", "ecdsa521"] {
        sign(path, key, "two.sig").await;
        shell(path, BUNDLE).await;
        // The first one is that of a key that the vehicle does not know, either.
        let reply =
            scene.request("manifest/apply", fs::read(path.join("bundle.json")).unwrap()).await;
        assert_eq!(refusal(&reply), untrusted("unknown_key"), "{reply}");
        let message = reply["error"]["message"].as_str().unwrap();
        assert!(message.contains("are not supported"), "{message}");
        scene.connector.line(&fingerprint(path, key).await).await;
    }
    // RSA with SHA-1, which ssh-keygen no longer makes: the name of the algorithm in the blob.
    let sha1 = r#"
        { echo '-----BEGIN SSH SIGNATURE-----'
          sed '/-----/d' rsa.sig | base64 -d | sed 's/\x00\x00\x00\x0crsa-sha2-512/\x00\x00\x00\x07ssh-rsa/' | base64
          echo '-----END SSH SIGNATURE-----'; } > two.sig"#;
    sign(path, "rsa2048", "rsa.sig").await;
    shell(path, sha1).await;
    shell(path, BUNDLE).await;
    let reply = scene.request("manifest/apply", fs::read(path.join("bundle.json")).unwrap()).await;
    assert_eq!(refusal(&reply), untrusted("unknown_key"), "{reply}");
    assert_eq!(scene.vehicle.desired_state(), before);

    // Such a key in the trust file is a mistake.
    let file = trust_file(path, &["one.pub", "rsa2048.pub", "ecdsa384.pub"]);
    let mut status = scene.client("connector/status").await;
    trusting.mount(&file);
    let found =
        crate::support::scene::find(&mut status, |status| status["trust"]["problem"].is_string())
            .await;
    let problem = found["trust"]["problem"].as_str().unwrap();
    for kind in ["ssh-rsa", "ecdsa-sha2-nistp384"] {
        assert!(problem.contains(kind), "{problem}");
    }
}
