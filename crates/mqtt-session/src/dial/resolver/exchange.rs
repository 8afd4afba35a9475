//! Asks the name servers for one name and one family. Blocks until there is an outcome.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::rand::{GetRandomFlags, getrandom};

use super::config::Asking;
use super::message::{Query, Reply};
use super::outcome::{Failure, Outcome};
use super::schedule::{Action, Complaint, Schedule};

/// Longest answer by UDP, in bytes. 512 are allowed without an extension that is not announced.
const MAX_DATAGRAM: usize = 4096;

/// Asks `servers` in turn.
///
/// # Errors
/// The kernel gives no random numbers.
pub(super) fn ask(
    servers: &[SocketAddr],
    asking: &Asking,
    query: Query<'_>,
) -> io::Result<Outcome> {
    let [first] = random()?;
    let mut schedule = Schedule::new(servers.len(), asking, first);
    let mut lines = Vec::new();
    for server in servers {
        let id = u16::from_be_bytes(random()?);
        let Some(message) = query.bytes(id) else {
            return Ok(Outcome::Failure(Failure::NoName));
        };
        lines.push(Line { server: *server, id, message, socket: None });
    }
    let exchange = Exchange { query, asking };
    loop {
        match schedule.next(Instant::now()) {
            Action::End(outcome) => return Ok(outcome),
            Action::Ask(server) => {
                let Some(line) = lines.get_mut(server) else { continue };
                let reply = match asking.use_tcp {
                    true => Some(exchange.ask_by_tcp(line)),
                    false => line.send().err().map(|_| Reply::Complaint(Complaint::Unreachable)),
                };
                report(&mut schedule, server, reply);
            }
            Action::Wait(until) => {
                for server in readable(&lines, until) {
                    let reply = lines.get(server).and_then(|line| exchange.receive(line));
                    report(&mut schedule, server, reply);
                }
            }
        }
    }
}

fn report(schedule: &mut Schedule, server: usize, reply: Option<Reply>) {
    match reply {
        None => {}
        Some(Reply::Answer(outcome)) => schedule.answered(outcome),
        Some(Reply::Complaint(complaint)) => {
            schedule.complained(server, complaint, Instant::now());
        }
        Some(Reply::Truncated) => schedule.complained(server, Complaint::Failed, Instant::now()),
    }
}

/// Bytes that nobody can guess, so nobody can answer instead of the name server.
fn random<const SIZE: usize>() -> io::Result<[u8; SIZE]> {
    let mut bytes = [0; SIZE];
    // So few bytes are never interrupted.
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(bytes)
}

/// A name server, and the socket for its answers.
struct Line {
    server: SocketAddr,
    id: u16,
    message: Vec<u8>,
    /// Stays open until the question has ended: an answer may come late.
    socket: Option<UdpSocket>,
}

impl Line {
    fn send(&mut self) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => {
                let any = match self.server {
                    SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                    SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
                };
                // The kernel chooses a random port, and only lets datagrams of the server through.
                let socket = UdpSocket::bind(any)?;
                socket.connect(self.server)?;
                socket.set_nonblocking(true)?;
                socket
            }
        };
        let sent = socket.send(&self.message);
        self.socket = Some(socket);
        sent.map(|_| ())
    }
}

/// The servers whose sockets have something to read.
fn readable(lines: &[Line], until: Instant) -> Vec<usize> {
    let (servers, mut polled): (Vec<_>, Vec<_>) = lines
        .iter()
        .enumerate()
        .filter_map(|(server, line)| Some((server, line.socket.as_ref()?)))
        .map(|(server, socket)| (server, PollFd::new(socket, PollFlags::IN)))
        .unzip();
    let timeout = until.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(timeout).ok();
    if poll(&mut polled, timeout.as_ref()).is_err() {
        // Interrupted by a signal.
        return Vec::new();
    }
    let is_readable =
        |(server, polled): (usize, PollFd<'_>)| (!polled.revents().is_empty()).then_some(server);
    servers.into_iter().zip(polled).filter_map(is_readable).collect()
}

struct Exchange<'a> {
    query: Query<'a>,
    asking: &'a Asking,
}

impl Exchange<'_> {
    /// What has arrived by UDP, if it is an answer.
    fn receive(&self, line: &Line) -> Option<Reply> {
        let mut buffer = [0; MAX_DATAGRAM];
        let size = match line.socket.as_ref()?.recv(&mut buffer) {
            Ok(size) => size,
            Err(error) if is_nothing(&error) => return None,
            // The host of the name server has no such port, or is not reached.
            Err(_) => return Some(Reply::Complaint(Complaint::Unreachable)),
        };
        match self.query.read(buffer.get(..size)?, line.id)? {
            Reply::Truncated => Some(self.ask_by_tcp(line)),
            reply => Some(reply),
        }
    }

    fn ask_by_tcp(&self, line: &Line) -> Reply {
        match self.exchange_by_tcp(line) {
            Ok(Some(reply)) => reply,
            Ok(None) => Reply::Complaint(Complaint::Failed),
            Err(_) => Reply::Complaint(Complaint::Unreachable),
        }
    }

    fn exchange_by_tcp(&self, line: &Line) -> io::Result<Option<Reply>> {
        let deadline = Instant::now() + self.asking.timeout;
        let mut stream = TcpStream::connect_timeout(&line.server, self.asking.timeout)?;
        stream.set_write_timeout(Some(self.asking.timeout))?;
        let size = u16::try_from(line.message.len()).map_err(io::Error::other)?;
        stream.write_all(&[&size.to_be_bytes(), line.message.as_slice()].concat())?;
        let mut size = [0; 2];
        read_until(&mut stream, &mut size, deadline)?;
        let mut message = vec![0; u16::from_be_bytes(size).into()];
        read_until(&mut stream, &mut message, deadline)?;
        Ok(self.query.read(&message, line.id))
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Fills `buffer`, however slowly its bytes come, until `deadline`.
fn read_until(stream: &mut TcpStream, mut buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
    while !buffer.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // Zero would mean for ever.
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(size) => buffer = buffer.get_mut(size..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
