//! The names of the files.

use std::path::{Path, PathBuf};

use ankaios_model::is_identifier;

/// The folder of the revisions.
pub(super) const REVISIONS: &str = "revisions";

/// The folder of the records.
pub(super) const RECORDS: &str = "records";

/// The folder of what is known about signed requests.
pub(super) const TRUST: &str = "trust";

/// The file with the values of the startup manifest, in the folder of the revisions.
const STARTUP: &str = "startup.yaml";

/// Ends the name of a file that is being written.
pub(super) const TEMPORARY: &str = ".new";

/// Ends the name of the status of a revision that is being removed.
pub(super) const REMOVED: &str = ".removed";

/// Ends the name of a file that was set aside.
pub(super) const DAMAGED: &str = ".damaged";

/// Ends the name of the file of a record.
const RECORD: &str = ".record";

/// Maximum length of the id in the name of a record.
const MAX_ID: usize = 63;

/// A file of the revisions, by its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FileName {
    Overlay(u64),
    Status(u64),
    Startup,
}

impl FileName {
    /// `None` if the store gives no file this name.
    pub(super) fn of(name: &str) -> Option<Self> {
        if name == STARTUP {
            return Some(Self::Startup);
        }
        let (stem, extension) = name.rsplit_once('.')?;
        let number: u64 = stem.parse().ok()?;
        // The same number in another form, such as 007, is that of another file. 0 is the startup
        // manifest alone, which has no files.
        if number == 0 || number.to_string() != stem {
            return None;
        }
        match extension {
            "yaml" => Some(Self::Overlay(number)),
            "status" => Some(Self::Status(number)),
            _ => None,
        }
    }
}

pub(super) fn overlay_path(number: u64) -> PathBuf {
    Path::new(REVISIONS).join(format!("{number}.yaml"))
}

pub(super) fn status_path(number: u64) -> PathBuf {
    Path::new(REVISIONS).join(format!("{number}.status"))
}

pub(super) fn startup_path() -> PathBuf {
    Path::new(REVISIONS).join(STARTUP)
}

/// A file in the folder [`TRUST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::revisions) enum TrustFileName {
    /// The serials that were accepted.
    Serials,
    /// The newest trust file that was in force.
    Trust,
}

pub(super) fn trust_path(name: TrustFileName) -> PathBuf {
    Path::new(TRUST).join(match name {
        TrustFileName::Serials => "serials.json",
        TrustFileName::Trust => "trust.yaml",
    })
}

pub(super) fn record_path(name: &str) -> PathBuf {
    Path::new(RECORDS).join(format!("{name}{RECORD}"))
}

/// The name of the record in the name of a file.
pub(super) fn record_in(file: &str) -> Option<&str> {
    file.strip_suffix(RECORD).filter(|name| is_record(name))
}

/// Whether a record can have this name.
pub(super) fn is_record(name: &str) -> bool {
    let id = ["events-", "logs-", "rollout-"].iter().find_map(|kind| name.strip_prefix(kind));
    id.is_some_and(|id| is_identifier(id, MAX_ID))
}

/// The name of a file while it is being written.
pub(super) fn temporary(path: &Path) -> PathBuf {
    with_suffix(path, TEMPORARY)
}

/// The name of a status while its revision is being removed.
pub(super) fn removed(status: &Path) -> PathBuf {
    with_suffix(status, REMOVED)
}

/// The number of the revision that is being removed, by the name of a file.
pub(super) fn removed_in(file: &str) -> Option<u64> {
    match file.strip_suffix(REMOVED).and_then(FileName::of) {
        Some(FileName::Status(number)) => Some(number),
        _ => None,
    }
}

/// The name of a damaged file that is set aside.
pub(super) fn aside(path: &Path) -> PathBuf {
    with_suffix(path, DAMAGED)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_spelling() {
        assert_eq!(FileName::of("7.yaml"), Some(FileName::Overlay(7)));
        assert_eq!(FileName::of("18446744073709551615.status"), Some(FileName::Status(u64::MAX)));
        assert_eq!(FileName::of("startup.yaml"), Some(FileName::Startup));
        for name in [
            "007.yaml",
            "+7.status",
            "-7.yaml",
            "0.yaml",
            "18446744073709551616.yaml",
            "7",
            "7.",
            ".yaml",
            "7.yaml.damaged",
            "7.YAML",
            " 7.yaml",
            "7 .yaml",
            "७.yaml",
            "startup.status",
        ] {
            assert_eq!(FileName::of(name), None, "{name}");
        }
    }
}
