//! When messages are acknowledged.
//!
//! A message whose reply the broker has acknowledged is acknowledged with the next packet that
//! is sent. While another message is being served, that is usually its reply.

use rumqttc::v5::mqttbytes::v5::{Packet, PubAck};

use super::state::{Session, Stage};
use crate::application::Application;
use crate::connection::Connection;
use crate::connection_error::ConnectionError;
use crate::piggyback::MAX_DELAYED;

impl<A: Application> Session<A> {
    /// Sends the acknowledgements that are due, unless they can wait for a reply.
    pub(super) fn acknowledge_or_delay(
        &mut self,
        connection: &mut Connection,
    ) -> Result<(), ConnectionError> {
        let due = self.deliveries.due_acknowledgements(MAX_DELAYED);
        let expects_reply = self.deliveries.unacknowledged() > due;
        let can_wait = (1..MAX_DELAYED).contains(&due)
            && expects_reply
            && self.stage == Stage::Running
            && !connection.network.has_unsent();
        if can_wait {
            connection.piggyback.start();
            return Ok(());
        }
        self.acknowledge(connection)
    }

    /// Sends the acknowledgements that are due, as far as there is room.
    pub(super) fn acknowledge(
        &mut self,
        connection: &mut Connection,
    ) -> Result<(), ConnectionError> {
        while connection.network.has_room()
            && let Some(packet_id) = self.deliveries.next_acknowledgement()
        {
            connection.network.put(Packet::PubAck(PubAck::new(packet_id, None)))?;
            self.deliveries.acknowledged();
        }
        Ok(())
    }
}
