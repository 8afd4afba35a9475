//! Makes each frame of a server a message of its own.
//!
//! The bounds of messages mean nothing for MQTT, but tokio-websockets keeps the frames of a message
//! until the last one has arrived. A message without an end would take several times the memory of
//! the largest packet. So the first byte of each data frame says that it is the whole message; what
//! is not allowed stays so, and tokio-websockets reports it.

const FINAL: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;

/// The part of a frame that the next byte belongs to.
#[derive(Debug, Clone, Copy)]
enum Part {
    Opcode,
    Length,
    /// A length in this many more bytes, and what it is so far.
    LongLength {
        bytes: u8,
        length: u64,
    },
    /// As many bytes are left of the payload.
    Payload(u64),
}

/// Where in the frames the stream is.
#[derive(Debug)]
pub(super) struct Frames {
    part: Part,
    /// A message has begun, and its last frame has not.
    is_in_message: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self { part: Part::Opcode, is_in_message: false }
    }
}

impl Frames {
    /// Changes bytes that have arrived.
    pub(super) fn pass(&mut self, mut bytes: &mut [u8]) {
        while let Some((first, rest)) = bytes.split_first_mut() {
            if let Part::Payload(left) = self.part {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len() + 1);
                self.part = payload(left - here as u64);
                bytes = rest.get_mut(here - 1..).unwrap_or_default();
                continue;
            }
            self.header_byte(first);
            bytes = rest;
        }
    }

    /// A byte of a header. Headers of servers end with the length.
    fn header_byte(&mut self, byte: &mut u8) {
        self.part = match self.part {
            Part::Opcode => {
                self.unite(byte);
                Part::Length
            }
            Part::Length => match *byte & 0x7f {
                126 => Part::LongLength { bytes: 2, length: 0 },
                127 => Part::LongLength { bytes: 8, length: 0 },
                length => payload(length.into()),
            },
            Part::LongLength { bytes, length } => {
                let length = (length << 8) | u64::from(*byte);
                match bytes {
                    ..=1 => payload(length),
                    _ => Part::LongLength { bytes: bytes - 1, length },
                }
            }
            Part::Payload(left) => payload(left),
        };
    }

    /// Makes the frame with this first byte a message.
    fn unite(&mut self, first: &mut u8) {
        let is_final = *first & FINAL != 0;
        match (*first & OPCODE, self.is_in_message) {
            (CONTINUATION, true) => {
                self.is_in_message = !is_final;
                *first |= FINAL | BINARY;
            }
            (TEXT | BINARY, false) => {
                self.is_in_message = !is_final;
                *first |= FINAL;
            }
            // A continuation of nothing is an error. So this becomes one.
            (TEXT | BINARY, true) => *first &= !OPCODE,
            _ => {}
        }
    }
}

fn payload(left: u64) -> Part {
    if left == 0 { Part::Opcode } else { Part::Payload(left) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some frames, and what becomes of them.
    fn frames() -> (Vec<u8>, Vec<u8>) {
        let long = |first: u8| [&[first, 126, 1, 0][..], &[1; 256]].concat();
        let huge = |first: u8| [&[first, 127, 0, 0, 0, 0, 0, 1, 0, 0][..], &[0; 65536]].concat();
        let before = [
            &[0x82, 2, 0, 1, 2, 0, 0x89, 1, 1, 0, 1, 2][..],
            &huge(0),
            &long(0x80),
            &[0x80, 0, 1, 1, 65, 0x82, 0],
        ];
        let after = [
            &[0x82, 2, 0, 1, 0x82, 0, 0x89, 1, 1, 0x82, 1, 2][..],
            &huge(0x82),
            &long(0x82),
            &[0x80, 0, 0x81, 1, 65, 0x80, 0],
        ];
        (before.concat(), after.concat())
    }

    #[test]
    fn each_data_frame_becomes_a_message_however_the_bytes_arrive() {
        let (before, after) = frames();
        for size in [1, 2, 3, 7, 1000, usize::MAX] {
            let (mut frames, mut bytes) = (Frames::default(), before.clone());
            bytes.chunks_mut(size.min(before.len())).for_each(|part| frames.pass(part));
            assert!(bytes == after, "{size}");
        }
    }
}
