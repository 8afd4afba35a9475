//! What arrives on the `input` FIFO: no panic, no memory for lengths that are
//! absurd, and the same messages however it is cut into pieces.

#![no_main]

use bytes::BytesMut;
use fleet_connector::ankaios::{FrameDecoder, MAX_INCOMING_FRAME};
use fleet_connector::proto::control_api::FromAnkaios;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use prost::encoding::encode_varint;
use tokio_util::codec::Decoder;

/// The messages up to the first error, and whether there was one.
#[derive(Debug, Default, PartialEq)]
struct Decoded {
    messages: Vec<FromAnkaios>,
    failed: bool,
}

impl Decoded {
    fn take(&mut self, buffer: &mut BytesMut) {
        while !self.failed {
            match FrameDecoder.decode(buffer) {
                Ok(Some(message)) => self.messages.push(message),
                Ok(None) => break,
                Err(_) => self.failed = true,
            }
        }
        assert!(buffer.capacity() <= 2 * (MAX_INCOMING_FRAME + 16));
    }

    /// Decodes a stream that comes in pieces of the sizes that `size` makes of
    /// their first byte.
    fn of(mut stream: &[u8], size: impl Fn(u8) -> usize) -> Self {
        let mut decoded = Self::default();
        let mut buffer = BytesMut::new();
        while let Some(first) = stream.first() {
            let (piece, rest) = stream.split_at(size(*first).clamp(1, stream.len()));
            buffer.extend_from_slice(piece);
            decoded.take(&mut buffer);
            stream = rest;
        }
        decoded
    }
}

fn check(stream: &[u8]) {
    let whole = Decoded::of(stream, |_| usize::MAX);
    assert_eq!(Decoded::of(stream, |_| 1), whole);
    assert_eq!(Decoded::of(stream, usize::from), whole);
    // What was understood can be said again.
    let mut frames = Vec::new();
    for message in &whole.messages {
        frames.extend(message.encode_length_delimited_to_vec());
    }
    let again = Decoded::of(&frames, |_| usize::MAX);
    assert_eq!(again, Decoded { messages: whole.messages, failed: false });
}

fuzz_target!(|data: &[u8]| {
    check(data);
    // As a message with its true length, and what follows it.
    let mut framed = Vec::new();
    encode_varint(data.len() as u64, &mut framed);
    framed.extend_from_slice(data);
    framed.extend_from_slice(data);
    check(&framed);
});
