//! Memory and processor time of a process.

use std::fs;
use std::time::Duration;

/// What a process has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// The resident memory now, in bytes.
    pub(crate) resident: u64,
    /// The largest resident memory so far, in bytes.
    pub(crate) peak: u64,
    /// User and system time so far.
    pub(crate) cpu: Duration,
}

impl Usage {
    /// What a running process has used so far. `None` if it has ended.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may contain spaces.
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut fields = fields.split(' ').skip(11);
        let mut ticks = || fields.next()?.parse::<u64>().ok();
        let ticks = ticks()? + ticks()?;
        Some(Self {
            resident: kilobytes("VmRSS:")? * 1024,
            peak: kilobytes("VmHWM:")? * 1024,
            // Linux counts 100 ticks per second on all its architectures.
            cpu: Duration::from_millis(ticks * 10),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_of_this_process_is_known() {
        let usage = Usage::of(std::process::id());
        assert!(usage.is_some_and(|usage| usage.resident > 100_000
            && usage.peak >= usage.resident
            && usage.cpu < Duration::from_secs(3600)));
        assert_eq!(Usage::of(u32::MAX), None);
    }
}
