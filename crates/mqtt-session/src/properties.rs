//! The properties of a packet (MQTT 5, 2.2.2), read as far as they can be.
//!
//! Which properties a packet may have is not checked: what is not asked for is ignored. The length
//! of a property that MQTT 5 does not name is unknown, so reading ends there.

use bytes::{Buf, Bytes};

/// The value of a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Number(u32),
    Data(Bytes),
    Pair(Bytes, Bytes),
}

/// Identifiers of properties that are used here.
pub(crate) mod id {
    pub(crate) const PAYLOAD_FORMAT_INDICATOR: u8 = 1;
    pub(crate) const MESSAGE_EXPIRY_INTERVAL: u8 = 2;
    pub(crate) const CONTENT_TYPE: u8 = 3;
    pub(crate) const RESPONSE_TOPIC: u8 = 8;
    pub(crate) const CORRELATION_DATA: u8 = 9;
    pub(crate) const SUBSCRIPTION_IDENTIFIER: u8 = 11;
    pub(crate) const SESSION_EXPIRY_INTERVAL: u8 = 17;
    pub(crate) const ASSIGNED_CLIENT_IDENTIFIER: u8 = 18;
    pub(crate) const SERVER_KEEP_ALIVE: u8 = 19;
    pub(crate) const AUTHENTICATION_METHOD: u8 = 21;
    pub(crate) const AUTHENTICATION_DATA: u8 = 22;
    pub(crate) const REQUEST_PROBLEM_INFORMATION: u8 = 23;
    pub(crate) const WILL_DELAY_INTERVAL: u8 = 24;
    pub(crate) const REQUEST_RESPONSE_INFORMATION: u8 = 25;
    pub(crate) const RESPONSE_INFORMATION: u8 = 26;
    pub(crate) const SERVER_REFERENCE: u8 = 28;
    pub(crate) const REASON_STRING: u8 = 31;
    pub(crate) const RECEIVE_MAXIMUM: u8 = 33;
    pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 34;
    pub(crate) const TOPIC_ALIAS: u8 = 35;
    pub(crate) const MAXIMUM_QOS: u8 = 36;
    pub(crate) const RETAIN_AVAILABLE: u8 = 37;
    pub(crate) const USER_PROPERTY: u8 = 38;
    pub(crate) const MAXIMUM_PACKET_SIZE: u8 = 39;
    pub(crate) const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 40;
    pub(crate) const SUBSCRIPTION_IDENTIFIER_AVAILABLE: u8 = 41;
    pub(crate) const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 42;
}

/// The properties that could be read, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Properties(Vec<(u8, Value)>);

impl Properties {
    /// Takes the properties and their length from the front of `packet`. `None` if they are longer
    /// than the packet, so that it cannot be known where they end.
    pub(crate) fn take(packet: &mut Bytes) -> Option<Self> {
        let length = variable(packet)?;
        (length <= packet.len()).then(|| Self::read(packet.split_to(length)))
    }

    /// Like [`take`](Self::take) for a packet in which nothing follows, and whose sender may omit
    /// them: what is there is read.
    pub(crate) fn take_last(mut packet: Bytes) -> Self {
        let length = variable(&mut packet).unwrap_or_default();
        packet.truncate(length);
        Self::read(packet)
    }

    fn read(mut bytes: Bytes) -> Self {
        let mut all = Vec::new();
        while let Some(property) = property(&mut bytes) {
            all.push(property);
        }
        Self(all)
    }

    /// The first value of a property.
    fn first(&self, id: u8) -> Option<&Value> {
        self.0.iter().find(|(found, _)| *found == id).map(|(_, value)| value)
    }

    /// A number of up to 32 bits.
    pub(crate) fn number(&self, id: u8) -> Option<u32> {
        match self.first(id)? {
            Value::Number(number) => Some(*number),
            Value::Data(_) | Value::Pair(..) => None,
        }
    }

    /// A number of 16 bits.
    pub(crate) fn short(&self, id: u8) -> Option<u16> {
        self.number(id).and_then(|number| u16::try_from(number).ok())
    }

    /// A number of 8 bits.
    pub(crate) fn byte(&self, id: u8) -> Option<u8> {
        self.number(id).and_then(|number| u8::try_from(number).ok())
    }

    /// Binary data.
    pub(crate) fn data(&self, id: u8) -> Option<Bytes> {
        match self.first(id)? {
            Value::Data(data) => Some(data.clone()),
            Value::Number(_) | Value::Pair(..) => None,
        }
    }

    /// A string; `None` if it is not UTF-8.
    pub(crate) fn text(&self, id: u8) -> Option<String> {
        text(&self.data(id)?)
    }

    /// A string for people.
    pub(crate) fn lossy(&self, id: u8) -> Option<String> {
        self.data(id).map(|data| String::from_utf8_lossy(&data).into_owned())
    }

    /// The *User Properties* that are UTF-8.
    pub(crate) fn user(&self) -> Vec<(String, String)> {
        let pairs = self.0.iter().filter_map(|(_, value)| match value {
            Value::Pair(name, value) => Some((text(name)?, text(value)?)),
            Value::Number(_) | Value::Data(_) => None,
        });
        pairs.collect()
    }

