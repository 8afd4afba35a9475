//! The health of an event stream.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;

use super::status::LinkStatus;

/// Health of an event stream and of the listeners that it feeds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamHealth {
    /// The subscription is established, and its link is connected.
    pub subscribed: bool,
    /// When the last event was taken from the stream.
    pub last_event: Option<SystemTime>,
    /// When the stream last subscribed again.
    pub last_resync: Option<SystemTime>,
    /// Number of failed attempts to subscribe again, and of failed calls of listeners.
    pub failures: u64,
    /// Why the last attempt to subscribe again has failed; `None` after one that succeeded.
    pub reason: Option<String>,
}

/// Reads the health of an event stream that is used elsewhere. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StreamHealthHandle {
    /// A lock, because the stream writes while others read. It is held for a few assignments
    /// or a clone.
    health: Arc<Mutex<StreamHealth>>,
    link: watch::Receiver<LinkStatus>,
}

impl StreamHealthHandle {
    /// The health of a stream that uses this link.
    pub(super) fn new(link: watch::Receiver<LinkStatus>) -> Self {
        Self { health: Arc::default(), link }
    }

    /// The health now.
    #[must_use]
    pub fn get(&self) -> StreamHealth {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // The stream does not notice the end of a session before the next one begins.
        health.subscribed &= *self.link.borrow() == LinkStatus::Connected;
        health
    }

    /// Waits until a link that is down is connected. Never returns if it is connected already.
    pub(super) async fn link_restored(&self) {
        let mut link = self.link.clone();
        if *link.borrow_and_update() == LinkStatus::Connected
            || link.wait_for(|link| *link == LinkStatus::Connected).await.is_err()
        {
            std::future::pending().await
        }
    }

    pub(super) fn update(&self, update: impl FnOnce(&mut StreamHealth)) {
        update(&mut self.health.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
