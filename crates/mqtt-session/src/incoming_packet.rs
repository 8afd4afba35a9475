//! Reads the packets of the broker.
//!
//! The library refuses a whole packet, and the bytes behind it, for a reason code or a property
//! that it does not know. So packets are read here, and as far as possible: reason codes stay
//! numbers, and a packet that cannot be used is skipped. Only a *Remaining Length* that is malformed
//! ends the connection, because then it is unknown where the next packet begins.
//!
//! Of a PUBLISH that is larger than allowed, topic and properties are read and the payload is
//! skipped while it arrives, so that it can be answered, and acknowledged: otherwise a broker would
//! send it again on each connection.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use rumqttc::v5::mqttbytes::v5::{ConnAckProperties, Publish, PublishProperties};
use rumqttc::v5::mqttbytes::{Error, QoS};

use crate::properties::{Properties, data, id};
use crate::reason_code::ReasonCode;

/// How much of a PUBLISH that is too large is kept for its topic and its properties, in bytes.
const MAX_HEAD: usize = 160 * 1024;

/// Characters of a text of the broker that are kept.
const MAX_TEXT: usize = 200;

/// A packet of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// CONNACK.
    ConnAck(ConnAck),
    /// PUBLISH.
    Publish(Publish),
    /// PUBLISH whose payload was skipped.
    TooLarge {
        /// Without its payload.
        publish: Publish,
        /// Size of the payload, in bytes.
        size: usize,
    },
    /// PUBACK.
    PubAck(Acknowledgement),
    /// PUBREL, with its packet identifier.
    PubRel(u16),
    /// SUBACK.
    SubAck {
        /// The packet identifier of the SUBSCRIBE.
        packet_id: u16,
        /// One for each filter.
        codes: Vec<ReasonCode>,
        /// *Reason String*, or nothing.
        text: String,
    },
    /// UNSUBACK, with the packet identifier of the UNSUBSCRIBE.
    UnsubAck(u16),
    /// PINGRESP.
    PingResp,
    /// DISCONNECT.
    Disconnect(Reason),
    /// A packet that cannot be used, or was not asked for.
    Unusable(Unusable),
}

/// Why the broker refuses or ends something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The *Reason Code*.
    pub code: ReasonCode,
    /// *Reason String*, or nothing.
    pub text: String,
    /// *Server Reference*.
    pub server: Option<String>,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, text, .. } = self;
        if text.is_empty() { write!(f, "{code}") } else { write!(f, "{code} {text}") }
    }
}

/// CONNACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the broker still has the session.
    pub session_present: bool,
    /// Whether it accepts the connection, and why not.
    pub reason: Reason,
    /// The properties, if there are any.
    pub properties: Option<ConnAckProperties>,
    /// It has the form of MQTT 3.
    pub is_version_3: bool,
}

/// The broker's answer to a PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The packet identifier of the PUBLISH.
    pub packet_id: u16,
    /// Whether it accepts the message, and why not.
    pub code: ReasonCode,
    /// *Reason String*, or nothing.
    pub text: String,
}

/// A packet that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unusable {
    /// Its name.
    pub name: &'static str,
    /// What is wrong.
    pub problem: &'static str,
    /// The packet identifier, if it is a PUBLISH with QoS 1 that has one: it must be acknowledged.
    pub packet_id: Option<u16>,
}

/// Takes packets from a buffer.
#[derive(Debug)]
pub struct Decoder {
    /// The largest *Remaining Length* of a packet that is kept.
    max: usize,
    /// How many bytes are still to be skipped.
    skip: usize,
}

/// The fixed header of a packet (MQTT 5, 2.1).
struct Header {
    first: u8,
    /// Its own size.
    size: usize,
    /// *Remaining Length*.
    length: usize,
}

impl Decoder {
    /// A decoder for packets of up to `max` bytes.
    #[must_use]
    pub fn new(max: u32) -> Self {
        Self { max: usize::try_from(max).unwrap_or(usize::MAX), skip: 0 }
    }

