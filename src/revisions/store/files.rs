//! The file operations of the store. A trait, so that tests can stop after each of them.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::geteuid;

/// Maximum size of a file, in bytes. Ankaios accepts updates of 1 MiB; the same items are longer
/// as YAML, because of its indentation and escapes.
pub(super) const MAX_FILE: usize = 16 * 1024 * 1024;

/// The permissions of everybody but the owner.
const OTHERS: u32 = 0o077;

/// File operations below one folder. Paths are relative to it.
pub(crate) trait Files: Send {
    /// Creates a folder, unless it exists. Only its owner can use it.
    fn create_folder(&mut self, path: &Path) -> io::Result<()>;

    /// The names of the files in a folder.
    fn list(&mut self, folder: &Path) -> io::Result<Vec<String>>;

    /// The content of a file.
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>>;

    /// Creates, writes and syncs a file that only its owner can read. It must not exist.
    fn write(&mut self, path: &Path, content: &[u8]) -> io::Result<()>;

    /// Renames a file. One that exists under the new name is replaced.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&mut self, path: &Path) -> io::Result<()>;

    /// Syncs a folder: the renames and removals in it are on the disk afterwards.
    fn sync_folder(&mut self, folder: &Path) -> io::Result<()>;
}

/// The files of a real folder.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Creates the folder and its parents, unless they exist.
    pub(crate) fn create(path: PathBuf) -> io::Result<Self> {
        create_with_parents(&path)?;
        Ok(Self(path))
    }
}

impl Files for Folder {
    fn create_folder(&mut self, path: &Path) -> io::Result<()> {
        let path = self.0.join(path);
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created,
        }
        // A link could lead out of the folder that is locked.
        let metadata = fs::symlink_metadata(&path)?;
        if !metadata.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        restrict(&path, &metadata, 0o700);
        Ok(())
    }

    fn list(&mut self, folder: &Path) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(self.0.join(folder))?;
        // A name that is not UTF-8 is not one of the store.
        entries
            .filter_map(|entry| entry.map(|e| e.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let path = self.0.join(path);
        // Opening a FIFO must not wait for its other end.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file =
            OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(&path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"));
        }
        restrict(&path, &metadata, 0o600);
        let mut content = Vec::new();
        file.take(MAX_FILE as u64 + 1).read_to_end(&mut content)?;
        if content.len() > MAX_FILE {
            let reason = format!("it has more than {MAX_FILE} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
        }
        Ok(content)
    }

    fn write(&mut self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(self.0.join(path))?;
        file.write_all(content)?;
        file.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        fs::remove_file(self.0.join(path))
    }

    fn sync_folder(&mut self, folder: &Path) -> io::Result<()> {
        File::open(self.0.join(folder))?.sync_all()
    }
}

/// Whether the error concerns only writing: the disk is read-only, or the permission is missing.
pub(super) fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

/// Creates a folder and its parents, and syncs the parent of each folder that it creates. Else a
/// power cut could remove the folder with all that was synced in it.
fn create_with_parents(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        None => return Err(io::ErrorKind::NotFound.into()),
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    };
    create_with_parents(parent)?;
    DirBuilder::new().mode(0o700).create(path)?;
    match File::open(parent) {
        // Creating a folder needs no right to read its parent.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        parent => parent?.sync_all(),
    }
}

/// Takes the permissions of others on a file or folder away. They can exist after it was copied
/// here, for example from a backup.
fn restrict(path: &Path, metadata: &fs::Metadata, mode: u32) {
    if metadata.permissions().mode() & OTHERS == 0 {
        return;
    }
    // The connector itself may need the permissions on what belongs to somebody else.
    let error = if metadata.uid() == geteuid().as_raw() {
        let restricted = fs::set_permissions(path, Permissions::from_mode(mode));
        restricted.err().map(|error| error.to_string())
    } else {
        Some(format!("it belongs to user {}", metadata.uid()))
    };
    tracing::warn!(
        path = %path.display(),
        error,
        "others had permissions on a part of the store, which can contain secrets"
    );
}
