//! Answers those who ask all connectors of a fleet for their status.
//!
//! The session's task hands each request over; a task of its own publishes the status again, not
//! retained, at a random moment within the time that the request allows.

use std::time::Duration;

use fleet_contract::fleet::{FleetName, WhoRequest};
use mqtt_session::{Announcement, Lane, Publication, Recall, Sender};
use service_kit::clock::Deadline;
use service_kit::random;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Maximum number of requests that wait for the task. One answer is for all of them.
const MAX_REQUESTS: usize = 16;

/// How long an answer is of use. The connection of whoever asks may be busy with the question itself:
/// RabbitMQ needs 34 s to hand it to 10,000 sessions, and the first vehicles have answered long before.
const EXPIRY: Duration = Duration::from_secs(180);

/// Takes requests from the session's task.
#[derive(Debug)]
pub(crate) struct StatusRequests {
    topic: String,
    requests: mpsc::Sender<Result<WhoRequest, String>>,
    status: watch::Sender<Option<Announcement>>,
}

/// Answers the requests.
#[derive(Debug)]
pub(crate) struct StatusAnswers {
    requests: mpsc::Receiver<Result<WhoRequest, String>>,
    status: watch::Receiver<Option<Announcement>>,
}

impl StatusRequests {
    /// The requests to a fleet, and the task that answers them.
    #[must_use]
    pub(crate) fn new(fleet: &FleetName) -> (Self, StatusAnswers) {
        let (sender, requests) = mpsc::channel(MAX_REQUESTS);
        let (status_sender, status) = watch::channel(None);
        let topic = fleet.who_topic();
        (
            Self { topic, requests: sender, status: status_sender },
            StatusAnswers { requests, status },
        )
    }

    /// Where the requests are published.
    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// Takes a request. If too many wait, the answer to one of them is also for this one.
    pub(super) fn received(&self, payload: &[u8]) {
        // Without a receiver, the session is about to end.
        let _ = self.requests.try_send(WhoRequest::parse(payload));
    }

    /// Remembers the status that was published last.
    pub(super) fn announced(&self, status: &Announcement) {
        self.status.send_replace(Some(status.clone()));
    }
}

impl StatusAnswers {
    /// Answers requests by messages to `outgoing`, until `stop` is cancelled: the session ends when
    /// nobody can send anything any more.
    pub(crate) async fn run(mut self, outgoing: Sender, stop: CancellationToken) {
        let mut due: Option<Instant> = None;
        let mut is_warned = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                request = self.requests.recv() => match request {
                    Some(Ok(request)) => due = Some(earlier(due, request, Instant::now())),
                    Some(Err(reason)) if !is_warned => {
                        is_warned = true;
                        tracing::warn!(
                            %reason,
                            "a request for the status of all vehicles is ignored; others like it are \
                             not logged"
                        );
                    }
                    Some(Err(_)) => {}
                    // The session has ended. Others see to what follows.
                    None => std::future::pending().await,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    due = None;
                    let status = self.status.borrow_and_update().clone();
                    let Some(Announcement { topic, payload }) = status else { continue };
                    let expiry = Some(Deadline::after(EXPIRY));
                    let answer = Publication { topic, payload, retain: false, expiry };
                    // Streams do not delay it.
                    let Ok(writer) = outgoing.writer(Lane::Replies).await else { continue };
                    let _ = writer.publish(answer, &Recall::default()).await;
                }
            }
        }
    }
}

/// When to answer: at a random moment within the time that the request allows, or before, if an
/// earlier request is answered then.
fn earlier(due: Option<Instant>, request: WhoRequest, now: Instant) -> Instant {
    let moment = now + random::duration(&(Duration::ZERO..request.spread));
    due.map_or(moment, |due| due.min(moment))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_spread_and_one_is_for_all() {
        let now = Instant::now();
        let spread = Duration::from_secs(60);
        let request = WhoRequest { spread };
        let moments: Vec<_> = (0..100).map(|_| earlier(None, request, now)).collect();
        assert!(moments.iter().all(|moment| (now..now + spread).contains(moment)));
        assert!(moments.iter().any(|moment| *moment > now + spread / 2));
        let at_once = WhoRequest { spread: Duration::ZERO };
        assert_eq!(earlier(Some(now + spread), at_once, now), now);
        assert_eq!(earlier(Some(now), request, now), now);
    }
}
