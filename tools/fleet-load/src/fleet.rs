//! The vehicles, over several processes.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::arrivals::Arrival;
use crate::limits;
use crate::process::Usage;

/// How long a fleet may take until all are ready: a replicated queue for each of 10,000 vehicles
/// takes minutes.
const MAX_WAIT: Duration = Duration::from_secs(1800);

/// A running fleet. Its processes end with it.
pub(crate) struct Fleet {
    vehicles: usize,
    workers: Vec<Child>,
    arrivals: watch::Receiver<Vec<Arrival>>,
    /// When the first process was started.
    start: u64,
    _folder: TempDir,
}

impl Fleet {
    /// Starts vehicles, and returns also what of the machine is too small for them. `settings` are
    /// environment variables for the connectors, in addition to those of this process. At most
    /// `at_once` are starting at a time; `None` means all.
    pub(crate) async fn start(
        vehicles: usize,
        settings: &[(&str, String)],
        at_once: Option<usize>,
    ) -> anyhow::Result<(Self, Vec<String>)> {
        limits::raise_open_files();
        // FIFOs and stores of thousands of vehicles need no disk.
        let folder = tempfile::Builder::new().prefix("fleet-load").tempdir_in("/dev/shm");
        let folder = folder.or_else(|_| TempDir::new())?;
        let program = std::env::current_exe()?;
        let (sender, arrivals) = watch::channel(Vec::new());
        let mut workers = Vec::new();
        let start = now();
        let size = limits::vehicles_of_a_process();
        for first in (1..=vehicles).step_by(size) {
            let count = size.min(vehicles + 1 - first);
            let share = at_once.map(|all| (all * count / vehicles).max(1));
            let share = share.map(|share| format!("--at-once={share}"));
            let mut worker = Command::new(&program)
                .arg("worker")
                .args(["--first", &first.to_string(), "--count", &count.to_string()])
                .args(share)
                .arg("--folder")
                .arg(folder.path())
                .envs(settings.iter().map(|(name, value)| (name, value.as_str())))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .context("a process with vehicles cannot be started")?;
            if let Some(output) = worker.stdout.take() {
                let sender = sender.clone();
                tokio::spawn(async move {
                    let mut lines = BufReader::new(output).lines();
                    while let Ok(Some(line)) = lines.next_line().await {
                        if let Ok(arrival) = serde_json::from_str(&line) {
                            sender.send_modify(|all| all.push(arrival));
                        }
                    }
                });
            }
            workers.push(worker);
        }
        let fleet = Self { vehicles, workers, arrivals, start, _folder: folder };
        Ok((fleet, limits::shortcomings(vehicles)))
    }

    /// What runs.
    pub(crate) fn describe(&self) -> String {
        format!(
            "{} vehicles: {0} real connectors, each with a simulated Ankaios of its own, in {} \
             processes; 0 with a canned answer",
            self.vehicles,
            self.workers.len()
        )
    }

    /// How they have become ready.
    pub(crate) fn report(&self) -> String {
        let Online { all, peak } = self.online(self.start, None);
        let usage = self.usage();
        format!(
            "all ready after {:.1} s, at most {peak} in one second; {:.0} kB of memory for each",
            all.as_secs_f64(),
            usage.resident as f64 / 1000.0 / self.vehicles as f64
        )
    }

    /// Waits until each has been ready once.
    ///
    /// # Errors
    /// A process has ended, or they are not ready in time.
    pub(crate) async fn all_ready(&self) -> anyhow::Result<()> {
        let all = (1..=self.vehicles).map(crate::vehicle::vin).collect();
        self.ready_again(&all, 0).await
    }

    /// Waits until each of these has been ready at or after a time, in milliseconds since 1970.
    ///
    /// # Errors
    /// They are not ready in time.
    pub(crate) async fn ready_again(
        &self,
        vins: &BTreeSet<String>,
        since: u64,
    ) -> anyhow::Result<()> {
        let end = Instant::now() + MAX_WAIT;
        loop {
            let ready: BTreeSet<String> = {
                let all = self.arrivals.borrow();
                all.iter().filter(|one| one.at >= since).map(|one| one.vin.clone()).collect()
            };
            let missing = vins.difference(&ready).count();
            if missing == 0 {
                return Ok(());
            }
            if Instant::now() >= end {
                anyhow::bail!("{missing} of {} are not ready after {MAX_WAIT:?}", vins.len());
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// How those that have become ready since a time have done so: all, or these.
    pub(crate) fn online(&self, since: u64, vins: Option<&BTreeSet<String>>) -> Online {
        let all = self.arrivals.borrow();
        let mut first: BTreeMap<&str, u64> = BTreeMap::new();
        for one in all.iter().filter(|one| one.at >= since) {
            if vins.is_none_or(|vins| vins.contains(&one.vin)) {
                first.entry(&one.vin).or_insert(one.at);
            }
        }
        let last = first.values().max().copied().unwrap_or(since);
        let mut seconds: BTreeMap<u64, usize> = BTreeMap::new();
        for at in first.values() {
            *seconds.entry((at - since) / 1000).or_default() += 1;
        }
        Online {
            all: Duration::from_millis(last - since),
            peak: seconds.values().max().copied().unwrap_or_default(),
        }
    }

    /// Those whose last connection is to this broker.
    pub(crate) fn connected_to(&self, broker: &str) -> BTreeSet<String> {
        let all = self.arrivals.borrow();
        let last: BTreeMap<&String, &String> =
            all.iter().map(|one| (&one.vin, &one.broker)).collect();
        let here = last.into_iter().filter(|(_, other)| *other == broker);
        here.map(|(vin, _)| vin.clone()).collect()
    }

    /// When the fleet was started, in milliseconds since 1970.
    pub(crate) fn start_time(&self) -> u64 {
        self.start
    }

    /// What all processes together have used.
    pub(crate) fn usage(&self) -> Usage {
        let usages = self.workers.iter().filter_map(Child::id).filter_map(Usage::of);
        usages.fold(Usage::default(), |all, one| Usage {
            resident: all.resident + one.resident,
            peak: all.peak + one.peak,
            cpu: all.cpu + one.cpu,
        })
    }

    /// The process ids.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.workers.iter().filter_map(Child::id).collect()
    }

    /// Waits until a process ends, which they do not by themselves.
    pub(crate) async fn ended(mut self) -> anyhow::Result<()> {
        loop {
            for worker in &mut self.workers {
                if let Some(status) = worker.try_wait()? {
                    anyhow::bail!("a process with vehicles has ended: {status}");
                }
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Ends all vehicles, and waits until they are gone.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        for worker in &mut self.workers {
            worker.kill().await?;
        }
        Ok(())
    }
}

/// How vehicles have become ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Online {
    /// Until the last one.
    pub(crate) all: Duration,
    /// Most in one second.
    pub(crate) peak: usize,
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
