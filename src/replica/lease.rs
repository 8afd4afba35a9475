//! The checks of the active replica before and while it uses the shared session.

use std::time::Duration;

use fleet_contract::status::{Availability, ConnectorStatus};
use fleet_contract::topics::{TopicKind, Topics};
use mqtt_session::{Arrival, ConnectionError, Reaction, SessionMetrics, SessionOptions};
use tokio::time::{Instant, timeout_at};

use super::election::StatusSeen;
use super::observer::Observer;

/// How long to wait for a status before the session is resumed: a broker may send retained
/// messages shortly after the subscription, and a new active replica needs a moment to publish
/// its status.
const SETTLE: Duration = Duration::from_millis(250);

/// The right of the active replica to use the session.
#[derive(Debug)]
pub(crate) struct Lease {
    replica: String,
    topics: Topics,
    /// `since` of the status on the current connection, or on the one that is being opened.
    since: String,
    past: PastSessions,
    /// Whether a connection before the current one had subscriptions.
    is_resumed: bool,
    /// Whether the subscriptions of the current connection are granted.
    is_granted: bool,
}

/// `since` of this process's status on earlier connections.
#[derive(Debug, Default)]
struct PastSessions {
    /// On the last connection whose subscriptions were granted.
    granted: Option<String>,
    /// On the last connection that was attempted, which the broker may have accepted.
    attempted: Option<String>,
}

/// What a status says about the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// This process has published it, and no other replica was active since.
    Own,
    /// It is this process's last will: the broker has noticed the end of the connection, and no
    /// other replica has taken over since.
    OwnWill,
    /// Another replica, or another process of the same name, was active after this process.
    Other,
}

impl Lease {
    /// `replica` is the name of this replica.
    #[must_use]
    pub(crate) fn new(replica: String, topics: Topics) -> Self {
        let past = PastSessions::default();
        let (is_resumed, is_granted) = (false, false);
        Self { replica, topics, since: String::new(), past, is_resumed, is_granted }
    }

    /// Records that a connection is about to be opened. Its status has this `since`.
    pub(crate) fn connecting(&mut self, since: &str) {
        self.is_resumed = self.past.granted.is_some();
        self.is_granted = false;
        let attempted = std::mem::replace(&mut self.since, since.to_owned());
        self.past.attempted = Some(attempted).filter(|attempted| !attempted.is_empty());
    }

    /// Records that the subscriptions of the connection are granted.
    pub(crate) fn granted(&mut self) {
        self.past.granted = Some(self.since.clone());
        self.is_granted = true;
    }

    /// Handles a message between replicas.
    #[must_use]
    pub(crate) fn handle(&self, topic: TopicKind<'_>, arrival: &Arrival<'_>) -> Reaction {
        // Until then, they have waited for this session, or were retained: they are about an earlier
        // connection. The status is published when the subscriptions are granted.
        let announce = if self.is_granted { Reaction::Announce } else { Reaction::Nothing };
        match topic {
            TopicKind::Standby => announce,
            TopicKind::Status => match ConnectorStatus::from_payload(arrival.payload) {
                // If another replica has published it, that one was active since this process
                // lost its connection: what this process knows about the session is outdated.
                Some(status) if arrival.retained => {
                    if self.is_resumed && self.claim(&status) == Claim::Other {
                        Reaction::TakenOver
                    } else {
                        Reaction::Nothing
                    }
                }
                Some(ConnectorStatus { status: Availability::Online, .. }) => Reaction::Nothing,
                // A last will that arrives late must not remain the retained status.
                _ => announce,
            },
            _ => Reaction::Nothing,
        }
    }

    /// Checks over a separate connection that no other replica has taken over since the last
    /// connection was lost.
    ///
    /// # Errors
    /// [`ConnectionError::TakenOver`], or the error of that connection.
    pub(crate) async fn confirm(
        &self,
        options: &SessionOptions,
        metrics: &SessionMetrics,
    ) -> Result<(), ConnectionError> {
        let mut observer = Observer::open(options, &self.topics, &self.replica, metrics).await?;
        let settled = Instant::now() + SETTLE;
        let is_own = loop {
            let Ok(seen) = timeout_at(settled, observer.next()).await else { break true };
            let StatusSeen { status, .. } = seen?;
            match status.map(|status| self.claim(&status)) {
                Some(Claim::Other) => break false,
                Some(Claim::OwnWill) => break true,
                // It may be about to change.
                Some(Claim::Own) | None => {}
            }
        };
        observer.close().await;
        if is_own { Ok(()) } else { Err(ConnectionError::TakenOver) }
    }

