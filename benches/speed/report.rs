//! The figures of a run, as tables and as JSON.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Round;
use crate::round::median;

/// The processes whose processor time is measured. The last one is the measuring client.
pub(crate) const PROCESSES: [&str; 4] = ["connector", "Mosquitto", "simulated Ankaios", "client"];

/// One kind of request: alternating rounds of the floor and of the connector.
#[derive(Default)]
struct Rounds {
    fifo: Vec<Round>,
    mqtt: Vec<Round>,
    connector: Vec<Round>,
}

impl Rounds {
    fn add(&mut self, fifo: Round, mqtt: Round, connector: Round) {
        self.fifo.push(fifo);
        self.mqtt.push(mqtt);
        self.connector.push(connector);
    }

    fn fifo(&self) -> f64 {
        median(self.fifo.iter().map(|round| round.quantile(0.5)))
    }

    fn mqtt(&self) -> f64 {
        median(self.mqtt.iter().map(|round| round.quantile(0.5)))
    }

    /// The floor of each round: the sum of both parts.
    fn floors(&self) -> impl Iterator<Item = f64> {
        self.fifo.iter().zip(&self.mqtt).map(|(fifo, mqtt)| fifo.quantile(0.5) + mqtt.quantile(0.5))
    }

    fn floor(&self) -> f64 {
        median(self.floors())
    }

    fn connector(&self) -> f64 {
        median(self.connector.iter().map(|round| round.quantile(0.5)))
    }

    fn ratio(&self) -> f64 {
        self.ratio_of(&self.connector)
    }

    /// The median of the ratios of the rounds, because a disturbance of the machine affects
    /// both values of a round.
    fn ratio_of(&self, rounds: &[Round]) -> f64 {
        median(self.floors().zip(rounds).map(|(floor, round)| round.quantile(0.5) / floor))
    }

    /// The 99th percentile over all rounds of the connector.
    fn p99(&self) -> f64 {
        let latencies = self.connector.iter().flat_map(|round| round.latencies.clone()).collect();
        Round { latencies, ..Round::default() }.quantile(0.99)
    }

    /// Requests to the connector in all rounds.
    fn requests(&self) -> usize {
        self.connector.iter().map(|round| round.latencies.len()).sum()
    }
}

/// Measurements of small replies with one number of requests in flight.
pub(crate) struct Load {
    pub(crate) in_flight: usize,
    rounds: Rounds,
    bridge: Vec<Round>,
    cpu: [Duration; PROCESSES.len()],
}

impl Load {
    pub(crate) fn new(in_flight: usize) -> Self {
        Self { in_flight, rounds: Rounds::default(), bridge: Vec::new(), cpu: Default::default() }
    }

    /// Adds a round of the bridge, if it was measured.
    pub(crate) fn add_bridge(&mut self, bridge: Option<Round>) {
        self.bridge.extend(bridge);
    }

    /// The median of the bridge, and its ratio to the floor.
    fn bridge(&self) -> Option<(f64, f64)> {
        let time = || median(self.bridge.iter().map(|round| round.quantile(0.5)));
        (!self.bridge.is_empty()).then(|| (time(), self.rounds.ratio_of(&self.bridge)))
    }

    /// Adds a round. `cpu` is the processor time of the requests to the connector, by
    /// [`PROCESSES`].
    pub(crate) fn add(
        &mut self,
        fifo: Round,
        mqtt: Round,
        connector: Round,
        cpu: [Duration; PROCESSES.len()],
    ) {
        self.rounds.add(fifo, mqtt, connector);
        for (sum, time) in self.cpu.iter_mut().zip(cpu) {
            *sum += time;
        }
    }

    fn rate(&self) -> f64 {
        median(self.rounds.connector.iter().map(Round::rate))
    }

    fn bare_mqtt_rate(&self) -> f64 {
        median(self.rounds.mqtt.iter().map(Round::rate))
    }

    /// Processor time in seconds per 1,000 requests, by [`PROCESSES`].
    fn cpu(&self) -> [f64; PROCESSES.len()] {
        self.cpu.map(|time| time.as_secs_f64() * 1e3 / self.rounds.requests() as f64)
    }

    fn row(&self) -> String {
        let Self { in_flight, rounds, .. } = self;
        format!(
            "| {in_flight} | {:.0} + {:.0} = {:.0} µs | {:.0} µs | **{:.2}** | {:.0} µs | {:.0} | {:.0} | {} |",
            rounds.fifo() * 1e6,
            rounds.mqtt() * 1e6,
            rounds.floor() * 1e6,
            rounds.connector() * 1e6,
            rounds.ratio(),
            rounds.p99() * 1e6,
            self.bare_mqtt_rate(),
            self.rate(),
            self.cpu().map(|time| format!("{:.0}", time * 1e3)).join(" / "),
        )
    }

    fn json(&self) -> Value {
        let cpu: serde_json::Map<_, _> = PROCESSES
            .iter()
            .zip(self.cpu())
            .map(|(&party, cpu)| (party.into(), json!(cpu)))
            .collect();
        json!({
            "in_flight": self.in_flight,
            "floor_fifo_s": self.rounds.fifo(),
            "floor_mqtt_s": self.rounds.mqtt(),
            "floor_s": self.rounds.floor(),
            "median_s": self.rounds.connector(),
            "ratio": self.rounds.ratio(),
            "p99_s": self.rounds.p99(),
            "bridge_s": self.bridge().map(|(time, _)| time),
            "bridge_ratio": self.bridge().map(|(_, ratio)| ratio),
            "bare_mqtt_requests_per_s": self.bare_mqtt_rate(),
            "requests_per_s": self.rate(),
            "cpu_s_per_1000_requests": cpu,
        })
    }
}

