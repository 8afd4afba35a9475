//! Frames on the FIFOs: a protobuf message behind its length, which is a varint.
//!
//! [`Client`](crate::Client) needs none of this from its users; it is public for fuzzers,
//! benchmarks and tools that read or write the FIFOs themselves.
//!
//! The agent stops in the middle of a frame when it cannot write for 500 ms. The next frames
//! then look like the rest of that one, and where a frame ends with a text the result may be a
//! valid message with wrong content. The decoder detects this by a second request id of this
//! process in the frame, and by bytes behind it that cannot begin a frame.

use ankaios_model::proto::ank_base::Response;
use ankaios_model::proto::ank_base::response::ResponseContent;
use ankaios_model::proto::control_api::from_ankaios::FromAnkaiosEnum;
use ankaios_model::proto::control_api::{FromAnkaios, ToAnkaios};
use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem::Finder;
use prost::Message;
use tokio_util::codec::Decoder;

/// Size limit of a message from Ankaios, in bytes. The state of ten thousand workloads has
/// about 10 MB; a larger length than this means that the reader is out of step.
pub const MAX_INCOMING_FRAME: usize = 32 * 1024 * 1024;

/// A read buffer that has grown beyond this size is replaced after use.
const MAX_IDLE_BUFFER: usize = 64 * 1024;

/// The protobuf wire type of a field that is a message.
const LENGTH_DELIMITED: u8 = 2;

/// Length limit of a varint of 64 bits, in bytes.
const MAX_VARINT: usize = 10;

/// Why the bytes from Ankaios are not a frame. After any of these errors the position of the
/// next frame is unknown.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length is not a varint.
    #[error("the length of a frame is not a varint")]
    Length,
    /// The length is larger than [`MAX_INCOMING_FRAME`].
    #[error("a frame of {0} bytes is larger than any answer of Ankaios")]
    TooLarge(u64),
    /// The rest of the frame is missing, and other frames follow in its place.
    #[error("a frame was cut off in the middle")]
    CutOff,
    /// The bytes of the message are not a `FromAnkaios`.
    #[error("a frame is not a message of Ankaios: {0}")]
    Message(#[from] prost::DecodeError),
    /// Reading has failed.
    #[error("reading has failed: {0}")]
    Io(#[from] std::io::Error),
}

/// A message from Ankaios, with its size.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// The message.
    pub message: FromAnkaios,
    /// Size of the encoded message in bytes, without its length.
    pub size: usize,
}

/// Decodes the bytes of the `input` FIFO into messages.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    /// The prefix of all request ids of this process.
    prefix: Option<Finder<'static>>,
}

impl FrameDecoder {
    /// A decoder for the answers to requests whose ids begin with `prefix`. Nothing else in the
    /// answers may contain that text.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: Some(Finder::new(prefix).into_owned()) }
    }

    /// Whether a frame contains the beginning of another one: a second request id. Log entries
    /// may mention request ids, as the log of this process does.
    fn is_merged(&self, frame: &[u8], message: &FromAnkaios) -> bool {
        !matches!(
            &message.from_ankaios_enum,
            Some(FromAnkaiosEnum::Response(Response {
                response_content: Some(ResponseContent::LogEntriesResponse(_)),
                ..
            }))
        ) && self.prefix.as_ref().is_some_and(|prefix| prefix.find_iter(frame).nth(1).is_some())
    }
}

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
        let message = FromAnkaios::decode(&*frame);
        if total > MAX_IDLE_BUFFER {
            // The buffer would keep the memory of the largest frame.
            *buffer = BytesMut::from(buffer.as_ref());
        }
        let message = message?;
        if !begins_frame(buffer) || self.is_merged(&frame, &message) {
            return Err(FrameError::CutOff);
        }
        Ok(Some(Frame { message, size: length }))
    }
}

/// Whether these bytes can begin a frame. A `FromAnkaios` is either empty or one field that
/// holds a message.
fn begins_frame(buffer: &[u8]) -> bool {
    match read_length(buffer) {
        Ok(None | Some((_, 0))) => true,
        Ok(Some((header, length))) => {
            let Some((&tag, inner)) = buffer.get(header..).and_then(<[u8]>::split_first) else {
                return true;
            };
            match read_length(inner) {
                Ok(None) => tag & 7 == LENGTH_DELIMITED,
                Ok(Some((inner_header, inner_length))) => {
                    tag & 7 == LENGTH_DELIMITED && 1 + inner_header + inner_length == length
                }
                Err(_) => false,
            }
        }
        Err(_) => false,
    }
}

