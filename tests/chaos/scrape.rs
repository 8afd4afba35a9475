//! Health and metrics are requested all the time, and must be available while the connector
//! runs.

use std::io;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::journal::Journal;
use super::support::http::{self, Response};
use super::support::openmetrics::Scrape;

/// The time limit for a response, also of a process that has just been started.
const LIMIT: Duration = Duration::from_secs(2);

/// The paths that are requested.
const PATHS: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// The port on which a connector serves its health; `None` if it does not run.
#[derive(Debug, Default)]
pub(crate) struct Endpoint(watch::Sender<Option<u16>>);

impl Endpoint {
    /// Records that the connector now runs and serves its health on this port.
    pub(crate) fn set_running(&self, port: u16) {
        self.0.send_replace(Some(port));
    }

    /// Records that the connector ends or is suspended. Returns its port.
    pub(crate) fn set_stopped(&self) -> Option<u16> {
        self.0.send_replace(None)
    }

    /// Requests random paths until `end`; returns what was wrong.
    pub(crate) async fn scrape(
        &self,
        mut random: Rng,
        end: Instant,
        journal: &Journal,
    ) -> Vec<String> {
        let mut failures = Vec::new();
        while Instant::now() < end {
            let mut endpoint = self.0.subscribe();
            let port = *endpoint.borrow_and_update();
            let path = PATHS[random.usize(..PATHS.len())];
            if let Some(port) = port {
                let asked = Instant::now();
                let answer = ask(port, path).await;
                // A connector that has ended in the meantime need not answer.
                let still_running = !endpoint.has_changed().unwrap();
                if let Err(failure) = answer.and_then(|answer| judge(path, &answer))
                    && still_running
                {
                    failures.push(format!("{:.3}: {path}: {failure}", journal.at(asked)));
                }
            }
            sleep(Duration::from_millis(random.u64(0..400))).await;
        }
        failures
    }

    /// Whether the connector reports the role `standby`.
    pub(crate) async fn is_standby(&self) -> Result<bool, String> {
        let port = self.0.borrow().ok_or("the connector does not run")?;
        Ok(ask(port, "/readyz").await?.json()["role"] == "standby")
    }

    /// Waits until the connector reports that it is ready.
    pub(crate) async fn ready(&self, limit: Duration) -> Result<(), String> {
        let begin = Instant::now();
        let port = self.0.borrow().ok_or("the connector does not run")?;
        for path in PATHS {
            judge(path, &ask(port, path).await?)?;
        }
        loop {
            let answer = ask(port, "/readyz").await?;
            match answer.status {
                200 => return Ok(()),
                _ if begin.elapsed() > limit => return Err(format!("not ready: {}", answer.body)),
                _ => sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

/// Sends a request to a process that may not have opened its port yet.
async fn ask(port: u16, path: &str) -> Result<Response, String> {
    let answer = async {
        loop {
            match http::request(port, "GET", path).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    sleep(Duration::from_millis(10)).await;
                }
                answer => return answer.map_err(|error| error.to_string()),
            }
        }
    };
    timeout(LIMIT, answer).await.unwrap_or_else(|_| Err(format!("no answer within {LIMIT:?}")))
}

fn judge(path: &str, answer: &Response) -> Result<(), String> {
    let right = match path {
        "/livez" => answer.status == 200 && answer.json()["alive"] == true,
        "/readyz" => {
            let json = answer.json();
            match answer.status {
                200 => json["ready"] == true,
                503 => {
                    let reasons = json["reasons"].as_object();
                    json["ready"] == false && reasons.is_some_and(|reasons| !reasons.is_empty())
                }
                _ => false,
            }
        }
        _ => answer.status == 200 && !Scrape::parse(&answer.body).families().is_empty(),
    };
    if right { Ok(()) } else { Err(format!("{} {}", answer.status, answer.body)) }
}
