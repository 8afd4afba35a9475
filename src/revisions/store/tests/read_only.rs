//! A disk that can be read, but not written.

use std::env;
use std::fs;
use std::io::Write;
use std::process::{Command, Output};

use rustix::io::Errno;

use super::crash::{copy_of, history, store_with};
use super::faults::Fault;
use super::*;

/// A change that is independent of the others.
fn another_change() -> [StoreChange; 2] {
    [StoreChange::Overlay(20, items(&[("x", Some("y"))])), StoreChange::Status(settled(20))]
}

fn has_temporaries(path: &Path) -> bool {
    files(path).iter().any(|(path, _)| path.to_string_lossy().ends_with(TEMPORARY))
}

#[test]
fn what_a_power_cut_has_left_on_a_read_only_disk_is_read_and_cleaned_later() {
    let history = history();
    let mut left_temporaries = 0;
    for end in 1..=history.len() {
        let (changes, before) = history[..end].split_last().unwrap();
        for operation in 0.. {
            let (folder, faults, mut store) = store_with(before);
            let path = folder.path();
            faults.inject(operation, Fault::Stop);
            let is_done = store.save(changes).is_ok();
            drop(store);
            left_temporaries += usize::from(has_temporaries(path));
            let copy = copy_of(path);
            let expected = contents(copy.path());
            open_store(copy.path()).0.save(&another_change()).unwrap();
            let changed = contents(copy.path());
            let context = format!("change {end}, operation {operation}");

            let left = files(path);
            for errno in [Errno::ACCESS, Errno::PERM, Errno::ROFS] {
                faults.inject(0, Fault::ReadOnly(errno));
                let (mut store, found) = faults.open(path).unwrap();
                assert_eq!(found, expected, "{context}, {errno}");
                for _ in 0..2 {
                    let message = store.save(&another_change()).unwrap_err().to_string();
                    assert!(message.contains(&io::Error::from(errno).to_string()), "{message}");
                    store.save_record("logs-a", b"{}").unwrap_err();
                }
                assert_eq!(store.records(), Ok(vec![]), "{context}, {errno}");
                assert_eq!(files(path), left, "{context}, {errno}");

                // The disk can be written again, and the power is cut.
                for count in 0.. {
                    let attempt = copy_of(path);
                    faults.inject(0, Fault::ReadOnly(errno));
                    let (mut store, _) = faults.open(attempt.path()).unwrap();
                    faults.inject(count, Fault::Stop);
                    let is_saved = store.save(&another_change()).is_ok();
                    drop(store);
                    let found = contents(attempt.path());
                    let is_new = found.revisions.contains_key(&20);
                    let allowed = if is_new { &changed } else { &expected };
                    assert_eq!(&found, allowed, "{context}, {errno}, {count}");
                    if is_saved {
                        assert!(is_new, "{context}, {errno}");
                        break;
                    }
                }
            }

            faults.inject(0, Fault::ReadOnly(Errno::ROFS));
            let (mut store, _) = faults.open(path).unwrap();
            faults.end();
            store.save(&another_change()).unwrap();
            drop(store);
            assert!(!has_temporaries(path), "{context}");
            assert_eq!(contents(path), changed, "{context}");
            if is_done {
                break;
            }
        }
    }
    assert!(left_temporaries > 20, "{left_temporaries}");
}

#[test]
fn a_read_only_disk_without_the_folders_is_an_error() {
    let (folder, faults, store) = store_with(&[]);
    drop(store);
    fs::remove_dir(folder.path().join(RECORDS)).unwrap();
    faults.inject(0, Fault::ReadOnly(Errno::ROFS));
    let error = faults.open(folder.path()).map(|_| ()).unwrap_err();
    assert!(
        matches!(&error, LoadError::Io(path, error)
            if path == Path::new(RECORDS) && error.kind() == io::ErrorKind::ReadOnlyFilesystem),
        "{error:?}"
    );
}

/// The folder that is mounted read-only, for the process in the mount namespace.
const MOUNTED: &str = "TEST_READ_ONLY_STORE";

/// Mounts the folder read-only in a new mount namespace, and runs a program there.
fn run_with_mount(path: &Path, program: &[&str]) -> io::Result<Output> {
    let script = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(path).args(program);
    command.env(MOUNTED, path).output()
}

#[test]
fn a_folder_that_is_mounted_read_only_is_read() {
    if let Some(path) = env::var_os(MOUNTED) {
        return check_mounted(Path::new(&path));
    }
    let folder = temp_dir();
    drop(three_revisions(folder.path()));
    fs::write(folder.path().join("revisions/9.yaml.new"), "x").unwrap();
    if !run_with_mount(folder.path(), &["true"]).is_ok_and(|output| output.status.success()) {
        // Past the output capture of the test harness, which hides what passing tests print.
        let message =
            b"\nSKIPPED a_folder_that_is_mounted_read_only_is_read: mounting needs root\n";
        io::stderr().write_all(message).unwrap();
        return;
    }
    let program = env::current_exe().unwrap();
    let (_, module) = module_path!().split_once("::").unwrap();
    let test = format!("{module}::a_folder_that_is_mounted_read_only_is_read");
    let output =
        run_with_mount(folder.path(), &[program.to_str().unwrap(), "--exact", &test]).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
    assert_eq!(contents(folder.path()).revisions.len(), 3);
    assert!(!has_temporaries(folder.path()));
}

fn check_mounted(path: &Path) {
    let error = fs::write(path.join("x"), "").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem);
    let (mut store, found) = open_store(path);
    assert_eq!(found.revisions.len(), 3);
    assert_eq!(found.overlay, items(&[("c", Some("3"))]));
    let message = store.save(&another_change()).unwrap_err().to_string();
    assert!(message.contains(&io::Error::from(Errno::ROFS).to_string()), "{message}");
    assert!(matches!(Store::open(path), Err(OpenError::Locked(_))));
    drop(store);
    open_store(path);
}
