//! What is kept about signed requests.

use rustix::io::Errno;

use super::faults::{Fault, Faults};
use super::*;
use crate::revisions::store::names::TRUST;

const SERIALS: &str = r#"{"serials": 1}"#;
const NEXT: &str = r#"{"serials": 2, "x": "ä"}"#;
const FILE: &str = "fleet: prod-eu\nversion: 1\n";

fn stored(serials: Option<&str>, file: Option<&str>) -> StoredTrust {
    StoredTrust { serials: serials.map(str::to_owned), file: file.map(str::to_owned) }
}

fn trust_of(path: &Path) -> StoredTrust {
    open_store(path).0.trust().unwrap()
}

fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path.join(TRUST)).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A store with both files, on a folder that has no faults yet.
fn store_with_trust() -> (TempDir, Faults, Store) {
    let (folder, faults) = (temp_dir(), Faults::default());
    let (mut store, _) = faults.open(folder.path()).unwrap();
    store.save_trust(TrustFileName::Serials, SERIALS).unwrap();
    store.save_trust(TrustFileName::Trust, FILE).unwrap();
    (folder, faults, store)
}

#[test]
fn files_are_kept_and_replaced() {
    let folder = temp_dir();
    let (mut store, _) = open_store(folder.path());
    assert_eq!(store.trust().unwrap(), stored(None, None));
    assert!(!folder.path().join(TRUST).exists());
    store.save_trust(TrustFileName::Serials, SERIALS).unwrap();
    assert_eq!(store.trust().unwrap(), stored(Some(SERIALS), None));
    store.save_trust(TrustFileName::Trust, FILE).unwrap();
    store.save_trust(TrustFileName::Serials, NEXT).unwrap();
    drop(store);
    assert_eq!(trust_of(folder.path()), stored(Some(NEXT), Some(FILE)));
    assert_eq!(names(folder.path()), ["serials.json", "trust.yaml"]);
}

#[test]
fn the_folder_is_created_once_and_again_if_it_was_removed() {
    let (folder, faults, mut store) = store_with_trust();
    faults.end();
    store.save_trust(TrustFileName::Serials, NEXT).unwrap();
    // The file is written and renamed, and its folder is synced.
    assert_eq!(faults.count(), 3);
    std::fs::remove_dir_all(folder.path().join(TRUST)).unwrap();
    store.save_trust(TrustFileName::Serials, NEXT).unwrap_err();
    store.save_trust(TrustFileName::Serials, NEXT).unwrap();
    assert_eq!(store.trust().unwrap(), stored(Some(NEXT), None));
}

#[test]
fn a_power_cut_after_any_byte_leaves_the_former_or_the_new_file() {
    let (mut operation, mut length) = (0, 0);
    loop {
        let (folder, faults, mut store) = store_with_trust();
        faults.inject(operation, Fault::StopWriting(length));
        let saved = store.save_trust(TrustFileName::Serials, NEXT);
        drop(store);
        let found = trust_of(folder.path());
        let (former, new) = (stored(Some(SERIALS), Some(FILE)), stored(Some(NEXT), Some(FILE)));
        if saved.is_ok() {
            assert_eq!(found, new);
            break;
        }
        let context = format!("operation {operation}, {length} bytes");
        assert!(found == former || found == new, "{context}: {found:?}");
        assert_eq!(names(folder.path()), ["serials.json", "trust.yaml"], "{context}");
        open_store(folder.path()).0.save_trust(TrustFileName::Serials, NEXT).unwrap();
        assert_eq!(trust_of(folder.path()), new, "{context}");
        (operation, length) = match faults.size_at_fault() {
            Some(size) if length < size => (operation, length + 1),
            _ => (operation + 1, 0),
        };
    }
}

#[test]
fn a_power_cut_before_the_first_file_leaves_none_or_the_file() {
    for operation in 0.. {
        let (folder, faults) = (temp_dir(), Faults::default());
        let (mut store, _) = faults.open(folder.path()).unwrap();
        faults.inject(operation, Fault::Stop);
        let saved = store.save_trust(TrustFileName::Trust, FILE);
        drop(store);
        let found = trust_of(folder.path());
        if saved.is_ok() {
            assert_eq!(found, stored(None, Some(FILE)));
            break;
        }
        assert!([stored(None, None), stored(None, Some(FILE))].contains(&found), "{operation}");
    }
}

