//! The send buffer of a connection: small packets are copied together, large payloads are not
//! copied.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rumqttc::v5::mqttbytes;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};

/// Buffers that have grown beyond this are released after use, and payloads beyond it are
/// kept without a copy.
pub(crate) const KEEP_BUFFER: usize = 64 * 1024;

/// The largest *Variable Byte Integer* there is (MQTT 5, 1.5.5).
const MAX_LENGTH: usize = 268_435_455;

/// The largest packet there is (MQTT 5, 2.1.4), in bytes.
pub(crate) const MAX_PACKET: usize = 5 + MAX_LENGTH;

/// Payloads from this size on are sent without a copy.
const LARGE_PAYLOAD: usize = 4 * 1024;

/// Packets that are not sent yet.
#[derive(Debug, Default)]
pub(crate) struct Unsent {
    /// Sent before `last`.
    parts: VecDeque<Bytes>,
    last: BytesMut,
}

impl Unsent {
    /// Adds a packet.
    pub(crate) fn put(&mut self, packet: Packet) -> Result<(), mqttbytes::Error> {
        match packet {
            Packet::Publish(publish) if publish.payload.len() >= LARGE_PAYLOAD => {
                self.put_large(publish)
            }
            packet => packet.write(&mut self.last, None).map(drop),
        }
    }

    fn put_large(&mut self, mut publish: Publish) -> Result<(), mqttbytes::Error> {
        let payload = std::mem::take(&mut publish.payload);
        let mut packet = BytesMut::new();
        publish.write(&mut packet)?;
        // The packet without its payload, but with the length (MQTT 5, 2.1.4) of the whole.
        self.last.put_u8(packet.get_u8());
        while packet.get_u8() & 0x80 != 0 {}
        put_length(&mut self.last, packet.len() + payload.len())?;
        self.last.extend_from_slice(&packet);
        self.parts.push_back(self.last.split().freeze());
        self.parts.push_back(payload);
        Ok(())
    }

    /// Releases memory that many packets have needed.
    pub(crate) fn shrink(&mut self) {
        if self.last.is_empty() && self.last.capacity() > KEEP_BUFFER {
            self.last = BytesMut::new();
        }
    }
}

/// Writes a *Variable Byte Integer* (MQTT 5, 1.5.5).
fn put_length(buffer: &mut BytesMut, mut length: usize) -> Result<(), mqttbytes::Error> {
    if length > MAX_LENGTH {
        return Err(mqttbytes::Error::PayloadTooLong);
    }
    while length >= 0x80 {
        buffer.put_u8((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    buffer.put_u8(length as u8);
    Ok(())
}

impl Buf for Unsent {
    fn remaining(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum::<usize>() + self.last.len()
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(self.last.as_ref(), Bytes::as_ref)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [io::IoSlice<'a>]) -> usize {
        let parts = self.parts.iter().map(Bytes::as_ref).chain([self.last.as_ref()]);
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(parts.filter(|part| !part.is_empty())) {
            *slice = io::IoSlice::new(part);
            count += 1;
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(part) = self.parts.front_mut() {
            if count < part.len() {
                part.advance(count);
                return;
            }
            count -= part.len();
            self.parts.pop_front();
        }
        self.last.advance(count);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::PubAck;

    use super::*;

    fn publish(size: usize) -> Packet {
        let mut publish =
            Publish::new("vehicle/1/state/resp", QoS::AtLeastOnce, vec![7; size], None);
        publish.pkid = 5;
        Packet::Publish(publish)
    }

    #[test]
    fn the_bytes_are_those_that_rumqttc_writes() {
        let sizes = [0, 100, LARGE_PAYLOAD - 1, LARGE_PAYLOAD, 20_000, 3_000_000];
        let mut outgoing = Unsent::default();
        let mut expected = BytesMut::new();
        for size in sizes {
            for packet in [publish(size), Packet::PubAck(PubAck::new(9, None))] {
                packet.write(&mut expected, None).unwrap();
                outgoing.put(packet).unwrap();
            }
        }
        assert_eq!(outgoing.remaining(), expected.len());
        assert!(outgoing.copy_to_bytes(expected.len()) == expected);
        outgoing.shrink();
        assert!(!outgoing.has_remaining() && outgoing.last.capacity() <= KEEP_BUFFER);
    }

    #[test]
    fn it_can_be_sent_in_pieces_of_any_size() {
        let packets = || [publish(10), publish(10_000), publish(10), publish(5_000), publish(1)];
        let mut expected = BytesMut::new();
        for packet in packets() {
            packet.write(&mut expected, None).unwrap();
        }
        for piece in [1, 7, 100, 9_999, 20_000] {
            let mut outgoing = Unsent::default();
            packets().into_iter().for_each(|packet| outgoing.put(packet).unwrap());
            let mut sent = Vec::new();
            while outgoing.has_remaining() {
                let mut slices = [io::IoSlice::new(&[]); 3];
                let count = outgoing.chunks_vectored(&mut slices);
                let bytes: Vec<u8> =
                    slices.iter().take(count).flat_map(|slice| slice.iter().copied()).collect();
                let taken = bytes.len().min(piece);
                sent.extend(bytes.iter().take(taken));
                outgoing.advance(taken);
            }
            assert!(sent == expected, "in pieces of {piece}");
        }
    }
}
