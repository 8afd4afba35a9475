//! The certificates of the authorities that may sign the broker's certificate.

use std::path::Path;

use rustls::RootCertStore;

use super::certificates;
use super::error::{Mistake, TlsError};
use super::form::Wanted;

/// The variables that name other certificates than those of the system, as OpenSSL reads them.
const FILE: &str = "SSL_CERT_FILE";
const FOLDERS: &str = "SSL_CERT_DIR";

/// Those in a file.
///
/// # Errors
/// See [`TlsError`].
pub(super) fn in_file(path: &Path) -> Result<RootCertStore, TlsError> {
    let found = certificates::read(path, Wanted::Authorities)?;
    // A certificate that is its own issuer can only be used as it is in this file, whatever it
    // says about itself.
    let is_authority = |facts: &super::x509::Certificate| facts.is_ca || facts.is_self_issued();
    if let Some(first) = found.first().filter(|_| !found.iter().any(|c| is_authority(&c.facts))) {
        let reason = format!(
            "it contains no certificate of a CA, but one of {}, which {} has issued; set \
             MQTT_CA_FILE to the certificate of that CA",
            first.facts.subject, first.facts.issuer
        );
        return Err(TlsError::content(path, Some(first.line), reason));
    }
    let mut roots = RootCertStore::empty();
    for certificate in found {
        roots.add(certificate.der).map_err(|error| {
            let reason = format!(
                "the certificate of {} cannot be used as that of a CA: {error}; create it again, \
                 as in docs/tls.md",
                certificate.facts.subject
            );
            TlsError::content(path, Some(certificate.line), reason)
        })?;
    }
    Ok(roots)
}

/// Those of the system, or those that the variables name instead.
///
/// # Errors
/// There are none. The setting is the variable if one is set.
pub(super) fn of_system() -> Result<RootCertStore, Mistake> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "certificates of the system cannot be read");
    }
    // Some systems still have certificates in formats that are not supported.
    roots.add_parsable_certificates(found.certs);
    if !roots.is_empty() {
        return Ok(roots);
    }
    Err(match (std::env::var_os(FILE), std::env::var_os(FOLDERS)) {
        (None, None) => ("MQTT_TLS", TlsError::NoRoots),
        (None, Some(folders)) => (FOLDERS, TlsError::NoRootsIn(folders)),
        (Some(file), _) if file.is_empty() => (FILE, TlsError::NoFile),
        (Some(file), _) => match in_file(Path::new(&file)) {
            Err(error) => (FILE, error),
            Ok(_) => ("MQTT_TLS", TlsError::NoRoots),
        },
    })
}
