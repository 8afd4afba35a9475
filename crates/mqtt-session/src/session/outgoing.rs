//! From the queue through the outbox into the connection.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Disconnect, DisconnectReasonCode, Packet};

use tokio::time::Instant;

use super::state::{Session, Stage};
use crate::allowed::Feature;
use crate::application::Application;
use crate::connection::Connection;
use crate::connection_error::ConnectionError;
use crate::publication::Outbound;
use crate::queue::Queued;
use crate::size_limit::fit;

/// How long the broker has to acknowledge the farewell and to take DISCONNECT. Without DISCONNECT it
/// publishes the last will, which says the same.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

impl<A: Application> Session<A> {
    /// Whether messages are taken from the queue.
    pub(super) fn takes_messages(&self) -> bool {
        matches!(self.stage, Stage::Running | Stage::Draining)
    }

    /// Handles an item of the queue.
    pub(super) fn take(&mut self, queued: Queued) {
        if queued.is_recalled() {
            return;
        }
        let (message, room) = match queued {
            Queued::Message { message, room, .. } => (message, room),
            Queued::Done { delivery } => return self.deliveries.replied(delivery),
            Queued::Retained { record, .. } => {
                self.retained.entry(record.topic.clone()).or_insert(record);
                return;
            }
        };
        if let Outbound::Publication(publication) = &message
            && publication.retain
        {
            if publication.payload.is_empty() {
                self.retained.remove(&publication.topic);
            } else {
                self.retained.insert(publication.topic.clone(), publication.clone());
            }
        }
        self.outbox.push(message, Some(room));
    }

    /// All deliveries have ended, and nothing more will be published: publishes the farewell.
    pub(super) fn say_goodbye(&mut self) {
        self.stage = Stage::Offline;
        self.farewell_until = Some(Instant::now() + FAREWELL_TIMEOUT);
        let status = self.application.offline();
        self.announce(status);
    }

    /// Publishes all retained messages again, except those that wait to be published: a broker that
    /// has lost the session may have lost them, too.
    pub(super) fn publish_retained(&mut self) {
        let unsent = self.outbox.unsent_retained();
        for (topic, record) in &self.retained {
            if !unsent.contains(topic) {
                self.outbox.push(Outbound::Publication(record.clone()), None);
            }
        }
    }

    /// Does everything that needs no waiting: publishes, acknowledges, and continues to stop.
    /// Packets that find no room in the connection are sent once there is room.
    pub(super) fn advance(&mut self, connection: &mut Connection) -> Result<(), ConnectionError> {
        if connection.ready.is_none() {
            return Ok(());
        }
        self.report_shortcomings();
        self.ask_again(connection)?;
        self.probe_retained(connection)?;
        let Self { outbox, deliveries, application, options, pause, notices, allowed, .. } =
            &mut *self;
        let (has_retain, has_qos_1) = (allowed.has(Feature::Retain), allowed.has(Feature::Qos1));
        while connection.network.has_room()
            && !pause.is_running()
            && let Some(message) = outbox.next(connection.max_unacknowledged)
        {
            if message.is_record() && !has_retain {
                outbox.give_up();
                continue;
            }
            let content_type = options.content_type;
            let fitting = fit(message, connection.max_packet, content_type, application, notices);
            let Some(mut publish) = fitting else {
                if let Some(Outbound::Reply(reply)) = outbox.give_up() {
                    deliveries.replied(reply.delivery);
                }
                continue;
            };
            publish.retain &= has_retain;
            if !has_qos_1 {
                publish.qos = QoS::AtMostOnce;
                if let Some(Outbound::Reply(reply)) = outbox.give_up() {
                    deliveries.replied(reply.delivery);
                }
                connection.network.put(Packet::Publish(publish))?;
                continue;
            }
            publish.pkid = outbox.send(deliveries.acknowledgements());
            connection.network.put(Packet::Publish(publish))?;
        }
        self.acknowledge_or_delay(connection)?;
        if self.stage == Stage::Offline && self.outbox.is_empty() {
            let disconnect = Disconnect::new(DisconnectReasonCode::NormalDisconnection);
            connection.network.put(Packet::Disconnect(disconnect))?;
            self.stage = Stage::Disconnecting;
            self.farewell_until = Some(Instant::now() + FAREWELL_TIMEOUT);
        }
        Ok(())
    }
}
