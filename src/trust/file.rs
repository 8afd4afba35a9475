//! `TRUST_FILE`: read at the start and when it changes.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fleet_contract::operation::Operation;
use fleet_trust::{MAX_TRUST_FILE, Mistake, TrustFile};
use rustix::fs::OFlags;

/// A trust file and its text.
#[derive(Debug, Clone)]
pub(super) struct TrustText {
    pub(super) file: TrustFile,
    pub(super) text: String,
}

impl TrustText {
    /// Parses the text of a trust file.
    pub(super) fn parse(text: String) -> Result<Self, Vec<Mistake>> {
        let file = TrustFile::parse(text.as_bytes(), &Operation::ALL.map(Operation::name))?;
        Ok(Self { file, text })
    }
}

/// Why the file cannot be used. The message names the file and all mistakes.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub(crate) struct TrustSourceError {
    path: PathBuf,
    reason: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    #[error("it has more than {} KiB", MAX_TRUST_FILE / 1024)]
    TooLarge,
    #[error("it is not UTF-8 text")]
    NotUtf8,
    #[error("{}", Mistakes(.0))]
    Invalid(Vec<Mistake>),
}

/// All mistakes of a file, one after the other.
struct Mistakes<'a>(&'a [Mistake]);

impl fmt::Display for Mistakes<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(formatter, "{separator}{mistake}")?;
        }
        Ok(())
    }
}

/// The trust file of the settings, as it was at the start.
#[derive(Debug, Clone)]
pub(crate) struct TrustSource {
    pub(super) path: PathBuf,
    pub(super) mounted: TrustText,
}

impl TrustSource {
    /// Reads the file.
    ///
    /// # Errors
    /// See [`TrustSourceError`].
    pub(crate) fn open(path: PathBuf) -> Result<Self, TrustSourceError> {
        match read(&path) {
            Ok(mounted) => Ok(Self { path, mounted }),
            Err(reason) => Err(TrustSourceError { path, reason }),
        }
    }
}

/// Looks at the file again and again.
#[derive(Debug)]
pub(super) struct TrustWatch {
    path: PathBuf,
    /// What was read last, or why nothing could be read.
    seen: Result<String, String>,
}

impl TrustWatch {
    /// A watch of the file that was read at the start.
    pub(super) fn new(source: &TrustSource) -> Self {
        Self { path: source.path.clone(), seen: Ok(source.mounted.text.clone()) }
    }

    /// Reads the file. Returns it if it is another one than before, or the text of why it cannot be
    /// used. Does blocking I/O.
    pub(super) fn changed(&mut self) -> Option<Result<TrustText, String>> {
        let read = read_text(&self.path);
        let seen = read.as_ref().map(Clone::clone).map_err(ToString::to_string);
        if seen == self.seen {
            return None;
        }
        self.seen = seen;
        let parsed = read.and_then(|text| TrustText::parse(text).map_err(Reason::Invalid));
        Some(parsed.map_err(|reason| format!("{}: {reason}", self.path.display())))
    }
}

fn read(path: &Path) -> Result<TrustText, Reason> {
    TrustText::parse(read_text(path)?).map_err(Reason::Invalid)
}

fn read_text(path: &Path) -> Result<String, Reason> {
    // Opening a FIFO must not wait for its other end.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file").into());
    }
    let mut bytes = Vec::new();
    file.take(MAX_TRUST_FILE as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_TRUST_FILE {
        return Err(Reason::TooLarge);
    }
    String::from_utf8(bytes).map_err(|_| Reason::NotUtf8)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use fleet_trust::testing::{Signer, trust_file};
    use tempfile::TempDir;

    use super::*;

    fn text(version: u64) -> String {
        let key = Signer::ed25519(1);
        let text = trust_file(1, &[&key], &[&key]);
        text.replace("version: 1", &format!("version: {version}"))
    }

    /// A folder with a file, and the watch of that file.
    fn watched(content: &str) -> (TempDir, PathBuf, TrustWatch) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("trust.yaml");
        fs::write(&path, content).unwrap();
        let source = TrustSource::open(path.clone()).unwrap();
        assert_eq!(source.mounted.text, content);
        let watch = TrustWatch::new(&source);
        (folder, path, watch)
    }

    #[test]
    fn the_error_names_the_file_and_all_mistakes() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("trust.yaml");
        let error = |path: &Path| TrustSource::open(path.to_owned()).unwrap_err().to_string();
        let prefix = format!("{}: ", path.display());
        let refused = |content: &[u8], parts: &[&str]| {
            fs::write(&path, content).unwrap();
            let error = error(&path);
            assert!(error.starts_with(&prefix), "{error}");
            assert!(parts.iter().all(|part| error.contains(part)), "{parts:?}: {error}");
        };
        refused(b"fleet: 'a b'\nversion: 0\n", &["line 1", "; line 2", "roles is missing"]);
        refused(b"fleet: \xff\n", &["it is not UTF-8 text"]);
        refused(&vec![b'#'; MAX_TRUST_FILE + 1], &["it has more than 64 KiB"]);
        refused(text(1).replace("manifest/apply", "manifest/x").as_bytes(), &["manifest/x"]);
        assert!(error(folder.path()).contains("it is not a regular file"));
        assert!(error(&folder.path().join("no")).contains("No such file"));
    }

    #[test]
    fn the_largest_file_is_read() {
        let mut content = text(1);
        content += "#";
        content += &"x".repeat(MAX_TRUST_FILE - content.len());
        let (_folder, path, mut watch) = watched(&content);
        assert!(watch.changed().is_none());
        fs::write(&path, content + "x").unwrap();
        let reason = watch.changed().unwrap().unwrap_err();
        assert!(reason.contains("more than 64 KiB"), "{reason}");
    }

    #[test]
    fn each_change_is_seen_once() {
        let (_folder, path, mut watch) = watched(&text(1));
        assert!(watch.changed().is_none());
        // Written again, with the same content.
        fs::write(&path, text(1)).unwrap();
        assert!(watch.changed().is_none());

        fs::write(&path, text(2)).unwrap();
        assert_eq!(watch.changed().unwrap().unwrap().file.version(), 2);
        assert!(watch.changed().is_none());

        // Half a file, then none at all, then the former one.
        fs::write(&path, &text(2)[..40]).unwrap();
        let reason = watch.changed().unwrap().unwrap_err();
        assert!(reason.starts_with(&format!("{}: line ", path.display())), "{reason}");
        assert!(watch.changed().is_none());
        fs::remove_file(&path).unwrap();
        assert!(watch.changed().unwrap().unwrap_err().contains("No such file"));
        assert!(watch.changed().is_none());
        fs::write(&path, text(2)).unwrap();
        assert_eq!(watch.changed().unwrap().unwrap().text, text(2));
        assert!(watch.changed().is_none());
    }
}
