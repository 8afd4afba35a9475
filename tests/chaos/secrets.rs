//! Certificates, keys and passwords on both ends of a TLS connection, all of which can be
//! replaced.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::support::certificates::Authority;
use super::support::connector::VIN;

/// What broker and connector authenticate each other with. The paths of the files do not
/// change; a symbolic link leads to the current generation.
pub(crate) struct Secrets {
    folder: TempDir,
    generation: AtomicU32,
}

impl Secrets {
    pub(crate) fn new() -> Self {
        let secrets = Self { folder: TempDir::new().unwrap(), generation: AtomicU32::new(0) };
        secrets.replace();
        secrets
    }

    /// Replaces the authority, the certificates and keys of both, and the password, all at
    /// once. The broker reads them at its start.
    pub(crate) fn replace(&self) {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed).to_string();
        let folder = self.folder.path().join(&generation);
        std::fs::create_dir(&folder).unwrap();
        let authority = Authority::new();
        let copy = |from: PathBuf, to: &str| {
            std::fs::copy(from, folder.join(to)).unwrap();
        };
        copy(authority.ca(), "ca.pem");
        for (name, file) in [("127.0.0.1", "broker"), ("vehicle", "connector")] {
            let certified = authority.certify(name);
            copy(certified.cert, &format!("{file}.pem"));
            copy(certified.key, &format!("{file}.key"));
        }
        let password = format!("password {generation}");
        std::fs::write(folder.join("password"), &password).unwrap();
        let hashed = Command::new("mosquitto_passwd")
            .args(["-c", "-b", folder.join("passwords").to_str().unwrap(), VIN, &password])
            .status();
        assert!(hashed.unwrap().success());
        // An atomic replacement: no certificate is ever found without its key.
        let next = self.folder.path().join("next");
        symlink(generation, &next).unwrap();
        std::fs::rename(next, self.folder.path().join("present")).unwrap();
    }

    fn path(&self, file: &str) -> String {
        self.folder.path().join("present").join(file).to_str().unwrap().to_owned()
    }

    /// The configuration of the broker: a second listener that accepts only the connector.
    pub(crate) fn of_the_broker(&self, port: u16) -> [String; 6] {
        [
            format!("password_file {}", self.path("passwords")),
            format!("listener {port} 127.0.0.1"),
            format!("cafile {}", self.path("ca.pem")),
            format!("certfile {}", self.path("broker.pem")),
            format!("keyfile {}", self.path("broker.key")),
            "require_certificate true".to_owned(),
        ]
    }

    /// Settings of the connector.
    pub(crate) fn of_the_connector(&self) -> [(&'static str, String); 5] {
        [
            ("MQTT_CA_FILE", self.path("ca.pem")),
            ("MQTT_CERT_FILE", self.path("connector.pem")),
            ("MQTT_KEY_FILE", self.path("connector.key")),
            ("MQTT_USERNAME", VIN.to_owned()),
            ("MQTT_PASSWORD_FILE", self.path("password")),
        ]
    }
}
