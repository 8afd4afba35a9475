//! The code of the messages in `src/proto` is what prost-build generates from the `.proto` files. With
//! `UPDATE_PROTO` set in the environment, it is written.

use std::collections::BTreeMap;
use std::path::Path;
use std::{env, fs};

/// The Rust files of a folder: their names and text.
fn sources(folder: &Path) -> BTreeMap<String, String> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let sources = paths.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let read =
        |path: &Path| fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    sources
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), read(&path)))
        .collect()
}

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
    if env::var_os("UPDATE_PROTO").is_some() {
        for (name, text) in &generated {
            let path = kept.join(name);
            fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
    assert!(
        sources(&kept) == generated,
        "{} is not what prost-build generates from the .proto files. Run \
         `UPDATE_PROTO=1 cargo test -p ankaios-model generated`, delete files that are not generated, and \
         commit the result.",
        kept.display(),
    );
}
