//! Subscriptions that were to be ended before they were known. After a start the broker
//! delivers the requests that have waited before the records of the subscriptions.

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, sleep_until};

use super::subscriptions::Key;
use crate::mqtt::SessionStatus;

/// The broker sends the records once, right after it has granted the subscription to them
/// for the first time. So long they may take to come.
const RECORDS: Duration = Duration::from_secs(1);

/// The longest wait for them, should the session not stand for so long.
const MAX_WAIT: Duration = Duration::from_secs(3);

/// Subscriptions that are remembered. Of more, those that were sought first are forgotten.
const MAX_SOUGHT: usize = 256;

/// Subscriptions that were to be ended, and were not there.
#[derive(Debug)]
pub(super) struct Sought {
    session: watch::Receiver<SessionStatus>,
    /// With those who wait for their records.
    keys: VecDeque<(Key, oneshot::Sender<()>)>,
}

/// Whether those who sought a subscription are still there when it is found.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Found {
    /// Nobody waits any more.
    Late,
    /// Somebody waits, and ends it now.
    Awaited,
}

impl Sought {
    /// Nothing is sought. `session` is the one that the records come from.
    pub(super) fn new(session: watch::Receiver<SessionStatus>) -> Self {
        Self { session, keys: VecDeque::new() }
    }

    /// Remembers a subscription, and waits for its record as long as that may come at
    /// the start of a session. Gives whether it has come.
    pub(super) fn seek(&mut self, key: Key) -> impl Future<Output = bool> + Send + use<> {
        let (tell, found) = oneshot::channel();
        self.keys.push_back((key, tell));
        if self.keys.len() > MAX_SOUGHT {
            self.keys.pop_front();
        }
        let session = self.session.clone();
        async move {
            tokio::select! {
                // Who was told has to end it.
                biased;
                found = found => found.is_ok(),
                () = records_have_come(session) => false,
                () = sleep(MAX_WAIT) => false,
            }
        }
    }

    /// Forgets a subscription, and tells who waits for it that its record has come.
    pub(super) fn found(&mut self, key: &Key) -> Option<Found> {
        let tell = |waiting: oneshot::Sender<()>| match waiting.send(()) {
            Ok(()) => Found::Awaited,
            Err(()) => Found::Late,
        };
        self.forget(key).into_iter().map(tell).max()
    }

    /// Forgets a subscription. Returns those who wait for it, or have waited.
    pub(super) fn forget(&mut self, key: &Key) -> Vec<oneshot::Sender<()>> {
        let (forgotten, others): (VecDeque<_>, VecDeque<_>) =
            self.keys.drain(..).partition(|(sought, _)| sought == key);
        self.keys = others;
        forgotten.into_iter().map(|(_, tell)| tell).collect()
    }
}

/// Waits until the broker has had its time to send them.
async fn records_have_come(mut session: watch::Receiver<SessionStatus>) {
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
                // The connector stops.
                return;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;
    use tokio::time::Instant;

    use super::*;
    use crate::streams::SubscriptionId;
    use crate::topics::StreamKind;

    fn key(id: usize) -> Key {
        (StreamKind::Events, SubscriptionId::try_from(id.to_string()).unwrap())
    }

    fn ready() -> SessionStatus {
        SessionStatus::Ready { since: Instant::now() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_sought_is_remembered_within_bounds() {
        let (_session, status) = watch::channel(ready());
        let mut sought = Sought::new(status);
        let first = sought.seek(key(0));
        for id in 1..=MAX_SOUGHT {
            assert!(!sought.seek(key(id)).await);
        }
        assert!(!first.await);
        assert_eq!(sought.found(&key(0)), None);
        assert_eq!(sought.found(&key(MAX_SOUGHT)), Some(Found::Late));
        assert_eq!(sought.found(&key(MAX_SOUGHT)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn records_are_waited_for_at_the_start_of_a_session_only() {
        let standby = SessionStatus::Standby;
        let (session, status) = watch::channel(standby);
        let mut sought = Sought::new(status);
        let begin = Instant::now();
        let mut first = pin!(sought.seek(key(1)));
        assert!(poll!(&mut first).is_pending());
        sleep(RECORDS).await;
        session.send_replace(ready());
        assert!(!first.await);
        assert_eq!(begin.elapsed().as_secs(), 2 * RECORDS.as_secs());
        let later = Instant::now();
        assert!(!sought.seek(key(2)).await);
        assert_eq!(later.elapsed().as_secs(), 0);
        session.send_replace(SessionStatus::Standby);
        assert!(!sought.seek(key(2)).await);
        assert_eq!(later.elapsed().as_secs(), MAX_WAIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told_however_late_it_is_asked() {
        let (_session, status) = watch::channel(ready());
        let mut sought = Sought::new(status);
        let mut found = pin!(sought.seek(key(1)));
        assert!(poll!(&mut found).is_pending());
        assert_eq!(sought.found(&key(1)), Some(Found::Awaited));
        sleep(MAX_WAIT).await;
        assert!(found.await);
    }
}
