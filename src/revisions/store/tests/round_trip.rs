//! Items that are written and read again are the same.

use super::*;

const TEXTS: [&str; 36] = [
    "",
    " ",
    "yes",
    "no",
    "on",
    "y",
    "true",
    "False",
    "null",
    "~",
    "1",
    "1.0",
    "0x1F",
    "1e3",
    "-1",
    ".inf",
    ".nan",
    "2026-01-01",
    "1:30",
    "a: b",
    "- a",
    "# a",
    "a #b",
    "'",
    "\"",
    "\\",
    "a\nb\n",
    "\n",
    "\n\n  a\n",
    " a\n b ",
    "\ta",
    "a\r\nb",
    "{a: [",
    "---",
    "...",
    "%YAML 1.2",
];

const CHARACTERS: [char; 20] = [
    'a',
    ' ',
    '\n',
    '\r',
    '\t',
    '\0',
    '\u{7}',
    '\u{7f}',
    '\u{85}',
    '\u{a0}',
    '\u{2028}',
    '\u{2029}',
    '\u{feff}',
    '\u{fffd}',
    '\u{ffff}',
    'ä',
    '🚗',
    '\u{10ffff}',
    '"',
    ':',
];

fn random_text(random: &mut fastrand::Rng) -> String {
    match random.u8(..3) {
        0 => (*random.choice(&TEXTS).unwrap()).to_owned(),
        1 => (0..random.usize(..12)).map(|_| *random.choice(&CHARACTERS).unwrap()).collect(),
        _ => (0..random.usize(..200)).map(|_| random.char(..)).collect(),
    }
}

fn random_name(random: &mut fastrand::Rng) -> String {
    const NAMES: [&str; 10] = ["yes", "no", "null", "1", "1e3", "0x1F", "-", "_", "-1", "true"];
    match random.u8(..3) {
        0 => (*random.choice(&NAMES).unwrap()).to_owned(),
        1 => (0..random.usize(1..64)).map(|_| random.alphanumeric()).collect(),
        _ => random.alphabetic().into(),
    }
}

fn random_map(random: &mut fastrand::Rng, value: fn(&mut fastrand::Rng) -> Value) -> Value {
    let count = random.usize(..4);
    (0..count)
        .map(|_| (random_name(random), value(random)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn random_config(random: &mut fastrand::Rng, depth: u8) -> Value {
    let nested = |random: &mut fastrand::Rng| random_config(random, depth - 1);
    match random.u8(..4) {
        0 if depth > 0 => (0..random.usize(..4)).map(|_| nested(random)).collect(),
        1 if depth > 0 => {
            let fields = 0..random.usize(..4);
            let fields: serde_json::Map<_, _> =
                fields.map(|_| (random_name(random), nested(random))).collect();
            fields.into()
        }
        _ => random_text(random).into(),
    }
}

fn random_workload(random: &mut fastrand::Rng) -> Value {
    let text = |random: &mut fastrand::Rng| random_text(random).into();
    let mut workload = json!({
        "agent": "agent_A",
        "runtime": "podman",
        "runtimeConfig": random_text(random),
    });
    let optional: [(&str, Value); 5] = [
        ("restartPolicy", json!(*random.choice(["ALWAYS", "NEVER", "ON_FAILURE"].iter()).unwrap())),
        ("tags", random_map(random, text)),
        ("dependencies", random_map(random, |_| json!("ADD_COND_RUNNING"))),
        ("configs", random_map(random, |random| random_name(random).into())),
        (
            "files",
            json!([
                {"mountPoint": "/a", "data": random_text(random)},
                {"mountPoint": "/b", "binaryData": "AAEC/w=="},
            ]),
        ),
    ];
    for (name, value) in optional {
        if random.bool() {
            workload[name] = value;
        }
    }
    workload
}

fn random_items(random: &mut fastrand::Rng) -> Items {
    let workloads = random_map(random, random_workload);
    let configs = random_map(random, |random| random_config(random, 4));
    let state = json!({"desiredState": {"workloads": workloads, "configs": configs}});
    let mut items: Items =
        items_of(&state).into_iter().map(|(item, value)| (item, Some(value))).collect();
    for _ in 0..random.usize(..3) {
        let name = random_name(random);
        items.insert(if random.bool() { Item::config(name) } else { Item::workload(name) }, None);
    }
    items
}

#[test]
fn items_that_are_written_are_read_again() {
    let first = fastrand::u64(..);
    for seed in first..first.wrapping_add(100) {
        let items = random_items(&mut fastrand::Rng::with_seed(seed));
        let written = items_text(Path::new("x"), &items);
        let file = written.unwrap_or_else(|error| panic!("seed {seed}: {error}: {items:#?}"));
        assert_eq!(parse_items(unseal(&file).unwrap()), Ok(items), "seed {seed}");
    }
}

#[test]
fn deleted_items_are_comments_of_a_manifest() {
    let text = "x\n# deleted: desiredState.workloads.x\n";
    let items = items(&[("a", Some(text)), ("b", None), ("c", None)]);
    let items: Items = items.into_iter().chain([(Item::workload("w"), None)]).collect();
    let file = items_text(Path::new("x"), &items).unwrap();
    let written = unseal(&file).unwrap();
    assert!(
        written.starts_with(
            "# deleted: desiredState.workloads.w\n# deleted: desiredState.configs.b\n\
             # deleted: desiredState.configs.c\napiVersion: v1\nconfigs:\n"
        ),
        "{written}"
    );
    assert_eq!(parse_items(written), Ok(items));
    let manifest = ankaios_model::manifest::Manifest::parse(&file).unwrap();
    assert_eq!(manifest.config_names().collect::<Vec<_>>(), ["a"]);
    assert_eq!(manifest.workload_names().count(), 0);
}

#[test]
fn an_overlay_of_the_store_is_read_again() {
    let folder = temp_dir();
    let (mut store, _) = open_store(folder.path());
    let items = random_items(&mut fastrand::Rng::with_seed(1));
    store.save(&[StoreChange::Overlay(1, items.clone()), StoreChange::Status(settled(1))]).unwrap();
    assert_eq!(store.overlay(1), Ok(items.clone()));
    assert!(matches!(store.overlay(2), Err(StoreError::Io { .. })));
    drop(store);
    assert_eq!(contents(folder.path()).overlay, items);
    std::fs::write(folder.path().join("revisions/1.yaml"), "x").unwrap();
    let error = open_store(folder.path()).0.overlay(1).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "it was set aside");
}

#[test]
fn items_that_could_not_be_read_again_are_not_written() {
    let folder = temp_dir();
    let mut store = three_revisions(folder.path());
    for name in ["a.b", ""] {
        let overlay = StoreChange::Overlay(4, items(&[(name, Some("x"))]));
        let error = store.save(&[overlay, StoreChange::Status(settled(4))]).unwrap_err();
        assert!(matches!(error, StoreError::Invalid { .. }), "{name}: {error}");
    }
    let huge = vec![b'x'; MAX_FILE + 1];
    let error =
        store.disk.replace(REVISIONS, vec![FileChange::Write(overlay_path(4), huge)]).unwrap_err();
    assert!(matches!(error, StoreError::Invalid { .. }), "{error}");
    drop(store);
    assert_eq!(contents(folder.path()).revisions.len(), 3);
}
