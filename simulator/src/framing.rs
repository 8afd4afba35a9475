//! The framing of the control interface: each message has its length in front,
//! as a protobuf varint.
//!
//! The connector has a codec of its own; this one is written apart from it, so
//! that a fault in either shows.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Longest frame that is waited for, in bytes. A real agent would try to
/// allocate any length that it reads.
pub(crate) const MAX_FRAME: u64 = 64 << 20;

/// A varint of 64 bits has at most ten bytes.
const MAX_VARINT: usize = 10;

/// What the bytes received so far hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A message, without its length.
    Whole(Bytes),
    /// The beginning of a message, or nothing at all.
    Partial,
    /// A length above [`MAX_FRAME`], or no varint at all.
    Absurd(u64),
}

/// Takes the next frame off the front of the buffer.
pub(crate) fn take_frame(buffer: &mut BytesMut) -> Frame {
    let mut length = 0_u64;
    let mut varint = None;
    for (index, byte) in buffer.iter().take(MAX_VARINT).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            varint = Some(index + 1);
            break;
        }
    }
    let Some(varint) = varint else {
        return if buffer.len() < MAX_VARINT { Frame::Partial } else { Frame::Absurd(u64::MAX) };
    };
    if length > MAX_FRAME {
        return Frame::Absurd(length);
    }
    // At most MAX_FRAME, which every platform's usize can hold.
    let length = length as usize;
    if buffer.len() - varint < length {
        buffer.reserve(varint + length - buffer.len());
        return Frame::Partial;
    }
    buffer.advance(varint);
    Frame::Whole(buffer.split_to(length).freeze())
}

/// A message with its length in front.
pub fn frame(message: &impl prost::Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(MAX_VARINT + length);
    let mut rest = length as u64;
    while rest >= 0x80 {
        frame.put_u8((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    frame.put_u8(rest as u8);
    message.encode_raw(&mut frame);
    frame.freeze()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use fleet_connector::proto::control_api::Hello;
    use prost::Message;

    use super::*;

    fn hello(length: usize) -> Hello {
        Hello { protocol_version: "x".repeat(length) }
    }

    #[test]
    fn a_frame_is_what_protobuf_calls_length_delimited() {
        for length in [0, 1, 125, 126, 16_381, 16_382, 100_000] {
            let message = hello(length);
            assert_eq!(frame(&message), message.encode_length_delimited_to_vec());
        }
    }

    #[test]
    fn frames_are_taken_one_by_one_however_they_are_cut() {
        let mut bytes = frame(&hello(3)).to_vec();
        bytes.extend(frame(&hello(300)));
        for cut in 0..bytes.len() {
            let mut buffer = BytesMut::new();
            let mut taken = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                buffer.extend_from_slice(part);
                while let Frame::Whole(message) = take_frame(&mut buffer) {
                    taken.push(Hello::decode(message).unwrap());
                }
            }
            assert_eq!(taken, [hello(3), hello(300)], "cut at {cut}");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn absurd_lengths_are_seen() {
        let mut endless = BytesMut::from(&[0xff; 12][..]);
        assert_eq!(take_frame(&mut endless), Frame::Absurd(u64::MAX));
        let mut huge = BytesMut::from(&[0xff, 0xff, 0xff, 0xff, 0x0f][..]);
        assert_eq!(take_frame(&mut huge), Frame::Absurd(0xffff_ffff));
    }
}
