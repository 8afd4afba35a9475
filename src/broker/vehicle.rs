//! The application of the MQTT session: the connector of one vehicle.

use std::time::SystemTime;

use ankaios_control::LinkStatus;
use bytes::Bytes;
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::topics::{TopicKind, Topics};
use futures_util::future::OptionFuture;
use mqtt_session::{
    Announcement, Application, Arrival, ConnectionError, Lack, Qos, Reaction, RefusedSubscription,
    Routed, SessionMetrics, SessionOptions, Subscription, TooLarge, TooLargeKind, Undeliverable,
};
use tokio::sync::watch;

use super::incoming::Incoming;
use super::presence::{Identity, Presence};
use super::shorten::{shorten, shorten_error};
use super::status_requests::StatusRequests;
use crate::replica::Lease;
use crate::revisions::RevisionsStatus;
use crate::trust::TrustStatus;

/// The connector of one vehicle as the application of the MQTT session.
#[derive(Debug)]
pub(crate) struct Vehicle {
    topics: Topics,
    /// The largest payload of a request, in bytes.
    max_payload: usize,
    parts: PartStatuses,
    presence: Presence,
    /// `None` if this is the only connector of the vehicle.
    lease: Option<Lease>,
    /// `None` without a fleet.
    status_requests: Option<StatusRequests>,
}

/// What the status of the connector shows of its parts.
#[derive(Debug)]
pub(crate) struct PartStatuses {
    pub(crate) link: watch::Receiver<LinkStatus>,
    /// `None` if revisions are not kept.
    pub(crate) revisions: Option<watch::Receiver<RevisionsStatus>>,
    /// `None` without a trust file.
    pub(crate) trust: Option<watch::Receiver<TrustStatus>>,
    /// What is wrong with the protection of workloads.
    pub(crate) warning: watch::Receiver<Option<String>>,
}

impl Vehicle {
    /// `max_payload` is the largest payload of a request, in bytes.
    #[must_use]
    pub(crate) fn new(
        topics: Topics,
        max_payload: usize,
        identity: Identity,
        parts: PartStatuses,
        status_requests: Option<StatusRequests>,
    ) -> Self {
        let lease = identity.replica.clone().map(|replica| Lease::new(replica, topics.clone()));
        let presence = Presence::new(identity);
        Self { topics, max_payload, parts, presence, lease, status_requests }
    }

    fn announcement(&self, payload: Bytes) -> Announcement {
        Announcement { topic: self.topics.status(), payload }
    }
}

impl Application for Vehicle {
    type Route = Incoming;

    fn subscriptions(&self, first: bool, wildcards: bool) -> Vec<Subscription> {
        // Without `send_retained`, because a retained request would be received again on each
        // connection. With `retain_as_published`, a request that is published as retained during
        // the connection is recognised by its flag.
        let filters =
            if wildcards { self.topics.request_filters().into() } else { self.topics.requests() };
        let requests = filters.into_iter().map(|filter| Subscription {
            filter,
            qos: Qos::AtLeastOnce,
            send_retained: false,
            no_local: true,
            retain_as_published: true,
        });
        // A new process resumes the subscriptions of the records. On later connections it has
        // resumed them already.
        let filters = if wildcards { self.topics.record_filters().into() } else { Vec::new() };
        let records = filters.into_iter().map(|filter| Subscription {
            filter,
            qos: Qos::AtLeastOnce,
            send_retained: first,
            no_local: true,
            retain_as_published: false,
        });
        // Each subscription of the session has QoS 1. With QoS 0, RabbitMQ has a second queue for
        // the session, on one node only: without this node the session could not be resumed. And it
        // finds no retained status for a filter with a wildcard.
        let filters = self.lease.iter().flat_map(|_| [self.topics.status(), self.topics.standby()]);
        let replicas = filters.map(|filter| Subscription {
            filter,
            qos: Qos::AtLeastOnce,
            send_retained: true,
            // The last will of the previous active replica has the same client identifier.
            no_local: false,
            retain_as_published: false,
        });
        let who = self.status_requests.iter().map(|requests| Subscription {
            filter: requests.topic().to_owned(),
            qos: Qos::AtLeastOnce,
            send_retained: false,
            no_local: true,
            retain_as_published: true,
        });
        requests.chain(records).chain(replicas).chain(who).collect()
    }

