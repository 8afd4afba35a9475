//! TLS to the broker: certificates, and what a failed handshake means.
//!
//! The files are read for each connection, so that certificates can be renewed without a
//! restart.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The settings of TLS 1.2 and 1.3.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Certificates (PEM) of the authorities that may sign the broker's certificate; `None`
    /// for those of the system: `MQTT_CA_FILE`.
    pub ca_file: Option<PathBuf>,
    /// The client certificate.
    pub identity: Option<Identity>,
    /// Application protocols to offer (ALPN, RFC 7301): `MQTT_ALPN`.
    pub alpn: Vec<String>,
}

/// A client certificate.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate (PEM), followed by the intermediate ones: `MQTT_CERT_FILE`.
    pub cert_file: PathBuf,
    /// Its private key (PEM): `MQTT_KEY_FILE`.
    pub key_file: PathBuf,
}

/// Why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file has the wrong content.
    #[error("{}{}: {reason}", path.display(), line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Content {
        /// Which one.
        path: PathBuf,
        /// The line of the mistake, counted from 1.
        line: Option<usize>,
        /// What is wrong.
        reason: String,
    },
    /// The system has no certificates of authorities.
    #[error("the system has no CA certificates; name a file with MQTT_CA_FILE")]
    NoRoots,
    /// No certificate can be for such a host.
    #[error("{0:?} is not a valid name for a certificate")]
    Host(String),
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn config(&self) -> Result<ClientConfig, TlsError> {
        let roots = match &self.ca_file {
            Some(path) => roots_in(path)?,
            None => system_roots()?,
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(Identity { cert_file, key_file }) => {
                let chain = certificates_in(cert_file)?.into_iter().map(|(_, der)| der).collect();
                let key = key_in(key_file)?;
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    let cert = cert_file.display();
                    let (path, reason) = match error {
                        rustls::Error::InvalidCertificate(_) => (
                            cert_file,
                            format!("it is not an X.509 version 3 certificate: {error}"),
                        ),
                        _ => (key_file, format!("it does not match {cert}: {error}")),
                    };
                    TlsError::Content { path: path.clone(), line: None, reason }
                })?
            }
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.clone().into_bytes()).collect();
        Ok(config)
    }

    /// Makes the handshake with the broker at `host`.
    ///
    /// # Errors
    /// A [`TlsError`], or what the handshake failed with; see [`explain`].
    pub(crate) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        let config = self.config().map_err(io::Error::other)?;
        let name = server_name(host).map_err(io::Error::other)?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

/// The name of `host` as a certificate has it.
///
/// # Errors
/// No certificate can be for such a host.
pub fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Host(host.to_owned()))
}

/// What to do about an error of TLS on a connection to `host`; `None` for other errors.
pub(crate) fn explain(error: &io::Error, host: &str) -> Option<String> {
    use rustls::Error;
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => "its certificate is not signed by a known CA; set MQTT_CA_FILE to the certificate of \
             its CA"
            .into(),
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "its certificate has expired; renew it, or correct the clock of the vehicle".into(),
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "its certificate is not valid yet; correct the clock of the vehicle".into(),
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!(
            "its certificate is not for {host:?}; set MQTT_BROKER_ADDR to a name in the certificate"
        ),
        Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::HandshakeFailure,
        ) => format!(
            "it does not accept this vehicle's certificate ({error}); check MQTT_CERT_FILE and \
             MQTT_KEY_FILE"
        ),
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "it supports none of the protocols in MQTT_ALPN".into()
        }
        Error::InvalidMessage(_) => {
            "it does not use TLS on this port; set MQTT_BROKER_PORT, usually to 8883".into()
        }
        other => format!("TLS fails: {other}"),
    })
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "certificates of the system cannot be read");
    }
    // Some systems still have certificates in formats that are not supported.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) }
}

