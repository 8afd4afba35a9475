//! When requests are acknowledged.
//!
//! A request whose reply the broker has taken is acknowledged by what is sent next.
//! While another request is being served that is usually its reply.

use rumqttc::v5::mqttbytes::v5::{Packet, PubAck};

use super::{Session, Stage};
use crate::mqtt::connection::Connection;
use crate::mqtt::connection_error::ConnectionError;
use crate::mqtt::piggyback::ENOUGH;

impl Session {
    /// Puts the acknowledgements whose turn it is into the connection, unless they
    /// wait for a reply that is to be expected.
    pub(super) fn acknowledge_or_wait(
        &mut self,
        connection: &mut Connection,
    ) -> Result<(), ConnectionError> {
        let due = self.deliveries.due_acknowledgements(ENOUGH);
        let is_served = self.deliveries.unacknowledged() > due;
        let waits = (1..ENOUGH).contains(&due)
            && is_served
            && self.stage == Stage::Running
            && !connection.network.has_unsent();
        if waits {
            connection.piggyback.wait();
            return Ok(());
        }
        self.acknowledge(connection)
    }

    /// Puts the acknowledgements whose turn it is into the connection, as far as there
    /// is room.
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
