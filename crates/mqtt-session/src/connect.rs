//! The CONNECT packet.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectProperties, LastWill, LastWillProperties, Packet,
};

use crate::login::{Login, PasswordError};
use crate::options::SessionOptions;

/// QoS 1 messages that the broker may send without an acknowledgement (MQTT 5,
/// 3.1.2.11.3).
pub(crate) const RECEIVE_MAXIMUM: u16 = 64;

/// The *Maximum Packet Size* (MQTT 5, 3.1.2.11.4) allows payloads up to this many times the
/// largest one that the application accepts. The broker discards larger packets.
const OVERSIZE: usize = 4;

/// Room for topic and properties of a packet, in bytes.
const PACKET_OVERHEAD: usize = 64 * 1024;

/// How long to wait for the broker to answer SUBSCRIBE, and at the end to take DISCONNECT.
pub(crate) const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// How the broker publishes the last will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WillForm {
    /// Whether it is retained.
    pub(crate) retain: bool,
    /// Whether it has QoS 1.
    pub(crate) qos_1: bool,
}

/// CONNECT of one connection of the session, with its last will.
///
/// # Errors
/// The password cannot be read.
pub(crate) fn session_packet(
    options: &SessionOptions,
    will_topic: &str,
    will: Bytes,
    form: WillForm,
) -> Result<Packet, PasswordError> {
    let qos = if form.qos_1 { QoS::AtLeastOnce } else { QoS::AtMostOnce };
    // The broker publishes the will at the end of the session at the latest.
    let delay = options.will_delay.min(options.session_expiry);
    let properties = (!delay.is_zero()).then(|| LastWillProperties {
        delay_interval: Some(seconds(delay)),
        payload_format_indicator: None,
        message_expiry_interval: None,
        content_type: None,
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
    });
    let will = LastWill::new(will_topic, will, qos, form.retain, properties);
    let client_id = options.client_id.clone();
    packet(options, client_id, Some(options.session_expiry), Some(will), RECEIVE_MAXIMUM)
}

/// CONNECT of a connection without a persistent session: the broker keeps nothing of it.
///
/// # Errors
/// The password cannot be read.
pub(crate) fn clean_packet(
    options: &SessionOptions,
    client_id: String,
) -> Result<Packet, PasswordError> {
    packet(options, client_id, None, None, RECEIVE_MAXIMUM)
}

/// Like [`clean_packet`], for a client that is subscribed to messages of many others. Some brokers
/// keep only as many messages as *Receive Maximum*, and a few more, for a client that has not
/// acknowledged others yet, and drop the rest without a word: of 10,000 retained messages, about
/// 1,000 arrived.
///
/// # Errors
/// The password cannot be read.
pub(crate) fn greedy_packet(
    options: &SessionOptions,
    client_id: String,
) -> Result<Packet, PasswordError> {
    packet(options, client_id, None, None, u16::MAX)
}

/// CONNECT; without a `session_expiry` there is no session before and none after it.
fn packet(
    options: &SessionOptions,
    client_id: String,
    session_expiry: Option<Duration>,
    will: Option<LastWill>,
    receive_maximum: u16,
) -> Result<Packet, PasswordError> {
    let connect = Connect {
        keep_alive: keep_alive(options),
        client_id,
        clean_start: session_expiry.is_none(),
        properties: Some(ConnectProperties {
            session_expiry_interval: Some(session_expiry.map_or(0, seconds)),
            receive_maximum: Some(receive_maximum),
            max_packet_size: Some(max_packet(options)),
            ..ConnectProperties::new()
        }),
    };
    let login = options.login.as_ref().map(Login::packet).transpose()?;
    Ok(Packet::Connect(connect, will, login))
}

/// The largest packet that the broker may send, in bytes.
pub(crate) fn max_packet(options: &SessionOptions) -> u32 {
    let max_packet = options.max_payload.saturating_mul(OVERSIZE).saturating_add(PACKET_OVERHEAD);
    u32::try_from(max_packet).unwrap_or(u32::MAX)
}

/// The keep-alive time that is proposed to the broker, in seconds.
pub(crate) fn keep_alive(options: &SessionOptions) -> u16 {
    u16::try_from(options.keep_alive.as_secs()).unwrap_or(u16::MAX)
}

/// MQTT counts in whole seconds; the largest value means for ever.
pub(crate) fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn the_will_is_delayed_but_not_beyond_the_end_of_the_session() {
        for (delay, expiry, expected) in
            [(0, 60, None), (5, 60, Some(5)), (90, 60, Some(60)), (5, 0, None)]
        {
            let options = SessionOptions {
                will_delay: Duration::from_secs(delay),
                session_expiry: Duration::from_secs(expiry),
                ..SessionOptions::for_tests()
            };
            let form = WillForm { retain: true, qos_1: true };
            let packet = session_packet(&options, "t", Bytes::new(), form).unwrap();
            let Packet::Connect(_, Some(will), _) = packet else { panic!("{packet:?}") };
            let delay = will.properties.and_then(|properties| properties.delay_interval);
            assert_eq!(delay, expected);
        }
    }

    #[test]
    fn the_will_has_the_form_that_the_broker_accepts() {
        let options = SessionOptions::for_tests();
        for retain in [true, false] {
            for (qos_1, qos) in [(true, QoS::AtLeastOnce), (false, QoS::AtMostOnce)] {
                let form = WillForm { retain, qos_1 };
                let packet = session_packet(&options, "t", Bytes::new(), form).unwrap();
                let Packet::Connect(_, Some(will), _) = packet else { panic!("{packet:?}") };
                assert_eq!((will.retain, will.qos), (retain, qos));
            }
        }
    }
}
