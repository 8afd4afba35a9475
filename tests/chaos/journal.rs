//! A record of all faults with their times. It helps to analyse failures, and it distinguishes
//! errors that a fault explains from those that none explains.

use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long Ankaios may remain unreachable after a fault has ended.
const RECOVERY: Duration = Duration::from_secs(3);

/// How long after the restart of the broker its loss of data may be recorded.
const NOTED: Duration = Duration::from_secs(1);

/// A period in which requests to Ankaios may fail.
#[derive(Clone, Copy, Debug)]
struct Outage {
    begin: Instant,
    /// `None` while it lasts.
    end: Option<Instant>,
}

/// The events of one run. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    events: Arc<Events>,
    /// The prefix of its notes: the name of a replica, or nothing.
    prefix: &'static str,
}

#[derive(Debug)]
pub(crate) struct Events {
    start: Instant,
    notes: Mutex<Vec<String>>,
    outages: Mutex<Vec<Outage>>,
    data_losses: Mutex<Vec<Instant>>,
}

impl Deref for Journal {
    type Target = Events;

    fn deref(&self) -> &Events {
        &self.events
    }
}

impl Journal {
    pub(crate) fn new() -> Self {
        let events = Events {
            start: Instant::now(),
            notes: Mutex::default(),
            outages: Mutex::default(),
            data_losses: Mutex::default(),
        };
        Self { events: Arc::new(events), prefix: "" }
    }

    /// The same journal, for notes about one replica.
    pub(crate) fn of(&self, prefix: &'static str) -> Self {
        Self { prefix, ..self.clone() }
    }

    pub(crate) fn note(&self, event: impl AsRef<str>) {
        let at = self.start.elapsed().as_secs_f64();
        let line = format!("{at:8.3} {:1} {}", self.prefix, event.as_ref());
        self.notes.lock().unwrap().push(line);
    }
}

impl Events {
    /// Begins an outage, in which requests to Ankaios may fail, until [`Journal::over`].
    pub(crate) fn outage(&self) -> usize {
        let mut outages = self.outages.lock().unwrap();
        outages.push(Outage { begin: Instant::now(), end: None });
        outages.len() - 1
    }

    pub(crate) fn over(&self, outage: usize) {
        self.outages.lock().unwrap()[outage].end = Some(Instant::now() + RECOVERY);
    }

    /// Whether a request in flight during this period may have failed.
    pub(crate) fn excuses(&self, begin: Instant, end: Instant) -> bool {
        let overlaps = |outage: &Outage| {
            outage.begin <= end && outage.end.is_none_or(|outage_end| outage_end >= begin)
        };
        self.outages.lock().unwrap().iter().any(overlaps)
    }

    /// Records that the broker has lost all sessions and messages, and runs again.
    pub(crate) fn broker_lost_data(&self) {
        self.data_losses.lock().unwrap().push(Instant::now());
    }

    /// The last time before this moment at which the broker ran again after it had lost
    /// everything.
    pub(crate) fn data_lost_before(&self, moment: Instant) -> Option<Instant> {
        self.data_losses.lock().unwrap().iter().rev().find(|when| **when <= moment).copied()
    }

    /// Whether the broker lost everything in this period or shortly after it.
    pub(crate) fn data_lost_between(&self, begin: Instant, end: Instant) -> bool {
        let data_losses = self.data_losses.lock().unwrap();
        data_losses.iter().any(|when| begin <= *when && *when <= end + NOTED)
    }

    /// How often the broker has lost everything.
    pub(crate) fn data_losses(&self) -> usize {
        self.data_losses.lock().unwrap().len()
    }

    pub(crate) fn text(&self) -> String {
        self.notes.lock().unwrap().join("\n")
    }

    /// Seconds since the start.
    pub(crate) fn at(&self, when: Instant) -> f64 {
        when.saturating_duration_since(self.start).as_secs_f64()
    }
}
