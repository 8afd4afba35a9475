//! Unsubscribes that arrive before the record of their subscription.
//!
//! After a start the broker delivers the requests that it has queued before the retained
//! records.

use std::future::pending;
use std::time::Duration;

use mqtt_session::SessionStatus;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, sleep_until};

/// How long retained records may take to arrive. The broker sends them once, right after it has
/// granted the subscriptions of the session for the first time.
const MAX_RECORD_DELAY: Duration = Duration::from_secs(1);

/// Maximum wait if there is no session.
const MAX_WAIT: Duration = Duration::from_secs(3);

/// Waits for the signal that the record has arrived, for as long as records may arrive. Returns
/// whether it has.
pub(super) async fn record_arrives(
    record: oneshot::Receiver<()>,
    session: watch::Receiver<SessionStatus>,
) -> bool {
    tokio::select! {
        // The signal comes first: its receiver has to end the subscription.
        biased;
        signal = record => signal.is_ok(),
        () = all_records_have_arrived(session) => false,
        () = sleep(MAX_WAIT) => false,
    }
}

async fn all_records_have_arrived(mut session: watch::Receiver<SessionStatus>) {
    loop {
        let since = session.borrow_and_update().up_since();
        let all_arrived = async {
            match since {
                Some(since) => sleep_until(since + MAX_RECORD_DELAY).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = all_arrived => return,
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
            let arrives = record_arrives(record, status.clone());
            async move { (arrives.await, drop(sender)).0 }
        };
        let start = Instant::now();
        let mut first = pin!(wait());
        assert!(poll!(&mut first).is_pending());
        sleep(MAX_RECORD_DELAY).await;
        session.send_replace(ready());
        assert!(!first.await);
        assert_eq!(start.elapsed().as_secs(), 2 * MAX_RECORD_DELAY.as_secs());
        let later = Instant::now();
        assert!(!wait().await);
        assert_eq!(later.elapsed().as_secs(), 0);
        session.send_replace(SessionStatus::Standby);
        assert!(!wait().await);
        assert_eq!(later.elapsed().as_secs(), MAX_WAIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn the_signal_of_a_record_counts_even_if_it_is_polled_late() {
        let (_session, status) = watch::channel(ready());
        let (found, record) = oneshot::channel();
        let mut arrives = pin!(record_arrives(record, status));
        assert!(poll!(&mut arrives).is_pending());
        assert!(found.send(()).is_ok());
        sleep(MAX_WAIT).await;
        assert!(arrives.await);
    }
}
