//! The errors of the store.

use std::io;
use std::path::{Path, PathBuf};

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has locked the folder.
    #[error(
        "{} is used by another connector; each connector needs a folder of its own", .0.display()
    )]
    Locked(PathBuf),
    /// A newer version has written a file.
    #[error(
        "{}: {error}; use that version, or another folder", .file.display()
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its format.
        error: NewerFormat,
    },
    /// The folder, or a file in it, cannot be used at the moment.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The folder or the file.
        path: PathBuf,
        /// Why it cannot be used.
        error: io::Error,
    },
}

/// The format of a file is newer than this version.
#[derive(Debug, thiserror::Error)]
#[error("it has the format {0}, which a newer version of the connector has written")]
pub struct NewerFormat(pub(super) u32);

/// Why a change could not be written, or a revision not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{file}: {reason}")]
    Io { file: String, reason: String },
    #[error("{file} is damaged: {reason}")]
    Damaged { file: String, reason: String },
    /// The store would not be able to read it again.
    #[error("{file} cannot be kept: {reason}")]
    Invalid { file: String, reason: String },
}

impl StoreError {
    pub(super) fn io(path: &Path, error: &io::Error) -> Self {
        Self::Io { file: path.display().to_string(), reason: error.to_string() }
    }

    pub(super) fn invalid(path: &Path, reason: impl ToString) -> Self {
        Self::Invalid { file: path.display().to_string(), reason: reason.to_string() }
    }
}

/// Why the files of a store cannot be used.
#[derive(Debug)]
pub(super) enum LoadError {
    Io(PathBuf, io::Error),
    Newer(PathBuf, NewerFormat),
}

impl From<LoadError> for StoreError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Io(path, error) => Self::io(&path, &error),
            LoadError::Newer(path, error) => {
                Self::Damaged { file: path.display().to_string(), reason: error.to_string() }
            }
        }
    }
}
