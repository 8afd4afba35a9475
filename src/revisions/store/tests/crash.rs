//! Power cuts and failing disks at each operation.

use rustix::io::Errno;

use super::faults::{Fault, Faults};
use super::model::Model;
use super::*;

/// Changes as the core makes them.
pub(super) fn history() -> Vec<Vec<StoreChange>> {
    use StoreChange::{Overlay, Remove, Startup, Status};
    let first = || items(&[("a", Some("1"))]);
    let rolled_back = Revision { status: RevisionStatus::RolledBack, ..settled(1) };
    let foreign = Revision { id: "b".into(), ..settled(3) };
    vec![
        vec![Startup(items(&[("a", None)])), Overlay(1, first()), Status(in_doubt(1))],
        vec![Status(settled(1))],
        vec![
            Startup(items(&[("a", None), ("b", Some("0"))])),
            Overlay(2, items(&[("a", Some("1")), ("b", None)])),
            Status(in_doubt(2)),
        ],
        // What Ankaios has made of it differs; another revision was taken back.
        vec![
            Overlay(2, items(&[("a", Some("2")), ("b", None)])),
            Status(settled(2)),
            Status(rolled_back),
        ],
        vec![Overlay(3, first()), Status(in_doubt(3))],
        vec![Status(settled(3)), Remove(1)],
        // The revision of another connector has the same number.
        vec![Overlay(3, items(&[("z", Some("9"))])), Status(foreign)],
        vec![Startup(items(&[("a", None)])), Status(Revision { tries: 1, ..settled(2) })],
        // In any order.
        vec![
            Status(settled(2)),
            Overlay(4, first()),
            Status(in_doubt(4)),
            Status(settled(4)),
            Remove(2),
            Overlay(5, first()),
            Status(in_doubt(5)),
            Startup(items(&[])),
        ],
    ]
}

/// A store with these changes, on a folder that has no faults yet.
pub(super) fn store_with(saves: &[Vec<StoreChange>]) -> (TempDir, Faults, Store) {
    let (folder, faults) = (temp_dir(), Faults::default());
    let (mut store, _) = faults.open(folder.path()).unwrap();
    saves.iter().for_each(|changes| store.save(changes).unwrap());
    (folder, faults, store)
}

/// Checks that opening the store has left only whole files: a power cut is no damage.
fn check_names(path: &Path, context: &str) {
    for (path, _) in files(path) {
        let name = path.to_string_lossy();
        let is_left = [TEMPORARY, DAMAGED, REMOVED].iter().any(|suffix| name.ends_with(suffix));
        assert!(!is_left, "{context}: {name}");
    }
}

/// Checks the store after a power cut within the last of these saves. The power may be cut again
/// while the store is opened.
fn check_after_cut(path: &Path, faults: &Faults, saves: &[Vec<StoreChange>], context: &str) {
    let (changes, before) = saves.split_last().unwrap();
    let allowed = Model::after(before).after_some(changes);
    for operation in 0.. {
        faults.inject(operation, Fault::Stop);
        if faults.open(path).is_ok() {
            break;
        }
    }
    let (mut store, found) = open_store(path);
    assert!(allowed.iter().any(|model| model.contents() == found), "{context}: {found:#?}");
    check_names(path, context);
    store.save(changes).unwrap();
    drop(store);
    assert_eq!(contents(path), Model::after(saves).contents(), "{context}: repeated");
}

#[test]
fn a_power_cut_after_any_operation_leaves_the_former_or_the_new_state() {
    let history = history();
    for end in 1..=history.len() {
        let saves = &history[..end];
        let (changes, before) = saves.split_last().unwrap();
        for operation in 0.. {
            let (folder, faults, mut store) = store_with(before);
            faults.inject(operation, Fault::Stop);
            if store.save(changes).is_ok() {
                assert_eq!(contents(folder.path()), Model::after(saves).contents());
                break;
            }
            drop(store);
            let context = format!("change {end}, operation {operation}");
            check_after_cut(folder.path(), &faults, saves, &context);
        }
    }
}

#[test]
fn a_power_cut_after_any_byte_leaves_the_former_or_the_new_state() {
    let history = history();
    // One replaces a status, the other one has all kinds of files.
    for end in [2, 3] {
        let saves = &history[..end];
        let (changes, before) = saves.split_last().unwrap();
        let allowed = Model::after(before).after_some(changes);
        let (mut operation, mut length) = (0, 0);
        loop {
            let (folder, faults, mut store) = store_with(before);
            faults.inject(operation, Fault::StopWriting(length));
            if store.save(changes).is_ok() {
                break;
            }
            drop(store);
            let found = contents(folder.path());
            let context = format!("change {end}, operation {operation}, {length} bytes");
            assert!(allowed.iter().any(|model| model.contents() == found), "{context}: {found:#?}");
            check_names(folder.path(), &context);
            (operation, length) = match faults.size_at_fault() {
                Some(size) if length < size => (operation, length + 1),
                _ => (operation + 1, 0),
            };
        }
    }
}

