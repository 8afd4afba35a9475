//! The image of the shipped Containerfile under Podman.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::process::Command;
use std::sync::OnceLock;

use support::podman::{CONNECTOR_IMAGE, Podman};
use support::skipped;

/// What the image may weigh, in bytes.
const MAX_IMAGE_SIZE: u64 = 6_000_000;

/// Podman and the image, made once; `None`, after saying so, if there is no Podman.
fn podman(test: &str) -> Option<&'static Podman> {
    static PODMAN: OnceLock<Result<Podman, String>> = OnceLock::new();
    let podman = PODMAN.get_or_init(|| {
        let podman = Podman::detect()?;
        podman.build_connector_image();
        Ok(podman)
    });
    match podman {
        Ok(podman) => Some(podman),
        Err(reason) => {
            skipped(test, reason);
            None
        }
    }
}

#[test]
fn image_is_small() {
    let Some(podman) = podman("image_is_small") else {
        return;
    };
    let size = podman.run(["image", "inspect", "--format={{.Size}}", CONNECTOR_IMAGE]);
    let size: u64 = size.parse().unwrap();
    assert!(size < MAX_IMAGE_SIZE, "{size} bytes");
}

#[test]
fn image_holds_the_binary_and_the_ca_roots_only() {
    let Some(podman) = podman("image_holds_the_binary_and_the_ca_roots_only") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("image.tar");
    let container = podman.run(["create", CONNECTOR_IMAGE]);
    let exported = podman.try_run(["export", "--output", archive.to_str().unwrap(), &container]);
    podman.run(["rm", &container]);
    exported.unwrap();

    let listing = Command::new("tar").arg("-tf").arg(archive).output().unwrap();
    let listing = String::from_utf8(listing.stdout).unwrap();
    let mut files: Vec<&str> = listing.lines().filter(|path| !path.ends_with('/')).collect();
    files.sort_unstable();
    assert_eq!(files, ["etc/ssl/certs/ca-certificates.crt", "usr/bin/fleet-connector"]);
}

#[test]
fn image_starts_the_connector_as_root() {
    let Some(podman) = podman("image_starts_the_connector_as_root") else {
        return;
    };
    let format = "--format={{.Config.Entrypoint}} user={{.Config.User}}";
    let config = podman.run(["image", "inspect", format, CONNECTOR_IMAGE]);
    assert_eq!(config, "[/usr/bin/fleet-connector] user=");
}
