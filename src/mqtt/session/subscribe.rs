//! The subscriptions of the session.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Filter, Packet, RetainForwardRule, SubAck, Subscribe, SubscribeReasonCode,
};
use tokio::time::Instant;

use super::{Session, Stage};
use crate::mqtt::connection::Connection;
use crate::mqtt::connection_error::ConnectionError;

/// The packet identifier of SUBSCRIBE. Nothing is published before, so any is
/// free.
const SUBSCRIBE_ID: u16 = 1;

impl Session {
    /// Makes all subscriptions. In every connection: a broker may have lost them
    /// with the session.
    pub(super) fn subscribe(&self, connection: &mut Connection) -> Result<(), ConnectionError> {
        // A retained request would be executed again at every connection. One that
        // is published now is told by its flag.
        let requests = self.topics.request_filters();
        let requests = requests.map(|path| filter(path, RetainForwardRule::Never, true));
        // These tell a new process which subscriptions the former one had. Later
        // this process knows better.
        let rule = match self.ready {
            None => RetainForwardRule::OnEverySubscribe,
            Some(_) => RetainForwardRule::Never,
        };
        let records = self.topics.record_filters();
        let records = records.map(|path| filter(path, rule.clone(), false));
        // Messages of replicas must not wait for one that is not there.
        let replicas = Filter {
            path: self.topics.replica_filter(),
            qos: QoS::AtMostOnce,
            // The last will of the former replica has the same client identifier.
            nolocal: false,
            preserve_retain: false,
            retain_forward_rule: RetainForwardRule::OnEverySubscribe,
        };
        let replicas = self.options.replica.is_some().then_some(replicas);
        let filters = requests.into_iter().chain(records).chain(replicas);
        let subscribe = Subscribe { pkid: SUBSCRIBE_ID, ..Subscribe::new_many(filters, None) };
        Ok(connection.network.put(Packet::Subscribe(subscribe))?)
    }

    /// The broker has answered that.
    pub(super) fn subscribed(
        &mut self,
        suback: &SubAck,
        connection: &mut Connection,
    ) -> Result<(), ConnectionError> {
        let own = self.topics.request_filters().len() + self.topics.record_filters().len();
        let mut qos = vec![QoS::AtLeastOnce; own];
        qos.extend(self.options.replica.as_ref().map(|_| QoS::AtMostOnce));
        let codes = &suback.return_codes;
        if connection.ready.is_some() || suback.pkid != SUBSCRIBE_ID || codes.len() != qos.len() {
            return Err(ConnectionError::Protocol("its SUBACK does not answer the SUBSCRIBE"));
        }
        let granted = |(code, qos): (&_, _)| *code == SubscribeReasonCode::Success(qos);
        if !codes.iter().zip(qos).all(granted) {
            return Err(ConnectionError::Subscription {
                filters: self.topics.request_filters().to_vec(),
                codes: suback.return_codes.clone(),
                base: self.topics.to_string(),
            });
        }
        tracing::info!(filters = ?self.topics.request_filters(), "ready for requests");
        let now = Instant::now();
        connection.ready = Some(now);
        self.former.stood.clone_from(&self.since);
        self.reporter.up(*self.ready.get_or_insert(now));
        self.presence.mark_unchanged();
        if self.stage == Stage::Running {
            self.announce();
        }
        Ok(())
    }
}

fn filter(path: String, retain_forward_rule: RetainForwardRule, preserve_retain: bool) -> Filter {
    Filter { path, qos: QoS::AtLeastOnce, nolocal: true, preserve_retain, retain_forward_rule }
}