#[test]
fn an_error_of_any_operation_is_returned_and_the_next_save_works() {
    let history = history();
    for errno in [Errno::NOSPC, Errno::ROFS] {
        for fault in [Fault::Error(errno), Fault::Full(errno)] {
            for end in 1..=history.len() {
                let saves = &history[..end];
                let (changes, before) = saves.split_last().unwrap();
                for operation in 0.. {
                    let (folder, faults, mut store) = store_with(before);
                    faults.inject(operation, fault);
                    let Err(error) = store.save(changes) else { break };
                    faults.end();
                    let context = format!("{fault:?}, change {end}, operation {operation}");
                    let message = error.to_string();
                    assert!(message.contains(&io::Error::from(errno).to_string()), "{message}");

                    let allowed = Model::after(before).after_some(changes);
                    let copy = copy_of(folder.path());
                    let found = contents(copy.path());
                    assert!(allowed.iter().any(|model| model.contents() == found), "{context}");
                    for (number, overlay) in Model::after(before).overlays() {
                        let read = store.overlay(*number);
                        let removed = changes.contains(&StoreChange::Remove(*number));
                        let replaced = changes.iter().any(
                            |change| matches!(change, StoreChange::Overlay(n, _) if n == number),
                        );
                        assert!(removed || replaced || read.as_ref() == Ok(overlay), "{context}");
                    }

                    store.save(changes).unwrap();
                    drop(store);
                    let model = Model::after(saves);
                    assert_eq!(contents(folder.path()), model.contents(), "{context}");
                }
            }
        }
    }
}

#[test]
fn an_error_while_the_store_is_opened_loses_nothing() {
    let history = history();
    for operation in 0.. {
        let (folder, faults, store) = store_with(&history);
        drop(store);
        std::fs::write(folder.path().join("revisions/2.yaml.new"), "x").unwrap();
        faults.inject(operation, Fault::Error(Errno::ROFS));
        let opened = faults.open(folder.path()).map(|(_, contents)| contents);
        let model = Model::after(&history);
        match opened {
            Ok(found) => assert_eq!(found, model.contents(), "operation {operation}"),
            Err(LoadError::Io(_, error)) => {
                assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem)
            }
            Err(error) => panic!("{error:?}"),
        }
        let done = faults.count() <= operation;
        faults.end();
        assert_eq!(contents(folder.path()), model.contents(), "operation {operation}");
        if done {
            break;
        }
    }
}

pub(super) fn copy_of(path: &Path) -> TempDir {
    let copy = temp_dir();
    for folder in [REVISIONS, RECORDS] {
        std::fs::create_dir(copy.path().join(folder)).unwrap();
    }
    for (file, content) in files(path) {
        std::fs::write(copy.path().join(file.strip_prefix(path).unwrap()), content).unwrap();
    }
    copy
}

/// A change of a random kind.
fn random_change(random: &mut fastrand::Rng) -> Vec<StoreChange> {
    let number = random.u64(1..6);
    let value = random.u32(..).to_string();
    let overlay = items(&[("c", Some(&value)), ("d", None)]);
    let status = if random.bool() { in_doubt(number) } else { settled(number) };
    let status = Revision { request_id: value.clone(), ..status };
    let other = Revision { request_id: value.clone(), ..settled(random.u64(6..9)) };
    let startup = StoreChange::Startup(items(&[("c", Some(&value))]));
    let (overlay, status) = (StoreChange::Overlay(number, overlay), StoreChange::Status(status));
    match random.u8(..6) {
        0 => vec![startup, overlay, status],
        1 => vec![overlay, status, StoreChange::Status(other)],
        2 => vec![
            status,
            startup,
            StoreChange::Overlay(other.revision, items(&[("e", Some(&value))])),
            StoreChange::Status(other),
            StoreChange::Remove(number),
        ],
        3 => vec![StoreChange::Remove(number)],
        4 => vec![startup],
        _ => vec![overlay, status],
    }
}

#[test]
fn random_changes_and_faults_leave_a_state_of_the_model() {
    let first = fastrand::u64(..);
    for seed in first..first.wrapping_add(12) {
        random_run(seed);
    }
}

fn random_run(seed: u64) {
    let random = &mut fastrand::Rng::with_seed(seed);
    let (folder, faults, mut store) = store_with(&[]);
    // Those that are possible after what has failed.
    let mut models = vec![Model::default()];
    for step in 0..30 {
        let changes = random_change(random);
        let fault = match random.u8(..8) {
            0 => Some(Fault::Stop),
            1 => Some(Fault::StopWriting(random.usize(..600))),
            2 => Some(Fault::Error(Errno::NOSPC)),
            3 => Some(Fault::Full(Errno::NOSPC)),
            _ => None,
        };
        if let Some(fault) = fault {
            faults.inject(random.usize(..12), fault);
        }
        let saved = store.save(&changes);
        let cut = faults.is_cut();
        faults.end();
        models = match saved {
            Ok(()) => models.into_iter().map(|model| model.with(&changes)).collect(),
            Err(_) => models.iter().flat_map(|model| model.after_some(&changes)).collect(),
        };
        models.dedup();
        if cut || random.u8(..4) == 0 {
            drop(store);
            let (reopened, found) = faults.open(folder.path()).unwrap();
            store = reopened;
            models.retain(|model| model.contents() == found);
            assert!(!models.is_empty(), "seed {seed}, step {step}: {found:#?}");
            models = models.into_iter().map(Model::reopened).collect();
        }
    }
}
