//! Tests with a real Ankaios that a vehicle with a trust file does only what was signed.

use std::time::{SystemTime, UNIX_EPOCH};

use fleet_trust::testing::{Signer, bundle, trust_file};
use fleet_trust::{Statement, Vehicles};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::connector::VIN;
use super::support::eventually;
use super::vehicle::{PATIENCE, STATE, Vehicle, adapt, needs};

/// Two keys must sign. All steps share one deployment, because a start of Ankaios and Podman takes
/// seconds.
#[tokio::test(flavor = "multi_thread")]
async fn does_only_what_was_signed() {
    let Some((programs, podman)) = needs("does_only_what_was_signed") else { return };
    let folder = TempDir::new().unwrap();
    let release = [Signer::ed25519(3), Signer::ed25519(4)];
    let file = trust_file(2, &[&Signer::ed25519(1), &Signer::ed25519(2)], &release.each_ref());
    std::fs::write(folder.path().join("trust.yaml"), file).unwrap();
    let settings = format!(
        r#"- "TRUST_FILE=/etc/fleet-connector/trust.yaml"
        - "-v"
        - "{}:/etc/fleet-connector:ro"
        - "-e"
        - "STATE_DIR="#,
        folder.path().display()
    );
    let manifest = adapt(STATE, &[(r#"- "STATE_DIR="#, &settings)]);
    let mut vehicle = Vehicle::deploy(programs, podman, &manifest).await;
    let nginx = vehicle.nginx();
    let sign = |operation: &str, serial: u64, signers: &[&Signer]| {
        let signed = bundle(&statement(operation, serial), nginx.as_bytes(), signers);
        String::from_utf8(signed).unwrap()
    };
    let both = release.each_ref();

    vehicle.step("deployed", Vehicle::is_served).await;
    let applied = sign("manifest/apply", 5, &both);
    vehicle
        .step("unsigned", async |vehicle| {
            let unsigned = vehicle.request("manifest/apply", &vehicle.nginx()).await;
            assert_eq!(refusal(&unsigned), "unsigned", "{unsigned}");
            let one = sign("manifest/apply", 5, &both[..1]);
            let one = vehicle.request("manifest/apply", &one).await;
            assert_eq!(refusal(&one), "threshold", "{one}");
            let history = vehicle.request("manifest/history", "").await;
            assert_eq!(history, json!({"current": 0, "revisions": []}));
            assert_eq!(vehicle.ankaios.container("nginx"), None);
        })
        .await;
    vehicle
        .step("signed", async |vehicle| {
            let reply = vehicle.request("manifest/apply", &applied).await;
            let instance = vehicle.only_instance(&reply, "added_workloads", "nginx");
            vehicle.becomes("nginx", &instance, "RUNNING").await;
            let history = vehicle.request("manifest/history", "").await;
            let signed_by = history["revisions"][0]["signed_by"].as_array().map(Vec::len);
            assert_eq!(signed_by, Some(2), "{history}");
        })
        .await;
    let older = sign("manifest/delete", 4, &both);
    vehicle
        .step("restored", async |vehicle| {
            vehicle.ankaios.power_off().await;
            vehicle.ankaios.start_server().await;
            vehicle.ankaios.start_agent().await;
            vehicle.is_served().await;
            runs(vehicle, true).await;
            let older = vehicle.request("manifest/delete", &older).await;
            assert_eq!(refusal(&older), "replayed", "{older}");
        })
        .await;
    vehicle
        .step("deleted", async |vehicle| {
            let newer = sign("manifest/delete", 6, &both);
            let deleted = vehicle.request("manifest/delete", &newer).await;
            vehicle.only_instance(&deleted, "deleted_workloads", "nginx");
            runs(vehicle, false).await;
            // The broker has kept the request.
            let again = vehicle.request("manifest/apply", &applied).await;
            assert_eq!(refusal(&again), "replayed", "{again}");
        })
        .await;
}

/// Waits until the workload runs, or is gone.
async fn runs(vehicle: &Vehicle, expected: bool) {
    eventually(&format!("nginx runs: {expected}"), PATIENCE, async || {
        (vehicle.ankaios.container("nginx").is_some() == expected).then_some(())
    })
    .await;
}

/// `details.reason` of an error reply.
fn refusal(reply: &Value) -> &str {
    reply["error"]["details"]["reason"].as_str().unwrap_or_default()
}

/// A statement for an operation on this vehicle that is valid now.
fn statement(operation: &str, serial: u64) -> Statement {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
    Statement {
        operation: operation.into(),
        fleet: "prod-eu".into(),
        vehicles: Vehicles::Vins(vec![VIN.into()]),
        serial,
        not_before: now - 60,
        expires: now + 3600,
        force: false,
        rollback: None,
        release: None,
        payload_sha256: [0; 32],
    }
}
