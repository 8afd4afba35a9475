//! Requests for one subscription take effect in the order in which they came,
//! whichever is answered first.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::subscriptions::Key;

/// Gives out turns. Holds for each subscription the end of the last one.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<BTreeMap<Key, Before>>);

/// The end of the turn before. It passes on what that had to wait for itself, if
/// it did not wait.
#[derive(Debug)]
struct Before(oneshot::Receiver<Option<Before>>);

impl Before {
    /// Whether it has not come.
    fn is_awaited(&mut self) -> bool {
        loop {
            match self.0.try_recv() {
                Ok(Some(before)) => *self = before,
                Ok(None) | Err(TryRecvError::Closed) => return false,
                Err(TryRecvError::Empty) => return true,
            }
        }
    }
}

/// The place of a request among those for the same subscription. Dropping it lets
/// the next one go on.
#[derive(Debug)]
pub(crate) struct Turn {
    before: Option<Before>,
    done: Option<oneshot::Sender<Option<Before>>>,
}

impl Turns {
    /// A turn after all that were taken before.
    pub(super) fn take(&self, key: Key) -> Turn {
        let (done, end) = oneshot::channel();
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, last| last.is_awaited());
        let before = turns.insert(key, Before(end));
        Turn { before, done: Some(done) }
    }
}

impl Turn {
    /// Waits until all requests before have been dealt with. Each of them ends by
    /// its own timeout.
    pub(crate) async fn comes(&mut self) {
        while let Some(Before(end)) = &mut self.before {
            self.before = end.await.ok().flatten();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            let _ = done.send(self.before.take());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::streams::SubscriptionId;
    use crate::topics::StreamKind;
    use futures_util::FutureExt;

    fn key(id: &str) -> Key {
        (StreamKind::Events, SubscriptionId::try_from(id.to_owned()).unwrap())
    }

    #[test]
    fn turns_come_in_order_for_each_subscription() {
        let turns = Turns::default();
        let mut first = turns.take(key("a"));
        let mut second = turns.take(key("a"));
        let mut other = turns.take(key("b"));
        assert!(first.comes().now_or_never().is_some());
        assert!(other.comes().now_or_never().is_some());
        assert!(second.comes().now_or_never().is_none());
        drop(first);
        assert!(second.comes().now_or_never().is_some());
        drop((second, other));
        let _another = turns.take(key("c"));
        assert_eq!(turns.0.lock().unwrap().len(), 1, "those that are over are forgotten");
    }

    #[test]
    fn who_gives_up_lets_nobody_overtake_those_before() {
        let turns = Turns::default();
        let first = turns.take(key("a"));
        let second = turns.take(key("a"));
        let mut third = turns.take(key("a"));
        drop(second);
        assert!(third.comes().now_or_never().is_none());
        let fourth = turns.take(key("a"));
        drop(third);
        drop(fourth);
        let mut fifth = turns.take(key("a"));
        assert!(fifth.comes().now_or_never().is_none());
        drop(first);
        assert!(fifth.comes().now_or_never().is_some());
    }
}
