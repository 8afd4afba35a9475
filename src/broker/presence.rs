//! The status messages of the connector.

use std::time::SystemTime;

use ankaios_control::{LinkState, LinkStatus};
use bytes::Bytes;
use fleet_contract::fleet::FleetName;
use fleet_contract::status::{
    AnkaiosLink, Availability, ConnectorStatus, LinkReport, RevisionReport, TrustReport,
};
use fleet_contract::{Labels, rfc3339};

use crate::revisions::RevisionsStatus;

/// Who the connector is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    /// The name of this replica if there are several.
    pub(crate) replica: Option<String>,
    /// The fleet whose questions it answers.
    pub(crate) fleet: Option<FleetName>,
    /// The labels of the vehicle.
    pub(crate) labels: Labels,
}

/// Creates the status messages of each connection.
#[derive(Debug)]
pub(super) struct Presence {
    identity: Identity,
    /// Whether the questions of the fleet arrive.
    answers_fleet: bool,
    /// When the last connection began, RFC 3339.
    since: String,
    /// What the broker does not offer or allow.
    degraded: Vec<String>,
}

impl Presence {
    /// The status messages of this connector.
    pub(super) fn new(identity: Identity) -> Self {
        Self { identity, answers_fleet: true, since: String::new(), degraded: Vec::new() }
    }

    /// Records whether the questions of the fleet arrive. If not, the status does not name the fleet:
    /// who asks would think that the connector has ended.
    pub(super) fn answers_fleet(&mut self, answers: bool) {
        self.answers_fleet = answers;
    }

    /// Records that a connection is opened at `now`. Returns the `since` of its status messages.
    pub(super) fn connecting(&mut self, now: SystemTime) -> &str {
        self.since = match self.identity.replica {
            None => rfc3339::format_seconds(now),
            // Replicas recognise their own messages by this time, so each connection needs a
            // different one.
            Some(_) => rfc3339::format(now),
        };
        &self.since
    }

    /// Records what the broker does not offer or allow.
    pub(super) fn degraded(&mut self, reasons: Vec<String>) {
        self.degraded = reasons;
    }

    /// The birth message. `warning` is what an operator should know otherwise.
    pub(super) fn online(
        &self,
        link: &LinkStatus,
        revisions: Option<&RevisionsStatus>,
        trust: Option<TrustReport>,
        warning: Option<String>,
    ) -> Bytes {
        let mut link = report(link);
        let (revision, reason) = match revisions {
            None => (None, None),
            Some(RevisionsStatus::Open(report)) => {
                (Some(report.clone()), report.restore_reason.clone())
            }
            Some(RevisionsStatus::Unusable(reason)) => {
                (None, Some(format!("revisions cannot be kept: {reason}")))
            }
        };
        // Without the link nothing else matters.
        link.reason = link.reason.or(reason).or(warning);
        let status = self.status(Availability::Online, Some(link), revision);
        ConnectorStatus { trust, degraded: self.degraded.clone(), ..status }.to_payload()
    }

    /// The last will, also published on a clean shutdown.
    pub(super) fn offline(&self) -> Bytes {
        self.status(Availability::Offline, None, None).to_payload()
    }

    fn status(
        &self,
        status: Availability,
        link: Option<LinkReport>,
        revision: Option<RevisionReport>,
    ) -> ConnectorStatus {
        let Identity { replica, fleet, labels } = self.identity.clone();
        ConnectorStatus {
            status,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since: Some(self.since.clone()),
            replica,
            fleet: fleet.filter(|_| self.answers_fleet).map(|fleet| fleet.to_string()),
            // Also of a vehicle that is offline: it may be selected, and gets its turn later.
            labels,
            link,
            revision,
            trust: None,
            degraded: Vec::new(),
        }
    }
}

/// The state of the link to Ankaios for the status message.
fn report(link: &LinkStatus) -> LinkReport {
    let ankaios = match link.state() {
        LinkState::Connected => AnkaiosLink::Connected,
        LinkState::Disconnected => AnkaiosLink::Disconnected,
        LinkState::Closed => AnkaiosLink::Closed,
    };
    let reason = (ankaios != AnkaiosLink::Connected).then(|| link.reason());
    LinkReport { ankaios, reason }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_status_has_the_link_only_while_the_connector_is_online() {
        let mut presence = Presence::new(Identity::default());
        presence.connecting(SystemTime::UNIX_EPOCH + Duration::from_millis(1_500));
        let read = |payload: Bytes| ConnectorStatus::from_payload(&payload).unwrap();
        let online = read(presence.online(&LinkStatus::Connected, None, None, None));
        assert_eq!(online.status, Availability::Online);
        let connected = LinkReport { ankaios: AnkaiosLink::Connected, reason: None };
        assert_eq!(online.link, Some(connected));
        assert_eq!(online.since.as_deref(), Some("1970-01-01T00:00:01Z"));
        assert_eq!((online.replica, online.version.as_str()), (None, env!("CARGO_PKG_VERSION")));

        let why = || "no agent".to_owned();
        let warned =
            read(presence.online(&LinkStatus::Connected, None, None, Some("danger".into())));
        assert_eq!(warned.link.unwrap().reason.as_deref(), Some("danger"));
        let link = LinkStatus::Closed { reason: why() };
        let closed = read(presence.online(&link, None, None, Some("danger".into())));
        let report = LinkReport { ankaios: AnkaiosLink::Closed, reason: Some(why()) };
        assert_eq!(closed.link, Some(report));

        presence.degraded(vec!["no retained messages".into()]);
        let degraded = read(presence.online(&LinkStatus::Connected, None, None, None)).degraded;
        assert_eq!(degraded, ["no retained messages"]);
        let offline = read(presence.offline());
        assert!(offline.degraded.is_empty());
        assert_eq!((offline.status, offline.link), (Availability::Offline, None));
        assert_eq!(offline.since.as_deref(), Some("1970-01-01T00:00:01Z"));
    }

    #[test]
    fn the_status_of_a_replica_has_its_name_and_milliseconds() {
        let mut presence = Presence::new(Identity {
            replica: Some("a".into()),
            fleet: Some("cars".parse().unwrap()),
            labels: "region=eu".parse().unwrap(),
        });
        let since = presence.connecting(SystemTime::UNIX_EPOCH + Duration::from_millis(1_500));
        assert_eq!(since, "1970-01-01T00:00:01.500Z");
        let status = ConnectorStatus::from_payload(&presence.offline()).unwrap();
        assert_eq!(status.replica.as_deref(), Some("a"));
        assert_eq!(status.since.as_deref(), Some("1970-01-01T00:00:01.500Z"));
        assert_eq!(status.labels.get("region"), Some("eu"));
        assert_eq!(status.fleet.as_deref(), Some("cars"));
        presence.answers_fleet(false);
        assert_eq!(ConnectorStatus::from_payload(&presence.offline()).unwrap().fleet, None);
    }
}