    fn will(&mut self) -> Announcement {
        let since = self.presence.connecting(SystemTime::now());
        if let Some(lease) = &mut self.lease {
            lease.connecting(since);
        }
        self.announcement(self.presence.offline())
    }

    fn online(&mut self) -> Announcement {
        let PartStatuses { link, revisions, trust, warning } = &mut self.parts;
        let revisions = revisions.as_mut().map(|status| status.borrow_and_update().clone());
        let trust = trust.as_mut().map(|status| status.borrow_and_update().report.clone());
        let warning = warning.borrow_and_update().clone();
        let link = link.borrow_and_update();
        let payload = self.presence.online(&link, revisions.as_ref(), trust, warning);
        drop(link);
        let status = self.announcement(payload);
        if let Some(requests) = &self.status_requests {
            requests.announced(&status);
        }
        status
    }

    fn offline(&mut self) -> Announcement {
        self.announcement(self.presence.offline())
    }

    async fn changed(&mut self) {
        let PartStatuses { link, revisions, trust, warning } = &mut self.parts;
        let revisions = OptionFuture::from(revisions.as_mut().map(watch::Receiver::changed));
        let trust = OptionFuture::from(trust.as_mut().map(watch::Receiver::changed));
        tokio::select! {
            Ok(()) = link.changed() => {}
            Some(Ok(())) = revisions => {}
            Some(Ok(())) = trust => {}
            Ok(()) = warning.changed() => {}
            // The task of the link has ended, which ends the connector.
            else => std::future::pending().await,
        }
    }

    fn granted(&mut self) {
        tracing::info!(filters = ?self.topics.request_filters(), "ready for requests");
        if let Some(lease) = &mut self.lease {
            lease.granted();
        }
    }

    fn route(&self, arrival: &Arrival<'_>) -> Routed<Incoming> {
        if let Some(requests) = &self.status_requests
            && requests.topic() == arrival.topic
        {
            // A retained one would be answered by each vehicle that connects.
            if !arrival.retained {
                requests.received(arrival.payload);
            }
            return Routed::Handled(Reaction::Nothing);
        }
        let kind = self.topics.kind(arrival.topic);
        if matches!(kind, TopicKind::Status | TopicKind::Standby | TopicKind::Connector) {
            // Without a lease they are ignored: the session may still have the subscriptions of an
            // earlier process that was a replica.
            let reaction = self.lease.as_ref().map(|lease| lease.handle(kind, arrival));
            return Routed::Handled(reaction.unwrap_or(Reaction::Nothing));
        }
        let route = Incoming::new(arrival.topic, kind);
        let max_payload = route.max_payload(self.max_payload);
        Routed::Message { route, max_payload }
    }

    fn can_serve_without(&self, refused: &[RefusedSubscription]) -> bool {
        let is_refused =
            |filter: &String| refused.iter().any(|refused| refused.subscription.filter == *filter);
        let is_without_requests = self.topics.request_filters().iter().all(is_refused)
            || self.topics.requests().iter().all(is_refused);
        // Without the messages between replicas, two of them could be active.
        let of_replicas = [self.topics.status(), self.topics.standby()];
        let is_without_replicas = of_replicas.iter().any(is_refused);
        !is_without_requests && !is_without_replicas
    }

    fn refused(&mut self, refused: &[RefusedSubscription]) {
        let is_who = |refused: &RefusedSubscription| {
            let requests = self.status_requests.as_ref();
            requests.is_some_and(|it| it.topic() == refused.subscription.filter)
        };
        let answers = !refused.iter().any(is_who);
        self.presence.answers_fleet(answers);
    }

