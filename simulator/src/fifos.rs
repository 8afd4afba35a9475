//! The folder of a workload's control interface and the two FIFOs in it.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::net::unix::pipe;

/// Where the FIFOs are.
#[derive(Clone, Debug)]
pub(crate) struct Fifos {
    folder: PathBuf,
    /// The workload writes, the agent reads.
    output: PathBuf,
    /// The agent writes, the workload reads.
    input: PathBuf,
}

impl Fifos {
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            output: folder.join("output"),
            input: folder.join("input"),
        }
    }

    /// Makes the folder and the FIFOs where they are missing. Only their owner
    /// may use them.
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

    /// Unlinks the FIFOs and their folder. Those who have them open keep them.
    pub(crate) fn unlink(&self) -> io::Result<()> {
        std::fs::remove_file(&self.input)?;
        std::fs::remove_file(&self.output)?;
        std::fs::remove_dir(&self.folder)
    }

    /// Opens `output` for reading. This needs no writer.
    pub(crate) fn open_output(&self) -> io::Result<pipe::Receiver> {
        pipe::OpenOptions::new().open_receiver(&self.output)
    }

    /// Opens `input` for writing.
    ///
    /// # Errors
    /// `ENXIO` as long as the workload has not opened it for reading.
    pub(crate) fn open_input(&self) -> io::Result<pipe::Sender> {
        pipe::OpenOptions::new().open_sender(&self.input)
    }
}

/// Whether an error says that nobody reads the FIFO.
pub(crate) fn reader_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
        || error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error())
}
