//! The disk of the revisions: really full, and folders that cannot be used.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::scene::workload;
use crate::support::{DEADLINE, Scene, eventually, skipped, start_connector, write_script};

/// Runs a program with a file system of its own as `STATE_DIR`, which only it and its children see.
const WITH_SMALL_DISK: &str = r#"exec unshare --mount sh -c \
    'mount -t tmpfs -o size=256k,mode=0700 state "$STATE_DIR" && exec "$@"' sh PROGRAM "$@""#;

/// Runs a program as root of a container that drops capabilities: the permissions of files count.
pub(crate) const WITHOUT_OVERRIDE: &str =
    r#"exec setpriv --bounding-set=-dac_override,-dac_read_search PROGRAM "$@""#;

/// A script that runs the connector with this command; the error says why that is not possible
/// here.
pub(crate) fn connector_with(command: &str, folder: &Path) -> Result<PathBuf, String> {
    let script = |name: &str, program: &str| {
        let path = folder.join(name);
        let command = command.replace("PROGRAM", program);
        let content = format!("#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n{command}\n");
        write_script(&path, &content);
        path
    };
    if !rustix::process::geteuid().is_root() {
        return Err("it needs root".into());
    }
    let attempt = Command::new(script("attempt.sh", "/bin/true")).env("STATE_DIR", folder).output();
    let output = attempt.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(script("connector.sh", env!("CARGO_BIN_EXE_fleet-connector")));
    }
    Err(format!("it needs more rights: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

fn config(value: &str) -> String {
    format!("apiVersion: v1\nconfigs:\n  door: '{value}'\n")
}

fn error(reply: &Value) -> (&str, &str) {
    let text = |field: &str| reply["error"][field].as_str().unwrap_or_default();
    (text("code"), text("message"))
}

/// Writes to a file until the disk is full: whole blocks, then what is left of the last one.
fn fill(path: &Path) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    for size in [4096, 1] {
        let error = std::iter::repeat_with(|| file.write_all(&vec![b'x'; size]))
            .find_map(Result::err)
            .unwrap();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}

#[tokio::test]
async fn a_change_on_a_full_disk_is_refused_and_nothing_is_sent() {
    let folder = TempDir::new().unwrap();
    let program = match connector_with(WITH_SMALL_DISK, folder.path()) {
        Ok(program) => program,
        Err(reason) => {
            return skipped("a_change_on_a_full_disk_is_refused_and_nothing_is_sent", &reason);
        }
    };
    let state_dir = folder.path().join("state");
    fs::create_dir(&state_dir).unwrap();
    let settings = [("STATE_DIR", state_dir.to_str().unwrap())];
    let scene = Scene::with_program(&program, &settings).await;
    // The disk as the connector sees it.
    let root = PathBuf::from(format!("/proc/{}/root", scene.connector.pid()));
    let disk = root.join(state_dir.strip_prefix("/").unwrap());
    assert!(!state_dir.join("lock").exists(), "the disk is not mounted");
    let reply = scene.request("manifest/apply", config("1")).await;
    assert_eq!(reply["revision"], 1, "{reply}");

    fill(&disk.join("filler"));
    let before = scene.vehicle.state().desired_state;
    let update = json!({"update_mask": ["desiredState.configs.door"],
                        "state": {"desiredState": {"configs": {"door": "2"}}}})
    .to_string();
    scene.vehicle.clear_observations();
    for (operation, payload) in [
        ("manifest/apply", config("2")),
        ("manifest/apply", workload("app", "localhost/app")),
        ("manifest/delete", config("1")),
        ("state/update", update),
        ("manifest/rollback", String::new()),
    ] {
        let reply = scene.request(operation, payload).await;
        let (code, message) = error(&reply);
        assert_eq!(code, "unavailable", "{operation}: {reply}");
        let reason = "No space left on device (os error 28); free space on its disk";
        assert!(message.ends_with(reason), "{operation}: {reply}");
    }
    let sent = scene.vehicle.requests();
    assert!(sent.iter().all(|request| !format!("{request:?}").contains("UpdateState")), "{sent:?}");
    assert_eq!(scene.vehicle.state().desired_state, before);
    // What only reads is served.
    let history = scene.request("manifest/history", "").await;
    assert_eq!(history["current"], 1, "{history}");
    let state = scene.request("state", r#"["desiredState.configs.door"]"#).await;
    assert_eq!(state["desired_state"]["configs"]["door"], "1", "{state}");

    fs::remove_file(disk.join("filler")).unwrap();
    let reply = eventually("changes are accepted again", DEADLINE, async || {
        let reply = scene.request("manifest/apply", config("3")).await;
        reply["revision"].is_u64().then_some(reply)
    })
    .await;
    assert_eq!(reply["revision"], 2, "{reply}");
    let history = scene.request("manifest/history", "").await;
    assert_eq!(history["current"], 2, "{history}");
    let names: Vec<String> = fs::read_dir(disk.join("revisions"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.iter().all(|name| !name.ends_with(".new")), "{names:?}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_says_what_to_do() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("file"), "").unwrap();
    symlink("nowhere", path("dangling")).unwrap();
    symlink("file", path("link")).unwrap();
    symlink("loop", path("loop")).unwrap();
    fs::create_dir(path("store")).unwrap();
    fs::create_dir_all(path("locked/lock")).unwrap();
    fs::write(path("store/records"), "").unwrap();
    let scene = Scene::start().await;
    for (name, expected) in [
        ("file", "file is not a folder; remove it, or set STATE_DIR to a folder"),
        ("file/state", "file is not a folder; remove it, or set STATE_DIR to a folder"),
        ("link", "link is not a folder; remove it, or set STATE_DIR to a folder"),
        ("dangling", "nowhere, which does not exist; create that folder, or remove the link"),
        ("dangling/state", "nowhere, which does not exist; create that folder, or remove the"),
        ("loop", "loop is a link that leads nowhere; remove it"),
        ("locked", "Is a directory (os error 21), but must be a file; remove it"),
        ("store", "records is not a folder; remove it"),
    ] {
        let state_dir = path(name);
        let settings = [("STATE_DIR", state_dir.to_str().unwrap()), ("REPLICA_ID", "b")];
        let connector =
            start_connector(&scene.broker, scene.vehicle.control_interface(), &settings);
        let line = connector.line("revisions cannot be kept: changes are refused").await;
        assert!(line.contains(expected), "{name}: {line}");
        assert!(line.contains(&state_dir.display().to_string()), "{name}: {line}");
    }
}

#[tokio::test]
async fn a_folder_without_permissions_says_who_must_get_which() {
    let folder = TempDir::new().unwrap();
    let program = match connector_with(WITHOUT_OVERRIDE, folder.path()) {
        Ok(program) => program,
        Err(reason) => {
            return skipped("a_folder_without_permissions_says_who_must_get_which", &reason);
        }
    };
    let path = |name: &str| folder.path().join(name);
    for (name, mode, owner) in
        [("others", 0o700, 1000), ("open", 0o755, 1000), ("mode", 0o500, 0), ("sealed", 0o000, 0)]
    {
        fs::create_dir(path(name)).unwrap();
        chown(path(name), Some(owner), None).unwrap();
        fs::set_permissions(path(name), Permissions::from_mode(mode)).unwrap();
    }
    let chown_it = |name: &str| {
        let path = path(name).display().to_string();
        format!(
            "{path} belongs to user 1000, and the connector runs as user 0: if only the connector \
             uses {path}, run chown -R 0 {path}, otherwise set STATE_DIR to another folder"
        )
    };
    let chmod_it = |name: &str, mode: &str| {
        let path = path(name).display().to_string();
        format!("the mode of {path} is {mode}: run chmod u+rwx {path}")
    };
    let create_it = format!(
        "create it for the user as which the connector runs: install -d -m 700 -o 0 {}",
        path("others/state").display()
    );
    for (name, expected) in [
        ("others", chown_it("others")),
        ("open", chown_it("open")),
        ("mode", chmod_it("mode", "0500")),
        ("sealed", chmod_it("sealed", "0000")),
        ("others/state", create_it),
    ] {
        let state_dir = path(name);
        let scene =
            Scene::with_program(&program, &[("STATE_DIR", state_dir.to_str().unwrap())]).await;
        let line = scene.connector.line("revisions cannot be kept: changes are refused").await;
        let denied = format!("Permission denied (os error 13); {expected}");
        assert!(line.contains(&denied), "{name}: {line}");
        let reply = scene.request("manifest/apply", config("1")).await;
        let (code, message) = error(&reply);
        assert!(code == "unavailable" && message.ends_with(&denied), "{name}: {reply}");
    }
}

#[tokio::test]
async fn a_folder_that_loses_its_owner_is_read_and_says_what_to_do() {
    let folder = TempDir::new().unwrap();
    let program = match connector_with(WITHOUT_OVERRIDE, folder.path()) {
        Ok(program) => program,
        Err(reason) => {
            return skipped("a_folder_that_loses_its_owner_is_read_and_says_what_to_do", &reason);
        }
    };
    let state_dir = folder.path().join("state");
    let settings = [("STATE_DIR", state_dir.to_str().unwrap())];
    let revisions = state_dir.join("revisions");
    {
        let scene = Scene::with_program(&program, &settings).await;
        assert_eq!(scene.request("manifest/apply", config("1")).await["revision"], 1);
        eventually("the end of the rollout is written", DEADLINE, async || {
            let status = fs::read_to_string(revisions.join("1.status")).unwrap();
            status.contains(r#""status": "succeeded""#).then_some(())
        })
        .await;
        // While it runs.
        chown(&revisions, Some(1000), None).unwrap();
        let reply = scene.request("manifest/apply", config("2")).await;
        let (code, message) = error(&reply);
        let advice = format!(
            "Permission denied (os error 13); {} belongs to user 1000, and the connector runs as \
             user 0: if only the connector uses {}, run chown -R 0 {}, otherwise",
            revisions.display(),
            state_dir.display(),
            state_dir.display()
        );
        assert!(code == "unavailable" && message.contains(&advice), "{reply}");
    }
    // And when it starts: what was kept can be read.
    for path in [&state_dir, &state_dir.join("lock"), &revisions, &state_dir.join("records")] {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        chown(path, Some(1000), None).unwrap();
    }
    let scene = Scene::with_program(&program, &settings).await;
    let line = scene.connector.line("the store can be read, but not written").await;
    assert!(line.contains(&format!("run chown -R 0 {}", state_dir.display())), "{line}");
    eventually("the change is put back", DEADLINE, async || {
        let state = scene.request("state", r#"["desiredState.configs.door"]"#).await;
        (state["desired_state"]["configs"]["door"] == "1").then_some(())
    })
    .await;
    let reply = scene.request("manifest/apply", config("2")).await;
    assert!(error(&reply).1.contains("run chown -R 0 "), "{reply}");
}
