//! The subscriptions of the session.

use rumqttc::v5::mqttbytes::v5::{Packet, Subscribe};
use tokio::time::Instant;

use super::state::{Session, Stage};
use crate::allowed::Feature;
use crate::application::{Application, Qos, RefusedSubscription, Subscription};
use crate::connection::Connection;
use crate::connection_error::ConnectionError;
use crate::filter::filter;
use crate::reason_code::{ReasonCode, SubscribeRule};
use crate::shortcomings::Lack;

/// The packet identifier of SUBSCRIBE. Nothing is published before it, so any is free.
const SUBSCRIBE_ID: u16 = 1;

/// What a subscription without an answer counts as: *Unspecified error*.
const NO_ANSWER: ReasonCode = ReasonCode(0x80);

/// What is missing if subscriptions have a lower QoS.
const LOWER_QOS: &str = "the broker grants the subscriptions with QoS 0 only: requests that arrive \
                         while the vehicle is offline, or when the connector crashes, are lost";

impl<A: Application> Session<A> {
    /// Sends SUBSCRIBE with all subscriptions.
    pub(super) fn subscribe(&mut self, connection: &mut Connection) -> Result<(), ConnectionError> {
        let wildcards = self.allowed.has(Feature::Wildcards);
        self.subscriptions = self.application.subscriptions(self.ready.is_none(), wildcards);
        let filters = self.subscriptions.iter().map(filter);
        let subscribe = Subscribe { pkid: SUBSCRIBE_ID, ..Subscribe::new_many(filters, None) };
        Ok(connection.network.put(Packet::Subscribe(subscribe))?)
    }

    /// Handles the answer to a SUBSCRIBE.
    pub(super) fn subscribed(
        &mut self,
        packet_id: u16,
        codes: &[ReasonCode],
        connection: &mut Connection,
    ) -> Result<(), ConnectionError> {
        if connection.ready.is_some() {
            return self.answered_again(packet_id, codes, connection);
        }
        if packet_id != SUBSCRIBE_ID || codes.len() != self.subscriptions.len() {
            return Err(ConnectionError::Protocol("its SUBACK does not answer the SUBSCRIBE"));
        }
        if codes.contains(&ReasonCode::WILDCARDS_NOT_SUPPORTED)
            && self.learn(ReasonCode::WILDCARDS_NOT_SUPPORTED)
        {
            return self.subscribe(connection);
        }
        self.note_refused(refused(&self.subscriptions, codes), connection)?;
        self.note_lack(
            Lack::SubscriptionQos,
            has_lower_qos(&self.subscriptions, codes).then(|| LOWER_QOS.into()),
        );
        connection.granted(Instant::now());
        if let Some(reasons) = self.shortcomings.take_changed() {
            self.application.degraded(reasons);
        }
        self.application.granted();
        self.report_up();
        if self.stage == Stage::Running {
            let status = self.application.online();
            self.announce(status);
        }
        Ok(())
    }

    /// Handles the answer to a SUBSCRIBE for what was refused before.
    fn answered_again(
        &mut self,
        packet_id: u16,
        codes: &[ReasonCode],
        connection: &mut Connection,
    ) -> Result<(), ConnectionError> {
        let is_granted =
            codes.iter().all(|code| matches!(code.subscribe_rule(), SubscribeRule::Granted(_)));
        if self.probe.answered(packet_id, is_granted, Instant::now()) {
            return Ok(());
        }
        let Some(asked) = connection.refused.answered(packet_id) else {
            self.skip("SUBACK", "it answers no SUBSCRIBE");
            return Ok(());
        };
        if has_lower_qos(&asked, codes) {
            self.note_lack(Lack::SubscriptionQos, Some(LOWER_QOS.into()));
        }
        self.note_refused(refused(&asked, codes), connection)
    }

    /// Records which subscriptions the broker refuses.
    fn note_refused(
        &mut self,
        refused: Vec<RefusedSubscription>,
        connection: &mut Connection,
    ) -> Result<(), ConnectionError> {
        let base = &self.options.base_topic;
        if !refused.is_empty() && !self.application.can_serve_without(&refused) {
            let filters = refused.iter().map(|one| one.subscription.filter.clone()).collect();
            let codes = refused.iter().map(|one| one.code).collect();
            return Err(ConnectionError::Subscription { filters, codes, base: base.clone() });
        }
        self.application.refused(&refused);
        let shown =
            refused.iter().map(|one| format!("{:?}: {}", one.subscription.filter, one.code));
        let shown = shown.collect::<Vec<_>>().join(", ");
        let text = format!(
            "the broker refuses the subscription to {shown}; allow the client to read below {base}/"
        );
        self.note_lack(Lack::Subscriptions, (!refused.is_empty()).then_some(text));
        connection.refused.set(refused, Instant::now());
        Ok(())
    }

    /// Asks again for what was refused, if it is time.
    pub(super) fn ask_again(&mut self, connection: &mut Connection) -> Result<(), ConnectionError> {
        if connection.refused.next().is_none_or(|next| next > Instant::now()) {
            return Ok(());
        }
        let packet_id = self.outbox.next_packet_id();
        let filters = connection.refused.ask(packet_id).map(filter).collect::<Vec<_>>();
        let subscribe = Subscribe { pkid: packet_id, ..Subscribe::new_many(filters, None) };
        Ok(connection.network.put(Packet::Subscribe(subscribe))?)
    }
}

/// The subscriptions that are not granted. Those without an answer count as refused.
fn refused(asked: &[Subscription], codes: &[ReasonCode]) -> Vec<RefusedSubscription> {
    let codes = codes.iter().copied().chain(std::iter::repeat(NO_ANSWER));
    let refused =
        asked.iter().zip(codes).filter(|(_, code)| code.subscribe_rule() == SubscribeRule::Refused);
    refused.map(|(one, code)| RefusedSubscription { subscription: one.clone(), code }).collect()
}

/// Whether something is granted with QoS 0 although QoS 1 was asked for.
fn has_lower_qos(asked: &[Subscription], codes: &[ReasonCode]) -> bool {
    let mut both = asked.iter().zip(codes);
    both.any(|(one, code)| {
        one.qos == Qos::AtLeastOnce && code.subscribe_rule() == SubscribeRule::Granted(0)
    })
}