    /// Takes the next packet from the front of `buffer`; `None` if it is not complete.
    ///
    /// # Errors
    /// The *Remaining Length* is malformed.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Received>, Error> {
        let skipped = self.skip.min(buffer.len());
        buffer.advance(skipped);
        self.skip -= skipped;
        if self.skip > 0 {
            return Ok(None);
        }
        let Some(header) = header(buffer)? else { return Ok(None) };
        let total = header.size + header.length;
        let wanted = self.wanted(&header);
        if buffer.len() < wanted {
            return Ok(None);
        }
        let mut packet = buffer.split_to(wanted).freeze();
        packet.advance(header.size);
        self.skip = total - wanted;
        if header.length > self.max {
            return Ok(Some(too_large(header.first, packet, header.length)));
        }
        Ok(Some(read(header.first, packet)))
    }

    /// How many bytes are missing for the next packet, as far as that is known.
    #[must_use]
    pub fn missing(&self, buffer: &[u8]) -> usize {
        match header(buffer) {
            Ok(Some(header)) => self.wanted(&header).saturating_sub(buffer.len()),
            _ => 0,
        }
    }

    /// How many bytes of a packet are kept.
    fn wanted(&self, header: &Header) -> usize {
        let length = match header.first >> 4 {
            _ if header.length <= self.max => header.length,
            3 => header.length.min(MAX_HEAD),
            _ => 0,
        };
        header.size + length
    }
}

/// Reads the fixed header; `None` if it is not complete.
fn header(buffer: &[u8]) -> Result<Option<Header>, Error> {
    let Some((first, rest)) = buffer.split_first() else { return Ok(None) };
    let mut length = 0;
    for (index, byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some(Header { first: *first, size: index + 2, length }));
        }
    }
    if rest.len() < 4 { Ok(None) } else { Err(Error::MalformedRemainingLength) }
}

/// Reads a packet; `body` is what follows the fixed header.
fn read(first: u8, body: Bytes) -> Received {
    let name = NAMES.get(usize::from(first >> 4)).copied().unwrap_or_default();
    let unusable = |problem| Received::Unusable(Unusable { name, problem, packet_id: None });
    let read = match first >> 4 {
        2 => connack(body),
        3 => return publish(first, body),
        4 => acknowledgement(body),
        6 => packet_id(&body).map(Received::PubRel),
        9 => suback(body),
        11 => packet_id(&body).map(Received::UnsubAck),
        13 => Some(Received::PingResp),
        14 => Some(Received::Disconnect(disconnect(body))),
        0 => return unusable("there is no such packet"),
        1 | 8 | 10 | 12 => return unusable("only clients may send it"),
        _ => return unusable("it answers nothing"),
    };
    read.unwrap_or_else(|| unusable("it is too short"))
}

/// The names of the packets, by their types.
const NAMES: [&str; 16] = [
    "packet of type 0",
    "CONNECT",
    "CONNACK",
    "PUBLISH",
    "PUBACK",
    "PUBREC",
    "PUBREL",
    "PUBCOMP",
    "SUBSCRIBE",
    "SUBACK",
    "UNSUBSCRIBE",
    "UNSUBACK",
    "PINGREQ",
    "PINGRESP",
    "DISCONNECT",
    "AUTH",
];

/// Reads what was kept of a packet that is too large.
fn too_large(first: u8, head: Bytes, length: usize) -> Received {
    let name = NAMES.get(usize::from(first >> 4)).copied().unwrap_or_default();
    let problem = "it is larger than allowed";
    if first >> 4 != 3 {
        return Received::Unusable(Unusable { name, problem, packet_id: None });
    }
    let kept = head.len();
    match publish(first, head) {
        Received::Publish(mut publish) => {
            let size = length - kept + publish.payload.len();
            publish.payload = Bytes::new();
            Received::TooLarge { publish, size }
        }
        // The properties do not fit into what was kept.
        Received::Unusable(unusable) => Received::Unusable(Unusable { problem, ..unusable }),
        other => other,
    }
}

fn packet_id(body: &[u8]) -> Option<u16> {
    let (id, _) = body.split_first_chunk::<2>()?;
    Some(u16::from_be_bytes(*id))
}

fn publish(first: u8, mut body: Bytes) -> Received {
    let unusable =
        |problem, packet_id| Received::Unusable(Unusable { name: "PUBLISH", problem, packet_id });
    let qos = match (first >> 1) & 3 {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        2 => QoS::ExactlyOnce,
        _ => return unusable("its QoS is 3", None),
    };
    let Some(topic) = data(&mut body) else {
        return unusable("its topic is longer than the packet", None);
    };
    let pkid = if qos == QoS::AtMostOnce { Ok(0) } else { body.try_get_u16() };
    let Ok(pkid) = pkid else { return unusable("it has no packet identifier", None) };
    if qos != QoS::AtMostOnce && pkid == 0 {
        return unusable("its packet identifier is 0", None);
    }
    let Some(properties) = Properties::take(&mut body) else {
        let acknowledged = (qos == QoS::AtLeastOnce).then_some(pkid);
        return unusable("its properties are longer than the packet", acknowledged);
    };
    let properties = (!properties.is_empty()).then(|| PublishProperties {
        payload_format_indicator: properties.byte(id::PAYLOAD_FORMAT_INDICATOR),
        message_expiry_interval: properties.number(id::MESSAGE_EXPIRY_INTERVAL),
        topic_alias: properties.short(id::TOPIC_ALIAS),
        response_topic: properties.text(id::RESPONSE_TOPIC),
        correlation_data: properties.data(id::CORRELATION_DATA),
        user_properties: properties.user(),
        subscription_identifiers: properties
            .numbers(id::SUBSCRIPTION_IDENTIFIER)
            .map(|number| number as usize)
            .collect(),
        content_type: properties.text(id::CONTENT_TYPE),
    });
    let (dup, retain) = (first & 8 != 0, first & 1 != 0);
    Received::Publish(Publish { dup, qos, retain, topic, pkid, payload: body, properties })
}

