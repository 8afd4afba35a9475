//! The settings of TLS, and the configuration of a connection.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};

use super::certificates;
use super::error::{Mistake, TlsError};
use super::form::Wanted;
use super::identity::{self, Part};
use super::roots;
use super::verifier::RecordingVerifier;
use super::x509::Certificate;

/// The settings of TLS 1.2 and 1.3. Clones share the files that were read last.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    ca_file: Option<PathBuf>,
    identity: Option<Identity>,
    alpn: Vec<String>,
    /// What the files contained when they could be used the last time. Behind a lock because
    /// clones share it.
    usable: Arc<Mutex<Usable>>,
}

/// A client certificate.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate (PEM), followed by the intermediate ones: `MQTT_CERT_FILE`.
    pub cert_file: PathBuf,
    /// Its private key (PEM): `MQTT_KEY_FILE`.
    pub key_file: PathBuf,
}

/// The certificates of the system are not remembered: there are many, and they are rarely
/// changed.
#[derive(Debug, Default)]
struct Usable {
    roots: Option<Arc<RootCertStore>>,
    identity: Option<Arc<CertifiedKey>>,
}

/// The configuration of one connection.
pub(super) struct Configured {
    pub(super) client: ClientConfig,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) verifier: Arc<RecordingVerifier>,
}

impl Tls {
    /// The settings:
    ///
    /// - `ca_file`, `MQTT_CA_FILE`: certificates (PEM) of the authorities that may sign the
    ///   broker's certificate; `None` for those of the system.
    /// - `identity`: the client certificate.
    /// - `alpn`, `MQTT_ALPN`: application protocols to offer (RFC 7301).
    #[must_use]
    pub fn new(ca_file: Option<PathBuf>, identity: Option<Identity>, alpn: Vec<String>) -> Self {
        Self { ca_file, identity, alpn, usable: Arc::default() }
    }

    /// The file of the authorities; `None` for those of the system.
    pub(super) fn ca_file(&self) -> Option<&PathBuf> {
        self.ca_file.as_ref()
    }

    /// Whether there is a client certificate.
    pub(crate) fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// The files of the client certificate.
    pub(super) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Reads the files. Returns all mistakes, each with the setting that names the file.
    #[must_use]
    pub fn check(&self) -> Vec<(&'static str, TlsError)> {
        let roots = self.read_roots().err().into_iter();
        roots
            .chain(self.read_identity(&ring::default_provider()).err().unwrap_or_default())
            .collect()
    }

    /// When the client certificate in use begins and ceases to be valid, in seconds since 1970;
    /// `None` without one.
    pub(super) fn validity(&self) -> Option<(u64, u64)> {
        let identity = self.usable().identity.clone()?;
        let certificate = Certificate::read(identity.cert.first()?)?;
        Some((certificate.not_before?, certificate.not_after?))
    }

