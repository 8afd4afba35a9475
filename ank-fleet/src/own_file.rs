//! Reads the files of the journal. Others may have put something else in their place.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};

/// Reads a regular file of a limited size. What is no such file is an error, and is not waited for.
pub(crate) fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(too_large(max));
    }
    Ok(bytes)
}

/// The error for a file that is larger than so many bytes.
pub(crate) fn too_large(max: u64) -> io::Error {
    io::Error::other(format!("it is larger than {} MiB", max / (1024 * 1024)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rustix::fs::{CWD, mkfifoat};

    use super::*;

    #[test]
    fn only_regular_files_of_a_limited_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("file"), vec![b'x'; 1 << 20]).unwrap();
        assert_eq!(read(&path("file"), 1 << 20).unwrap().len(), 1 << 20);
        // Nobody writes to it, so it would be waited for.
        mkfifoat(CWD, path("fifo"), Mode::RUSR).unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        std::fs::create_dir(path("folder")).unwrap();
        for name in ["fifo", "link", "folder", "missing"] {
            assert!(read(&path(name), 1 << 20).is_err(), "{name}");
        }
        std::fs::write(path("file"), vec![b'x'; (1 << 20) + 1]).unwrap();
        let error = read(&path("file"), 1 << 20).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 1 MiB");
    }
}
