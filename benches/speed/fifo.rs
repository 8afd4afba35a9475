//! The FIFO part of the floor: a bare client of Ankaios' control interface, with
//! blocking reads and writes.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

use ankaios_control::codec::encode;
use ankaios_model::proto::ank_base::request::RequestContent;
use ankaios_model::proto::ank_base::{CompleteStateRequest, Request};
use ankaios_model::proto::control_api::to_ankaios::ToAnkaiosEnum;
use ankaios_model::proto::control_api::{Hello, ToAnkaios};
use rustix::fs::{Mode, OFlags, fcntl_setfl, open};
use rustix::pipe::fcntl_setpipe_size;

use crate::round::{Limit, Round};

/// Pipe sizes in bytes. As in the connector, the first size that the kernel grants is used.
const PIPE_SIZES: [usize; 2] = [2 * 1024 * 1024, 1024 * 1024];

/// The two FIFOs.
pub(crate) struct Fifos {
    input: File,
    output: File,
    request: Vec<u8>,
    buffer: Vec<u8>,
    /// The unused part of `buffer`.
    filled: usize,
}

impl Fifos {
    /// Opens the FIFOs in `folder` and sends the Hello.
    pub(crate) fn open(folder: &Path) -> Self {
        // Opening must not block until the agent opens its end, but reading must block.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let input = File::from(open(folder.join("input"), flags, Mode::empty()).unwrap());
        fcntl_setfl(&input, OFlags::empty()).unwrap();
        let output = File::options().write(true).open(folder.join("output")).unwrap();
        for pipe in [&input, &output] {
            assert!(PIPE_SIZES.into_iter().any(|size| fcntl_setpipe_size(pipe, size).is_ok()));
        }
        let buffer = vec![0; PIPE_SIZES[0]];
        let mut fifos = Self { input, output, request: Vec::new(), buffer, filled: 0 };
        let hello = Hello { protocol_version: "1.0.0".into() };
        fifos.output.write_all(&frame(ToAnkaiosEnum::Hello(hello))).unwrap();
        wait_for_writer(&fifos.input);
        fifos.next_frame();
        fifos
    }

    /// Sets the field masks of all further requests.
    pub(crate) fn ask_for(&mut self, masks: &[&str]) {
        self.request = state_request(masks, false);
    }

    /// Sends one request and waits for the answer.
    #[allow(dead_code, reason = "not every benchmark asks")]
    pub(crate) fn ask(&mut self) {
        self.output.write_all(&self.request).unwrap();
        self.next_frame();
    }

    /// Subscribes to events; each event is one frame.
    #[allow(dead_code, reason = "not every benchmark has events")]
    pub(crate) fn subscribe(&mut self, masks: &[&str]) {
        self.output.write_all(&state_request(masks, true)).unwrap();
        self.next_frame();
    }

    /// Keeps `in_flight` requests in flight until the limit is reached.
    pub(crate) fn run(&mut self, in_flight: usize, limit: Limit) -> Round {
        let begin = Instant::now();
        let mut round = Round::default();
        let mut sent = std::collections::VecDeque::new();
        for _ in 0..in_flight {
            sent.push_back(Instant::now());
            self.output.write_all(&self.request).unwrap();
        }
        while let Some(time) = sent.pop_front() {
            let size = self.next_frame();
            let now = Instant::now();
            round.add(now - time, size);
            if limit.continues(&round, now - begin, sent.len() + 1) {
                sent.push_back(now);
                self.output.write_all(&self.request).unwrap();
            }
        }
        round.took = begin.elapsed();
        round
    }

    /// Reads a frame and returns its size.
    pub(crate) fn next_frame(&mut self) -> usize {
        while length(&self.buffer[..self.filled]).is_none() {
            self.filled += read(&mut self.input, &mut self.buffer[self.filled..]);
        }
        let size = length(&self.buffer[..self.filled]).unwrap();
        if size <= self.filled {
            self.buffer.copy_within(size..self.filled, 0);
            self.filled -= size;
            return size;
        }
        // The content of a frame that is larger than the buffer is discarded.
        let mut rest = size - self.filled;
        while rest > 0 {
            let piece = rest.min(self.buffer.len());
            rest -= read(&mut self.input, &mut self.buffer[..piece]);
        }
        self.filled = 0;
        size
    }
}

fn state_request(masks: &[&str], subscribe_for_events: bool) -> Vec<u8> {
    let field_mask = masks.iter().map(|&mask| mask.into()).collect();
    let request = CompleteStateRequest { field_mask, subscribe_for_events };
    frame(ToAnkaiosEnum::Request(Request {
        request_id: "0123456789abcdef-1".into(),
        request_content: Some(RequestContent::CompleteStateRequest(request)),
    }))
}

/// Waits until the other end is open; until then a blocking read returns end of file.
fn wait_for_writer(input: &File) {
    use rustix::event::{PollFd, PollFlags, poll};
    poll(&mut [PollFd::new(input, PollFlags::IN)], None).unwrap();
}

fn read(input: &mut File, buffer: &mut [u8]) -> usize {
    let count = input.read(buffer).unwrap();
    assert!(count > 0, "the agent has closed the connection");
    count
}

/// The size of the first frame, including its length prefix.
fn length(bytes: &[u8]) -> Option<usize> {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0)?;
    let value = bytes[..=end].iter().rev().fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
    Some(end + 1 + value)
}

fn frame(message: ToAnkaiosEnum) -> Vec<u8> {
    encode(&ToAnkaios { to_ankaios_enum: Some(message) }).to_vec()
}
