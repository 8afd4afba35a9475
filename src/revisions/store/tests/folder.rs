//! What else can be in the folder: other kinds of files, names, permissions, another connector.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::fs::{CWD, FileType, mknodat};
use rustix::io::Errno;

use super::faults::{Fault, Faults};
use super::*;

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_folder_that_another_connector_uses_is_locked() {
    let folder = temp_dir();
    let path = folder.path().join("a/b");
    let (store, _) = open_store(&path);
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(&error, OpenError::Locked(locked) if *locked == path), "{error}");
    drop(store);
    open_store(&path);
}

#[test]
fn only_the_owner_can_read_the_files() {
    let folder = temp_dir();
    let path = folder.path().join("state");
    let mut store = three_revisions(&path);
    store.save_record("logs-a", b"{}").unwrap();
    drop(store);
    for (file, _) in files(&path) {
        assert_eq!(mode(&file), 0o600, "{file:?}");
    }
    for name in ["", REVISIONS, RECORDS] {
        assert_eq!(mode(path.join(name)), 0o700, "{name}");
    }
    // Copied from a backup, and left by a power cut.
    let (overlay, new) = (path.join("revisions/3.yaml"), path.join("revisions/4.status.new"));
    fs::write(&new, "x").unwrap();
    for path in [&overlay, &new, &path.join("records/logs-a.record")] {
        fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    }
    fs::set_permissions(path.join(REVISIONS), Permissions::from_mode(0o777)).unwrap();
    let (mut store, _) = open_store(&path);
    store.save(&[StoreChange::Overlay(4, items(&[])), StoreChange::Status(settled(4))]).unwrap();
    for (file, _) in files(&path) {
        assert_eq!(mode(&file), 0o600, "{file:?}");
    }
    assert_eq!(mode(path.join(REVISIONS)), 0o700);
}

#[test]
fn a_temporary_file_of_somebody_else_is_not_written_to() {
    let folder = temp_dir();
    let mut store = three_revisions(folder.path());
    let (other, new) = (folder.path().join("other"), folder.path().join("revisions/4.status.new"));
    fs::write(&other, "x").unwrap();
    symlink(&other, &new).unwrap();
    let changes = [StoreChange::Overlay(4, items(&[])), StoreChange::Status(settled(4))];
    store.save(&changes).unwrap_err();
    store.save(&changes).unwrap();
    drop(store);
    assert_eq!(fs::read(&other).unwrap(), b"x");
    assert_eq!(contents(folder.path()).revisions.len(), 4);
}

#[test]
fn a_file_that_somebody_removes_during_a_change_does_not_stop_later_ones() {
    let (folder, faults) = (temp_dir(), Faults::default());
    drop(three_revisions(folder.path()));
    let (mut store, _) = faults.open(folder.path()).unwrap();
    let changes = [StoreChange::Overlay(4, items(&[])), StoreChange::Status(settled(4))];
    // The first two write.
    faults.inject(2, Fault::Error(Errno::IO));
    store.save(&changes).unwrap_err();
    faults.end();
    fs::remove_file(folder.path().join("revisions/4.yaml.new")).unwrap();
    store.save(&changes).unwrap_err();
    store.save(&changes).unwrap();
    drop(store);
    assert_eq!(contents(folder.path()).revisions.len(), 4);
}

#[test]
fn other_kinds_of_files_are_set_aside() {
    type Make = fn(&Path);
    let make: [(&str, Make); 4] = [
        ("a link", |path| symlink("/etc/hostname", path).unwrap()),
        ("a FIFO", |path| {
            mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        }),
        ("a folder", |path| fs::create_dir(path).unwrap()),
        ("a huge file", |path| {
            fs::File::create(path).unwrap().set_len(1 << 40).unwrap();
        }),
    ];
    for (kind, make) in make {
        for file in ["3.yaml", "3.status"] {
            let folder = temp_dir();
            drop(three_revisions(folder.path()));
            let path = folder.path().join(REVISIONS).join(file);
            fs::remove_file(&path).unwrap();
            make(&path);
            let found = contents(folder.path());
            assert_eq!(found.revisions.len(), 2, "{kind}: {file}");
            assert_eq!(found.overlay, items(&[("c", Some("2"))]), "{kind}: {file}");
            let aside = path.with_file_name(format!("{file}.damaged"));
            assert!(fs::symlink_metadata(aside).is_ok(), "{kind}: {file}");
            assert_eq!(contents(folder.path()), found, "{kind}: {file}");
        }
    }
}