/// Reads the varint at the beginning of `buffer`. Returns its number of bytes and its value,
/// or `None` if it is incomplete.
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
    use ankaios_model::proto::ank_base::{Error, LogEntriesResponse, LogEntry};
    use ankaios_model::proto::control_api::{ConnectionClosed, ControlInterfaceAccepted};

    use super::*;

    fn closed(reason: &str) -> FromAnkaios {
        FromAnkaios {
            from_ankaios_enum: Some(FromAnkaiosEnum::ConnectionClosed(ConnectionClosed {
                reason: reason.into(),
            })),
        }
    }

    fn decode_all(buffer: &mut BytesMut) -> Vec<FromAnkaios> {
        std::iter::from_fn(|| FrameDecoder::default().decode(buffer).unwrap())
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
        assert!(matches!(
            FrameDecoder::default().decode(&mut length),
            Err(FrameError::TooLarge(_))
        ));
        let mut endless = BytesMut::from(&[0xff; 11][..]);
        assert!(matches!(FrameDecoder::default().decode(&mut endless), Err(FrameError::Length)));
    }

    #[test]
    fn a_frame_that_is_no_message_is_an_error() {
        let mut buffer = BytesMut::from(&[3, 0xff, 0xff, 0xff][..]);
        assert!(matches!(FrameDecoder::default().decode(&mut buffer), Err(FrameError::Message(_))));
    }

    #[test]
    fn the_memory_of_a_large_frame_is_released() {
        let mut buffer = BytesMut::new();
        buffer.extend_from_slice(&closed(&"x".repeat(1 << 20)).encode_length_delimited_to_vec());
        buffer.extend_from_slice(&[1]);
        assert_eq!(decode_all(&mut buffer).len(), 1);
        assert!(buffer.capacity() < MAX_IDLE_BUFFER);
        assert_eq!(buffer.as_ref(), [1]);
    }

    fn response(request_id: &str, content: ResponseContent) -> Vec<u8> {
        let response = Response { request_id: request_id.into(), response_content: Some(content) };
        let message = FromAnkaios { from_ankaios_enum: Some(FromAnkaiosEnum::Response(response)) };
        message.encode_length_delimited_to_vec()
    }

    fn error(request_id: &str, message: &str) -> Vec<u8> {
        response(request_id, ResponseContent::Error(Error { message: message.into() }))
    }

    #[test]
    fn a_frame_that_was_cut_off_is_not_completed_by_the_next_ones() {
        let cut = error("own-1", &"x".repeat(1000));
        let next: Vec<u8> =
            (0..100).flat_map(|number| error(&format!("own-{number}"), "")).collect();
        for missing in 1..999 {
            let mut buffer = BytesMut::from(cut.get(..cut.len() - missing).unwrap());
            buffer.extend_from_slice(&next);
            let decoded = FrameDecoder::new("own-").decode(&mut buffer);
            assert!(decoded.is_err(), "{missing}: {decoded:?}");
        }
    }

    #[test]
    fn log_entries_may_mention_request_ids() {
        let entry = LogEntry { message: "own-1 own-2".into(), ..LogEntry::default() };
        let entries = LogEntriesResponse { log_entries: vec![entry] };
        let frame = response("own-3", ResponseContent::LogEntriesResponse(entries));
        let decoded = FrameDecoder::new("own-").decode(&mut BytesMut::from(&*frame));
        assert!(decoded.unwrap().is_some());
    }

    #[test]
    fn every_beginning_of_a_frame_may_follow_another() {
        let next = [closed(&"x".repeat(300)), closed(""), FromAnkaios::default()];
        let next: Vec<u8> = next.iter().flat_map(Message::encode_length_delimited_to_vec).collect();
        for length in 0..next.len() {
            let mut buffer = BytesMut::from(&*closed("one").encode_length_delimited_to_vec());
            buffer.extend_from_slice(next.get(..length).unwrap());
            let decoded = FrameDecoder::default().decode(&mut buffer);
            let message = decoded.unwrap().map(|frame| frame.message);
            assert_eq!(message, Some(closed("one")), "{length}");
        }
    }
}
