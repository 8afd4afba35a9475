//! Makes the frames of a server short messages.
//!
//! The bounds of frames and messages mean nothing for MQTT, but tokio-websockets keeps a message
//! until its last byte has arrived. Some brokers send all that waits as one message, and one without
//! an end would take any memory. So each data frame is cut into messages of limited size, whatever
//! message it belongs to. What is not allowed stays so, and tokio-websockets reports it.

use bytes::{BufMut, BytesMut};

/// Most payload of a message, in bytes.
pub(super) const MAX_PIECE: usize = 16 * 1024;

const FINAL: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;

/// Only clients may mask their frames.
const MASKED: u8 = 0x80;

/// What the next byte of the stream is.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// The first byte of a frame.
    First,
    /// The length of a frame that becomes messages with this first byte.
    Length { first: u8 },
    /// One of the bytes of a longer length, which is `length` so far.
    LongLength { first: u8, bytes: u8, length: u64 },
    /// The payload: `left` bytes of the frame, `piece` of them in the message that has begun.
    Payload { first: u8, left: u64, piece: usize },
    /// Something that is not allowed.
    Error,
}

/// Where in the frames the stream is.
#[derive(Debug)]
pub(super) struct Frames {
    next: Next,
    /// A message has begun, and its last frame has not.
    is_in_message: bool,
    /// The opcode of that message.
    opcode: u8,
}

impl Default for Frames {
    fn default() -> Self {
        Self { next: Next::First, is_in_message: false, opcode: BINARY }
    }
}

impl Frames {
    /// Cuts bytes that have arrived, and puts the result into `output`.
    pub(super) fn pass(&mut self, mut bytes: &[u8], output: &mut BytesMut) {
        while let Some((byte, rest)) = bytes.split_first() {
            self.next = match self.next {
                Next::Payload { first, left, piece } => {
                    let (here, after) = bytes.split_at(piece.min(bytes.len()));
                    output.put_slice(here);
                    bytes = after;
                    let (left, piece) = (left - here.len() as u64, piece - here.len());
                    match piece {
                        0 => begin(first, left, output),
                        _ => Next::Payload { first, left, piece },
                    }
                }
                Next::Error => return output.put_slice(bytes),
                header => {
                    bytes = rest;
                    self.header_byte(header, *byte, output)
                }
            };
        }
    }

    /// What follows a byte of a header.
    fn header_byte(&mut self, next: Next, byte: u8, output: &mut BytesMut) -> Next {
        match next {
            Next::First => self.first_byte(byte, output),
            Next::Length { first } => match byte {
                // Control frames are short, and no frame of a server is masked.
                126.. if first & OPCODE > BINARY || byte & MASKED != 0 => {
                    output.put_slice(&[first, byte]);
                    Next::Error
                }
                126 => Next::LongLength { first, bytes: 2, length: 0 },
                127 => Next::LongLength { first, bytes: 8, length: 0 },
                0 => {
                    output.put_slice(&[first, 0]);
                    Next::First
                }
                length => begin(first, length.into(), output),
            },
            Next::LongLength { first, bytes, length } => {
                let length = (length << 8) | u64::from(byte);
                match bytes {
                    ..=1 => begin(first, length, output),
                    _ => Next::LongLength { first, bytes: bytes - 1, length },
                }
            }
            other => other,
        }
    }

    fn first_byte(&mut self, byte: u8, output: &mut BytesMut) -> Next {
        let (opcode, is_final) = (byte & OPCODE, byte & FINAL != 0);
        if opcode > BINARY {
            return Next::Length { first: byte };
        }
        match (opcode, self.is_in_message) {
            (CONTINUATION, true) => {}
            (TEXT | BINARY, false) => self.opcode = opcode,
            _ => {
                // A continuation of nothing is what the library refuses.
                output.put_u8(FINAL | CONTINUATION);
                return Next::Error;
            }
        }
        self.is_in_message = !is_final;
        Next::Length { first: (byte & !OPCODE) | FINAL | self.opcode }
    }
}

/// Begins a message with what is left of a frame.
fn begin(first: u8, left: u64, output: &mut BytesMut) -> Next {
    let piece = usize::try_from(left).unwrap_or(usize::MAX).min(MAX_PIECE);
    match (u8::try_from(piece), u16::try_from(piece)) {
        (Ok(0), _) => return Next::First,
        (Ok(short @ ..126), _) => output.put_slice(&[first, short]),
        (_, length) => {
            output.put_slice(&[first, 126]);
            output.put_u16(length.unwrap_or(u16::MAX));
        }
    }
    Next::Payload { first, left, piece }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn cut(bytes: &[u8], size: usize) -> BytesMut {
        let (mut frames, mut output) = (Frames::default(), BytesMut::new());
        bytes.chunks(size).for_each(|part| frames.pass(part, &mut output));
        output
    }

    #[test]
    fn each_data_frame_becomes_short_messages_however_the_bytes_arrive() {
        let long = |first: u8| [&[first, 126, 1, 0][..], &[1; 256]].concat();
        let huge = [&[0, 127, 0, 0, 0, 0, 0, 1, 0, 1][..], &[3; 65537]].concat();
        let piece = [&[0x82, 126, 0x40, 0][..], &[3; MAX_PIECE]].concat();
        let before = [
            &[0x82, 2, 0, 1, 2, 0, 0x89, 1, 1, 0, 1, 2][..],
            &huge,
            &long(0x80),
            &[0x01, 1, 65, 0x80, 1, 66, 0x88, 0, 0x80, 0],
        ];
        let after = [
            &[0x82, 2, 0, 1, 0x82, 0, 0x89, 1, 1, 0x82, 1, 2][..],
            &piece.repeat(4),
            &[0x82, 1, 3],
            &long(0x82),
            &[0x81, 1, 65, 0x81, 1, 66, 0x88, 0, 0x80, 0],
        ];
        let (before, after) = (before.concat(), after.concat());
        for size in [1, 2, 3, 7, 1000, before.len()] {
            assert!(cut(&before, size) == after[..], "{size}");
        }
    }

    #[test]
    fn what_is_not_allowed_stays_so() {
        for (bytes, expected) in [
            // A message within another one, a long control frame, a mask, a reserved bit.
            (&[0x02, 0, 0x82, 0][..], &[0x82, 0, 0x80, 0][..]),
            (&[0x89, 126, 0, 200], &[0x89, 126, 0, 200]),
            (&[0x82, 0x81, 1], &[0x82, 0x81, 1]),
            (&[0xc2, 1, 1], &[0xc2, 1, 1]),
        ] {
            for size in [1, bytes.len()] {
                assert_eq!(cut(bytes, size), expected);
            }
        }
    }
}