    /// All numbers with this identifier.
    pub(crate) fn numbers(&self, id: u8) -> impl Iterator<Item = u32> {
        self.0.iter().filter_map(move |(found, value)| match value {
            Value::Number(number) if *found == id => Some(*number),
            _ => None,
        })
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn text(data: &Bytes) -> Option<String> {
    std::str::from_utf8(data).ok().map(str::to_owned)
}

/// Takes one property; `None` at the end, or where no more can be read.
fn property(bytes: &mut Bytes) -> Option<(u8, Value)> {
    let id = bytes.try_get_u8().ok()?;
    let value = match id {
        id::PAYLOAD_FORMAT_INDICATOR
        | id::REQUEST_PROBLEM_INFORMATION
        | id::REQUEST_RESPONSE_INFORMATION
        | id::MAXIMUM_QOS
        | id::RETAIN_AVAILABLE
        | id::WILDCARD_SUBSCRIPTION_AVAILABLE
        | id::SUBSCRIPTION_IDENTIFIER_AVAILABLE
        | id::SHARED_SUBSCRIPTION_AVAILABLE => Value::Number(bytes.try_get_u8().ok()?.into()),
        id::SERVER_KEEP_ALIVE | id::RECEIVE_MAXIMUM | id::TOPIC_ALIAS_MAXIMUM | id::TOPIC_ALIAS => {
            Value::Number(bytes.try_get_u16().ok()?.into())
        }
        id::MESSAGE_EXPIRY_INTERVAL
        | id::SESSION_EXPIRY_INTERVAL
        | id::WILL_DELAY_INTERVAL
        | id::MAXIMUM_PACKET_SIZE => Value::Number(bytes.try_get_u32().ok()?),
        id::SUBSCRIPTION_IDENTIFIER => Value::Number(u32::try_from(variable(bytes)?).ok()?),
        id::CONTENT_TYPE
        | id::RESPONSE_TOPIC
        | id::CORRELATION_DATA
        | id::ASSIGNED_CLIENT_IDENTIFIER
        | id::AUTHENTICATION_METHOD
        | id::AUTHENTICATION_DATA
        | id::RESPONSE_INFORMATION
        | id::SERVER_REFERENCE
        | id::REASON_STRING => Value::Data(data(bytes)?),
        id::USER_PROPERTY => Value::Pair(data(bytes)?, data(bytes)?),
        _ => return None,
    };
    Some((id, value))
}

/// Takes data with a length of two bytes (MQTT 5, 1.5.4 and 1.5.6).
pub(crate) fn data(bytes: &mut Bytes) -> Option<Bytes> {
    let length = usize::from(bytes.try_get_u16().ok()?);
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

/// Takes a *Variable Byte Integer* (MQTT 5, 1.5.5).
fn variable(bytes: &mut Bytes) -> Option<usize> {
    let mut number = 0;
    for shift in [0, 7, 14, 21] {
        let byte = bytes.try_get_u8().ok()?;
        number |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn take(bytes: &'static [u8]) -> Option<(Properties, Bytes)> {
        let mut packet = Bytes::from_static(bytes);
        Properties::take(&mut packet).map(|properties| (properties, packet))
    }

    #[test]
    fn properties_of_any_packet_are_read() {
        let (properties, rest) =
            take(&[10, 0x1f, 0, 2, b'n', b'o', 0x21, 0, 7, 0x25, 0, 0xaa]).unwrap();
        assert_eq!(properties.text(id::REASON_STRING).as_deref(), Some("no"));
        assert_eq!(properties.short(id::RECEIVE_MAXIMUM), Some(7));
        assert_eq!(properties.byte(id::RETAIN_AVAILABLE), Some(0));
        assert_eq!(rest, [0xaa][..]);
    }

    #[test]
    fn an_unknown_property_ends_the_properties_and_not_the_packet() {
        let (properties, rest) = take(&[7, 0x21, 0, 7, 0x7e, 1, 0x25, 0, 0xaa]).unwrap();
        assert_eq!(properties.short(id::RECEIVE_MAXIMUM), Some(7));
        assert_eq!(properties.byte(id::RETAIN_AVAILABLE), None);
        assert_eq!(rest, [0xaa][..]);
    }

    #[test]
    fn properties_that_end_early_are_read_up_to_there() {
        assert!(take(&[9, 0x21]).is_none() && take(&[0xff; 4]).is_none() && take(&[]).is_none());
        let (properties, _) = take(&[4, 0x1f, 0, 9, b'x']).unwrap();
        assert!(properties.is_empty());
        let last = Properties::take_last(Bytes::from_static(&[99, 0x21, 0, 7]));
        assert_eq!(last.short(id::RECEIVE_MAXIMUM), Some(7));
        assert!(Properties::take_last(Bytes::new()).is_empty());
    }

    #[test]
    fn text_that_is_not_utf_8_is_shown_and_not_used() {
        let (properties, _) = take(&[4, 0x1f, 0, 1, 0xff]).unwrap();
        assert_eq!(properties.text(id::REASON_STRING), None);
        assert_eq!(properties.lossy(id::REASON_STRING).as_deref(), Some("\u{fffd}"));
        let (properties, _) =
            take(&[14, 0x26, 0, 1, 0xff, 0, 0, 0x26, 0, 1, b'a', 0, 1, b'b', 0]).unwrap();
        assert_eq!(properties.user(), [("a".to_owned(), "b".to_owned())]);
    }
}
