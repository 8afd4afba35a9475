//! `/readyz`: whether requests can be served, and why not.

use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ankaios::events::Health;
use crate::ankaios::{Client, LinkStatus};
use crate::guard::Guard;
use crate::mqtt::SessionStatus;

/// So many event streams are named.
const MAX_NAMED: usize = 5;

/// What has to be up.
#[derive(Debug)]
pub struct Readiness {
    /// Session and subscriptions at the broker.
    pub session: watch::Receiver<SessionStatus>,
    /// The link to Ankaios.
    pub link: watch::Receiver<LinkStatus>,
    /// The clients of that link, with their event streams.
    pub ankaios: Client,
    /// What knows the state of the vehicle, if it has to.
    pub guard: Option<Guard>,
    /// The connector takes no requests any more.
    pub stop: CancellationToken,
}

/// What `/readyz` says.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Ready {
    pub(super) ready: bool,
    /// What a replica is ready for, if it does not serve requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Reasons::is_empty")]
    reasons: Reasons,
}

/// What is not ready, and why.
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
}

impl Reasons {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Readiness {
    pub(super) fn look(&self) -> Ready {
        let mut reasons = Reasons {
            connector: self.stop.is_cancelled().then_some("it is stopping"),
            mqtt: match &*self.session.borrow() {
                SessionStatus::Ready { .. } | SessionStatus::Standby => None,
                SessionStatus::Disconnected { reason } => Some(reason.clone()),
            },
            ankaios: self.link(),
            ..Reasons::default()
        };
        // What comes over the link is missing without it.
        if reasons.ankaios.is_none() {
            reasons.event_streams = interrupted(self.ankaios.event_streams().all());
            reasons.guard = self.guard.as_ref().and_then(|guard| guard.known().err());
        }
        let is_standby = *self.session.borrow() == SessionStatus::Standby;
        Ready { ready: reasons.is_empty(), role: is_standby.then_some("standby"), reasons }
    }

    fn link(&self) -> Option<String> {
        match &*self.link.borrow() {
            LinkStatus::Connected if self.ankaios.is_overdue() => {
                Some("Ankaios does not answer; its server may be down or restarting".into())
            }
            LinkStatus::Connected => None,
            status => Some(status.reason()),
        }
    }
}

/// The streams that are not subscribed.
fn interrupted(streams: Vec<(Vec<String>, Health)>) -> Option<String> {
    let count = streams.len();
    let mut interrupted: Vec<String> = streams
        .into_iter()
        .filter(|(_, health)| !health.subscribed)
        .map(|(field_masks, health)| {
            let reason = health.reason.unwrap_or_else(|| "it is being made".into());
            format!("{}: {reason}", field_masks.join(", "))
        })
        .collect();
    if interrupted.is_empty() {
        return None;
    }
    let head = format!("{} of {count} are interrupted: ", interrupted.len());
    interrupted.truncate(MAX_NAMED);
    Some(head + &interrupted.join("; "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use tokio::time::Instant;

    use super::*;
    use crate::ankaios::connect;

    fn json(readiness: &Readiness) -> Value {
        serde_json::to_value(readiness.look()).unwrap()
    }

    #[tokio::test]
    async fn all_that_is_missing_is_named_with_its_reason() {
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
        session.send_replace(SessionStatus::Ready { since: Instant::now() });
        let stream = ankaios.events(vec!["workloadStates".into()]);
        let reason = "1 of 1 are interrupted: workloadStates: it is being made";
        assert_eq!(json(&readiness), json!({"ready": false, "reasons": {"event_streams": reason}}));
        drop(stream);
        stop.cancel();
        assert_eq!(
            json(&readiness),
            json!({"ready": false, "reasons": {"connector": "it is stopping"}})
        );
    }

    #[test]
    fn only_some_of_many_streams_are_named() {
        let interrupted = |count: usize| {
            let health = Health { reason: Some("denied".into()), ..Health::default() };
            let streams = vec![(vec!["a".to_owned(), "b".to_owned()], health); count];
            let well = Health { subscribed: true, ..Health::default() };
            interrupted([streams, vec![(vec!["c".to_owned()], well)]].concat())
        };
        assert_eq!(interrupted(0), None);
        let one = interrupted(1).unwrap();
        assert_eq!(one, "1 of 2 are interrupted: a, b: denied");
        let many = interrupted(256).unwrap();
        assert!(many.starts_with("256 of 257") && many.matches("denied").count() == MAX_NAMED);
    }
}
