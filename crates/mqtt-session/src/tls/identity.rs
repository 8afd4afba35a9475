//! The client certificate and its private key.

use std::path::Path;

use rustls::CertificateError;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::SectionKind;
use rustls::sign::{CertifiedKey, SigningKey};

use super::certificates::{self, Found};
use super::error::TlsError;
use super::form::{self, Wanted};
use super::keys::PrivateKey;
use super::{file, pem, signature, text};

/// Which of the two files has a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Certificate,
    Key,
}

/// Most private keys in a file that are looked at.
const MAX_KEYS: usize = 8;

/// Reads both files. A certificate that one of `authorities` has issued must have its signature.
///
/// # Errors
/// All mistakes in them.
pub(super) fn load(
    cert_file: &Path,
    key_file: &Path,
    authorities: &[Found],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Vec<(Part, TlsError)>> {
    let chain = certificates::read(cert_file, Wanted::Certificate);
    let key = read_key(key_file, 0, provider).map(|(_, key)| key);
    let (chain, key) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => {
            let chain = chain.err().map(|error| (Part::Certificate, error));
            let key = key.err().map(|error| (Part::Key, error));
            return Err(chain.into_iter().chain(key).collect());
        }
    };
    let ders = chain.iter().map(|found| found.der.clone()).collect();
    let certified = CertifiedKey::new(ders, key);
    match certified.keys_match() {
        Ok(()) => match damaged(&chain, authorities, cert_file, provider) {
            None => Ok(certified),
            Some(damaged) => Err(vec![(Part::Certificate, damaged)]),
        },
        Err(rustls::Error::InconsistentKeys(_))
            if let Some(line) = other_key(&certified, key_file, provider) =>
        {
            let reason = format!(
                "its first private key does not match {}, but that in line {line} does; leave only \
                 that one in the file",
                cert_file.display()
            );
            Err(vec![(Part::Key, TlsError::content(key_file, None, reason))])
        }
        Err(error) => Err(vec![mismatch(&error, &certified, &chain, cert_file, key_file)]),
    }
}

/// A certificate whose signature is not that of its issuer, as far as that is known.
fn damaged(
    chain: &[Found],
    authorities: &[Found],
    cert_file: &Path,
    provider: &CryptoProvider,
) -> Option<TlsError> {
    let algorithms = &provider.signature_verification_algorithms;
    let wrong = |found| signature::wrong_issuer(found, chain, authorities, algorithms);
    let (found, issuer) = chain.iter().find_map(|found| Some((found, wrong(found)?)))?;
    let reason = format!(
        "the certificate of {} is damaged: its signature is not that of {}, which has issued it; \
         copy the file again, or create it again",
        found.facts.subject, issuer.facts.subject
    );
    Some(TlsError::content(cert_file, Some(found.line), reason))
}

/// The line of a private key behind the first one that the certificate is for.
fn other_key(
    certified: &CertifiedKey,
    key_file: &Path,
    provider: &CryptoProvider,
) -> Option<usize> {
    let others = (1..MAX_KEYS).map_while(|index| read_key(key_file, index, provider).ok());
    let is_right = |key: &std::sync::Arc<dyn SigningKey>| {
        CertifiedKey::new(certified.cert.clone(), key.clone()).keys_match().is_ok()
    };
    others.into_iter().find_map(|(line, key)| is_right(&key).then_some(line))
}

