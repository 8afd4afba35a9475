//! What the machine allows one process and all together.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files of one vehicle: both ends of two FIFOs, inotify, the connection to the broker, and one
/// for what is opened for a moment.
const FILES: usize = 8;

/// Open files of a process without vehicles.
const OTHER_FILES: usize = 200;

/// Most vehicles of one process: each has a thread for its store.
const MAX_VEHICLES: usize = 2500;

/// Raises the limit of open files of this process as far as it may.
pub(crate) fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Without the right to do so it stays as it is, and there are more processes.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// How many vehicles fit into one process.
pub(crate) fn vehicles_of_a_process() -> usize {
    let limit = getrlimit(Resource::Nofile).maximum.map_or(usize::MAX, |limit| limit as usize);
    (limit.saturating_sub(OTHER_FILES) / FILES).clamp(1, MAX_VEHICLES)
}

/// What of the machine is too small for so many vehicles, and how it is raised.
pub(crate) fn shortcomings(vehicles: usize) -> Vec<String> {
    let mut found = Vec::new();
    let setting = |path: &str| -> Option<usize> {
        fs::read_to_string(format!("/proc/sys/{path}"))
            .ok()?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    };
    if let Some(instances) = setting("fs/inotify/max_user_instances")
        && instances < vehicles + 100
    {
        found.push(format!(
            "fs.inotify.max_user_instances is {instances}: other connectors look once a second \
             whether Ankaios was restarted; sysctl -w fs.inotify.max_user_instances={}",
            2 * vehicles
        ));
    }
    // Two pipes for each vehicle, of 16 pages each.
    if let Some(pages) = setting("fs/pipe-user-pages-soft")
        && (1..32 * vehicles).contains(&pages)
    {
        found.push(format!(
            "fs.pipe-user-pages-soft is {pages}: the FIFOs of other vehicles get 8 KiB instead of \
             64 KiB; sysctl -w fs.pipe-user-pages-soft=0"
        ));
    }
    found
}
