//! Unsubscribes that arrive before the record of their subscription.
//!
//! After a start the broker delivers the requests that have waited before the retained
//! records.

use std::future::pending;
use std::time::Duration;

use mqtt_session::SessionStatus;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, sleep_until};

/// How long records may take to come. The broker sends them once, right after it has granted
/// the subscriptions of the session for the first time.
const RECORDS: Duration = Duration::from_secs(1);

/// The longest wait, in case there is no session.
const MAX_WAIT: Duration = Duration::from_secs(3);

/// Waits until `record` is told, as long as records may come. Returns whether it was.
pub(super) async fn record_comes(
    record: oneshot::Receiver<()>,
    session: watch::Receiver<SessionStatus>,
) -> bool {
    tokio::select! {
        // Whoever was told has to end the subscription.
        biased;
        told = record => told.is_ok(),
        () = all_records_have_come(session) => false,
        () = sleep(MAX_WAIT) => false,
    }
}

async fn all_records_have_come(mut session: watch::Receiver<SessionStatus>) {
    loop {
        let since = match &*session.borrow_and_update() {
            SessionStatus::Ready { since } => Some(*since),
            _ => None,
        };
        let over = async {
            match since {
                Some(since) => sleep_until(since + RECORDS).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = over => return,
            changed = session.changed() => if changed.is_err() {
                // The connector is stopping.
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;
    use tokio::time::Instant;

    use super::*;

    fn ready() -> SessionStatus {
        SessionStatus::Ready { since: Instant::now() }
    }

    #[tokio::test(start_paused = true)]
    async fn records_are_awaited_at_the_start_of_a_session_only() {
        let (session, status) = watch::channel(SessionStatus::Standby);
        let wait = || {
            let (sender, record) = oneshot::channel();
            let comes = record_comes(record, status.clone());
            async move { (comes.await, drop(sender)).0 }
        };
        let start = Instant::now();
        let mut first = pin!(wait());
        assert!(poll!(&mut first).is_pending());
        sleep(RECORDS).await;
        session.send_replace(ready());
        assert!(!first.await);
        assert_eq!(start.elapsed().as_secs(), 2 * RECORDS.as_secs());
        let later = Instant::now();
        assert!(!wait().await);
        assert_eq!(later.elapsed().as_secs(), 0);
        session.send_replace(SessionStatus::Standby);
        assert!(!wait().await);
        assert_eq!(later.elapsed().as_secs(), MAX_WAIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_that_was_told_counts_however_late_that_is_seen() {
        let (_session, status) = watch::channel(ready());
        let (found, record) = oneshot::channel();
        let mut comes = pin!(record_comes(record, status));
        assert!(poll!(&mut comes).is_pending());
        assert!(found.send(()).is_ok());
        sleep(MAX_WAIT).await;
        assert!(comes.await);
    }
}