/// Why certificate and key cannot be used together.
fn mismatch(
    error: &rustls::Error,
    certified: &CertifiedKey,
    chain: &[Found],
    cert_file: &Path,
    key_file: &Path,
) -> (Part, TlsError) {
    let [cert, key] = [cert_file, key_file].map(text::shell);
    let line = chain.first().map(|first| first.line);
    let content = |line, reason| (Part::Certificate, TlsError::content(cert_file, line, reason));
    let version = chain.first().map_or(3, |first| first.facts.version);
    match error {
        rustls::Error::InvalidCertificate(_) if version < 3 => {
            let reason = format!(
                "it is not an X.509 version 3 certificate: it has version {version}, as `openssl x509 \
                 -req` creates it without extensions; create it with them: `echo \
                 basicConstraints=CA:FALSE > vehicle.ext && openssl x509 -req -in vehicle.csr -CA \
                 ca.pem -CAkey ca.key -CAcreateserial -days 90 -extfile vehicle.ext -out new.pem`"
            );
            content(None, reason)
        }
        rustls::Error::InvalidCertificate(CertificateError::BadEncoding) => {
            let reason = "the certificate is damaged: its DER is not valid; create it again";
            content(line, reason.into())
        }
        rustls::Error::InvalidCertificate(reason) => {
            let reason = format!(
                "the certificate cannot be used: {reason}; look at it with `openssl x509 -in {cert} \
                 -noout -text`, and create it again as in docs/tls.md"
            );
            content(line, reason)
        }
        _ => match own_certificate(certified, chain) {
            Some(own) => {
                let reason = format!(
                    "the certificate of this vehicle is not the first one, but that in line {}, of \
                     {}; put it first, then the intermediate certificates: `cat vehicle.pem \
                     intermediate.pem > new.pem`",
                    own.line, own.facts.subject
                );
                content(line, reason)
            }
            None => {
                let reason = format!(
                    "it does not match {}: {error}; these must print the same: `openssl x509 -in \
                     {cert} -noout -pubkey`, `openssl pkey -in {key} -pubout`",
                    cert_file.display()
                );
                (Part::Key, TlsError::content(key_file, None, reason))
            }
        },
    }
}

/// The certificate in the chain that the key belongs to, if it is not the first one.
fn own_certificate<'a>(certified: &CertifiedKey, chain: &'a [Found]) -> Option<&'a Found> {
    chain.iter().skip(1).find(|found| {
        let single = CertifiedKey::new(vec![found.der.clone()], certified.key.clone());
        single.keys_match().is_ok()
    })
}

/// Reads a private key, of which there may be several; also returns its line. No error shows what
/// the file holds.
fn read_key(
    path: &Path,
    index: usize,
    provider: &CryptoProvider,
) -> Result<(usize, std::sync::Arc<dyn SigningKey>), TlsError> {
    let content = file::read(path)?;
    let file = text::shell(path);
    // Text around the blocks may have any encoding.
    let lines = String::from_utf8_lossy(&content);
    let blocks: Vec<_> = pem::blocks(&lines).collect();
    let mut keys = blocks.iter().filter(|block| {
        ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "DSA PRIVATE KEY"]
            .contains(&block.label)
    });
    let key = keys.nth(index);
    let encrypted = blocks.iter().find(|block| block.label == "ENCRYPTED PRIVATE KEY");
    let Some(block) = key else {
        let (line, reason) = match encrypted {
            Some(block) => (Some(block.line), form::encrypted(&file)),
            None => form::instead(&content, &blocks, &file, Wanted::Key),
        };
        return Err(TlsError::content(path, line, reason));
    };
    let error = |reason: String| TlsError::content(path, Some(block.line), reason);
    if block.is_encrypted() {
        return Err(error(form::encrypted(&file)));
    }
    let unsupported = |der: &[u8]| {
        let why = PrivateKey::read(der).map(|key| key.why_unusable(&file));
        let damaged =
            "it contains no private key that can be read; it is cut off or damaged, copy it again";
        error(why.unwrap_or_else(|| damaged.into()))
    };
    if block.label == "DSA PRIVATE KEY" {
        return Err(error(PrivateKey::Dsa.why_unusable(&file)));
    }
    let (kind, der) = block
        .decode(&file)
        .map_err(|mistake| TlsError::content(path, Some(mistake.line), mistake.reason))?;
    // A wrong name of the block does not matter.
    let key = match (PrivateKey::read(&der), kind) {
        (Some(PrivateKey::Rsa { .. }), _) => PrivateKeyDer::Pkcs1(der.clone().into()),
        (Some(PrivateKey::Ec { .. }), _) => PrivateKeyDer::Sec1(der.clone().into()),
        (Some(PrivateKey::Pkcs8 { .. }), _) | (None, SectionKind::PrivateKey) => {
            PrivateKeyDer::Pkcs8(der.clone().into())
        }
        (Some(PrivateKey::Encrypted), _) => return Err(error(form::encrypted(&file))),
        _ => return Err(unsupported(&der)),
    };
    let key = provider.key_provider.load_private_key(key).map_err(|_| unsupported(&der))?;
    Ok((block.line, key))
}
