//! `TRUST_FILE` at the start.

use std::process::{Command, Output};

use super::*;

fn start(environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fleet-connector"))
        .env_clear()
        .env("VIN", VIN)
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

/// What the program says about its settings.
fn mistakes(environment: &[(&str, &str)]) -> String {
    let output = start(environment);
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn all_mistakes_of_a_trust_file_are_reported_with_their_lines() {
    let trusting = Trusting::new();
    let key = Signer::ed25519(1).public_key_line();
    trusting.mount(&format!(
        "fleet: 'prod eu'\nversion: 0\nmin_serial: -1\nrequire: [manifest/destroy]\nforce: true\n\
         roles:\n  root: {{threshold: 3, keys: [{key:?}]}}\n  release:\n    threshold: 1\n    keys:\n    \
         - {key:?}\n    - {key:?}\n    - ssh-rsa AAAAB3NzaC1yc2E= bob\n  other: {{}}\n"
    ));
    let settings = trusting.settings();
    let error = mistakes(&[&borrowed(&settings)[..], &[("MQTT_BROKER_PORT", "x")]].concat());
    let file = trusting.path().display().to_string();
    assert!(error.contains(&format!("TRUST_FILE: {file}: ")), "{error}");
    for part in [
        "line 1, column 8",
        "line 2, column 10",
        "line 3, column 13",
        "line 4, column 11",
        "line 5, column 1",
        "line 7, column 21",
        "line 12, column 7",
        "line 13, column 7",
        "line 14, column 3",
        "\"prod eu\"",
        "manifest/destroy",
        "ssh-rsa",
        // The mistakes of other settings, too.
        "MQTT_BROKER_PORT: \"x\"",
    ] {
        assert!(error.contains(part), "{part} is missing in {error}");
    }
}

#[test]
fn a_trust_file_needs_a_folder_for_the_serials() {
    let trusting = Trusting::new();
    let path = trusting.path();
    let error = mistakes(&[("TRUST_FILE", path.to_str().unwrap())]);
    assert!(error.contains("TRUST_FILE: ") && error.contains("set STATE_DIR, too"), "{error}");
    // The mistakes in it are reported all the same.
    trusting.mount("fleet: prod-eu\n");
    let error = mistakes(&[("TRUST_FILE", path.to_str().unwrap())]);
    assert!(error.contains("set STATE_DIR, too"), "{error}");
    assert!(error.contains("version is missing") && error.contains("roles is missing"), "{error}");
}

#[test]
fn a_trust_file_that_cannot_be_read_is_refused() {
    let trusting = Trusting::new();
    let refused = |path: &str, expected: &str| {
        let state_dir = trusting.state_dir();
        let error = mistakes(&[("TRUST_FILE", path), ("STATE_DIR", state_dir.to_str().unwrap())]);
        assert!(error.contains("TRUST_FILE: "), "{error}");
        assert!(error.contains(expected), "{expected} is missing in {error}");
    };
    let path = trusting.path();
    let path = path.to_str().unwrap();
    refused(&format!("{path}.no"), "No such file or directory");
    refused(trusting.folder.path().to_str().unwrap(), "not a regular file");
    refused("/dev/null", "not a regular file");
    fs::write(path, "").unwrap();
    refused(path, "line 1");
    fs::write(path, b"fleet: \xff\n").unwrap();
    refused(path, "not UTF-8");
    fs::write(path, "a".repeat(fleet_trust::MAX_TRUST_FILE + 1)).unwrap();
    refused(path, "more than 64 KiB");
    fs::write(path, format!("a: {}", "[".repeat(10_000))).unwrap();
    refused(path, "nested too deeply");
    let half = trusting.file();
    fs::write(path, &half[..half.len() / 2]).unwrap();
    refused(path, "line ");
    let anchors = "a: &a [x, x]\nb: &b [*a, *a]\n";
    fs::write(path, anchors).unwrap();
    refused(path, "anchors and aliases are not supported");
}

#[test]
fn a_fifo_as_a_trust_file_does_not_hold_up_the_start() {
    let trusting = Trusting::new();
    let path = trusting.folder.path().join("fifo");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let state_dir = trusting.state_dir();
    let settings =
        [("TRUST_FILE", path.to_str().unwrap()), ("STATE_DIR", state_dir.to_str().unwrap())];
    let mut child = Command::new("timeout")
        .arg("20")
        .arg(env!("CARGO_BIN_EXE_fleet-connector"))
        .env("VIN", VIN)
        .envs(settings)
        .spawn()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(64));
}
