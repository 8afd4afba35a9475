//! The measurements of one round of requests.

use std::time::Duration;

/// When to stop.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    Time(Duration),
    Requests(usize),
}

impl Limit {
    /// Whether to send another request while `open` requests, including the one just answered,
    /// have no reply.
    pub(crate) fn continues(self, round: &Round, passed: Duration, open: usize) -> bool {
        match self {
            Self::Time(limit) => passed < limit,
            Self::Requests(limit) => round.latencies.len() + open <= limit,
        }
    }
}

/// Latencies of one or several rounds.
#[derive(Clone, Default)]
pub(crate) struct Round {
    pub(crate) latencies: Vec<Duration>,
    /// The size of the last reply in bytes.
    pub(crate) reply_size: usize,
    pub(crate) took: Duration,
}

impl Round {
    pub(crate) fn add(&mut self, latency: Duration, reply_size: usize) {
        self.latencies.push(latency);
        self.reply_size = reply_size;
    }

    /// Requests per second.
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    /// The quantile of the latencies in seconds; 0.5 is the median.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let index = (sorted.len() as f64 * part) as usize;
        sorted[index.min(sorted.len() - 1)].as_secs_f64()
    }
}

/// The median of values of several rounds.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
