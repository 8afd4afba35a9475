//! Says the same thing only once in a while.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// The time in which the same notice is logged once.
const INTERVAL: Duration = Duration::from_mins(10);

/// How many different notices are remembered. Topics are part of them, so they need a limit.
const MAX_KEPT: usize = 256;

/// When each notice was logged last.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    logged: BTreeMap<String, (Instant, u64)>,
}

impl Notices {
    /// Whether to log a notice now. Returns how many were not logged since the last one.
    pub(crate) fn due(&mut self, notice: &str) -> Option<u64> {
        let now = Instant::now();
        if let Some((logged, suppressed)) = self.logged.get_mut(notice) {
            if now < *logged + INTERVAL {
                *suppressed += 1;
                return None;
            }
            let since = std::mem::take(suppressed);
            *logged = now;
            return Some(since);
        }
        if self.logged.len() >= MAX_KEPT {
            self.logged.retain(|_, (logged, _)| now < *logged + INTERVAL);
        }
        if self.logged.len() >= MAX_KEPT {
            return None;
        }
        self.logged.insert(notice.to_owned(), (now, 0));
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_notice_is_due_once_in_a_while_with_the_number_of_others() {
        let mut notices = Notices::default();
        assert_eq!(notices.due("a"), Some(0));
        assert_eq!((notices.due("a"), notices.due("a"), notices.due("b")), (None, None, Some(0)));
        advance(INTERVAL).await;
        assert_eq!((notices.due("a"), notices.due("a")), (Some(2), None));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_and_log_are_limited() {
        let mut notices = Notices::default();
        let due = (0..1000).filter(|number| notices.due(&number.to_string()).is_some()).count();
        assert_eq!((due, notices.logged.len()), (MAX_KEPT, MAX_KEPT));
        advance(INTERVAL).await;
        assert_eq!(notices.due("new"), Some(0));
        assert_eq!(notices.logged.len(), 1);
    }
}
