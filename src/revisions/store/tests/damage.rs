//! Damaged files, and those of a newer version.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::{Event, Level, Metadata, Subscriber, span};

use super::*;
use crate::revisions::store::disk::MAX_DAMAGED;
use crate::revisions::store::sealed::{VERSION, sealed};

/// Counts the errors in the log.
#[derive(Debug, Clone, Default)]
struct Errors(Arc<AtomicUsize>);

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Runs something, and counts the errors that it logs.
fn errors_of<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let errors = Errors::default();
    // While a process has only one subscriber, a log line is off for all threads if the first thread
    // that comes to it has none, such as that of another test.
    let _another = tracing::Dispatch::new(errors.clone());
    let result = tracing::subscriber::with_default(errors.clone(), run);
    (result, errors.0.load(Ordering::Relaxed))
}

type Opened = (Contents, Vec<(String, Vec<u8>)>);

fn open_all(path: &Path) -> Opened {
    let (mut store, contents) = open_store(path);
    let records = store.records().unwrap();
    (contents, records)
}

/// What remains after one file was damaged.
fn without(file: &str) -> Opened {
    let mut contents = Contents {
        revisions: (1..=3).map(|number| (number, settled(number))).collect(),
        overlay: items(&[("c", Some("3"))]),
        in_doubt: None,
        startup: items(&[("c", None)]),
    };
    let mut records = vec![("logs-a".to_owned(), b"{}".to_vec())];
    match file {
        "revisions/startup.yaml" => contents.startup.clear(),
        "records/logs-a.record" => records.clear(),
        _ => {
            let number = file.trim_start_matches("revisions/").split('.').next().unwrap();
            let number = number.parse().unwrap();
            contents.revisions.remove(&number);
            if number == 3 {
                contents.overlay = items(&[("c", Some("2"))]);
            }
        }
    }
    (contents, records)
}

const FILES: [&str; 6] = [
    "revisions/3.yaml",
    "revisions/3.status",
    "revisions/1.yaml",
    "revisions/1.status",
    "revisions/startup.yaml",
    "records/logs-a.record",
];

/// Damages one file of a store in different ways. After each, the rest is used.
fn damage_each(damaged: impl Fn(&[u8]) -> Vec<Vec<u8>>) {
    let folder = temp_dir();
    let path = folder.path();
    let mut store = three_revisions(path);
    store.save_record("logs-a", b"{}").unwrap();
    drop(store);
    let whole = files(path);
    for file in FILES {
        let content = std::fs::read(path.join(file)).unwrap();
        for (index, damaged) in damaged(&content).into_iter().enumerate() {
            std::fs::write(path.join(file), damaged).unwrap();
            let (opened, errors) = errors_of(|| open_all(path));
            assert_eq!(opened, without(file), "{file}, {index}");
            assert!(errors > 0, "{file}, {index}");
            assert!(path.join(format!("{file}.damaged")).exists(), "{file}, {index}");
            for (file, content) in &whole {
                std::fs::write(file, content).unwrap();
            }
        }
        std::fs::remove_file(path.join(file)).unwrap();
        assert_eq!(open_all(path), without(file), "{file} is missing");
        for (file, content) in &whole {
            std::fs::write(file, content).unwrap();
        }
    }
    let (opened, errors) = errors_of(|| open_all(path));
    assert_eq!((opened.0.revisions.len(), errors), (3, 0));
}

#[test]
fn a_file_that_is_cut_anywhere_is_set_aside_and_the_rest_is_used() {
    damage_each(|content| (0..content.len()).map(|length| content[..length].to_vec()).collect());
}

#[test]
fn a_file_with_a_flipped_bit_is_set_aside_and_the_rest_is_used() {
    // The tests of `sealed` flip all bits of each byte.
    damage_each(|content| {
        let flip = |position: usize| {
            let mut content = content.to_vec();
            content[position] ^= 1 << (position % 8);
            content
        };
        (0..content.len()).step_by(3).map(flip).collect()
    });
}