    fn claim(&self, status: &ConnectorStatus) -> Claim {
        let PastSessions { granted, attempted } = &self.past;
        let is_own = status.replica.as_ref() == Some(&self.replica)
            && status.since.is_some()
            && [granted, attempted].contains(&&status.since);
        match (is_own, status.status) {
            (false, _) => Claim::Other,
            (true, Availability::Online) => Claim::Own,
            (true, Availability::Offline) => Claim::OwnWill,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use fleet_contract::Labels;
    use mqtt_session::Qos;

    use super::*;

    fn lease() -> Lease {
        Lease::new("a".into(), Topics::new("1", Vec::new()).unwrap())
    }

    fn status(status: Availability, replica: &str, since: &str) -> ConnectorStatus {
        ConnectorStatus {
            status,
            version: String::new(),
            since: Some(since.into()),
            replica: Some(replica.into()),
            labels: Labels::default(),
            link: None,
            revision: None,
            trust: None,
            degraded: Vec::new(),
        }
    }

    fn heard(lease: &Lease, payload: &Bytes, retained: bool) -> Reaction {
        let topic = "vehicle/1/connector/status";
        let arrival = Arrival { topic, payload, qos: Qos::AtMostOnce, retained };
        lease.handle(TopicKind::Status, &arrival)
    }

    #[test]
    fn a_process_recognises_its_status_on_the_last_connections() {
        use Availability::{Offline, Online};
        let mut lease = lease();
        assert_eq!(lease.claim(&status(Online, "a", "")), Claim::Other);
        lease.connecting("1");
        lease.granted();
        lease.connecting("2");
        lease.connecting("3");
        for (since, claim) in [("1", Claim::Own), ("2", Claim::Own), ("0", Claim::Other)] {
            assert_eq!(lease.claim(&status(Online, "a", since)), claim, "{since}");
            assert_eq!(lease.claim(&status(Online, "b", since)), Claim::Other, "{since}");
        }
        assert_eq!(lease.claim(&status(Offline, "a", "1")), Claim::OwnWill);
        let unknown = ConnectorStatus { since: None, ..status(Online, "a", "1") };
        assert_eq!(lease.claim(&unknown), Claim::Other);
        lease.connecting("4");
        assert_eq!(lease.claim(&status(Online, "a", "2")), Claim::Other, "it is too old");
    }

    #[test]
    fn a_retained_status_of_another_replica_ends_a_resumed_session_only() {
        let other = status(Availability::Online, "b", "1").to_payload();
        let own = status(Availability::Online, "a", "1").to_payload();
        let mut lease = lease();
        lease.connecting("1");
        assert_eq!(heard(&lease, &other, true), Reaction::Nothing);
        lease.granted();
        assert_eq!(heard(&lease, &other, true), Reaction::Nothing);
        lease.connecting("2");
        assert_eq!(heard(&lease, &other, true), Reaction::TakenOver);
        assert_eq!(heard(&lease, &own, true), Reaction::Nothing);
    }

    #[test]
    fn questions_and_late_wills_are_answered_with_the_status() {
        let mut lease = lease();
        let will = status(Availability::Offline, "b", "1").to_payload();
        lease.connecting("2");
        assert_eq!(heard(&lease, &will, false), Reaction::Nothing, "it has waited for the session");
        lease.granted();
        assert_eq!(heard(&lease, &will, false), Reaction::Announce);
        assert_eq!(heard(&lease, &Bytes::new(), false), Reaction::Announce);
        assert_eq!(heard(&lease, &Bytes::new(), true), Reaction::Announce);
        let birth = status(Availability::Online, "b", "1").to_payload();
        assert_eq!(heard(&lease, &birth, false), Reaction::Nothing);
        let topic = "vehicle/1/connector/standby";
        let arrival = Arrival { topic, payload: b"{}", qos: Qos::AtMostOnce, retained: false };
        assert_eq!(lease.handle(TopicKind::Standby, &arrival), Reaction::Announce);
        assert_eq!(lease.handle(TopicKind::Connector, &arrival), Reaction::Nothing);
    }
}
