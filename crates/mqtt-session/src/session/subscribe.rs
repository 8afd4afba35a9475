//! The subscriptions of the session.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Filter, Packet, RetainForwardRule, SubAck, Subscribe, SubscribeReasonCode,
};
use tokio::time::Instant;

use super::state::{Session, Stage};
use crate::application::{Application, Qos, Subscription};
use crate::connection::Connection;
use crate::connection_error::ConnectionError;

/// The packet identifier of SUBSCRIBE. Nothing is published before it, so any is free.
const SUBSCRIBE_ID: u16 = 1;

impl<A: Application> Session<A> {
    /// Sends SUBSCRIBE with all subscriptions.
    pub(super) fn subscribe(&mut self, connection: &mut Connection) -> Result<(), ConnectionError> {
        self.subscriptions = self.application.subscriptions(self.ready.is_none());
        let filters = self.subscriptions.iter().map(filter);
        let subscribe = Subscribe { pkid: SUBSCRIBE_ID, ..Subscribe::new_many(filters, None) };
        Ok(connection.network.put(Packet::Subscribe(subscribe))?)
    }

    /// Handles the answer to SUBSCRIBE.
    pub(super) fn subscribed(
        &mut self,
        suback: SubAck,
        connection: &mut Connection,
    ) -> Result<(), ConnectionError> {
        let codes = suback.return_codes;
        if connection.ready.is_some()
            || suback.pkid != SUBSCRIBE_ID
            || codes.len() != self.subscriptions.len()
        {
            return Err(ConnectionError::Protocol("its SUBACK does not answer the SUBSCRIBE"));
        }
        let answers = self.subscriptions.iter().zip(codes);
        let (filters, codes): (Vec<_>, Vec<_>) = answers
            .filter(|(asked, code)| *code != SubscribeReasonCode::Success(packet_qos(asked.qos)))
            .map(|(asked, code)| (asked.filter.clone(), code))
            .unzip();
        if !filters.is_empty() {
            let base = self.options.base_topic.clone();
            return Err(ConnectionError::Subscription { filters, codes, base });
        }
        let now = Instant::now();
        connection.ready = Some(now);
        self.application.granted();
        self.reporter.up(*self.ready.get_or_insert(now));
        if self.stage == Stage::Running {
            let status = self.application.online();
            self.announce(status);
        }
        Ok(())
    }
}

fn filter(subscription: &Subscription) -> Filter {
    let retain_forward_rule = if subscription.send_retained {
        RetainForwardRule::OnEverySubscribe
    } else {
        RetainForwardRule::Never
    };
    Filter {
        path: subscription.filter.clone(),
        qos: packet_qos(subscription.qos),
        nolocal: subscription.no_local,
        preserve_retain: subscription.retain_as_published,
        retain_forward_rule,
    }
}

fn packet_qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
    }
}
