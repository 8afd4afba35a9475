//! When a subscription ends by itself.

use std::time::Duration;

use service_kit::clock::Deadline;
use tokio::sync::watch;

/// When a subscription ends by itself; `None` is never. A duration, so that it does not depend on
/// the system clock, which may be set. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Expiry(watch::Sender<Option<Deadline>>);

impl Expiry {
    /// It ends after this time.
    pub(super) fn after(left: Option<Duration>) -> Self {
        Self(watch::Sender::new(left.map(Deadline::after)))
    }

    /// The time until it ends.
    pub(super) fn left(&self) -> Option<Duration> {
        self.0.borrow().map(Deadline::left)
    }

    /// It ends at this time if that is earlier.
    pub(super) fn limit(&self, limit: Deadline) {
        self.0.send_if_modified(|deadline| {
            let is_earlier = deadline.is_some_and(|deadline| limit.left() < deadline.left());
            if is_earlier {
                *deadline = Some(limit);
            }
            is_earlier
        });
    }

    /// Waits until it ends.
    pub(super) async fn passed(&self) {
        let mut changes = self.0.subscribe();
        loop {
            let deadline = *changes.borrow_and_update();
            let passed = async {
                match deadline {
                    Some(deadline) => deadline.passed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = passed => return,
                // `self` keeps the sender.
                Ok(()) = changes.changed() => {}
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn a_lifetime_can_be_limited_and_not_extended() {
        let start = Instant::now();
        let expiry = Expiry::after(Some(2 * HOUR));
        expiry.limit(Deadline::after(3 * HOUR));
        assert!(expiry.left().unwrap() <= 2 * HOUR);
        let shared = expiry.clone();
        let passed = async {
            expiry.passed().await;
            start.elapsed()
        };
        let limit = async {
            tokio::time::sleep(HOUR / 2).await;
            shared.limit(Deadline::after(HOUR / 2));
        };
        let (elapsed, ()) = tokio::join!(passed, limit);
        assert!(elapsed >= HOUR && elapsed < HOUR + Duration::from_secs(1), "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_ends_is_not_limited() {
        let expiry = Expiry::after(None);
        expiry.limit(Deadline::after(HOUR));
        assert_eq!(expiry.left(), None);
        assert!(timeout(1000 * HOUR, expiry.passed()).await.is_err());
    }
}
