//! The errors of the store.

use std::io;
use std::path::{Path, PathBuf};

use super::advice::explain;

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
    #[error("{}: {reason}", .path.display())]
    Io {
        /// The folder or the file.
        path: PathBuf,
        /// Why it cannot be used, and what to do.
        reason: String,
    },
}

impl OpenError {
    /// The folder of the store, or `path` in it, cannot be used.
    pub(super) fn io(folder: &Path, path: PathBuf, error: &io::Error) -> Self {
        let reason = explain(folder, &path, error);
        Self::Io { path, reason }
    }
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
    /// `path` in the folder of the store cannot be used.
    pub(super) fn io(folder: &Path, path: &Path, error: &io::Error) -> Self {
        let reason = explain(folder, &folder.join(path), error);
        Self::Io { file: path.display().to_string(), reason }
    }

    /// Files in the folder of the store cannot be used.
    pub(super) fn load(folder: &Path, error: LoadError) -> Self {
        match error {
            LoadError::Io(path, error) => Self::io(folder, &path, &error),
            LoadError::Newer(path, error) => {
                Self::Damaged { file: path.display().to_string(), reason: error.to_string() }
            }
        }
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
