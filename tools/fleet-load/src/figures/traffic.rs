//! Bytes on the wire: what the kernel has counted for the connections of connectors.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::time::sleep;

use crate::broker::Mosquitto;
use crate::fleet::Fleet;
use crate::vehicle::vin;

/// The keep-alive times.
const KEEP_ALIVES: [Duration; 4] = [
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(5),
    Duration::from_mins(15),
];

/// Vehicles for each keep-alive time, with TLS and without.
const VEHICLES: usize = 20;

/// Requests of which the mean is taken.
const REQUESTS: usize = 100;

/// Headers of IPv4 and TCP with timestamps, in bytes, for each segment.
const HEADERS: u64 = 20 + 32;

/// A fleet at rest.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct RestFigures {
    pub(crate) plain: Hourly,
    pub(crate) tls: Hourly,
}

/// What one vehicle sends and receives in an hour.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Hourly {
    /// With the headers of TCP and IP.
    pub(crate) bytes: f64,
    pub(crate) segments: f64,
}

/// What one request costs: `state` of `["agents"]` and its reply.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct RequestFigures {
    /// With the headers of TCP and IP.
    pub(crate) plain_bytes: f64,
    pub(crate) plain_segments: f64,
    pub(crate) tls_bytes: f64,
    pub(crate) tls_segments: f64,
}

/// Bytes and segments in both directions.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    payload: u64,
    segments: u64,
}

impl Counted {
    fn since(self, before: Self) -> (f64, f64) {
        let segments = self.segments - before.segments;
        ((self.payload - before.payload + segments * HEADERS) as f64, segments as f64)
    }
}

/// Measures fleets at rest, for the longest keep-alive time.
pub(crate) async fn at_rest() -> anyhow::Result<BTreeMap<u64, RestFigures>> {
    let longest = KEEP_ALIVES.into_iter().max().unwrap_or_default();
    println!("traffic at rest, for {}", humantime::format_duration(longest));
    let mut running = Vec::new();
    for keep_alive in KEEP_ALIVES {
        for is_tls in [false, true] {
            // The fleets have the same client identifiers, so each needs a broker of its own.
            let line = MeasuredLine::start(is_tls).await?;
            let mut settings = line.settings();
            settings.push(("MQTT_KEEP_ALIVE", format!("{}s", keep_alive.as_secs())));
            let (fleet, _) = Fleet::start(VEHICLES, &settings, None).await?;
            fleet.all_ready().await?;
            running.push((keep_alive, line, fleet));
        }
    }
    // What follows the start is over.
    sleep(Duration::from_secs(20)).await;
    let mut before = Vec::new();
    for (_, line, _) in &running {
        before.push(line.count().await?);
    }
    sleep(longest).await;
    let hours = longest.as_secs_f64() / 3600.0 * VEHICLES as f64;
    let mut figures: BTreeMap<u64, RestFigures> = BTreeMap::new();
    for ((keep_alive, line, _), before) in running.iter().zip(before) {
        let (bytes, segments) = line.count().await?.since(before);
        let hourly = Hourly { bytes: bytes / hours, segments: segments / hours };
        let found = figures.entry(keep_alive.as_secs()).or_default();
        if line.is_tls { found.tls = hourly } else { found.plain = hourly }
    }
    Ok(figures)
}

/// A broker and how connectors reach it.
struct MeasuredLine {
    broker: Mosquitto,
    is_tls: bool,
}

impl MeasuredLine {
    async fn start(is_tls: bool) -> anyhow::Result<Self> {
        Ok(Self { broker: Mosquitto::start().await?, is_tls })
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        if self.is_tls { self.broker.tls_settings() } else { self.broker.settings() }
    }

    /// What all connections of connectors have transferred.
    async fn count(&self) -> anyhow::Result<Counted> {
        let [plain, tls] = self.broker.ports();
        count(if self.is_tls { tls } else { plain }).await
    }
}

/// Measures requests to one vehicle.
pub(crate) async fn requests() -> anyhow::Result<RequestFigures> {
    let mut found = Vec::new();
    for is_tls in [false, true] {
        let line = MeasuredLine::start(is_tls).await?;
        let (fleet, _) = Fleet::start(1, &line.settings(), None).await?;
        fleet.all_ready().await?;
        let [plain, _] = line.broker.ports();
        request(plain).await?;
        let before = line.count().await?;
        for _ in 0..REQUESTS {
            request(plain).await?;
        }
        let (bytes, segments) = line.count().await?.since(before);
        found.push((bytes / REQUESTS as f64, segments / REQUESTS as f64));
        fleet.stop().await?;
    }
    let [(plain_bytes, plain_segments), (tls_bytes, tls_segments)] = found[..] else {
        anyhow::bail!("two are measured");
    };
    Ok(RequestFigures { plain_bytes, plain_segments, tls_bytes, tls_segments })
}

async fn request(port: u16) -> anyhow::Result<()> {
    let topic = format!("vehicle/{}/state", vin(1));
    let output = Command::new("mosquitto_rr")
        .args(["-V", "5", "-q", "1", "-p", &port.to_string(), "-W", "10", "-m", r#"["agents"]"#])
        .args(["-t", &format!("{topic}/req"), "-e", &format!("{topic}/resp")])
        .output()
        .await
        .context("mosquitto_rr cannot be started; make test installs it")?;
    anyhow::ensure!(output.status.success() && !output.stdout.is_empty(), "no reply");
    Ok(())
}

/// The sums over all connections to a port.
async fn count(port: u16) -> anyhow::Result<Counted> {
    let output = Command::new("ss")
        .args(["-tinH", "state", "established", &format!("dport = :{port}")])
        .output()
        .await
        .context("ss cannot be started; Debian's package iproute2 has it")?;
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

fn parse(text: &str) -> Counted {
    let mut all = Counted::default();
    for word in text.split_whitespace() {
        let Some((name, value)) = word.split_once(':') else { continue };
        let Ok(value) = value.parse::<u64>() else { continue };
        match name {
            "bytes_sent" | "bytes_received" => all.payload += value,
            "segs_out" | "segs_in" => all.segments += value,
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_of_all_connections_are_added() {
        let text = "0 0 127.0.0.1:5 127.0.0.1:1883\n\t cubic rtt:0.1/0.2 bytes_sent:100 \
                    bytes_acked:100 bytes_received:50 segs_out:7 segs_in:5 send 1Gbps\n\
                    0 0 127.0.0.1:6 127.0.0.1:1883\n\t bytes_sent:1 segs_out:2 segs_in:3\n";
        let counted = parse(text);
        assert_eq!((counted.payload, counted.segments), (151, 17));
        let before = Counted { payload: 51, segments: 7 };
        assert_eq!(counted.since(before), (100.0 + 10.0 * 52.0, 10.0));
    }
}