/// Measurements of replies of one size, with one request in flight.
#[derive(Default)]
pub(crate) struct LargeReply {
    rounds: Rounds,
    cpu: Duration,
}

impl LargeReply {
    /// Adds a round. `cpu` is the connector's processor time for the requests.
    pub(crate) fn add(&mut self, fifo: Round, mqtt: Round, connector: Round, cpu: Duration) {
        self.rounds.add(fifo, mqtt, connector);
        self.cpu += cpu;
    }

    fn bytes(&self) -> usize {
        self.rounds.connector.first().map_or(0, |round| round.reply_size)
    }

    /// The connector's processor time per reply, in seconds.
    fn cpu(&self) -> f64 {
        self.cpu.as_secs_f64() / self.rounds.requests() as f64
    }

    fn row(&self) -> String {
        format!(
            "| {} | {:.2} ms | {:.2} ms | {:.2} | {:.2} ms |",
            size(self.bytes() as f64),
            self.rounds.floor() * 1e3,
            self.rounds.connector() * 1e3,
            self.rounds.ratio(),
            self.cpu() * 1e3,
        )
    }

    fn json(&self) -> Value {
        json!({
            "reply_bytes": self.bytes(),
            "floor_fifo_s": self.rounds.fifo(),
            "floor_mqtt_s": self.rounds.mqtt(),
            "floor_s": self.rounds.floor(),
            "median_s": self.rounds.connector(),
            "ratio": self.rounds.ratio(),
            "cpu_s_per_reply": self.cpu(),
        })
    }
}

/// Measurements of the idle connector, after all others.
pub(crate) struct Idle {
    pub(crate) watched: Duration,
    pub(crate) cpu: Duration,
    /// Resident memory in bytes.
    pub(crate) memory: u64,
}

/// All figures of one run. Memory is in bytes.
pub(crate) struct Report {
    pub(crate) machine: String,
    pub(crate) binary: PathBuf,
    pub(crate) broker_settings: Vec<&'static str>,
    pub(crate) loads: Vec<Load>,
    pub(crate) large_replies: Vec<LargeReply>,
    pub(crate) after_small_replies: u64,
    pub(crate) peak: u64,
    pub(crate) idle: Idle,
}

impl Report {
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("{}\n\n", self.machine);
        text += "| in flight | floor: FIFO + MQTT | connector | ratio | p99 | requests/s, bare MQTT | \
                 requests/s | CPU per 1,000 requests: connector / Mosquitto / simulated Ankaios / \
                 client, ms |\n|---|---|---|---|---|---|---|---|\n";
        for load in &self.loads {
            writeln!(text, "{}", load.row()).unwrap();
        }
        for (time, ratio) in self.loads.iter().filter_map(Load::bridge) {
            writeln!(
                text,
                "\nBoth parts of the floor one after the other, in one process that does nothing \
                 else: {:.0} µs, ratio {ratio:.2}.",
                time * 1e6
            )
            .unwrap();
        }
        text += "\n| reply | floor | connector | ratio | CPU of the connector |\n|---|---|---|---|---|\n";
        for reply in &self.large_replies {
            writeln!(text, "{}", reply.row()).unwrap();
        }
        let Idle { watched, cpu, memory } = &self.idle;
        writeln!(
            text,
            "\n| memory and idle load of the connector | |\n|---|---|\n\
             | memory after the small replies (RSS) | {:.1} MiB |\n\
             | peak memory | {:.1} MiB |\n\
             | memory, idle after all of it (RSS) | {:.1} MiB |\n\
             | CPU in {} s without requests | {:.2} ms |",
            mebibytes(self.after_small_replies),
            mebibytes(self.peak),
            mebibytes(*memory),
            watched.as_secs(),
            cpu.as_secs_f64() * 1e3,
        )
        .unwrap();
        text
    }

    /// Writes the same figures to a file and returns its path.
    pub(crate) fn write_json(&self) -> PathBuf {
        let figures = json!({
            "machine": self.machine,
            "binary": self.binary,
            "broker_settings": self.broker_settings,
            "small_replies": self.loads.iter().map(Load::json).collect::<Vec<_>>(),
            "large_replies": self.large_replies.iter().map(LargeReply::json).collect::<Vec<_>>(),
            "memory_after_small_replies_bytes": self.after_small_replies,
            "memory_peak_bytes": self.peak,
            "memory_idle_bytes": self.idle.memory,
            "idle_watched_s": self.idle.watched.as_secs_f64(),
            "idle_cpu_s": self.idle.cpu.as_secs_f64(),
        });
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("speed.json");
        std::fs::write(&path, serde_json::to_string_pretty(&figures).unwrap()).unwrap();
        path
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn size(bytes: f64) -> String {
    if bytes < 1e5 { format!("{:.1} kB", bytes / 1e3) } else { format!("{:.2} MB", bytes / 1e6) }
}
