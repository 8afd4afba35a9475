//! The folder of a control interface and its two FIFOs.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::net::unix::pipe;

/// The paths of the FIFOs.
#[derive(Clone, Debug)]
pub(crate) struct Fifos {
    folder: PathBuf,
    /// The workload writes, the agent reads.
    output: PathBuf,
    /// The agent writes, the workload reads.
    input: PathBuf,
}

impl Fifos {
    /// The FIFOs in a folder.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            output: folder.join("output"),
            input: folder.join("input"),
        }
    }

    /// Creates the folder and the FIFOs, unless they exist. Only their owner may use them.
    pub(crate) fn create(&self) -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        for path in [&self.input, &self.output] {
            let exists = path.symlink_metadata().is_ok_and(|file| file.file_type().is_fifo());
            if !exists {
                mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
            }
        }
        Ok(())
    }

    /// Unlinks the FIFOs and their folder. FIFOs that are open stay usable.
    pub(crate) fn unlink(&self) -> io::Result<()> {
        std::fs::remove_file(&self.input)?;
        std::fs::remove_file(&self.output)?;
        std::fs::remove_dir(&self.folder)
    }

    /// Opens `output` for reading. Works without a writer.
    pub(crate) fn open_output(&self) -> io::Result<pipe::Receiver> {
        pipe::OpenOptions::new().open_receiver(&self.output)
    }

    /// Opens `input` for writing.
    ///
    /// # Errors
    /// `ENXIO` unless the workload has opened it for reading.
    pub(crate) fn open_input(&self) -> io::Result<pipe::Sender> {
        pipe::OpenOptions::new().open_sender(&self.input)
    }
}

/// Whether an error means that the FIFO has no reader.
pub(crate) fn has_no_reader(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
        || error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error())
}
