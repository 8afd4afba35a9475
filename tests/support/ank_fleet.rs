//! The real `ank-fleet`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::say;

/// The path of the real `ank-fleet`. Cargo builds the binaries of other packages only when asked.
pub fn ank_fleet() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--package", "ank-fleet", "--target-dir"]).arg(target);
    // Cargo sets these for tests; when one of them changes, ring is built anew.
    for (name, _) in std::env::vars() {
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(name);
        }
    }
    let start = Instant::now();
    let output = cargo.env_remove("OUT_DIR").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    if start.elapsed() > Duration::from_secs(5) {
        say(&format!("ank-fleet is built: {:.1?}\n", start.elapsed()));
    }
    target.join("debug/ank-fleet")
}
