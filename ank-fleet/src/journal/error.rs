//! Errors of journals.

use std::io;
use std::path::PathBuf;

use crate::rollout::RolloutId;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// There is no roll-out with this id.
    #[error("there is no roll-out {id} in {}; see ank-fleet rollout list", folder.display())]
    Unknown {
        /// The id.
        id: RolloutId,
        /// The folder of the journals.
        folder: PathBuf,
    },
    /// There is a roll-out with this id already.
    #[error("there is a roll-out {id} already; go on with ank-fleet rollout resume {id}")]
    Exists {
        /// The id.
        id: RolloutId,
    },
    /// Another command drives the roll-out.
    #[error(
        "another command is running this roll-out ({} is locked); wait for it, or end it with Ctrl-C",
        path.display()
    )]
    Locked {
        /// The folder of the journal.
        path: PathBuf,
    },
    /// The journal was written by another version.
    #[error(
        "{} has format {found}, this version reads {expected}; use the version of ank-fleet that \
         has written it",
        path.display()
    )]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The format of this version.
        expected: u32,
    },
    /// A file is damaged.
    #[error(
        "{} is damaged: line {line}, column {column}: {reason}; restore it from a backup, or start \
         a new roll-out: vehicles that have the change already are left out",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong.
        reason: String,
    },
    /// An earlier write has failed.
    #[error(
        "{} could not be written before; make room, then go on with ank-fleet rollout resume",
        path.display()
    )]
    Broken {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}
