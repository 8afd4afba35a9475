//! Bytes from the `input` FIFO: decoding does not panic, does not allocate memory for absurd
//! lengths, and yields the same messages for all chunk sizes, up to the first error.

#![no_main]

use ankaios_control::codec::{FrameDecoder, MAX_INCOMING_FRAME};
use ankaios_model::proto::control_api::FromAnkaios;
use bytes::BytesMut;
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
    fn take(&mut self, decoder: &mut FrameDecoder, buffer: &mut BytesMut) {
        while !self.failed {
            match decoder.decode(buffer) {
                Ok(Some(frame)) => {
                    assert!(frame.size <= MAX_INCOMING_FRAME);
                    self.messages.push(frame.message);
                }
                Ok(None) => break,
                Err(_) => self.failed = true,
            }
        }
        assert!(buffer.capacity() <= 2 * (MAX_INCOMING_FRAME + 16));
    }

    /// Decodes a stream in chunks; `size` maps the first byte of a chunk to its size.
    fn of(mut decoder: FrameDecoder, mut stream: &[u8], size: impl Fn(u8) -> usize) -> Self {
        let mut decoded = Self::default();
        let mut buffer = BytesMut::new();
        while let Some(first) = stream.first() {
            let (piece, rest) = stream.split_at(size(*first).clamp(1, stream.len()));
            buffer.extend_from_slice(piece);
            decoded.take(&mut decoder, &mut buffer);
            stream = rest;
        }
        decoded
    }
}

fn check(stream: &[u8]) {
    let decoders: [fn() -> FrameDecoder; 2] = [FrameDecoder::default, || FrameDecoder::new("own-")];
    let sizes: [fn(u8) -> usize; 2] = [|_| 1, usize::from];
    for decoder in decoders {
        let whole = Decoded::of(decoder(), stream, |_| usize::MAX);
        for size in sizes {
            let pieces = Decoded::of(decoder(), stream, size);
            // The decoder rejects a message because of the bytes after it only if it already has
            // them, so smaller chunks may yield more messages.
            assert!(pieces.messages.starts_with(&whole.messages));
            assert!(whole.failed || pieces == whole);
        }
    }
    let whole = Decoded::of(FrameDecoder::default(), stream, |_| usize::MAX);
    // Decoded messages can be encoded and decoded again.
    let mut frames = Vec::new();
    for message in &whole.messages {
        frames.extend(message.encode_length_delimited_to_vec());
    }
    let again = Decoded::of(FrameDecoder::default(), &frames, |_| usize::MAX);
    assert_eq!(again, Decoded { messages: whole.messages, failed: false });
}

fuzz_target!(|data: &[u8]| {
    check(data);
    // The input as a message with its correct length, followed by other bytes.
    let mut framed = Vec::new();
    encode_varint(data.len() as u64, &mut framed);
    framed.extend_from_slice(data);
    framed.extend_from_slice(data);
    check(&framed);
});
