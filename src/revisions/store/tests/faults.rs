//! A folder whose operations fail.

use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::*;

/// What happens at one operation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// The power is cut before it. Only operations that write are counted: a power cut before
    /// others leaves the same folder.
    Stop,
    /// The power is cut while it writes a file, after this many bytes.
    StopWriting(usize),
    /// It fails, and a file is half written. Later ones work.
    Error(Errno),
    /// It and all later ones that write fail.
    Full(Errno),
    /// The same, and no part of a file is written.
    ReadOnly(Errno),
}

#[derive(Debug, Default)]
struct State {
    /// Number of operations so far.
    count: usize,
    /// Number of those that write.
    writes: usize,
    fault: Option<(usize, Fault)>,
    stopped: bool,
    /// Size of the file that was being written at the fault.
    size: Option<usize>,
}

/// The faults of a folder, for the test.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Arc<Mutex<State>>);

impl Faults {
    /// The fault happens after this many more operations.
    pub(super) fn inject(&self, after: usize, fault: Fault) {
        let mut state = self.0.lock().unwrap();
        *state = State { fault: Some((after, fault)), ..State::default() };
    }

    /// From now on everything works.
    pub(super) fn end(&self) {
        *self.0.lock().unwrap() = State::default();
    }

    /// Number of operations since the last call of another function.
    pub(super) fn count(&self) -> usize {
        self.0.lock().unwrap().count
    }

    /// Opens the store on a folder with these faults.
    pub(super) fn open(&self, path: &Path) -> Result<(Store, Contents), LoadError> {
        let folder = Folder::create(path.to_owned()).unwrap();
        Store::with(path, Box::new(FaultyFolder { folder, faults: self.clone() }))
    }

    /// Size of the file that was being written when the power was cut.
    pub(super) fn size_at_fault(&self) -> Option<usize> {
        self.0.lock().unwrap().size
    }

    /// Whether the power was cut.
    pub(super) fn is_cut(&self) -> bool {
        self.0.lock().unwrap().stopped
    }

    /// The fault of this operation.
    fn next(&self, writes: bool) -> Option<Fault> {
        let mut state = self.0.lock().unwrap();
        let (number, write) = (state.count, state.writes);
        state.count += 1;
        state.writes += usize::from(writes);
        if state.stopped {
            return Some(Fault::Stop);
        }
        match state.fault {
            Some((at, fault @ (Fault::Stop | Fault::StopWriting(_)))) if writes && at == write => {
                state.stopped = true;
                Some(fault)
            }
            Some((at, fault @ Fault::Error(_))) if at == number => Some(fault),
            Some((at, fault @ (Fault::Full(_) | Fault::ReadOnly(_)))) if at <= number && writes => {
                Some(fault)
            }
            _ => None,
        }
    }

    fn check(&self, writes: bool) -> io::Result<()> {
        match self.next(writes) {
            None => Ok(()),
            Some(Fault::Stop | Fault::StopWriting(_)) => Err(io::Error::other("stopped")),
            Some(Fault::Error(errno) | Fault::Full(errno) | Fault::ReadOnly(errno)) => {
                Err(errno.into())
            }
        }
    }
}

struct FaultyFolder {
    folder: Folder,
    faults: Faults,
}

impl Files for FaultyFolder {
    fn create_folder(&mut self, path: &Path) -> io::Result<()> {
        self.faults.check(true)?;
        self.folder.create_folder(path)
    }

    fn list(&mut self, folder: &Path) -> io::Result<Vec<String>> {
        self.faults.check(false)?;
        self.folder.list(folder)
    }

    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.faults.check(false)?;
        self.folder.read(path)
    }

    fn write(&mut self, path: &Path, content: &[u8]) -> io::Result<()> {
        match self.faults.next(true) {
            None => self.folder.write(path, content),
            Some(Fault::Stop) => Err(io::Error::other("stopped")),
            Some(Fault::StopWriting(length)) => {
                self.faults.0.lock().unwrap().size = Some(content.len());
                self.folder.write(path, content.get(..length).unwrap_or(content))?;
                Err(io::Error::other("stopped"))
            }
            Some(Fault::Error(errno) | Fault::Full(errno)) => {
                self.folder.write(path, &content[..content.len() / 2])?;
                Err(errno.into())
            }
            Some(Fault::ReadOnly(errno)) => Err(errno.into()),
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.check(true)?;
        self.folder.rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.faults.check(true)?;
        self.folder.remove(path)
    }

    fn sync_folder(&mut self, folder: &Path) -> io::Result<()> {
        self.faults.check(true)?;
        self.folder.sync_folder(folder)
    }
}