#[test]
fn a_file_with_the_right_checksum_and_other_content_is_set_aside() {
    let status = |revision: &Revision| serde_json::to_string(revision).unwrap();
    let contents = [
        "".to_owned(),
        "x".to_owned(),
        "{}".to_owned(),
        "apiVersion: v1\nworkloads: 7\n".to_owned(),
        "apiVersion: v1\nunknown: 7\n".to_owned(),
        "apiVersion: v1\nconfigs:\n  c: [*a]\n".to_owned(),
        "apiVersion: v1\ndeleted: [desiredState]\n".to_owned(),
        "apiVersion: v1\ndeleted: [7]\n".to_owned(),
        "# deleted: desiredState\napiVersion: v1\n".to_owned(),
        "# deleted: 7\napiVersion: v1\n".to_owned(),
        "# deleted: \napiVersion: v1\n".to_owned(),
        status(&settled(7)),
    ];
    for content in &contents {
        for file in ["revisions/3.yaml", "revisions/3.status", "revisions/startup.yaml"] {
            let folder = temp_dir();
            drop(three_revisions(folder.path()));
            std::fs::write(folder.path().join(file), seal(content)).unwrap();
            let (opened, errors) = errors_of(|| open_all(folder.path()).0);
            if content != "{}" || file.ends_with(".status") {
                assert_eq!(opened, without(file).0, "{file}: {content}");
                assert!(errors > 0, "{file}: {content}");
            }
        }
    }
}

#[test]
fn text_that_was_changed_at_random_never_stops_the_store() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = temp_dir();
    drop(three_revisions(folder.path()));
    let whole = files(folder.path());
    for round in 0..100 {
        for (file, content) in &whole {
            let Ok(text) = unseal(content) else { continue };
            let mut text = text.as_bytes().to_vec();
            for _ in 0..random.usize(1..4) {
                let position = random.usize(..text.len());
                text[position] = *random.choice(b"\n\t -:{}[]*&!|>'\"%#@,?0Z~").unwrap();
            }
            let content = if random.bool() { seal(&String::from_utf8_lossy(&text)) } else { text };
            std::fs::write(file, content).unwrap();
        }
        let opened = try_open(folder.path());
        assert!(opened.is_ok(), "seed {seed}, round {round}: {opened:?}");
    }
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_stays_as_it_is() {
    for file in FILES.into_iter().chain(["revisions/4.status.new"]) {
        let folder = temp_dir();
        let path = folder.path();
        let mut store = three_revisions(path);
        store.save_record("logs-a", b"{}").unwrap();
        drop(store);
        // What this version would remove or set aside.
        for name in ["revisions/2.yaml", "revisions/9.yaml.new", "records/logs-b.record"] {
            std::fs::write(path.join(name), "damaged").unwrap();
        }
        std::fs::write(path.join(file), sealed(VERSION + 1, "x")).unwrap();
        let before = files(path);
        let error = try_open(path).unwrap_err();
        assert!(
            matches!(&error, OpenError::Newer { file: newer, .. } if *newer == path.join(file)),
            "{file}: {error}"
        );
        assert!(error.to_string().contains("newer version"), "{error}");
        assert_eq!(files(path), before, "{file}");
    }
}

#[test]
fn damaged_files_are_limited_and_those_of_the_newest_revisions_stay() {
    let folder = temp_dir();
    let path = folder.path();
    for number in 1..=100 {
        for extension in ["yaml", "status"] {
            let file = path.join(format!("revisions/{number}.{extension}"));
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "damaged").unwrap();
        }
    }
    assert_eq!(contents(path), Contents::default());
    let mut names: Vec<String> = files(path)
        .into_iter()
        .map(|(path, _)| path.file_name().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name != "lock")
        .collect();
    names.sort();
    assert_eq!(names.len(), MAX_DAMAGED);
    assert!(names.contains(&"100.yaml.damaged".to_owned()), "{names:?}");
    assert!(names.contains(&"93.status.damaged".to_owned()), "{names:?}");
}

