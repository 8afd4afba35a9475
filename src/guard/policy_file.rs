//! `POLICY_FILE`: loaded at the start and after changes.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ankaios_model::manifest::ManifestError;

use super::policy::Policy;

/// The minimum time between two checks for changes of the file.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum size of a policy, in bytes.
const MAX_SIZE: u64 = 1024 * 1024;

/// Why a policy file cannot be used. The message names the file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub(crate) struct PolicyError {
    path: PathBuf,
    reason: PolicyErrorReason,
}

#[derive(Debug, thiserror::Error)]
enum PolicyErrorReason {
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    #[error("it is larger than {MAX_SIZE} bytes")]
    TooLarge,
    #[error("it is not UTF-8 text")]
    NotUtf8,
    #[error("{0}")]
    Invalid(#[from] ManifestError),
}

/// A policy and the file it comes from.
#[derive(Debug)]
pub(crate) struct PolicyFile {
    path: PathBuf,
    /// The policy in force. A lock, because the file is read on the blocking pool, where updates
    /// are checked against the policy.
    current: Mutex<LoadedPolicy>,
}

#[derive(Debug)]
struct LoadedPolicy {
    policy: Arc<Policy>,
    /// The version of the file that was read last, even if it was refused. `None` if the
    /// file was missing.
    version: Option<FileVersion>,
    checked_at: Instant,
}

/// Identifies a version of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileVersion {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileVersion {
    fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

impl PolicyFile {
    /// Loads the file.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub(crate) fn open(path: PathBuf) -> Result<Self, PolicyError> {
        match read(&path) {
            Ok((policy, version)) => {
                let policy = Arc::new(policy);
                let current =
                    LoadedPolicy { policy, version: Some(version), checked_at: Instant::now() };
                Ok(Self { path, current: Mutex::new(current) })
            }
            Err((reason, _)) => Err(PolicyError { path, reason }),
        }
    }

    /// The policy. Loads the file again if it has changed, checking at most once per
    /// [`CHECK_INTERVAL`]. An invalid file leaves the policy as it is. Does blocking I/O.
    pub(super) fn policy(&self, now: Instant) -> Arc<Policy> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(current.checked_at) >= CHECK_INTERVAL {
            current.checked_at = now;
            self.reload_if_changed(&mut current);
        }
        Arc::clone(&current.policy)
    }

    /// Loads the file again if it has changed.
    fn reload_if_changed(&self, current: &mut LoadedPolicy) {
        let version = std::fs::metadata(&self.path).ok().as_ref().map(FileVersion::of);
        if version == current.version {
            return;
        }
        match read(&self.path) {
            Ok((policy, version)) => {
                current.version = Some(version);
                current.policy = Arc::new(policy);
                tracing::info!(file = %self.path.display(), "the policy has changed");
                current.policy.warn_of_unknown_options();
            }
            Err((reason, version)) => {
                current.version = version;
                tracing::error!(
                    file = %self.path.display(),
                    %reason,
                    "the changed policy cannot be used; the previous one stays in force"
                );
            }
        }
    }

    /// Logs possible mistakes in a valid policy.
    pub(super) fn warn(&self) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.policy.warn_of_unknown_options();
    }
}

impl Policy {
    fn warn_of_unknown_options(&self) {
        for option in self.unknown_options() {
            tracing::warn!(option, "forbidden_options names an unknown option; is it misspelled?");
        }
    }
}

/// Reads the file. Also returns the version that was read.
fn read(path: &Path) -> Result<(Policy, FileVersion), (PolicyErrorReason, Option<FileVersion>)> {
    let without_version = |error: io::Error| (PolicyErrorReason::from(error), None);
    let file = File::open(path).map_err(without_version)?;
    let metadata = file.metadata().map_err(without_version)?;
    let version = FileVersion::of(&metadata);
    let policy = read_text(file, &metadata).and_then(|text| Ok(Policy::parse(&text)?));
    match policy {
        Ok(policy) => Ok((policy, version)),
        Err(reason) => Err((reason, Some(version))),
    }
}

fn read_text(file: File, metadata: &Metadata) -> Result<String, PolicyErrorReason> {
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file").into());
    }
    let mut bytes = Vec::new();
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(PolicyErrorReason::TooLarge);
    }
    String::from_utf8(bytes).map_err(|_| PolicyErrorReason::NotUtf8)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_changed_file_is_read_again_and_an_invalid_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        fs::write(&path, "runtimes: [podman]").unwrap();
        let file = PolicyFile::open(path.clone()).unwrap();
        let mut now = Instant::now();
        let mut count = |content: Option<&str>| {
            match content {
                Some(content) => {
                    // Atomically, as operators should.
                    fs::write(folder.path().join("new"), content).unwrap();
                    fs::rename(folder.path().join("new"), &path).unwrap();
                }
                None => fs::remove_file(&path).unwrap(),
            }
            now += CHECK_INTERVAL;
            file.policy(now).runtimes.as_ref().map(Vec::len)
        };
        assert_eq!(count(Some("runtimes: [podman, podman-kube]")), Some(2));
        assert_eq!(count(Some("runtimes: [")), Some(2));
        assert_eq!(count(Some("")), Some(2));
        assert_eq!(count(None), Some(2));
        assert_eq!(count(Some("agents: []")), None);
        fs::write(&path, "runtimes: [a, b, c]").unwrap();
        assert!(file.policy(now).runtimes.is_none(), "it was looked at less than a second ago");
        assert_eq!(file.policy(now + CHECK_INTERVAL).runtimes.as_ref().map(Vec::len), Some(3));
    }

    #[test]
    fn a_file_that_cannot_be_used_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        let error = || PolicyFile::open(path.clone()).unwrap_err().to_string();
        let missing = error();
        assert!(missing.contains("policy.yaml") && missing.contains("No such file"), "{missing}");
        fs::write(&path, "runtimes: [podman]\nimage: [x]\n").unwrap();
        let invalid = error();
        assert!(invalid.contains("image") && invalid.contains("line 2"), "{invalid}");
        fs::write(&path, b"\xff").unwrap();
        assert!(error().contains("UTF-8"));
        fs::write(&path, vec![b' '; 1024 * 1024 + 1]).unwrap();
        assert!(error().contains("larger"));
        let folder = PolicyFile::open(folder.path().to_owned()).unwrap_err().to_string();
        assert!(folder.contains("not a regular file") || folder.contains("directory"), "{folder}");
    }
}
