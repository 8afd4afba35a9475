//! `/readyz`: whether requests can be served, and why not.

use ankaios_control::{Client, LinkStatus, StreamHealth};
use fleet_contract::status::RestoreState;
use mqtt_session::SessionStatus;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::guard::Guard;
use crate::revisions::RevisionsStatus;
use crate::trust::TrustStatus;

/// Maximum number of interrupted event streams that a response lists.
const MAX_LISTED: usize = 5;

/// The check of `/readyz`: the parts that must be up so that requests can be served.
#[derive(Debug)]
pub(crate) struct Readiness {
    /// Session and subscriptions at the broker.
    pub session: watch::Receiver<SessionStatus>,
    /// The link to Ankaios.
    pub link: watch::Receiver<LinkStatus>,
    /// The client of that link, with its event streams.
    pub ankaios: Client,
    /// The guard, if it needs the state of the vehicle.
    pub guard: Option<Guard>,
    /// The revisions, if they are kept.
    pub revisions: Option<watch::Receiver<RevisionsStatus>>,
    /// The trust file, if there is one.
    pub trust: Option<watch::Receiver<TrustStatus>>,
    /// Cancelled when the connector takes no more requests.
    pub stop: CancellationToken,
}

/// The response body of `/readyz`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct ReadyzBody {
    pub(super) ready: bool,
    /// The role of a replica that does not serve requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Reasons::is_empty")]
    reasons: Reasons,
    /// What the broker does not offer or allow; requests are served nevertheless.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    degraded: Vec<String>,
}

/// The parts that are not ready, each with the reason.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Reasons {
    #[serde(skip_serializing_if = "Option::is_none")]
    connector: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mqtt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ankaios: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_streams: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guard: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revisions: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trust: Option<String>,
}

impl Reasons {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Readiness {
    pub(super) fn check(&self) -> ReadyzBody {
        let mut reasons = Reasons {
            connector: self.stop.is_cancelled().then_some("it is stopping"),
            mqtt: match &*self.session.borrow() {
                SessionStatus::Ready { .. }
                | SessionStatus::Degraded { .. }
                | SessionStatus::Standby => None,
                SessionStatus::Disconnected { reason } => Some(reason.clone()),
            },
            ankaios: self.link(),
            revisions: self.revisions.as_ref().and_then(|status| missing(&status.borrow())),
            trust: self
                .trust
                .as_ref()
                .and_then(|status| status.borrow().unavailable.map(str::to_owned)),
            ..Reasons::default()
        };
        // Without the link these are always missing as well.
        if reasons.ankaios.is_none() {
            reasons.event_streams = interrupted(self.ankaios.event_streams().all());
            reasons.guard = self.guard.as_ref().and_then(|guard| guard.last_known_state().err());
        }
        let is_standby = *self.session.borrow() == SessionStatus::Standby;
        let degraded = match &*self.session.borrow() {
            SessionStatus::Degraded { reasons, .. } => reasons.clone(),
            _ => Vec::new(),
        };
        let role = is_standby.then_some("standby");
        ReadyzBody { ready: reasons.is_empty(), role, reasons, degraded }
    }

