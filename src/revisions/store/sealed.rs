//! The form of each file: a first line with the version of the format and a checksum, then text
//! that a person can read. In YAML the first line is a comment.
//!
//! The first line keeps its form in all versions of the format: by it, an older program tells a
//! file of a newer one from a damaged file.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// The version of the format that this version writes.
pub(super) const VERSION: u32 = 1;

/// Begins the first line.
const HEADER: &str = "# fleet-connector store ";

/// Why a file cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SealError {
    /// It is not what was written.
    #[error("{0}")]
    Damaged(&'static str),
    /// A newer version of the connector has written it.
    #[error("it has the format {0}, which a newer version of the connector has written")]
    Newer(u32),
}

/// The file with this text.
pub(super) fn seal(text: &str) -> Vec<u8> {
    sealed(VERSION, text)
}

/// The file with this text in this version of the format.
pub(super) fn sealed(version: u32, text: &str) -> Vec<u8> {
    format!("{}\n{text}", first_line(version, text)).into_bytes()
}

fn first_line(version: u32, text: &str) -> String {
    format!("{HEADER}{version} sha256:{}", checksum(version, text))
}

/// The text of a file.
pub(super) fn unseal(file: &[u8]) -> Result<&str, SealError> {
    let file = std::str::from_utf8(file).map_err(|_| SealError::Damaged("it is not UTF-8"))?;
    let (header, text) =
        file.split_once('\n').ok_or(SealError::Damaged("it ends in the first line"))?;
    let (version, _) = header
        .strip_prefix(HEADER)
        .and_then(|header| header.split_once(' '))
        .ok_or(SealError::Damaged("its first line is not that of the store"))?;
    let version =
        version.parse().map_err(|_| SealError::Damaged("its first line has no version"))?;
    // The checksum covers the version: a damaged one must not look like that of a newer program.
    if header != first_line(version, text) {
        return Err(SealError::Damaged("its content does not match its checksum"));
    }
    match version {
        VERSION => Ok(text),
        0..VERSION => Err(SealError::Damaged("no version of the store has its format")),
        _ => Err(SealError::Newer(version)),
    }
}

fn checksum(version: u32, text: &str) -> String {
    let digest = Sha256::new().chain_update(format!("{version}\n")).chain_update(text);
    digest.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_cut_or_changed_anywhere_is_damaged() {
        let file = seal("apiVersion: v1\nconfigs:\n  c: ä\n");
        assert_eq!(unseal(&file).unwrap(), "apiVersion: v1\nconfigs:\n  c: ä\n");
        for length in 0..file.len() {
            assert!(matches!(unseal(&file[..length]), Err(SealError::Damaged(_))), "{length}");
        }
        for position in 0..file.len() {
            for bit in 0..8 {
                let mut flipped = file.clone();
                flipped[position] ^= 1 << bit;
                let unsealed = unseal(&flipped);
                assert!(
                    matches!(unsealed, Err(SealError::Damaged(_))),
                    "bit {bit} of byte {position}"
                );
            }
        }
    }

    #[test]
    fn a_file_of_a_newer_version_is_recognised() {
        assert_eq!(unseal(&sealed(VERSION + 1, "x")), Err(SealError::Newer(VERSION + 1)));
        assert_eq!(unseal(&sealed(u32::MAX, "x")), Err(SealError::Newer(u32::MAX)));
    }

    #[test]
    fn another_spelling_of_the_version_is_damage() {
        for version in ["01", "+1", "0", "", "x", "4294967296"] {
            let file = String::from_utf8(seal("x")).unwrap();
            let file = file.replace("store 1 ", &format!("store {version} "));
            assert!(matches!(unseal(file.as_bytes()), Err(SealError::Damaged(_))), "{version}");
        }
        assert!(matches!(unseal(&sealed(0, "x")), Err(SealError::Damaged(_))));
    }
}
