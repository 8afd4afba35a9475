//! How another command tells the one that drives a roll-out what the operator wants: by a file in
//! the folder of the journal.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::own_file;
use crate::rollout::RolloutId;

/// Maximum size of the file, in bytes.
const MAX_SIZE: u64 = 1024;

/// What the operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// To send nothing new.
    Pause,
    /// To end the roll-out.
    Abort,
}

/// The file.
#[derive(Debug, Clone)]
pub(crate) struct ControlFile {
    path: PathBuf,
}

impl ControlFile {
    /// The file of a roll-out.
    pub(crate) fn new(journals: &std::path::Path, id: &RolloutId) -> Self {
        Self { path: journals.join(id.as_str()).join("control") }
    }

    /// Writes what the operator wants.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&self, control: Control) -> io::Result<()> {
        let text = match control {
            Control::Pause => "pause\n",
            Control::Abort => "abort\n",
        };
        let new = self.path.with_extension("new");
        fs::write(&new, text)?;
        fs::rename(&new, &self.path)
    }

    /// Takes what the operator wants; `None` if that is nothing.
    pub(crate) fn take(&self) -> Option<Control> {
        let text = own_file::read(&self.path, MAX_SIZE);
        let text = text.ok().and_then(|text| String::from_utf8(text).ok())?;
        // If it cannot be removed, it is read again, which does no harm.
        let _ = fs::remove_file(&self.path);
        match text.trim() {
            "pause" => Some(Control::Pause),
            "abort" => Some(Control::Abort),
            _ => None,
        }
    }
}
