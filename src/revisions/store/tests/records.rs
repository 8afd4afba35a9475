//! Records.

use super::faults::{Fault, Faults};
use super::*;
use crate::revisions::store::records::{MAX_RECORD, MAX_RECORDS};

fn record(name: &str, content: &str) -> (String, Vec<u8>) {
    (name.to_owned(), content.as_bytes().to_vec())
}

fn records_of(path: &Path) -> Vec<(String, Vec<u8>)> {
    open_store(path).0.records().unwrap()
}

#[test]
fn records_are_kept_until_they_are_removed() {
    let folder = temp_dir();
    let (mut store, _) = open_store(folder.path());
    assert_eq!(store.records(), Ok(vec![]));
    store.save_record("logs-b", b"1").unwrap();
    store.save_record("events-a_-9", "{\"ä\": \"\n\"}".as_bytes()).unwrap();
    store.save_record("logs-b", b"").unwrap();
    let expected = vec![record("events-a_-9", "{\"ä\": \"\n\"}"), record("logs-b", "")];
    assert_eq!(store.records().as_ref(), Ok(&expected));
    drop(store);
    assert_eq!(records_of(folder.path()), expected);

    let (mut store, _) = open_store(folder.path());
    store.remove_record("events-a_-9").unwrap();
    store.remove_record("events-a_-9").unwrap();
    assert_eq!(store.records(), Ok(vec![record("logs-b", "")]));
    drop(store);
    assert_eq!(records_of(folder.path()), [record("logs-b", "")]);
}

#[test]
fn records_have_limits() {
    let folder = temp_dir();
    let (mut store, _) = open_store(folder.path());
    let long = format!("logs-{}", "a".repeat(64));
    let bad = ["", "logs-", "logs", "x-a", "logs-a/b", "logs-..", "logs-a.b", "logs-ä", &long];
    for name in bad.into_iter().chain(["../logs-a", "logs-a\n", "logs-a\0"]) {
        let error = store.save_record(name, b"{}").unwrap_err();
        assert!(matches!(error, StoreError::Invalid { .. }), "{name}");
        assert_eq!(store.remove_record(name), Err(error), "{name}");
    }
    let large = vec![b'x'; MAX_RECORD];
    store.save_record(&long[..long.len() - 1], &large).unwrap();
    let larger = vec![b'x'; MAX_RECORD + 1];
    store.save_record("logs-a", &larger).unwrap_err();
    store.save_record("logs-a", b"\xff").unwrap_err();
    assert_eq!(store.records().unwrap(), [(long[..long.len() - 1].to_owned(), large)]);
    store.remove_record(&long[..long.len() - 1]).unwrap();

    for number in 0..MAX_RECORDS {
        store.save_record(&format!("logs-{number}"), b"{}").unwrap();
    }
    let error = store.save_record("logs-more", b"{}").unwrap_err();
    assert!(error.to_string().contains("1024 records"), "{error}");
    store.save_record("logs-0", b"[]").unwrap();
    store.remove_record("logs-1").unwrap();
    store.save_record("logs-more", b"{}").unwrap();
    drop(store);
    std::fs::write(folder.path().join("records/logs-zzz.record"), seal("{}")).unwrap();
    let records = records_of(folder.path());
    assert_eq!(records.len(), MAX_RECORDS);
    assert!(!records.contains(&record("logs-zzz", "{}")));
}

#[test]
fn a_power_cut_leaves_the_former_or_the_new_record() {
    type Change = fn(&mut Store) -> Result<(), StoreError>;
    let former = || vec![record("events-a", "1"), record("logs-a", "2")];
    let cases: [(Change, Vec<_>); 3] = [
        (
            |store| store.save_record("logs-a", b"3"),
            vec![former().remove(0), record("logs-a", "3")],
        ),
        (
            |store| store.save_record("logs-b", b"3"),
            [former(), vec![record("logs-b", "3")]].concat(),
        ),
        (|store| store.remove_record("logs-a"), vec![former().remove(0)]),
    ];
    for (case, (change, new)) in cases.into_iter().enumerate() {
        let (mut operation, mut length) = (0, 0);
        loop {
            let (folder, faults) = (temp_dir(), Faults::default());
            let (mut store, _) = faults.open(folder.path()).unwrap();
            for (name, content) in former() {
                store.save_record(&name, &content).unwrap();
            }
            faults.inject(operation, Fault::StopWriting(length));
            let changed = change(&mut store);
            drop(store);
            let found = records_of(folder.path());
            if changed.is_ok() {
                assert_eq!(found, new, "case {case}");
                break;
            }
            let context = format!("case {case}, operation {operation}, {length} bytes");
            assert!(found == former() || found == new, "{context}: {found:?}");
            let (mut store, _) = open_store(folder.path());
            change(&mut store).unwrap();
            assert_eq!(store.records().unwrap(), new, "{context}");
            (operation, length) = match faults.size_at_fault() {
                Some(size) if length < size => (operation, length + 1),
                _ => (operation + 1, 0),
            };
        }
    }
}

#[test]
fn a_failing_disk_leaves_the_records_usable() {
    for operation in 0.. {
        let (folder, faults) = (temp_dir(), Faults::default());
        let (mut store, _) = faults.open(folder.path()).unwrap();
        store.save_record("logs-a", b"1").unwrap();
        faults.inject(operation, Fault::Error(rustix::io::Errno::NOSPC));
        let saved = store.save_record("logs-b", b"2");
        faults.end();
        if saved.is_ok() {
            break;
        }
        let found = store.records().unwrap();
        assert_eq!(found[0], record("logs-a", "1"), "operation {operation}");
        store.save_record("logs-c", b"3").unwrap();
        store.save_record("logs-b", b"4").unwrap();
        let expected = vec![record("logs-a", "1"), record("logs-b", "4"), record("logs-c", "3")];
        assert_eq!(store.records().unwrap(), expected, "operation {operation}");
        drop(store);
        assert_eq!(records_of(folder.path()), expected, "operation {operation}");
    }
}
