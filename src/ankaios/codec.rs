//! Frames on the FIFOs: one protobuf message with its length as a varint in front.

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;
use tokio_util::codec::Decoder;

use crate::proto::control_api::{FromAnkaios, ToAnkaios};

/// The largest message that is accepted from Ankaios, in bytes. A state of ten
/// thousand workloads has about 10 MB; a length beyond this limit is not a
/// message but a sign that the reader is out of step.
pub const MAX_INCOMING_FRAME: usize = 32 * 1024 * 1024;

/// A read buffer that has grown beyond this is given back after use.
const KEEP_BUFFER: usize = 64 * 1024;

/// A varint of 64 bits has at most this many bytes.
const MAX_VARINT: usize = 10;

/// Why the bytes from Ankaios are not a frame. After any of these the position
/// in the stream is unknown.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length in front of a message is not a varint.
    #[error("the length of a frame is not a varint")]
    Length,
    /// The length is larger than [`MAX_INCOMING_FRAME`].
    #[error("a frame of {0} bytes is larger than any answer of Ankaios")]
    TooLarge(u64),
    /// The bytes of the message are not a `FromAnkaios`.
    #[error("a frame is not a message of Ankaios: {0}")]
    Message(#[from] prost::DecodeError),
    /// Reading has failed.
    #[error("reading has failed: {0}")]
    Io(#[from] std::io::Error),
}

/// A message of Ankaios.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// The message.
    pub message: FromAnkaios,
    /// Its size in bytes, as it was sent.
    pub size: usize,
}

/// Cuts what arrives on the `input` FIFO into messages.
#[derive(Debug, Default)]
pub struct FrameDecoder;

impl Decoder for FrameDecoder {
    type Item = Frame;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some((header, length)) = read_length(buffer)? else {
            return Ok(None);
        };
        let total = header + length;
        if buffer.len() < total {
            buffer.reserve(total - buffer.len());
            return Ok(None);
        }
        let mut frame = buffer.split_to(total);
        frame.advance(header);
        let message = FromAnkaios::decode(frame);
        if total > KEEP_BUFFER {
            // The buffer would keep the memory of the largest frame for ever.
            *buffer = BytesMut::from(buffer.as_ref());
        }
        Ok(Some(Frame { message: message?, size: length }))
    }
}

/// Returns the number of bytes of the varint and its value, or `None` as long
/// as it is incomplete.
fn read_length(buffer: &[u8]) -> Result<Option<(usize, usize)>, FrameError> {
    let Some(last) = buffer.iter().take(MAX_VARINT).position(|byte| byte & 0x80 == 0) else {
        return if buffer.len() < MAX_VARINT { Ok(None) } else { Err(FrameError::Length) };
    };
    let mut varint = buffer;
    let length = prost::encoding::decode_varint(&mut varint).map_err(|_| FrameError::Length)?;
    match usize::try_from(length) {
        Ok(length) if length <= MAX_INCOMING_FRAME => Ok(Some((last + 1, length))),
        _ => Err(FrameError::TooLarge(length)),
    }
}

/// Encodes a message as one frame.
#[must_use]
pub fn encode(message: &ToAnkaios) -> Bytes {
    message.encode_length_delimited_to_vec().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::proto::control_api::from_ankaios::FromAnkaiosEnum;
    use crate::proto::control_api::{ConnectionClosed, ControlInterfaceAccepted};

    fn closed(reason: &str) -> FromAnkaios {
        FromAnkaios {
            from_ankaios_enum: Some(FromAnkaiosEnum::ConnectionClosed(ConnectionClosed {
                reason: reason.into(),
            })),
        }
    }

    fn decode_all(buffer: &mut BytesMut) -> Vec<FromAnkaios> {
        std::iter::from_fn(|| FrameDecoder.decode(buffer).unwrap())
            .map(|frame| frame.message)
            .collect()
    }

    #[test]
    fn frames_that_arrive_in_single_bytes_are_put_together() {
        let messages = [closed("one"), closed(&"x".repeat(300)), closed("")];
        let bytes: Vec<u8> =
            messages.iter().flat_map(Message::encode_length_delimited_to_vec).collect();
        let mut buffer = BytesMut::new();
        let mut decoded = Vec::new();
        for byte in bytes {
            buffer.extend_from_slice(&[byte]);
            decoded.extend(decode_all(&mut buffer));
        }
        assert_eq!(decoded, messages);
    }

    #[test]
    fn many_frames_in_one_read_are_all_seen() {
        let mut buffer = BytesMut::new();
        for number in 0..500 {
            buffer.extend_from_slice(&closed(&number.to_string()).encode_length_delimited_to_vec());
        }
        assert_eq!(decode_all(&mut buffer).len(), 500);
        assert!(buffer.is_empty());
    }

    #[test]
    fn an_empty_message_is_a_frame() {
        let mut buffer = BytesMut::from(&[0u8, 2, 0x22, 0][..]);
        let accepted = FromAnkaios {
            from_ankaios_enum: Some(FromAnkaiosEnum::ControlInterfaceAccepted(
                ControlInterfaceAccepted {},
            )),
        };
        assert_eq!(decode_all(&mut buffer), [FromAnkaios::default(), accepted]);
    }

    #[test]
    fn absurd_lengths_are_refused_without_memory_for_them() {
        let mut length = BytesMut::from(&[0xff, 0xff, 0xff, 0xff, 0x7f][..]);
        assert!(matches!(FrameDecoder.decode(&mut length), Err(FrameError::TooLarge(_))));
        let mut endless = BytesMut::from(&[0xff; 11][..]);
        assert!(matches!(FrameDecoder.decode(&mut endless), Err(FrameError::Length)));
    }

    #[test]
    fn a_frame_that_is_no_message_is_an_error() {
        let mut buffer = BytesMut::from(&[3, 0xff, 0xff, 0xff][..]);
        assert!(matches!(FrameDecoder.decode(&mut buffer), Err(FrameError::Message(_))));
    }

    #[test]
    fn the_memory_of_a_large_frame_is_given_back() {
        let mut buffer = BytesMut::new();
        buffer.extend_from_slice(&closed(&"x".repeat(1 << 20)).encode_length_delimited_to_vec());
        buffer.extend_from_slice(&[1]);
        assert_eq!(decode_all(&mut buffer).len(), 1);
        assert!(buffer.capacity() < KEEP_BUFFER);
        assert_eq!(buffer.as_ref(), [1]);
    }
}
