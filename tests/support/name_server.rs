//! A name server (RFC 1035) for which names have the address of this machine, as its zone says.

use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{DEADLINE, skipped};

/// The header of a message, in bytes.
const HEADER: usize = 12;

/// The type of a question for IPv4 addresses.
const A: u16 = 1;

/// The type of a question for IPv6 addresses.
const AAAA: u16 = 28;

/// What a name server says about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// 127.0.0.1.
    V4,
    /// The same, after a while.
    Late(Duration),
    /// ::1.
    V6,
    /// 127.0.0.1 by TCP; by UDP that there is too much.
    Truncated,
    /// There is no such name.
    NoName,
    Refused,
    Nothing,
}

type Zone = dyn Fn(&str) -> Says + Send + Sync;

/// Listens on port 53 of a loopback address.
pub struct NameServer {
    answers: Arc<AtomicBool>,
    asked: Arc<Notify>,
    names: Arc<Mutex<Vec<String>>>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl NameServer {
    /// Starts a name server that answers or not. `None`, with a message, if this system does not
    /// allow it.
    pub async fn start(test: &str, address: &str, answers: bool) -> Option<Self> {
        let server = Self::with(test, address, |_| Says::V4).await?;
        server.answers.store(answers, Ordering::Relaxed);
        Some(server)
    }

    /// The same, for a zone.
    pub async fn with(
        test: &str,
        address: &str,
        zone: impl Fn(&str) -> Says + Send + Sync + 'static,
    ) -> Option<Self> {
        let udp = UdpSocket::bind((address, 53)).await;
        let tcp = TcpListener::bind((address, 53)).await;
        let (Ok(udp), Ok(tcp)) = (udp, tcp) else {
            skipped(test, "port 53 cannot be used");
            return None;
        };
        let answers = Arc::new(AtomicBool::new(true));
        let asked = Arc::new(Notify::new());
        let names = Arc::default();
        let zone: Arc<Zone> = Arc::new(zone);
        let by_udp = tokio::spawn({
            let (is_answering, notify) = (Arc::clone(&answers), Arc::clone(&asked));
            let (names, zone) = (Arc::clone(&names), Arc::clone(&zone));
            async move { serve_udp(Arc::new(udp), &zone, &names, &notify, &is_answering).await }
        });
        let by_tcp = tokio::spawn(async move {
            loop {
                let (stream, _) = tcp.accept().await.unwrap();
                serve_tcp(stream, &zone).await;
            }
        });
        let tasks = [by_udp, by_tcp].map(AbortOnDropHandle::new);
        Some(Self { answers, asked, names, _tasks: tasks })
    }

    /// Answers no more questions.
    pub fn fall_silent(&self) {
        self.answers.store(false, Ordering::Relaxed);
    }

    /// Waits for a question.
    pub async fn asked(&self) {
        timeout(DEADLINE, self.asked.notified()).await.expect("no question arrives");
    }

    /// The names of all questions by UDP so far.
    pub fn names(&self) -> Vec<String> {
        self.names.lock().unwrap().clone()
    }
}

async fn serve_udp(
    socket: Arc<UdpSocket>,
    zone: &Arc<Zone>,
    names: &Mutex<Vec<String>>,
    notify: &Notify,
    is_answering: &AtomicBool,
) {
    let mut message = [0; 512];
    loop {
        let (size, client) = socket.recv_from(&mut message).await.unwrap();
        let query = Query::read(&message[..size]);
        names.lock().unwrap().push(query.name.clone());
        notify.notify_one();
        if !is_answering.load(Ordering::Relaxed) {
            continue;
        }
        let says = zone(&query.name);
        let Some(answer) = query.answer(says, says == Says::Truncated) else { continue };
        let socket = Arc::clone(&socket);
        tokio::spawn(async move {
            if let Says::Late(delay) = says {
                sleep(delay).await;
            }
            // The client may be gone.
            let _ = socket.send_to(&answer, client).await;
        });
    }
}

async fn serve_tcp(mut stream: TcpStream, zone: &Arc<Zone>) {
    let mut message = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut message).await.unwrap();
    let query = Query::read(&message);
    if let Some(answer) = query.answer(zone(&query.name), false) {
        let size = u16::try_from(answer.len()).unwrap().to_be_bytes();
        stream.write_all(&[&size, answer.as_slice()].concat()).await.unwrap();
    }
}

/// A question.
struct Query {
    id: [u8; 2],
    name: String,
    kind: u16,
    question: Vec<u8>,
}

impl Query {
    fn read(message: &[u8]) -> Self {
        let mut labels = Vec::new();
        let mut end = HEADER;
        while message[end] != 0 {
            let next = end + 1 + usize::from(message[end]);
            labels.push(String::from_utf8(message[end + 1..next].to_vec()).unwrap());
            end = next;
        }
        end += 5;
        let kind = u16::from_be_bytes([message[end - 4], message[end - 3]]);
        let id = [message[0], message[1]];
        Self { id, name: labels.join("."), kind, question: message[HEADER..end].to_vec() }
    }

    fn answer(&self, says: Says, is_truncated: bool) -> Option<Vec<u8>> {
        let code = match says {
            Says::Nothing => return None,
            Says::NoName => 3,
            Says::Refused => 5,
            Says::V4 | Says::Late(_) | Says::V6 | Says::Truncated => 0,
        };
        let address = match (says, self.kind) {
            (Says::V4 | Says::Late(_) | Says::Truncated, A) => vec![127, 0, 0, 1],
            (Says::V6, AAAA) => Ipv6Addr::LOCALHOST.octets().to_vec(),
            _ => Vec::new(),
        };
        let has_address = !address.is_empty() && !is_truncated;
        let mut answer = Vec::from(self.id);
        // A response to one question.
        let flags = [0x81 | u8::from(is_truncated) << 1, 0x80 | code];
        answer.extend(flags);
        answer.extend([0, 1, 0, u8::from(has_address), 0, 0, 0, 0]);
        answer.extend(&self.question);
        if has_address {
            // The name of the question, the type, IN, no caching.
            answer.extend([0xc0, 0x0c]);
            answer.extend(self.kind.to_be_bytes());
            answer.extend([0, 1, 0, 0, 0, 0, 0, u8::try_from(address.len()).unwrap()]);
            answer.extend(address);
        }
        Some(answer)
    }
}