fn roots_in(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for (line, certificate) in certificates_in(path)? {
        roots.add(certificate).map_err(|error| content(path, line, error))?;
    }
    Ok(roots)
}

/// All certificates in a file, with the lines where they begin.
fn certificates_in(path: &Path) -> Result<Vec<(usize, CertificateDer<'static>)>, TlsError> {
    let text = read(path)?;
    let mut certificates = Vec::new();
    for (line, section) in sections(&text).filter(|(_, section)| is_certificate(section)) {
        let der = CertificateDer::from_pem_slice(section.as_bytes())
            .map_err(|error| content(path, line, error))?;
        certificates.push((line, der));
    }
    if certificates.is_empty() {
        let reason = "it contains no certificate in PEM format".into();
        return Err(TlsError::Content { path: path.to_owned(), line: None, reason });
    }
    Ok(certificates)
}

fn key_in(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    let key = sections(&text).find(|(_, section)| {
        section.lines().next().is_some_and(|line| line.contains("PRIVATE KEY"))
    });
    match key {
        // The error must not show what the file holds.
        Some((line, section)) => PrivateKeyDer::from_pem_slice(section.as_bytes())
            .map_err(|_| content(path, line, "it contains no private key that can be read")),
        None => {
            let reason = "it contains no private key in PEM format".into();
            Err(TlsError::Content { path: path.to_owned(), line: None, reason })
        }
    }
}

fn read(path: &Path) -> Result<String, TlsError> {
    let failed = |source| TlsError::File { path: path.to_owned(), source };
    // Text around the sections may have any encoding.
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(failed)
}

fn content(path: &Path, line: usize, reason: impl ToString) -> TlsError {
    TlsError::Content { path: path.to_owned(), line: Some(line), reason: reason.to_string() }
}

fn is_certificate(section: &str) -> bool {
    section.starts_with("-----BEGIN CERTIFICATE-----")
}

/// The sections of a PEM file (RFC 7468), each with the line where it begins.
fn sections(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let begins = text.match_indices("-----BEGIN ").map(|(begin, _)| begin);
    begins.map(move |begin| {
        let line = text[..begin].matches('\n').count() + 1;
        let section = &text[begin..];
        let end = section[1..].find("-----BEGIN ").map_or(section.len(), |end| end + 1);
        (line, &section[..end])
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn error(content: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, content).unwrap();
        let tls = Tls { ca_file: Some(path.clone()), ..Tls::default() };
        let error = tls.config().unwrap_err().to_string();
        error.replace(&path.display().to_string(), "FILE")
    }

    #[test]
    fn a_bad_file_is_named_with_line_and_reason() {
        assert_eq!(error(""), "FILE: it contains no certificate in PEM format");
        let begin = "a comment\n\n-----BEGIN CERTIFICATE-----\n";
        let end = "-----END CERTIFICATE-----\n";
        assert!(error(begin).starts_with("FILE, line 3: "), "{}", error(begin));
        for body in ["???\n", "aGFsbG8=\n", ""] {
            let error = error(&format!("{begin}{body}{end}"));
            assert!(error.starts_with("FILE, line 3: "), "{error}");
        }
        let missing = Tls { ca_file: Some("/nonexistent/ca.pem".into()), ..Tls::default() };
        let error = missing.config().unwrap_err().to_string();
        assert!(error.starts_with("/nonexistent/ca.pem cannot be read: "), "{error}");
    }

    #[test]
    fn sections_know_their_lines() {
        let text = "x\n-----BEGIN A-----\na\n-----END A-----\n\n-----BEGIN B-----\nb\n";
        let found: Vec<_> =
            sections(text).map(|(line, text)| (line, text.lines().count())).collect();
        assert_eq!(found, [(2, 4), (6, 2)]);
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for host in ["localhost", "broker.example", "192.0.2.1", "::1"] {
            assert!(server_name(host).is_ok(), "{host}");
        }
        assert!(server_name("a b").is_err());
    }
}