    fn link(&self) -> Option<String> {
        match &*self.link.borrow() {
            LinkStatus::Connected if self.ankaios.is_unresponsive() => {
                Some("Ankaios does not answer; its server may be down or restarting".into())
            }
            LinkStatus::Connected => None,
            status => Some(status.reason()),
        }
    }
}

/// Why what operators have changed is not in place, or cannot be kept.
fn missing(status: &RevisionsStatus) -> Option<String> {
    match status {
        RevisionsStatus::Unusable(reason) => Some(format!("they cannot be kept: {reason}")),
        RevisionsStatus::Open(report) => match report.restore? {
            RestoreState::Pending => Some("they are about to be put back".into()),
            RestoreState::Refused => {
                let reason = report.restore_reason.as_deref().unwrap_or_default();
                Some(format!("they cannot be put back: {reason}"))
            }
            // The vehicle works, with what has worked before.
            RestoreState::GivenUp => None,
        },
    }
}

/// Describes the event streams that are not subscribed.
fn interrupted(streams: Vec<(Vec<String>, StreamHealth)>) -> Option<String> {
    let count = streams.len();
    let mut interrupted: Vec<String> = streams
        .into_iter()
        .filter(|(_, health)| !health.subscribed)
        .map(|(field_masks, health)| {
            let reason = health.reason.unwrap_or_else(|| "not subscribed yet".into());
            format!("{}: {reason}", field_masks.join(", "))
        })
        .collect();
    if interrupted.is_empty() {
        return None;
    }
    let head = format!("{} of {count} are interrupted: ", interrupted.len());
    interrupted.truncate(MAX_LISTED);
    Some(head + &interrupted.join("; "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use ankaios_control::connect;
    use serde_json::{Value, json};
    use tokio::time::Instant;

    use super::*;

    fn json(readiness: &Readiness) -> Value {
        serde_json::to_value(readiness.check()).unwrap()
    }

    #[tokio::test]
    async fn each_part_that_is_not_ready_is_listed_with_its_reason() {
        let (ankaios, _link) = connect("/nowhere".into(), Duration::from_secs(1));
        let (link, link_receiver) =
            watch::channel(LinkStatus::Disconnected { reason: "no agent".into() });
        let (session, session_receiver) =
            watch::channel(SessionStatus::Disconnected { reason: "no broker".into() });
        let stop = CancellationToken::new();
        let readiness = Readiness {
            session: session_receiver,
            link: link_receiver,
            ankaios: ankaios.clone(),
            guard: None,
            revisions: None,
            trust: None,
            stop: stop.clone(),
        };
        let both = json!({"mqtt": "no broker", "ankaios": "no agent"});
        assert_eq!(json(&readiness), json!({"ready": false, "reasons": both}));
        session.send_replace(SessionStatus::Ready { since: Instant::now() });
        assert_eq!(json(&readiness), json!({"ready": false, "reasons": {"ankaios": "no agent"}}));
        link.send_replace(LinkStatus::Connected);
        assert_eq!(json(&readiness), json!({"ready": true}));
        session.send_replace(SessionStatus::Standby);
        assert_eq!(json(&readiness), json!({"ready": true, "role": "standby"}));
        let reasons = vec!["no retained messages".to_owned()];
        session.send_replace(SessionStatus::Degraded { since: Instant::now(), reasons });
        let degraded = json!({"ready": true, "degraded": ["no retained messages"]});
        assert_eq!(json(&readiness), degraded);
        session.send_replace(SessionStatus::Ready { since: Instant::now() });
        let stream = ankaios.events(vec!["workloadStates".into()]);
        let reason = "1 of 1 are interrupted: workloadStates: not subscribed yet";
        assert_eq!(json(&readiness), json!({"ready": false, "reasons": {"event_streams": reason}}));
        drop(stream);
        stop.cancel();
        assert_eq!(
            json(&readiness),
            json!({"ready": false, "reasons": {"connector": "it is stopping"}})
        );
    }

    #[test]
    fn only_some_of_many_streams_are_listed() {
        let interrupted = |count: usize| {
            let health = StreamHealth { reason: Some("denied".into()), ..StreamHealth::default() };
            let streams = vec![(vec!["a".to_owned(), "b".to_owned()], health); count];
            let well = StreamHealth { subscribed: true, ..StreamHealth::default() };
            interrupted([streams, vec![(vec!["c".to_owned()], well)]].concat())
        };
        assert_eq!(interrupted(0), None);
        let one = interrupted(1).unwrap();
        assert_eq!(one, "1 of 2 are interrupted: a, b: denied");
        let many = interrupted(256).unwrap();
        assert!(many.starts_with("256 of 257") && many.matches("denied").count() == MAX_LISTED);
    }
}