#[test]
fn a_failing_disk_leaves_the_files_usable() {
    for errno in [Errno::NOSPC, Errno::ROFS] {
        for fault in [Fault::Error(errno), Fault::Full(errno), Fault::ReadOnly(errno)] {
            for operation in 0.. {
                let (folder, faults, mut store) = store_with_trust();
                faults.inject(operation, fault);
                let Err(error) = store.save_trust(TrustFileName::Serials, NEXT) else { break };
                faults.end();
                let context = format!("{fault:?}, operation {operation}");
                let message = error.to_string();
                assert!(message.contains(&io::Error::from(errno).to_string()), "{message}");
                let found = store.trust().unwrap();
                assert_eq!(found.file.as_deref(), Some(FILE), "{context}");
                assert!(
                    [Some(SERIALS), Some(NEXT)].contains(&found.serials.as_deref()),
                    "{context}"
                );
                store.save_trust(TrustFileName::Serials, NEXT).unwrap();
                drop(store);
                assert_eq!(trust_of(folder.path()), stored(Some(NEXT), Some(FILE)), "{context}");
            }
        }
    }
}

#[test]
fn a_read_only_disk_is_read() {
    let (folder, faults, store) = store_with_trust();
    drop(store);
    std::fs::write(folder.path().join("trust/serials.json.new"), "half").unwrap();
    faults.inject(0, Fault::ReadOnly(Errno::ROFS));
    let (mut store, _) = faults.open(folder.path()).unwrap();
    assert_eq!(store.trust().unwrap(), stored(Some(SERIALS), Some(FILE)));
    store.save_trust(TrustFileName::Serials, NEXT).unwrap_err();
    assert_eq!(store.trust().unwrap(), stored(Some(SERIALS), Some(FILE)));
    faults.end();
    store.save_trust(TrustFileName::Serials, NEXT).unwrap();
    drop(store);
    assert_eq!(trust_of(folder.path()), stored(Some(NEXT), Some(FILE)));
    assert_eq!(names(folder.path()), ["serials.json", "trust.yaml"]);
}

/// Damages the serials. The file is set aside, and the other one is used.
fn damage(damaged: impl Fn(&[u8]) -> Vec<Vec<u8>>) {
    let (folder, _, store) = store_with_trust();
    drop(store);
    let path = folder.path().join("trust/serials.json");
    let content = std::fs::read(&path).unwrap();
    for (index, damaged) in damaged(&content).into_iter().enumerate() {
        std::fs::write(&path, damaged).unwrap();
        assert_eq!(trust_of(folder.path()), stored(None, Some(FILE)), "{index}");
        assert!(path.with_extension("json.damaged").exists(), "{index}");
        // It stays lost, until it is written again.
        let (mut store, _) = open_store(folder.path());
        assert_eq!(store.trust().unwrap(), stored(None, Some(FILE)), "{index}");
        store.save_trust(TrustFileName::Serials, SERIALS).unwrap();
        assert_eq!(store.trust().unwrap(), stored(Some(SERIALS), Some(FILE)), "{index}");
    }
}

#[test]
fn a_file_that_is_cut_anywhere_is_set_aside() {
    damage(|content| (0..content.len()).map(|length| content[..length].to_vec()).collect());
}

#[test]
fn a_file_with_a_flipped_bit_is_set_aside() {
    damage(|content| {
        let flip = |bit: usize| {
            let mut content = content.to_vec();
            content[bit / 8] ^= 1 << (bit % 8);
            content
        };
        (0..content.len() * 8).map(flip).collect()
    });
}

#[test]
fn a_file_of_a_newer_version_is_an_error_and_stays() {
    use crate::revisions::store::sealed::{VERSION, sealed};
    let (folder, _, store) = store_with_trust();
    drop(store);
    let path = folder.path().join("trust/serials.json");
    let newer = sealed(VERSION + 1, SERIALS);
    std::fs::write(&path, &newer).unwrap();
    let error = open_store(folder.path()).0.trust().unwrap_err();
    assert!(error.to_string().contains("newer version"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), newer);
}