#[test]
fn a_part_of_the_store_that_leads_elsewhere_is_not_used() {
    let (folder, other) = (temp_dir(), temp_dir());
    drop(three_revisions(other.path()));
    let before = files(other.path());
    symlink(other.path().join(REVISIONS), folder.path().join(REVISIONS)).unwrap();
    let error = try_open(folder.path()).unwrap_err();
    assert!(error.to_string().contains("/revisions: "), "{error}");
    fs::remove_file(folder.path().join(REVISIONS)).unwrap();

    fs::remove_file(folder.path().join("lock")).unwrap();
    symlink("/nowhere", folder.path().join("lock")).unwrap();
    assert!(matches!(try_open(folder.path()), Err(OpenError::Io { .. })));
    assert_eq!(files(other.path()), before);
}

#[test]
fn files_that_are_not_of_the_store_stay() {
    let folder = temp_dir();
    drop(three_revisions(folder.path()));
    let revisions = folder.path().join(REVISIONS);
    let names: Vec<&OsStr> = [
        &b"007.yaml"[..],
        b"+7.status",
        b"0.status",
        b"18446744073709551616.status",
        b"notes.new",
        b"07.yaml.new",
        b"\xff\xfe.yaml",
        b"5.yaml\n",
        b"..yaml",
    ]
    .map(OsStr::from_bytes)
    .into();
    let status = seal(&serde_json::to_string(&settled(7)).unwrap());
    names.iter().for_each(|name| fs::write(revisions.join(name), &status).unwrap());
    assert_eq!(contents(folder.path()).revisions.len(), 3);
    names.iter().for_each(|name| assert_eq!(fs::read(revisions.join(name)).unwrap(), status));
}

#[test]
fn the_largest_number_is_that_of_a_revision() {
    let folder = temp_dir();
    let mut store = three_revisions(folder.path());
    let overlay = items(&[("d", Some("x"))]);
    store
        .save(&[
            StoreChange::Overlay(u64::MAX, overlay.clone()),
            StoreChange::Status(settled(u64::MAX)),
        ])
        .unwrap();
    drop(store);
    let found = contents(folder.path());
    assert_eq!((found.revisions.len(), found.overlay), (4, overlay));
}

#[test]
fn a_file_that_cannot_be_read_is_damaged_but_one_without_permission_is_not() {
    for (errno, is_damage) in
        [(Errno::IO, true), (Errno::UCLEAN, true), (Errno::ACCESS, false), (Errno::NOMEM, false)]
    {
        // The operations before are those on folders.
        let (folder, faults) = (temp_dir(), Faults::default());
        drop(three_revisions(folder.path()));
        let before = files(folder.path());
        faults.inject(4, Fault::Error(errno));
        let opened = faults.open(folder.path());
        if is_damage {
            // Both files of the first revision.
            assert_eq!(opened.unwrap().1.revisions.len(), 2);
        } else {
            let error = opened.map(|_| ()).unwrap_err();
            assert!(
                matches!(&error, LoadError::Io(file, _) if *file == status_path(1)),
                "{error:?}"
            );
            assert_eq!(files(folder.path()), before);
        }
    }
}

#[test]
fn a_folder_that_cannot_be_used_is_an_error_that_names_it() {
    let folder = temp_dir();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below"), "/proc/self/state".into()] {
        let error = try_open(&path).unwrap_err();
        assert!(matches!(error, OpenError::Io { .. }), "{error}");
        assert!(error.to_string().starts_with(path.to_str().unwrap()), "{error}");
    }
    // That of another owner.
    let faults = Faults::default();
    faults.inject(0, Fault::Error(Errno::ACCESS));
    let error = faults.open(&folder.path().join("state")).map(|_| ()).unwrap_err();
    assert!(matches!(&error, LoadError::Io(path, _) if path == Path::new(REVISIONS)), "{error:?}");
}
