//! The checks of the active replica before and while it uses the shared session.

use std::time::Duration;

use fleet_contract::status::{Availability, ConnectorStatus, StandbyQuestion};
use fleet_contract::topics::{TopicKind, Topics};
use mqtt_session::{Arrival, ConnectionError, Reaction, SessionMetrics, SessionOptions};
use tokio::time::{Instant, timeout_at};

use super::election::StatusSeen;
use super::observer::{Observer, Scope, Seen};

/// How long to wait for a status before the session is resumed: a broker may send retained
/// messages shortly after the subscription, and a new active replica needs a moment to publish
/// its status, or to answer.
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

/// Whose status it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// That of this process, or its last will.
    Own,
    /// That of another replica, or of another process of the same name, before this process became
    /// active. A cluster that has a retained message on one node only keeps it there.
    Earlier,
    /// The same, since then.
    Other,
}

impl Lease {
    /// `replica` is the name of this replica.
    #[must_use]
    pub(crate) fn new(replica: String, topics: Topics) -> Self {
        let past = PastSessions::default();
        Self { replica, topics, since: String::new(), past, is_resumed: false, is_granted: false }
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
            TopicKind::Standby if self.is_granted => {
                let question = StandbyQuestion::from_payload(arrival.payload);
                match question {
                    Some(StandbyQuestion { records: true, .. }) => Reaction::AnnounceAll,
                    _ => Reaction::Announce,
                }
            }
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
        let (topics, replica) = (&self.topics, &self.replica);
        let mut observer = Observer::open(options, topics, Scope::Status, replica, metrics).await?;
        // Its status need not be retained where this connection can see it.
        observer.ask(replica, Scope::Status)?;
        let settled = Instant::now() + SETTLE;
        let is_taken_over = loop {
            let Ok(seen) = timeout_at(settled, observer.next()).await else { break false };
            if let Seen::Status(seen) = seen?
                && self.is_taken_over(&seen)
            {
                break true;
            }
        };
        observer.close().await;
        if is_taken_over { Err(ConnectionError::TakenOver) } else { Ok(()) }
    }

    /// Whether a status shows that another replica was active since this process has lost its
    /// connection.
    fn is_taken_over(&self, seen: &StatusSeen) -> bool {
        match seen.status.as_ref().map(|status| self.claim(status)) {
            Some(Claim::Other) => true,
            // It is active now; its clock is slow.
            Some(Claim::Earlier) => !seen.retained,
            Some(Claim::Own) | None => false,
        }
    }

    fn claim(&self, status: &ConnectorStatus) -> Claim {
        let PastSessions { granted, attempted } = &self.past;
        let is_own = status.replica.as_ref() == Some(&self.replica)
            && status.since.is_some()
            && [granted, attempted].contains(&&status.since);
        // Both are in UTC and have milliseconds.
        let is_earlier = || status.since.is_some() && status.since < *granted;
        if is_own {
            Claim::Own
        } else if is_earlier() {
            Claim::Earlier
        } else {
            Claim::Other
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
            fleet: None,
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
        for (since, own, other) in [
            ("1", Claim::Own, Claim::Other),
            ("2", Claim::Own, Claim::Other),
            ("0", Claim::Earlier, Claim::Earlier),
        ] {
            assert_eq!(lease.claim(&status(Online, "a", since)), own, "{since}");
            assert_eq!(lease.claim(&status(Online, "b", since)), other, "{since}");
        }
        assert_eq!(lease.claim(&status(Offline, "a", "1")), Claim::Own);
        let unknown = ConnectorStatus { since: None, ..status(Online, "a", "1") };
        assert_eq!(lease.claim(&unknown), Claim::Other);
        lease.connecting("4");
        assert_eq!(lease.claim(&status(Online, "a", "2")), Claim::Other, "it is too old");
    }

    #[test]
    fn a_retained_status_of_another_replica_ends_a_resumed_session_only() {
        let other = status(Availability::Online, "b", "3").to_payload();
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
    fn a_retained_status_from_before_this_process_became_active_is_outdated() {
        let mut lease = lease();
        for since in ["2", "3"] {
            lease.connecting(since);
            lease.granted();
        }
        let seen = |since, retained| {
            let status = Some(status(Availability::Online, "b", since));
            StatusSeen { status, retained }
        };
        for (since, retained, expected) in
            [("1", true, false), ("1", false, true), ("4", true, true), ("4", false, true)]
        {
            assert_eq!(lease.is_taken_over(&seen(since, retained)), expected, "{since} {retained}");
        }
        lease.connecting("5");
        let earlier = status(Availability::Online, "b", "1").to_payload();
        assert_eq!(heard(&lease, &earlier, true), Reaction::Nothing);
        let later = status(Availability::Online, "b", "4").to_payload();
        assert_eq!(heard(&lease, &later, true), Reaction::TakenOver);
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
        let asked = |payload| Arrival { topic, payload, qos: Qos::AtMostOnce, retained: false };
        for (question, reaction) in [
            (&b"{}"[..], Reaction::Announce),
            (br#"{"replica":"b"}"#, Reaction::Announce),
            (br#"{"replica":"b","records":true,"later":1}"#, Reaction::AnnounceAll),
        ] {
            let handled = lease.handle(TopicKind::Standby, &asked(question));
            assert_eq!(handled, reaction, "{question:?}");
        }
        assert_eq!(lease.handle(TopicKind::Connector, &asked(b"{}")), Reaction::Nothing);
        lease.connecting("3");
        let question = br#"{"replica":"b","records":true}"#;
        assert_eq!(lease.handle(TopicKind::Standby, &asked(question)), Reaction::Nothing);
    }
}