    /// Reads the files for a connection. If one cannot be used, what could be used before is.
    ///
    /// # Errors
    /// The first mistake, if a file could never be used.
    pub(super) fn configure(&self) -> Result<Configured, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let roots = self.read_roots().or_else(|mistake| {
            let usable = self.usable().roots.clone();
            previous(usable, vec![mistake])
        })?;
        let identity = self.read_identity(&provider).or_else(|mistakes| {
            let usable = self.usable().identity.clone();
            previous(usable, mistakes).map(Some)
        })?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
        let verifier = verifier.map_err(|_| TlsError::NoRoots)?;
        let verifier = Arc::new(RecordingVerifier::new(verifier));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone());
        let mut client = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
            }
        };
        client.alpn_protocols = self.alpn.iter().map(|name| name.clone().into_bytes()).collect();
        Ok(Configured { client, roots, verifier })
    }

    /// Reads the certificates of the authorities, and remembers them if they are in a file.
    fn read_roots(&self) -> Result<Arc<RootCertStore>, Mistake> {
        let Some(path) = &self.ca_file else {
            return roots::of_system().map(Arc::new);
        };
        let roots = roots::in_file(path).map(Arc::new).map_err(|error| ("MQTT_CA_FILE", error))?;
        self.usable().roots = Some(roots.clone());
        Ok(roots)
    }

    /// Reads the client certificate and its key, and remembers them.
    fn read_identity(
        &self,
        provider: &CryptoProvider,
    ) -> Result<Option<Arc<CertifiedKey>>, Vec<Mistake>> {
        let Some(Identity { cert_file, key_file }) = &self.identity else { return Ok(None) };
        let authorities = self.ca_file.as_ref();
        let authorities =
            authorities.and_then(|path| certificates::read(path, Wanted::Authorities).ok());
        let authorities = authorities.unwrap_or_default();
        let loaded = identity::load(cert_file, key_file, &authorities, provider);
        let identity = loaded.map_err(|mistakes| {
            let mistakes = mistakes.into_iter().map(|(part, error)| match part {
                Part::Certificate => ("MQTT_CERT_FILE", error),
                Part::Key => ("MQTT_KEY_FILE", error),
            });
            mistakes.collect::<Vec<_>>()
        })?;
        let identity = Arc::new(identity);
        self.usable().identity = Some(identity.clone());
        Ok(Some(identity))
    }

    fn usable(&self) -> MutexGuard<'_, Usable> {
        self.usable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What could be used before, in spite of the mistakes, which are logged.
fn previous<T>(usable: Option<T>, mistakes: Vec<Mistake>) -> Result<T, TlsError> {
    let Some(usable) = usable else {
        let first = mistakes.into_iter().next().map(|(_, error)| error);
        return Err(first.unwrap_or(TlsError::NoRoots));
    };
    for (setting, error) in mistakes {
        tracing::warn!(
            setting,
            %error,
            "a changed certificate or key cannot be used; the previous one stays in use"
        );
    }
    Ok(usable)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The mistakes in a CA file.
    fn error(content: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, content).unwrap();
        let (setting, error) = Tls::new(Some(path.clone()), None, Vec::new()).check().remove(0);
        assert_eq!(setting, "MQTT_CA_FILE");
        error.to_string().replace(&path.display().to_string(), "FILE")
    }

    #[test]
    fn a_bad_file_is_named_with_line_and_reason() {
        let empty =
            "FILE: it contains no certificate in PEM format: the file is empty; copy it again";
        assert_eq!(error(""), empty);
        let begin = "a comment\n\n-----BEGIN CERTIFICATE-----\n";
        let end = "-----END CERTIFICATE-----\n";
        assert!(error(begin).starts_with("FILE, line 3: "), "{}", error(begin));
        for (body, line) in [("???\n", 4), ("aGFsbG8=\n", 3), ("", 3)] {
            let error = error(&format!("{begin}{body}{end}"));
            assert!(error.starts_with(&format!("FILE, line {line}: ")), "{error}");
        }
        let missing = Tls::new(Some("/nonexistent/ca.pem".into()), None, Vec::new());
        let error = missing.configure().err().unwrap().to_string();
        assert!(error.starts_with("/nonexistent/ca.pem cannot be read: "), "{error}");
    }

    #[test]
    fn what_could_be_used_stays_in_use() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let [ca_file, cert_file, key_file] =
            ["ca.pem", "vehicle.pem", "vehicle.key"].map(|name| folder.path().join(name));
        std::fs::write(&ca_file, certificate.pem()).unwrap();
        std::fs::write(&cert_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        let identity = Identity { cert_file: cert_file.clone(), key_file: key_file.clone() };
        let tls = Tls::new(Some(ca_file.clone()), Some(identity), Vec::new());
        assert!(tls.check().is_empty());
        // A renewal that is half done, and one that has failed.
        let other = rcgen::KeyPair::generate().unwrap();
        std::fs::write(&key_file, other.serialize_pem()).unwrap();
        std::fs::write(&ca_file, "").unwrap();
        assert_eq!(tls.check().len(), 2);
        assert!(tls.configure().is_ok() && tls.clone().configure().is_ok());
        assert!(tls.validity().is_some());
        let started_now = Tls::new(Some(ca_file), None, Vec::new());
        assert!(started_now.configure().is_err());
    }
}