#[test]
fn a_revision_that_has_one_file_is_not_used() {
    let folder = temp_dir();
    let path = folder.path();
    drop(three_revisions(path));
    std::fs::remove_file(path.join("revisions/1.status")).unwrap();
    std::fs::remove_file(path.join("revisions/3.yaml")).unwrap();
    let (found, errors) = errors_of(|| contents(path));
    assert_eq!(found.revisions.keys().collect::<Vec<_>>(), [&2]);
    assert_eq!(found.overlay, items(&[("c", Some("2"))]));
    assert!(!path.join("revisions/1.yaml").exists());
    assert!(path.join("revisions/1.yaml.damaged").exists());
    assert!(path.join("revisions/3.status.damaged").exists());
    assert_eq!(errors, 2);
}

#[test]
fn the_newest_overlay_without_its_status_is_set_aside() {
    let folder = temp_dir();
    let path = folder.path();
    drop(three_revisions(path));
    let overlay = std::fs::read(path.join("revisions/3.yaml")).unwrap();
    std::fs::remove_file(path.join("revisions/3.status")).unwrap();
    // Neither a status that is cut, nor one of another revision, makes it whole.
    for other in [None, Some("revisions/3.status.new"), Some("revisions/9.status.new")] {
        if let Some(other) = other {
            std::fs::rename(path.join("revisions/3.yaml.damaged"), path.join("revisions/3.yaml"))
                .unwrap();
            std::fs::write(path.join(other), "x").unwrap();
        }
        let (found, errors) = errors_of(|| contents(path));
        assert_eq!(found.revisions.keys().collect::<Vec<_>>(), [&1, &2], "{other:?}");
        assert_eq!(found.overlay, items(&[("c", Some("2"))]), "{other:?}");
        assert_eq!(errors, 1, "{other:?}");
        assert_eq!(std::fs::read(path.join("revisions/3.yaml.damaged")).unwrap(), overlay);
    }
}

#[test]
fn a_revision_whose_removal_was_interrupted_is_removed_without_an_error() {
    let folder = temp_dir();
    let path = folder.path();
    drop(three_revisions(path));
    let retire = |number: u64| {
        let status = path.join(status_path(number));
        std::fs::rename(&status, status.with_extension("status.removed")).unwrap();
    };
    retire(1);
    retire(3);
    std::fs::remove_file(path.join("revisions/3.yaml")).unwrap();
    // That of an earlier revision with this number.
    std::fs::write(path.join("revisions/2.status.removed"), "x").unwrap();
    let (found, errors) = errors_of(|| contents(path));
    assert_eq!((found.revisions.keys().collect::<Vec<_>>(), errors), (vec![&2], 0));
    assert_eq!(found.overlay, items(&[("c", Some("2"))]));
    let names: Vec<_> = files(path)
        .into_iter()
        .map(|(file, _)| file.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["lock", "2.status", "2.yaml", "startup.yaml"]);
}

#[test]
fn only_the_newest_revision_can_be_in_doubt() {
    let folder = temp_dir();
    let mut store = three_revisions(folder.path());
    for number in [2, 4, 5] {
        let overlay = StoreChange::Overlay(number, items(&[("d", Some(&number.to_string()))]));
        store.save(&[overlay, StoreChange::Status(in_doubt(number))]).unwrap();
    }
    drop(store);
    let found = contents(folder.path());
    assert_eq!(found.revisions.keys().collect::<Vec<_>>(), [&1, &3, &5]);
    assert_eq!(found.overlay, items(&[("c", Some("3"))]));
    assert_eq!(found.in_doubt, Some(items(&[("d", Some("5"))])));
    assert!(!folder.path().join("revisions/4.yaml").exists());
    assert!(!folder.path().join("revisions/4.status").exists());
}
