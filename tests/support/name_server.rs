//! A name server (RFC 1035) for which each name has the address 127.0.0.1, as long as it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::{DEADLINE, skipped};

/// The header of a message, in bytes.
const HEADER: usize = 12;

/// The type of a question for IPv4 addresses.
const A: u16 = 1;

/// Listens on port 53 of a loopback address.
pub struct NameServer {
    answers: Arc<AtomicBool>,
    asked: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

impl NameServer {
    /// Starts a name server that answers or not. `None`, with a message, if this system does not
    /// allow it.
    pub async fn start(test: &str, address: &str, answers: bool) -> Option<Self> {
        let Ok(socket) = UdpSocket::bind((address, 53)).await else {
            skipped(test, "port 53 cannot be used");
            return None;
        };
        let answers = Arc::new(AtomicBool::new(answers));
        let asked = Arc::new(Notify::new());
        let (is_answering, notify) = (Arc::clone(&answers), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            let mut message = [0; 512];
            loop {
                let (size, client) = socket.recv_from(&mut message).await.unwrap();
                notify.notify_one();
                if is_answering.load(Ordering::Relaxed) {
                    socket.send_to(&answer(&message[..size]), client).await.unwrap();
                }
            }
        });
        Some(Self { answers, asked, _task: AbortOnDropHandle::new(task) })
    }

    /// Answers no more questions.
    pub fn fall_silent(&self) {
        self.answers.store(false, Ordering::Relaxed);
    }

    /// Waits for a question.
    pub async fn asked(&self) {
        timeout(DEADLINE, self.asked.notified()).await.expect("no question arrives");
    }
}

/// The answer to a question. A name has no other addresses than the one.
fn answer(query: &[u8]) -> Vec<u8> {
    let name = query[HEADER..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let end = HEADER + name + 4;
    let kind = u16::from_be_bytes([query[end - 4], query[end - 3]]);
    let count = u8::from(kind == A);
    let mut answer = Vec::from(&query[..2]);
    // A response without an error, to one question.
    answer.extend([0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0]);
    answer.extend(&query[HEADER..end]);
    if kind == A {
        // The name of the question, A, IN, no caching, four bytes.
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
    }
    answer
}
