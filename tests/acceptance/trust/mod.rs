//! Signed requests: what a vehicle with a trust file does, and what it refuses.

mod admission;
mod updates;

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use fleet_trust::testing::{Signer, bundle};
use fleet_trust::{Statement, Vehicles};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::Scene;
use crate::support::connector::VIN;

/// The fleet of the trust files of `fleet_trust::testing`.
const FLEET: &str = "prod-eu";

/// The folders and keys of a vehicle with a trust file, which two of two release keys have to
/// sign for.
struct Trusting {
    folder: TempDir,
    root: [Signer; 2],
    release: [Signer; 2],
}

impl Trusting {
    /// A folder with the trust file.
    fn new() -> Self {
        let one = Self {
            folder: TempDir::new().unwrap(),
            root: [Signer::ed25519(1), Signer::ed25519(2)],
            release: [Signer::ed25519(3), Signer::ecdsa_p256()],
        };
        fs::create_dir(one.folder.path().join("state")).unwrap();
        one.mount(&one.file());
        one
    }

    /// The text of the trust file, version 1.
    fn file(&self) -> String {
        let [root, release] = [&self.root, &self.release].map(|keys| keys.each_ref());
        fleet_trust::testing::trust_file(2, &root, &release)
    }

    /// Replaces the mounted trust file.
    fn mount(&self, text: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path()).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("trust.yaml")
    }

    /// The folder of the store.
    fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The settings of the connector.
    fn settings(&self) -> Vec<(String, String)> {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        vec![
            ("STATE_DIR".into(), text(self.state_dir())),
            ("TRUST_FILE".into(), text(self.path())),
            ("STABLE_TIME".into(), "300ms".into()),
        ]
    }

    /// Starts everything.
    async fn start(&self) -> Scene {
        let settings = self.settings();
        let settings: Vec<(&str, &str)> =
            settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Scene::with(&settings).await
    }

    /// Starts the connector anew.
    async fn restart_connector(&self, scene: &mut Scene) {
        let settings = self.settings();
        let settings: Vec<(&str, &str)> =
            settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        scene.restart_connector(&settings).await;
    }

    /// A request that both release keys have signed.
    fn sign(&self, statement: &Statement, payload: &str) -> Vec<u8> {
        bundle(statement, payload.as_bytes(), &self.release.each_ref())
    }
}

/// The system clock, in Unix seconds.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// A statement for an operation on this vehicle that is valid now.
fn statement(operation: &str, serial: u64) -> Statement {
    Statement {
        operation: operation.into(),
        fleet: FLEET.into(),
        vehicles: Vehicles::Vins(vec![VIN.into()]),
        serial,
        not_before: now() - 60,
        expires: now() + 3600,
        force: false,
        rollback: None,
        release: None,
        payload_sha256: [0; 32],
    }
}

/// A manifest with a config.
fn config(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nconfigs:\n  {name}: '{value}'\n")
}

/// The value of a config in the simulated Ankaios.
fn value_of(scene: &Scene, name: &str) -> Option<String> {
    let configs = scene.vehicle.desired_state().configs.unwrap_or_default().configs;
    configs.get(name).map(|item| format!("{item:?}"))
}

/// The code and `details.reason` of an error reply.
fn refusal(reply: &Value) -> [&str; 2] {
    let error = &reply["error"];
    [&error["code"], &error["details"]["reason"]].map(|value| value.as_str().unwrap_or_default())
}

/// What [`refusal`] says of a request that is refused for this reason.
fn untrusted(reason: &str) -> [&str; 2] {
    ["untrusted", reason]
}
