//! The store of the serials: it cannot be used, it is lost, it is damaged.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::disk::{WITHOUT_OVERRIDE, connector_with};
use crate::support::connector::start_connector;
use crate::support::{DEADLINE, eventually, free_port, http, skipped};

const APPLY: &str = "manifest/apply";

fn code(reply: &Value) -> &str {
    reply["error"]["code"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn without_a_usable_folder_nothing_is_served() {
    let trusting = Trusting::new();
    fs::remove_dir(trusting.state_dir()).unwrap();
    fs::write(trusting.state_dir(), "a file").unwrap();
    let health = free_port();
    let address = format!("127.0.0.1:{health}");
    let scene = trusting.start_with(&[("HEALTH_ADDR", &*address)]).await;
    let update = bundle(&statement("trust/update", 1), b"x", &trusting.root.each_ref());
    for (operation, request) in [
        (APPLY, trusting.sign(&statement(APPLY, 1), &config("door", "open"))),
        (APPLY, config("door", "open").into()),
        ("manifest/rollback", "{}".into()),
        ("state", trusting.sign(&statement("state", 1), "[]")),
        ("trust/update", update),
    ] {
        let reply = scene.request(operation, request).await;
        assert_eq!(code(&reply), "unavailable", "{operation}: {reply}");
        let message = reply["error"]["message"].as_str().unwrap();
        assert!(message.contains("STATE_DIR"), "{operation}: {message}");
    }
    // What the mounted file does not require, a newer one in the folder may.
    let reply = scene.request("state", r#"["desiredState.configs"]"#).await;
    assert_eq!(code(&reply), "unavailable", "{reply}");
    assert_eq!(updates(&scene), 0);
    let ready = http::get(health, "/readyz").await;
    assert_eq!(ready.status, 503, "{ready:?}");
    let reason = ready.json()["reasons"]["trust"].clone();
    assert!(reason.as_str().is_some_and(|reason| reason.contains("STATE_DIR")), "{ready:?}");
    let mut status = scene.client("connector/status").await;
    crate::support::scene::find(&mut status, |status| {
        status["trust"]["problem"].as_str().is_some_and(|text| text.contains("STATE_DIR"))
    })
    .await;
}

#[tokio::test]
async fn a_folder_that_becomes_usable_is_used() {
    let trusting = Trusting::new();
    fs::remove_dir(trusting.state_dir()).unwrap();
    fs::write(trusting.state_dir(), "a file").unwrap();
    let scene = trusting.start().await;
    let request = trusting.sign(&statement(APPLY, 1), &config("door", "open"));
    assert_eq!(code(&scene.request(APPLY, &request).await), "unavailable");
    fs::remove_file(trusting.state_dir()).unwrap();
    eventually("the folder is used", DEADLINE, async || {
        let reply = scene.request(APPLY, &request).await;
        (reply["revision"] == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nothing_is_judged_by_the_mounted_file_while_the_folder_may_have_a_newer_one() {
    let trusting = Trusting::new();
    let newer = trusting.file().replace("version: 1", "version: 2");
    let newer = newer.replace("state/update", "state/update, state");
    trusting.mount(&newer);
    let mut scene = trusting.start().await;
    scene.connector.line("a trust file is in force").await;
    let reply = scene.request("state", "[]").await;
    assert_eq!(refusal(&reply), untrusted("unsigned"), "{reply}");
    scene.connector.kill().await;
    trusting.mount(&trusting.file());
    let (folder, away) = (trusting.state_dir(), trusting.folder.path().join("away"));
    fs::rename(&folder, &away).unwrap();
    fs::write(&folder, "a file").unwrap();
    scene.connector = start_connector(
        &scene.broker,
        scene.vehicle.control_interface(),
        &borrowed(&trusting.settings()),
    );
    let reply = scene.request("state", "[]").await;
    assert_eq!(code(&reply), "unavailable", "{reply}");
    let message = reply["error"]["message"].as_str().unwrap();
    assert!(message.contains("is not a folder"), "{message}");
    fs::remove_file(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    eventually("the newer file is in force", DEADLINE, async || {
        let reply = scene.request("state", "[]").await;
        assert!(reply["error"].is_object(), "{reply}");
        (refusal(&reply) == untrusted("unsigned")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_the_permission_to_write_nothing_reaches_ankaios() {
    let name = "without_the_permission_to_write_nothing_reaches_ankaios";
    let trusting = Trusting::new();
    let program = match connector_with(WITHOUT_OVERRIDE, trusting.folder.path()) {
        Ok(program) => program,
        Err(reason) => return skipped(name, &reason),
    };
    let settings = trusting.settings();
    let request = |serial, value| trusting.sign(&statement(APPLY, serial), &config("door", value));
    let denied = |reply: &Value, what: &str| {
        assert_eq!(code(reply), "unavailable", "{reply}");
        let message = reply["error"]["message"].as_str().unwrap();
        assert!(message.contains(what) && message.contains("Permission denied"), "{message}");
        assert!(message.contains("run ch"), "it says what to do: {message}");
    };
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    // From the start.
    set_mode(&trusting.state_dir(), 0o500);
    let mut scene = Scene::with_program(&program, &borrowed(&settings)).await;
    denied(&scene.request(APPLY, request(1, "open")).await, "STATE_DIR cannot be used yet");
    let update = bundle(&statement("trust/update", 1), b"x", &trusting.root.each_ref());
    denied(&scene.request("trust/update", update).await, "STATE_DIR cannot be used yet");
    assert_eq!(updates(&scene), 0);
    scene.connector.kill().await;

    // While it runs.
    set_mode(&trusting.state_dir(), 0o700);
    let scene = Scene::with_program(&program, &borrowed(&settings)).await;
    let reply = scene.request(APPLY, request(1, "open")).await;
    assert_eq!(reply["revision"], 1, "{reply}");
    let before = updates(&scene);
    set_mode(&trusting.state_dir().join("trust"), 0o500);
    denied(&scene.request(APPLY, request(2, "closed")).await, "the serial of the request cannot");
    let rollback = trusting.sign(&statement("manifest/rollback", 2), r#"{"revision": 0}"#);
    denied(&scene.request("manifest/rollback", rollback).await, "the serial of the request");
    let file = trusting.file().replace("version: 1", "version: 2");
    let update = bundle(&statement("trust/update", 1), file.as_bytes(), &trusting.root.each_ref());
    denied(&scene.request("trust/update", &update).await, "the trust file cannot be kept");
    assert_eq!(updates(&scene), before);
    assert!(value_of(&scene, "door").unwrap().contains("open"));

    // The same requests are accepted afterwards: nothing was used up.
    set_mode(&trusting.state_dir().join("trust"), 0o700);
    let reply = scene.request(APPLY, request(2, "closed")).await;
    assert_eq!(reply["revision"], 2, "{reply}");
    assert_eq!(scene.request("trust/update", &update).await["version"], 2);
}

#[tokio::test]
async fn a_store_that_is_lost_or_damaged_begins_at_min_serial() {
    let trusting = Trusting::new();
    trusting.mount(&trusting.file().replace("min_serial: 0", "min_serial: 5"));
    let mut scene = trusting.start().await;
    let mut operator = Operator::connect(&scene).await;
    let begins = "the store has no serials of signed requests";
    let line = scene.connector.line(begins).await;
    assert!(line.contains("WARN") && line.contains("min_serial=5"), "{line}");
    let request = |serial, value| trusting.sign(&statement(APPLY, serial), &config("door", value));
    let reply = operator.request(APPLY, "below", request(4, "open")).await;
    assert_eq!(refusal(&reply), untrusted("replayed"), "{reply}");
    let reply = operator.request(APPLY, "first", request(20, "closed")).await;
    assert_eq!(reply["revision"], 1, "{reply}");
    let reply = operator.request(APPLY, "older", request(10, "open")).await;
    assert_eq!(refusal(&reply), untrusted("replayed"), "{reply}");
    let serials = trusting.state_dir().join("trust/serials.json");
    for damage in [true, false] {
        // All replies are acknowledged then: a request that is delivered again would be accepted.
        assert_eq!(scene.connector.terminate().await.code(), Some(0));
        if damage {
            let mut content = fs::read(&serials).unwrap();
            let middle = content.len() / 2;
            content[middle] ^= 1;
            fs::write(&serials, content).unwrap();
        } else {
            fs::remove_dir_all(trusting.state_dir()).unwrap();
            fs::create_dir(trusting.state_dir()).unwrap();
        }
        trusting.restart_connector(&mut scene).await;
        scene.connector.line(begins).await;
        let reply = operator.request(APPLY, &format!("below-{damage}"), request(4, "open")).await;
        assert_eq!(refusal(&reply), untrusted("replayed"), "{reply}");
        // What was replaced can come back, but nothing below the floor of the trust file, and
        // nothing that Ankaios knows to be older if the revisions are lost, too.
        let reply = operator.request(APPLY, &format!("older-{damage}"), request(10, "open")).await;
        if damage {
            assert!(reply["revision"].is_u64(), "{reply}");
            assert!(trusting.state_dir().join("trust/serials.json.damaged").exists());
        } else {
            assert_eq!(refusal(&reply), untrusted("replayed"), "{reply}");
            assert!(reply["error"]["message"].as_str().unwrap().contains("STATE_DIR"), "{reply}");
        }
        let reply = operator
            .request(APPLY, &format!("newer-{damage}"), request(21 + u64::from(!damage), "ajar"))
            .await;
        assert!(reply["revision"].is_u64(), "{reply}");
    }
}

#[tokio::test]
async fn the_folder_of_an_old_version_gets_what_is_missing() {
    let trusting = Trusting::new();
    let state_dir = trusting.state_dir();
    let settings = [("STATE_DIR", state_dir.to_str().unwrap())];
    let mut scene = Scene::with(&settings).await;
    let reply = scene.request(APPLY, config("door", "closed")).await;
    assert_eq!(reply["revision"], 1, "{reply}");
    assert!(!state_dir.join("trust").exists());
    scene.connector.kill().await;
    trusting.restart_connector(&mut scene).await;
    let reply =
        scene.request(APPLY, trusting.sign(&statement(APPLY, 1), &config("door", "open"))).await;
    assert_eq!(reply["revision"], 2, "{reply}");
    let history = scene.request("manifest/history", "").await;
    let revisions = history["revisions"].as_array().unwrap();
    let signers: Vec<usize> =
        revisions.iter().map(|one| one["signed_by"].as_array().map_or(0, Vec::len)).collect();
    assert_eq!(signers, [2, 0], "{history}");
}

#[tokio::test]
async fn a_stored_trust_file_beats_an_older_mounted_one_and_its_damage_is_reported() {
    let trusting = Trusting::new();
    let second = trusting.file().replace("version: 1", "version: 2");
    let mut scene = trusting.start().await;
    trusting.mount(&second);
    let mut status = scene.client("connector/status").await;
    crate::support::scene::find(&mut status, |status| status["trust"]["version"] == 2).await;
    let stored = trusting.state_dir().join("trust/trust.yaml");
    eventually("it is kept", DEADLINE, async || {
        fs::read_to_string(&stored).is_ok_and(|text| text.contains("version: 2")).then_some(())
    })
    .await;
    for is_damaged in [false, true] {
        scene.connector.kill().await;
        trusting.mount(&trusting.file());
        if is_damaged {
            fs::write(&stored, "fleet: mallory\n").unwrap();
        }
        scene.connector = start_connector(
            &scene.broker,
            scene.vehicle.control_interface(),
            &borrowed(&trusting.settings()),
        );
        let version = if is_damaged { 1 } else { 2 };
        let line = scene.connector.line("a trust file is in force").await;
        assert!(line.contains(&format!("version={version}")), "{line}");
        if is_damaged {
            scene.connector.line("a file of the store is damaged and set aside").await;
        }
    }
}
