//! DISCONNECT packets in their short forms, which rumqttc cannot read.

use bytes::BytesMut;

/// Replaces a DISCONNECT in a short form at the front of `incoming` by the long form. A
/// sender may omit the properties, as Mosquitto does, or also the reason (MQTT 5, 3.14.2),
/// which rumqttc takes for a malformed packet. Nothing follows a DISCONNECT.
pub(crate) fn complete(incoming: &mut BytesMut) {
    let reason = match **incoming {
        [0xe0, 0, ..] => 0,
        [0xe0, 1, reason, ..] => reason,
        _ => return,
    };
    *incoming = BytesMut::from(&[0xe0, 2, reason, 0][..]);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rumqttc::v5::mqttbytes::v5::{Disconnect, DisconnectReasonCode, Packet};

    use super::*;

    #[test]
    fn short_and_long_forms_are_read() {
        use DisconnectReasonCode::{NormalDisconnection, SessionTakenOver};
        for (bytes, reason) in [
            (&[0xe0, 0][..], NormalDisconnection),
            (&[0xe0, 1, 0x8e], SessionTakenOver),
            (&[0xe0, 2, 0x8e, 0], SessionTakenOver),
            (&[0xe0, 6, 0x8e, 4, 0x1f, 0, 1, b'x'], SessionTakenOver),
        ] {
            let mut incoming = BytesMut::from(bytes);
            complete(&mut incoming);
            let packet = Packet::read(&mut incoming, None).unwrap();
            let Packet::Disconnect(Disconnect { reason_code, .. }) = packet else { unreachable!() };
            assert_eq!(reason_code, reason);
        }
    }

    #[test]
    fn nothing_else_is_touched() {
        for bytes in [&[][..], &[0xe0], &[0xe0, 1], &[0xd0, 0], &[0x40, 2, 0, 1]] {
            let mut incoming = BytesMut::from(bytes);
            complete(&mut incoming);
            assert_eq!(incoming, bytes);
        }
    }
}
