//! The system clock of a program, which a test sets: Debian's libfaketime.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

/// How far the clock of this machine is from 1970, roughly.
pub const SINCE_1970: Duration = Duration::from_secs(1_795_000_000);

/// Five years.
pub const YEARS: Duration = Duration::from_secs(5 * 365 * 24 * 3600);

/// The clock of a program that runs with [`Clock::settings`].
pub struct Clock {
    folder: TempDir,
    library: String,
    file: String,
}

impl Clock {
    /// A clock that is right. `None`, with a message, without libfaketime.
    pub fn new(test: &str) -> Option<Self> {
        let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
        let libraries = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
        let Some(library) = libraries.into_iter().find(|path| path.exists()) else {
            super::skipped(test, "libfaketime is not installed");
            return None;
        };
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("offset").display().to_string();
        let clock = Self { folder, library: library.display().to_string(), file };
        clock.set_right();
        Some(clock)
    }

    /// Sets the clock back by this.
    pub fn set_back(&self, by: Duration) {
        self.write(format!("-{}", by.as_secs()));
    }

    /// Sets the clock forward by this.
    pub fn set_forward(&self, by: Duration) {
        self.write(format!("+{}", by.as_secs()));
    }

    /// Sets the clock to that of this machine.
    pub fn set_right(&self) {
        self.write("+0".into());
    }

    fn write(&self, offset: String) {
        let new: PathBuf = self.folder.path().join("new");
        std::fs::write(&new, offset).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }

    /// The environment of the program. Monotonic clocks are not changed.
    pub fn settings(&self) -> [(&str, &str); 4] {
        [
            ("LD_PRELOAD", &self.library),
            ("FAKETIME_TIMESTAMP_FILE", &self.file),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
    }
}
