//! The protobuf compiler that is installed, in place of one that is built from source.

use std::path::PathBuf;

/// The program.
#[must_use]
pub fn protoc() -> PathBuf {
    PathBuf::from("protoc")
}
