//! The store on a real folder: power cuts, failing disks, damaged files.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod crash;
mod damage;
mod faults;
mod folder;
mod model;
mod read_only;
mod records;
mod round_trip;
mod trust;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use fleet_contract::revision::{RevisionStatus, RollbackMode};
use rustix::fs::Mode;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::files::MAX_FILE;
use super::items::items_text;
use super::names::{DAMAGED, REMOVED, TEMPORARY, status_path};
use super::sealed::{seal, unseal};
use super::*;
use crate::revisions::item::{Item, ItemValue, items_of};
use crate::revisions::revision::Revision;

/// A folder in memory, if possible: thousands of syncs on a disk take long.
fn temp_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn open_store(path: &Path) -> (Store, Contents) {
    try_open(path).unwrap()
}

/// Opens a store that no other one has locked.
fn try_open(path: &Path) -> Result<(Store, Contents), OpenError> {
    loop {
        match Store::open(path) {
            // Another test starts a program, which has the lock between fork and exec.
            Err(OpenError::Locked(_)) => std::thread::yield_now(),
            opened => return opened,
        }
    }
}

fn contents(path: &Path) -> Contents {
    open_store(path).1
}

fn text(value: &str) -> ItemValue {
    Some(json!(value).into())
}

fn items(values: &[(&str, Option<&str>)]) -> Items {
    values.iter().map(|(name, value)| (Item::config(*name), value.and_then(text))).collect()
}

fn settled(number: u64) -> Revision {
    Revision {
        revision: number,
        id: "a".into(),
        in_doubt: false,
        at: "2026-01-01T00:00:00Z".into(),
        operation: "manifest/apply".into(),
        request_id: "r".into(),
        release: None,
        signed_by: [].into(),
        highest_serial: None,
        serial_floor: None,
        status: RevisionStatus::Succeeded,
        reverts: None,
        changed: [].into(),
        changed_since: [].into(),
        unproven: [].into(),
        rollback: RollbackMode::Off,
        rollout_succeeded: true,
        has_succeeded: true,
        confirm_by: None,
        tries: 0,
        given_up: None,
    }
}

fn in_doubt(number: u64) -> Revision {
    Revision { in_doubt: true, status: RevisionStatus::InProgress, ..settled(number) }
}

/// Three revisions, each with one config, and the values of the startup manifest.
fn three_revisions(path: &Path) -> Store {
    let (mut store, contents) = open_store(path);
    assert_eq!(contents, Contents::default());
    for number in 1..=3 {
        let overlay = items(&[("c", Some(&number.to_string()))]);
        let changes = [
            StoreChange::Startup(items(&[("c", None)])),
            StoreChange::Overlay(number, overlay),
            StoreChange::Status(settled(number)),
        ];
        store.save(&changes).unwrap();
    }
    store
}

/// The files below a folder, with their content, sorted.
fn files(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for folder in ["", REVISIONS, RECORDS] {
        for entry in std::fs::read_dir(path.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                files.push((path.clone(), std::fs::read(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}
