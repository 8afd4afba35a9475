//! When vehicles in flight are read although nothing was heard of them. A message may be lost: at
//! a node of a broker that dies, in a process that is killed. Waits double, because downloads take
//! long and each read costs traffic.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::time::Time;

/// How long nothing may be heard of a vehicle before it is read for the first time.
const FIRST: Duration = Duration::from_secs(30);

/// The vehicles that are to be read, and when. They may have ended meanwhile.
#[derive(Debug, Clone, Default)]
pub(super) struct Looks {
    by_time: BTreeSet<(Time, usize)>,
    by_vehicle: BTreeMap<usize, Look>,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    at: Time,
    wait: Duration,
    /// Whether its workloads were up at the last read.
    is_up: bool,
}

impl Looks {
    /// Something was heard of a vehicle in flight, or sent to it.
    pub(super) fn heard(&mut self, index: usize, now: Time) {
        self.schedule(index, Look { at: now.after(FIRST), wait: FIRST, is_up: false });
    }

    /// A vehicle is not in flight any more.
    pub(super) fn remove(&mut self, index: usize) {
        if let Some(look) = self.by_vehicle.remove(&index) {
            self.by_time.remove(&(look.at, index));
        }
    }

    /// The vehicles that are to be read now. Each is due again, after twice the time.
    pub(super) fn due(&mut self, now: Time) -> Vec<usize> {
        let due: Vec<usize> =
            self.by_time.range(..=(now, usize::MAX)).map(|(_, index)| *index).collect();
        for index in &due {
            if let Some(look) = self.by_vehicle.get(index).copied() {
                let wait = look.wait.saturating_mul(2);
                self.schedule(*index, Look { at: now.after(wait), wait, ..look });
            }
        }
        due
    }

    /// The workloads of a vehicle are up. Returns whether they have stayed up: a look may come just
    /// after they were started, so only the second one counts. Other reads follow an interruption, and
    /// count at once.
    pub(super) fn has_stayed_up(&mut self, index: usize) -> bool {
        let look = self.by_vehicle.get_mut(&index).filter(|look| look.wait > FIRST);
        look.is_none_or(|look| std::mem::replace(&mut look.is_up, true))
    }

    /// When the next vehicle is due.
    pub(super) fn next(&self) -> Option<Time> {
        self.by_time.first().map(|(at, _)| *at)
    }

    fn schedule(&mut self, index: usize, look: Look) {
        self.remove(index);
        self.by_time.insert((look.at, index));
        self.by_vehicle.insert(index, look);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn waits_double_until_something_is_heard() {
        let mut looks = Looks::default();
        looks.heard(7, at(0));
        looks.heard(8, at(20));
        assert_eq!((looks.next(), looks.due(at(29))), (Some(at(30)), vec![]));
        assert_eq!(looks.due(at(30)), [7]);
        assert_eq!((looks.next(), looks.due(at(50))), (Some(at(50)), vec![8]));
        assert_eq!((looks.next(), looks.due(at(90))), (Some(at(90)), vec![7]));
        looks.heard(7, at(100));
        looks.remove(8);
        assert_eq!((looks.next(), looks.due(at(130))), (Some(at(130)), vec![7]));
        looks.remove(7);
        assert_eq!((looks.next(), looks.due(at(9999))), (None, vec![]));
    }

    #[test]
    fn the_second_look_shows_that_workloads_have_stayed_up() {
        let mut looks = Looks::default();
        looks.heard(7, at(0));
        // After an interruption.
        assert!(looks.has_stayed_up(7));
        looks.due(at(30));
        assert!(!looks.has_stayed_up(7));
        looks.heard(7, at(40));
        looks.due(at(70));
        assert!(!looks.has_stayed_up(7));
        looks.due(at(130));
        assert!(looks.has_stayed_up(7));
    }
}
