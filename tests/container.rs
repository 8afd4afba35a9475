//! Tests the image of the shipped Containerfile with Podman.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use support::connector::BASE;
use support::podman::Podman;
use support::vehicle::Vehicle;
use support::{Broker, DEADLINE, eventually, free_port, skipped};

/// The maximum size of the image, in bytes.
const MAX_IMAGE_SIZE: u64 = 7_000_000;

/// The image, and the Podman that has built it.
struct Image {
    podman: Podman,
    id: String,
}

/// The image, built once. Prints why the test is skipped and returns `None` if there is no
/// Podman.
fn image(test: &str) -> Option<&'static Image> {
    static IMAGE: OnceLock<Result<Image, String>> = OnceLock::new();
    let image = IMAGE.get_or_init(|| {
        let podman = Podman::detect()?;
        let id = podman.build_connector_image();
        Ok(Image { podman, id })
    });
    image.as_ref().map_err(|reason| skipped(test, reason)).ok()
}

#[test]
fn image_is_small() {
    let Some(Image { podman, id }) = image("image_is_small") else {
        return;
    };
    let size = podman.run(["image", "inspect", "--format={{.Size}}", id]);
    let size: u64 = size.parse().unwrap();
    assert!(size < MAX_IMAGE_SIZE, "{size} bytes");
}

#[test]
fn image_contains_only_the_binary_and_the_ca_roots() {
    let Some(Image { podman, id }) = image("image_contains_only_the_binary_and_the_ca_roots")
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("image.tar");
    let container = podman.run(["create", id]);
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
    let Some(Image { podman, id }) = image("image_starts_the_connector_as_root") else {
        return;
    };
    let format = "--format={{.Config.Entrypoint}} user={{.Config.User}}";
    let config = podman.run(["image", "inspect", format, id]);
    assert_eq!(config, "[/usr/bin/fleet-connector] user=");
}

/// Runs the container as Ankaios does, without anything that it does not need: the broker is
/// given by host name, the file system is read-only, and there are no capabilities.
#[tokio::test(flavor = "multi_thread")]
async fn serves_from_a_locked_down_container() {
    let Some(Image { podman, id }) = image("serves_from_a_locked_down_container") else {
        return;
    };
    let broker = Broker::start().await;
    let vehicle = Vehicle::start().await;
    let fifos = vehicle.control_interface().display();
    let mount =
        format!("--mount=type=bind,source={fifos},destination=/run/ankaios/control_interface");
    let port = format!("MQTT_BROKER_PORT={}", broker.port());
    let health = format!("HEALTH_ADDR=127.0.0.1:{}", free_port());
    let name = format!("fleet-connector-test-{}", broker.port());
    let mut container = podman.start(
        &name,
        &[
            "--net=host",
            "--read-only",
            "--cap-drop=all",
            "--add-host=broker.fleet.test:127.0.0.1",
            "-e",
            "VIN=1",
            "-e",
            "MQTT_BROKER_ADDR=broker.fleet.test",
            "-e",
            &port,
            "-e",
            &health,
            r#"--health-cmd=["/usr/bin/fleet-connector", "health"]"#,
            // Timers need systemd.
            "--health-interval=disable",
            &mount,
            id,
        ],
    );

    let state = format!("{BASE}/state");
    let reply = eventually("the container answers", DEADLINE, async || {
        let patience = Duration::from_secs(2);
        let attempt = broker.try_request(&state, r#"["desiredState.apiVersion"]"#, patience, &[]);
        attempt.await.ok()
    })
    .await;
    let reply = reply.json();
    assert_eq!(reply["desired_state"]["api_version"], "v1", "{reply}");

    let apply = format!("{BASE}/manifest/apply");
    let manifest = include_str!("../manifests/nginx.yaml");
    let reply = broker.request(&apply, manifest, &[]).await.json();
    assert_eq!(reply["added_workloads"][0]["workload_name"], "nginx", "{reply}");

    podman.run(["healthcheck", "run", &name]);
    let livez = ["exec", &name, "/usr/bin/fleet-connector", "health", "livez"];
    assert_eq!(podman.run(livez), r#"{"alive":true}"#);

    // Podman forwards the signal to the first process of the container.
    let status = container.process.terminate().await;
    assert!(status.success(), "the connector does not stop in good order: {status}");
}