fn acknowledgement(mut body: Bytes) -> Option<Received> {
    let packet_id = body.try_get_u16().ok()?;
    // The reason and the properties may be omitted (MQTT 5, 3.4.2.1).
    let code = body.try_get_u8().map_or(ReasonCode::SUCCESS, ReasonCode);
    let text = reason_string(&Properties::take_last(body));
    Some(Received::PubAck(Acknowledgement { packet_id, code, text }))
}

fn suback(mut body: Bytes) -> Option<Received> {
    let packet_id = body.try_get_u16().ok()?;
    let properties = Properties::take(&mut body)?;
    let codes = body.iter().copied().map(ReasonCode).collect();
    let text = reason_string(&properties);
    Some(Received::SubAck { packet_id, codes, text })
}

fn disconnect(mut body: Bytes) -> Reason {
    // The reason and the properties may be omitted (MQTT 5, 3.14.2), which Mosquitto does.
    let code = body.try_get_u8().map_or(ReasonCode::SUCCESS, ReasonCode);
    reason(code, &Properties::take_last(body))
}

fn connack(mut body: Bytes) -> Option<Received> {
    let flags = body.try_get_u8().ok()?;
    let code = ReasonCode(body.try_get_u8().ok()?);
    // In MQTT 5 a length of the properties follows; some brokers omit it with an error of MQTT 5.
    let is_version_3 = body.is_empty() && !code.is_error();
    let properties = Properties::take_last(body);
    Some(Received::ConnAck(ConnAck {
        session_present: flags & 1 != 0,
        reason: reason(code, &properties),
        properties: (!properties.is_empty()).then(|| connack_properties(&properties)),
        is_version_3,
    }))
}

fn connack_properties(all: &Properties) -> ConnAckProperties {
    ConnAckProperties {
        session_expiry_interval: all.number(id::SESSION_EXPIRY_INTERVAL),
        receive_max: all.short(id::RECEIVE_MAXIMUM),
        max_qos: all.byte(id::MAXIMUM_QOS),
        retain_available: all.byte(id::RETAIN_AVAILABLE),
        // MQTT 5 does not allow 0, with which nothing could be published.
        max_packet_size: all.number(id::MAXIMUM_PACKET_SIZE).filter(|size| *size > 0),
        assigned_client_identifier: all.text(id::ASSIGNED_CLIENT_IDENTIFIER),
        topic_alias_max: all.short(id::TOPIC_ALIAS_MAXIMUM),
        reason_string: all.lossy(id::REASON_STRING),
        user_properties: all.user(),
        wildcard_subscription_available: all.byte(id::WILDCARD_SUBSCRIPTION_AVAILABLE),
        subscription_identifiers_available: all.byte(id::SUBSCRIPTION_IDENTIFIER_AVAILABLE),
        shared_subscription_available: all.byte(id::SHARED_SUBSCRIPTION_AVAILABLE),
        server_keep_alive: all.short(id::SERVER_KEEP_ALIVE),
        response_information: all.text(id::RESPONSE_INFORMATION),
        server_reference: all.lossy(id::SERVER_REFERENCE),
        authentication_method: all.text(id::AUTHENTICATION_METHOD),
        authentication_data: all.data(id::AUTHENTICATION_DATA),
    }
}

fn reason(code: ReasonCode, properties: &Properties) -> Reason {
    let server = properties.lossy(id::SERVER_REFERENCE).map(|text| for_people(&text));
    Reason { code, text: reason_string(properties), server }
}

fn reason_string(properties: &Properties) -> String {
    properties.lossy(id::REASON_STRING).map(|text| for_people(&text)).unwrap_or_default()
}

/// A text of the broker for the log: short, and without control characters.
fn for_people(text: &str) -> String {
    text.chars().take(MAX_TEXT).map(|one| if one.is_control() { ' ' } else { one }).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
