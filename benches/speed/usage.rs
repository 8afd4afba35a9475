//! Processor time and memory of processes and threads, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Measures the processor time of a process, or of threads of this process.
pub(crate) struct Cpu {
    tasks: PathBuf,
    /// If set, only threads of this name are measured.
    name: Option<&'static str>,
    /// The processor time of each thread, including threads that have ended.
    threads: BTreeMap<String, u64>,
}

impl Cpu {
    /// Measures a process.
    pub(crate) fn of_process(pid: u32) -> Self {
        Self { tasks: format!("/proc/{pid}/task").into(), name: None, threads: BTreeMap::new() }
    }

    /// Measures the threads of this process with this name.
    pub(crate) fn of_threads(name: &'static str) -> Self {
        Self { tasks: "/proc/self/task".into(), name: Some(name), threads: BTreeMap::new() }
    }

    /// The processor time so far.
    pub(crate) fn time(&mut self) -> Duration {
        for entry in fs::read_dir(&self.tasks).unwrap() {
            let task = entry.unwrap();
            // A thread may end at any time.
            let read = |file| fs::read_to_string(task.path().join(file)).ok();
            if self.name.is_some() && read("comm").as_deref().map(str::trim_end) != self.name {
                continue;
            }
            let Some(schedule) = read("schedstat") else { continue };
            let nanoseconds = schedule.split_whitespace().next().unwrap().parse().unwrap();
            self.threads.insert(task.file_name().into_string().unwrap(), nanoseconds);
        }
        Duration::from_nanos(self.threads.values().sum())
    }
}

/// A value in bytes from `/proc/PID/status`, such as `VmRSS`.
pub(crate) fn memory(pid: u32, figure: &str) -> u64 {
    let kibibytes: u64 =
        status(&format!("/proc/{pid}/status"), figure).trim_end_matches(" kB").parse().unwrap();
    kibibytes * 1024
}

/// A description of the machine in one line.
pub(crate) fn machine() -> String {
    let model = status("/proc/cpuinfo", "model name");
    let cores = std::thread::available_parallelism().unwrap();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}

/// The value of the first line `name: value`.
fn status(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap();
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(key, _)| key.trim() == name);
    found.unwrap_or_else(|| panic!("no {name} in {file}")).1.trim().to_owned()
}
