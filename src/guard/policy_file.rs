//! `POLICY_FILE`: loaded at the start, and again after changes.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::policy::Policy;
use ankaios_model::manifest::ManifestError;

/// The time between two looks at the file.
const LOOK: Duration = Duration::from_secs(1);

/// The largest policy, in bytes.
const MAX_SIZE: u64 = 1024 * 1024;

/// Why a policy file cannot be used. The message names the file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct PolicyError {
    path: PathBuf,
    reason: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
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
pub struct PolicyFile {
    path: PathBuf,
    /// A lock, as updates with a policy are checked on the blocking pool, where the file
    /// is read as well.
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    policy: Arc<Policy>,
    /// The version of the file that was read last, even if it was refused. `None` if the
    /// file was missing.
    stamp: Option<Stamp>,
    looked: Instant,
}

/// Identifies a version of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
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
    pub fn open(path: PathBuf) -> Result<Self, PolicyError> {
        match read(&path) {
            Ok((policy, stamp)) => {
                let policy = Arc::new(policy);
                let current = Current { policy, stamp: Some(stamp), looked: Instant::now() };
                Ok(Self { path, current: Mutex::new(current) })
            }
            Err((reason, _)) => Err(PolicyError { path, reason }),
        }
    }

    /// The policy. Loads the file again if it has changed, checking at most once per
    /// [`LOOK`]. An invalid file leaves the policy as it is. Does blocking I/O.
    pub(super) fn policy(&self, now: Instant) -> Arc<Policy> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(current.looked) >= LOOK {
            current.looked = now;
            self.look(&mut current);
        }
        Arc::clone(&current.policy)
    }

    fn look(&self, current: &mut Current) {
        let stamp = std::fs::metadata(&self.path).ok().as_ref().map(Stamp::of);
        if stamp == current.stamp {
            return;
        }
        match read(&self.path) {
            Ok((policy, stamp)) => {
                current.stamp = Some(stamp);
                current.policy = Arc::new(policy);
                tracing::info!(file = %self.path.display(), "the policy has changed");
                current.policy.warn_of_unknown_options();
            }
            Err((reason, stamp)) => {
                current.stamp = stamp;
                tracing::error!(
                    file = %self.path.display(),
                    %reason,
                    "the changed policy cannot be used; the one before it stays in force"
                );
            }
        }
    }

    /// Logs what may be wrong with a valid policy.
    pub(super) fn warn(&self) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.policy.warn_of_unknown_options();
    }
}

impl Policy {
    fn warn_of_unknown_options(&self) {
        for option in self.unknown_options() {
            tracing::warn!(
                option,
                "forbidden_options names no option that is known; is it misspelled?"
            );
        }
    }
}

/// Reads the file, and the stamp of the version that was read.
fn read(path: &Path) -> Result<(Policy, Stamp), (Reason, Option<Stamp>)> {
    let without_stamp = |error: io::Error| (Reason::from(error), None);
    let file = File::open(path).map_err(without_stamp)?;
    let metadata = file.metadata().map_err(without_stamp)?;
    let stamp = Stamp::of(&metadata);
    let policy = read_text(file, &metadata).and_then(|text| Ok(Policy::parse(&text)?));
    match policy {
        Ok(policy) => Ok((policy, stamp)),
        Err(reason) => Err((reason, Some(stamp))),
    }
}

fn read_text(file: File, metadata: &Metadata) -> Result<String, Reason> {
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file").into());
    }
    let mut bytes = Vec::new();
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(Reason::TooLarge);
    }
    String::from_utf8(bytes).map_err(|_| Reason::NotUtf8)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;

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
            now += LOOK;
            file.policy(now).runtimes.as_ref().map(Vec::len)
        };
        assert_eq!(count(Some("runtimes: [podman, podman-kube]")), Some(2));
        assert_eq!(count(Some("runtimes: [")), Some(2));
        assert_eq!(count(Some("")), Some(2));
        assert_eq!(count(None), Some(2));
        assert_eq!(count(Some("agents: []")), None);
        fs::write(&path, "runtimes: [a, b, c]").unwrap();
        assert!(file.policy(now).runtimes.is_none(), "it was looked at less than a second ago");
        assert_eq!(file.policy(now + LOOK).runtimes.as_ref().map(Vec::len), Some(3));
    }

    #[test]
    fn what_can_not_be_read_is_refused_with_the_name_of_the_file() {
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
        assert!(folder.contains("no file") || folder.contains("directory"), "{folder}");
    }
}