    fn retained_probe(&self) -> Option<String> {
        Some(self.topics.status_filter())
    }

    fn consequence(&self, lack: Lack) -> Option<&'static str> {
        match lack {
            Lack::Retain => Some(
                "who subscribes to connector/status later does not see it, and without STATE_DIR \
                 subscriptions and rollouts end with the connector; allow the client to retain \
                 messages (Mosquitto: retain_available; AWS IoT: iot:RetainPublish)",
            ),
            Lack::Wildcards => {
                Some("without STATE_DIR subscriptions and rollouts end with the connector")
            }
            // The store of a replica may be outdated when it takes over.
            Lack::RetainedForWildcards if self.lease.is_some() => Some(
                "subscriptions and rollouts end if no standby is connected when the active replica \
                 ends, and their records stay at the broker",
            ),
            Lack::RetainedForWildcards => Some(
                "without STATE_DIR subscriptions and rollouts end with the connector, and their \
                 records stay at the broker",
            ),
            _ => None,
        }
    }

    fn degraded(&mut self, reasons: Vec<String>) {
        self.presence.degraded(reasons);
    }

    fn shorten(&self, message: &TooLarge<'_>, max: usize) -> Option<Bytes> {
        match message.kind {
            TooLargeKind::Reply => shorten_error(message.payload, max),
            TooLargeKind::Publication | TooLargeKind::Status => {
                shorten(&self.topics, message.topic, message.payload, max)
            }
        }
    }

    fn undeliverable(&self, cause: &Undeliverable) -> Bytes {
        let error = match cause {
            Undeliverable::TooLarge { size, max_size } => ErrorReply::new(
                ErrorCode::PayloadTooLarge,
                format!(
                    "this message needs a packet of {size} bytes, but the broker accepts at most \
                     {max_size}; request less, for example with field masks"
                ),
            )
            .with("size", *size)
            .with("max_size", *max_size),
            Undeliverable::RefusedAsTooLarge { size } => ErrorReply::new(
                ErrorCode::PayloadTooLarge,
                format!(
                    "this message has {size} bytes, which is too large for the broker; request \
                     less, for example with field masks"
                ),
            )
            .with("size", *size),
            Undeliverable::Refused { reason } => ErrorReply::new(
                ErrorCode::Internal,
                format!("the broker does not accept the reply: {reason}"),
            ),
            Undeliverable::Rejected { reason } => ErrorReply::new(
                ErrorCode::Internal,
                format!("the broker closes the connection when it receives the reply: {reason}"),
            ),
        };
        error.to_payload()
    }

    fn help(&self, error: &ConnectionError, options: &SessionOptions) -> Option<String> {
        error.is_takeover().then(|| {
            format!(
                "another client uses the client identifier {:?}: give each connector its own VIN \
                 or MQTT_CLIENT_ID. To run several for one vehicle, give each a different \
                 REPLICA_ID",
                options.client_id
            )
        })
    }

    fn is_shared(&self) -> bool {
        self.lease.is_some()
    }

    async fn confirm_lease(
        &mut self,
        options: &SessionOptions,
        metrics: &SessionMetrics,
    ) -> Result<(), ConnectionError> {
        match &self.lease {
            Some(lease) => lease.confirm(options, metrics).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use fleet_contract::operation::Operation;
    use fleet_contract::status::{AnkaiosLink, Availability, ConnectorStatus};
    use futures_util::FutureExt;

    use super::*;
    use crate::streams::MAX_RECORD;

    const MAX_PAYLOAD: usize = 1000;

    fn vehicle(replica: Option<&str>) -> (Vehicle, watch::Sender<LinkStatus>) {
        let topics = Topics::new("1", Vec::new()).unwrap();
        let (sender, link) = watch::channel(LinkStatus::Connected);
        let warning = watch::channel(None).1;
        let replica = replica.map(str::to_owned);
        let parts = PartStatuses { link, revisions: None, trust: None, warning };
        let identity = Identity { replica, ..Identity::default() };
        (Vehicle::new(topics, MAX_PAYLOAD, identity, parts, None), sender)
    }

    fn arrival(topic: &str, qos: Qos) -> Arrival<'_> {
        Arrival { topic, payload: b"", qos, retained: false }
    }

    fn read(announcement: &Announcement) -> ConnectorStatus {
        assert_eq!(announcement.topic, "vehicle/1/connector/status");
        ConnectorStatus::from_payload(&announcement.payload).unwrap()
    }

    #[test]
    fn each_message_has_one_route() {
        let (vehicle, _link) = vehicle(None);
        let request = |name: &str, operation| Incoming::Request { name: name.into(), operation };
        for (topic, expected, expected_max) in [
            ("state/req", request("state", Some(Operation::State)), MAX_PAYLOAD),
            ("no/such/req", request("no/such", None), MAX_PAYLOAD),
            ("manifest/apply/x/rollout", Incoming::Rollout { id: "x".into() }, MAX_RECORD),
            ("a/b/c", Incoming::Other { topic: "vehicle/1/a/b/c".into() }, MAX_RECORD),
        ] {
            let topic = format!("vehicle/1/{topic}");
            let expected = Routed::Message { route: expected, max_payload: expected_max };
            assert_eq!(vehicle.route(&arrival(&topic, Qos::AtLeastOnce)), expected);
            assert_eq!(vehicle.route(&arrival(&topic, Qos::AtMostOnce)), expected);
        }
        let Routed::Message { route, .. } =
            vehicle.route(&arrival("vehicle/1/logs/x/subscription", Qos::AtLeastOnce))
        else {
            unreachable!("a record is a message");
        };
        assert!(matches!(route, Incoming::Subscription { id, .. } if id == "x"));
    }

    #[test]
    fn messages_between_replicas_are_not_for_the_router() {
        let topic = "vehicle/1/connector/standby";
        for (replica, reaction) in [(None, Reaction::Nothing), (Some("a"), Reaction::Announce)] {
            let (mut vehicle, _link) = vehicle(replica);
            vehicle.granted();
            for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
                assert_eq!(vehicle.route(&arrival(topic, qos)), Routed::Handled(reaction));
            }
        }
    }

    #[test]
    fn retained_records_are_read_once_and_retained_requests_never() {
        let (vehicle, _link) = vehicle(Some("a"));
        let (first, later) =
            (vehicle.subscriptions(true, true), vehicle.subscriptions(false, true));
        let retained = |all: &[Subscription]| -> Vec<_> {
            let retained = all.iter().filter(|subscription| subscription.send_retained);
            retained.map(|subscription| subscription.filter.clone()).collect()
        };
        assert_eq!(
            retained(&first),
            [
                "vehicle/1/events/+/subscription",
                "vehicle/1/logs/+/subscription",
                "vehicle/1/manifest/apply/+/rollout",
                "vehicle/1/connector/status",
                "vehicle/1/connector/standby",
            ]
        );
        assert_eq!(retained(&later), ["vehicle/1/connector/status", "vehicle/1/connector/standby"]);
        assert_eq!((first.len(), later.len()), (7, 7));
        // RabbitMQ would have a queue on one node only for those with QoS 0.
        assert!(first.iter().chain(&later).all(|one| one.qos == Qos::AtLeastOnce));
        assert_eq!(self::vehicle(None).0.subscriptions(true, true).len(), 5);
    }

    #[test]
    fn the_status_is_that_of_the_connection_and_follows_the_link() {
        let (mut vehicle, link) = vehicle(Some("a"));
        let will = read(&vehicle.will());
        let online = read(&vehicle.online());
        assert_eq!((will.status, online.status), (Availability::Offline, Availability::Online));
        assert_eq!(will.since, online.since);
        assert_eq!(read(&vehicle.offline()), will);
        assert!(vehicle.changed().now_or_never().is_none());
        link.send_replace(LinkStatus::Disconnected { reason: "no agent".into() });
        assert!(vehicle.changed().now_or_never().is_some());
        let report = read(&vehicle.online()).link.unwrap();
        assert_eq!(report.ankaios, AnkaiosLink::Disconnected);
        assert_eq!(report.reason.as_deref(), Some("no agent"));
        drop(link);
        assert!(vehicle.changed().now_or_never().is_none());
    }

    #[test]
    fn without_wildcards_each_operation_has_a_subscription() {
        for (replica, of_replicas) in [(None, 0), (Some("a"), 2)] {
            let (vehicle, _link) = vehicle(replica);
            let all = vehicle.subscriptions(true, false);
            assert!(all.iter().all(|one| !one.filter.contains('+')), "{all:?}");
            assert_eq!(all.len(), Operation::ALL.len() + of_replicas);
            assert!(all.iter().any(|one| one.filter == "vehicle/1/manifest/apply/req"));
            let refused = |all: &[Subscription]| -> Vec<_> {
                let code = mqtt_session::ReasonCode::NOT_AUTHORIZED;
                let refused =
                    |one: &Subscription| RefusedSubscription { subscription: one.clone(), code };
                all.iter().map(refused).collect()
            };
            assert!(vehicle.can_serve_without(&refused(&all[..1])));
            assert!(!vehicle.can_serve_without(&refused(&all)));
        }
    }

    #[test]
    fn a_vehicle_needs_some_requests_and_with_replicas_their_messages() {
        for (replica, refused, expected) in [
            (None, &["+/req"][..], true),
            (None, &["+/+/req", "events/+/subscription"], true),
            (None, &["+/req", "+/+/req"], false),
            (Some("a"), &["+/req"], true),
            (Some("a"), &["connector/status"], false),
            (Some("a"), &["connector/standby"], false),
        ] {
            let (vehicle, _link) = vehicle(replica);
            let refused: Vec<_> = vehicle
                .subscriptions(true, true)
                .into_iter()
                .filter(|one| refused.iter().any(|path| one.filter == format!("vehicle/1/{path}")))
                .map(|subscription| RefusedSubscription {
                    subscription,
                    code: mqtt_session::ReasonCode::NOT_AUTHORIZED,
                })
                .collect();
            assert_eq!(vehicle.can_serve_without(&refused), expected, "{refused:?}");
        }
    }

    #[test]
    fn a_message_that_the_broker_does_not_accept_becomes_an_error() {
        let (vehicle, _link) = vehicle(None);
        let read = |cause| ErrorReply::from_payload(&vehicle.undeliverable(&cause)).unwrap();
        let error = read(Undeliverable::TooLarge { size: 2000, max_size: 1000 });
        assert_eq!(error.code, ErrorCode::PayloadTooLarge);
        assert!(error.message.starts_with("this message needs a packet of 2000 bytes, but"));
        let details = ["size", "max_size"].map(|name| error.details.get(name).cloned());
        assert_eq!(details, [Some(2000.into()), Some(1000.into())]);
        let error = read(Undeliverable::RefusedAsTooLarge { size: 2000 });
        assert_eq!(error.code, ErrorCode::PayloadTooLarge);
        assert_eq!(error.details.get("size"), Some(&2000.into()));
        let error = read(Undeliverable::Refused { reason: "PayloadFormatInvalid".into() });
        assert_eq!(error.code, ErrorCode::Internal);
        let error = read(Undeliverable::Rejected { reason: "TopicNameInvalid".into() });
        assert_eq!(error.code, ErrorCode::Internal);
        assert_eq!(
            error.message,
            "the broker closes the connection when it receives the reply: TopicNameInvalid"
        );
    }
}
