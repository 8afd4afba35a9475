//! The certificates in a file.

use std::path::Path;

use rustls::pki_types::CertificateDer;

use super::error::TlsError;
use super::form::{self, Wanted};
use super::pem::{self, Block};
use super::x509::Certificate;
use super::{file, text};

/// A certificate in a file.
pub(super) struct Found {
    /// The line where it begins.
    pub(super) line: usize,
    pub(super) der: CertificateDer<'static>,
    pub(super) facts: Certificate,
}

/// All certificates in a file, at least one.
///
/// # Errors
/// The file cannot be read, has no certificate, or one that cannot be read.
pub(super) fn read(path: &Path, wanted: Wanted) -> Result<Vec<Found>, TlsError> {
    let content = file::read(path)?;
    // Text around the blocks may have any encoding.
    let text = String::from_utf8_lossy(&content);
    let blocks: Vec<_> = pem::blocks(&text).collect();
    let file = text::shell(path);
    let mut found = Vec::new();
    for block in &blocks {
        if let Some(reason) = form::trusted(block, &file, wanted) {
            return Err(TlsError::content(path, Some(block.line), reason));
        }
        if block.label == "CERTIFICATE" {
            found.push(read_block(block, path, &file, wanted)?);
        }
    }
    if found.is_empty() {
        let (line, reason) = form::instead(&content, &blocks, &file, wanted);
        return Err(TlsError::content(path, line, reason));
    }
    Ok(found)
}

fn read_block(
    block: &Block<'_>,
    path: &Path,
    file: &str,
    wanted: Wanted,
) -> Result<Found, TlsError> {
    let (_, der) = block
        .decode(file)
        .map_err(|mistake| TlsError::content(path, Some(mistake.line), mistake.reason))?;
    let Some(facts) = Certificate::read(&der) else {
        let reason = form::instead_of_certificate(&der, file, wanted);
        return Err(TlsError::content(path, Some(block.line), reason));
    };
    Ok(Found { line: block.line, der: CertificateDer::from(der), facts })
}
