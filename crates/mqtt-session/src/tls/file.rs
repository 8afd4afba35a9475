//! Reads a file of certificates or keys.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::error::TlsError;

/// The largest file that is read, in bytes. The certificates of all public authorities have
/// 250 kB.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Reads a whole file.
///
/// # Errors
/// It cannot be read, is no file, or is too large.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::File { path: path.to_owned(), source };
    // Before it is opened, because that blocks on a FIFO.
    let kind = std::fs::metadata(path).map_err(failed)?.file_type();
    if kind.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    if !kind.is_file() {
        let reason = "it is not a regular file; the file is read again for each connection, so it \
                      cannot be a pipe or a device: write the content to a file";
        return Err(TlsError::content(path, None, reason));
    }
    let mut content = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > MAX_FILE {
        let reason = "it is larger than 4 MiB, so it is not a file of certificates or a key; look \
                      at the path";
        return Err(TlsError::content(path, None, reason));
    }
    Ok(content)
}
