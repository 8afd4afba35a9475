//! The code of the messages in `src/proto` is what prost generates from the schema in `proto`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// File names and their text.
fn sources(folder: &Path) -> BTreeMap<String, String> {
    let read = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
    };
    fs::read_dir(folder).unwrap().map(|entry| read(entry.unwrap())).collect()
}

/// Corrects `src/proto` before it fails, so that a change of the schema takes no other tool.
#[test]
fn the_code_of_the_messages_is_generated_from_the_schema() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kept = package.join("src/proto");
    let schema = protox::compile(["control_api.proto"], [package.join("proto")]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    prost_build::Config::new()
        // Ordered maps, so that equal messages are encoded to equal bytes.
        .btree_map(["."])
        .out_dir(folder.path())
        .compile_fds(schema)
        .unwrap();

    let generated = sources(folder.path());
    let outdated = sources(&kept) != generated;
    if outdated {
        fs::remove_dir_all(&kept).unwrap();
        fs::create_dir(&kept).unwrap();
        for (name, text) in &generated {
            fs::write(kept.join(name), text).unwrap();
        }
    }
    assert!(!outdated, "{} did not match the schema. It does now: commit it.", kept.display());
}
