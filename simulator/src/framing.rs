//! The framing of the control interface: each message is preceded by its length as a protobuf
//! varint.
//!
//! Shares no code with the codec of the connector, so that tests find a bug in either.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Maximum length of a frame in bytes. A real agent has no limit and tries to allocate any
/// length.
pub(crate) const MAX_FRAME: u64 = 64 << 20;

/// Maximum length of a varint of 64 bits, in bytes.
const MAX_VARINT: usize = 10;

/// The first frame in a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NextFrame {
    /// A message without its length.
    Complete(Bytes),
    /// The frame is not complete, or the buffer is empty.
    Incomplete,
    /// The length exceeds [`MAX_FRAME`], or is no varint.
    InvalidLength(u64),
}

/// Removes the first frame from a buffer.
pub(crate) fn take_frame(buffer: &mut BytesMut) -> NextFrame {
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
        return if buffer.len() < MAX_VARINT {
            NextFrame::Incomplete
        } else {
            NextFrame::InvalidLength(u64::MAX)
        };
    };
    if length > MAX_FRAME {
        return NextFrame::InvalidLength(length);
    }
    // Fits: it is at most MAX_FRAME.
    let length = length as usize;
    if buffer.len() - varint < length {
        buffer.reserve(varint + length - buffer.len());
        return NextFrame::Incomplete;
    }
    buffer.advance(varint);
    NextFrame::Complete(buffer.split_to(length).freeze())
}

/// Encodes a message, preceded by its length.
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
    use ankaios_model::proto::control_api::Hello;
    use prost::Message;

    use super::*;

    fn hello(length: usize) -> Hello {
        Hello { protocol_version: "x".repeat(length) }
    }

    #[test]
    fn a_frame_is_a_length_delimited_protobuf_message() {
        for length in [0, 1, 125, 126, 16_381, 16_382, 100_000] {
            let message = hello(length);
            assert_eq!(frame(&message), message.encode_length_delimited_to_vec());
        }
    }

    #[test]
    fn frames_are_taken_one_by_one_wherever_they_are_split() {
        let mut bytes = frame(&hello(3)).to_vec();
        bytes.extend(frame(&hello(300)));
        for cut in 0..bytes.len() {
            let mut buffer = BytesMut::new();
            let mut taken = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                buffer.extend_from_slice(part);
                while let NextFrame::Complete(message) = take_frame(&mut buffer) {
                    taken.push(Hello::decode(message).unwrap());
                }
            }
            assert_eq!(taken, [hello(3), hello(300)], "cut at {cut}");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn invalid_lengths_are_recognised() {
        let mut endless = BytesMut::from(&[0xff; 12][..]);
        assert_eq!(take_frame(&mut endless), NextFrame::InvalidLength(u64::MAX));
        let mut huge = BytesMut::from(&[0xff, 0xff, 0xff, 0xff, 0x0f][..]);
        assert_eq!(take_frame(&mut huge), NextFrame::InvalidLength(0xffff_ffff));
    }
}
