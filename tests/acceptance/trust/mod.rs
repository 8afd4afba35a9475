//! Signed requests: what a vehicle with a trust file does, and what it refuses.

mod admission;
mod attacks;
mod clock;
mod crash;
mod guard;
mod keygen;
mod records;
mod replicas;
mod settings;
mod store;
mod updates;

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use ankaios_model::proto::ank_base::request::RequestContent;
use bytes::Bytes;
use fleet_trust::testing::{Signer, bundle};
use fleet_trust::{Statement, Vehicles};
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::connector::{BASE, VIN};
use crate::support::scene::payload;
use crate::support::{Client, Scene};

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
        self.start_with(&[]).await
    }

    /// Starts everything, with more settings.
    async fn start_with(&self, more: &[(&str, &str)]) -> Scene {
        let settings = self.settings();
        Scene::with(&[&borrowed(&settings), more].concat()).await
    }

    /// Starts the connector anew.
    async fn restart_connector(&self, scene: &mut Scene) {
        scene.restart_connector(&borrowed(&self.settings())).await;
    }

    /// A request that both release keys have signed.
    fn sign(&self, statement: &Statement, payload: &str) -> Vec<u8> {
        bundle(statement, payload.as_bytes(), &self.release.each_ref())
    }
}

/// Settings as the scene takes them.
fn borrowed(settings: &[(String, String)]) -> Vec<(&str, &str)> {
    settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// An operator whose requests may have any size and any bytes. Each has a request id.
struct Operator {
    client: Client,
    /// The requests that were replied to.
    done: Vec<String>,
}

impl Operator {
    async fn connect(scene: &Scene) -> Self {
        Self { client: scene.client("replies/+").await, done: Vec::new() }
    }

    /// Sends a request and returns its reply.
    async fn request(&mut self, operation: &str, id: &str, request: impl Into<Bytes>) -> Value {
        self.send(operation, id, request, &[]).await;
        self.reply(id).await
    }

    /// Sends a request with more user properties.
    async fn send(
        &mut self,
        operation: &str,
        id: &str,
        request: impl Into<Bytes>,
        properties: &[(&str, &str)],
    ) {
        let user_properties = [&[("request-id", id)], properties].concat();
        let properties = PublishProperties {
            response_topic: Some(format!("{BASE}/replies/{id}")),
            user_properties: user_properties
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            ..PublishProperties::default()
        };
        self.client.publish_with(&format!("{BASE}/{operation}/req"), request, properties).await;
    }

    /// The next reply, which must be that to this request. After a restart of the connector, earlier
    /// requests may be delivered, and replied to, again.
    async fn reply(&mut self, id: &str) -> Value {
        loop {
            let reply = self.client.next().await;
            let is_of = |id: &str| reply.topic.ends_with(format!("/{id}").as_bytes());
            if is_of(id) {
                self.done.push(id.to_owned());
                return payload(&reply);
            }
            assert!(self.done.iter().any(|done| is_of(done)), "{id}: {reply:?}");
        }
    }
}

/// The number of updates that have reached Ankaios.
fn updates(scene: &Scene) -> usize {
    let is_update = |content: &Option<RequestContent>| {
        matches!(content, Some(RequestContent::UpdateStateRequest(_)))
    };
    let requests = scene.vehicle.requests();
    requests.iter().filter(|request| is_update(&request.request_content)).count()
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
