//! Which vehicles have sent nothing of a stream for too long.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::Vin;

/// When each vehicle has sent something last.
#[derive(Debug)]
pub(super) struct Silence {
    limit: Duration,
    heard: BTreeMap<Vin, Instant>,
    order: BTreeSet<(Instant, Vin)>,
}

impl Silence {
    /// Nothing is expected yet. `limit`: how long a vehicle may be silent.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, heard: BTreeMap::new(), order: BTreeSet::new() }
    }

    /// A vehicle has sent something, and more is expected.
    pub(super) fn heard(&mut self, vin: &Vin, now: Instant) {
        self.forget(vin);
        self.heard.insert(vin.clone(), now);
        self.order.insert((now, vin.clone()));
    }

    /// Nothing more is expected of a vehicle.
    pub(super) fn forget(&mut self, vin: &Vin) {
        if let Some(before) = self.heard.remove(vin) {
            self.order.remove(&(before, vin.clone()));
        }
    }

    /// When the next vehicle has been silent for too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.order.first().map(|(heard, _)| *heard + self.limit)
    }

    /// A vehicle that has been silent for too long. Nothing more is expected of it.
    pub(super) fn next_silent(&mut self, now: Instant) -> Option<Vin> {
        if self.deadline()? > now {
            return None;
        }
        let (_, vin) = self.order.pop_first()?;
        self.heard.remove(&vin);
        Some(vin)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_nothing_for_the_limit_is_silent() {
        let second = Duration::from_secs(1);
        let [one, two, three] = ["A1", "A2", "A3"].map(|vin| vin.parse::<Vin>().unwrap());
        let (mut silence, now) = (Silence::new(3 * second), Instant::now());
        assert_eq!(silence.deadline(), None);
        [&one, &two, &three].into_iter().for_each(|vin| silence.heard(vin, now));
        silence.heard(&one, now + 2 * second);
        silence.forget(&three);
        assert_eq!(silence.next_silent(now + 2 * second), None);
        assert_eq!(silence.next_silent(now + 3 * second), Some(two));
        assert_eq!(silence.next_silent(now + 3 * second), None);
        assert_eq!(silence.deadline(), Some(now + 5 * second));
        assert_eq!(silence.next_silent(now + 5 * second), Some(one));
        assert_eq!(silence.deadline(), None);
    }
}
