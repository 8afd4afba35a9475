//! Name servers on threads, with real sockets.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;

use super::super::config::Config;
use super::*;
use crate::dial::race::Family;

const QUERY: Query<'_> = Query { name: "broker.test", family: Family::V4 };

fn asking(options: &str) -> Asking {
    Config::parse(format!("options {options}").as_bytes(), "").asking
}

fn found() -> Outcome {
    Outcome::Found(vec![Ipv4Addr::new(192, 0, 2, 1).into()])
}

fn socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// The answer to a question, with this code.
fn answer(query: &[u8], code: u8) -> Vec<u8> {
    let mut answer = query.to_vec();
    (answer[2], answer[3]) = (0x81, 0x80 | code);
    if code == 0 {
        answer[7] = 1;
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 1]);
    }
    answer
}

/// A name server that sends what `answers` returns for a question and its number, from 0 on.
fn server(answers: impl Fn(&[u8], usize) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let (socket, address) = socket();
    serve_udp(socket, answers);
    address
}

fn serve_udp(socket: UdpSocket, answers: impl Fn(&[u8], usize) -> Vec<Vec<u8>> + Send + 'static) {
    thread::spawn(move || {
        let mut buffer = [0; 512];
        for number in 0.. {
            let (size, client) = socket.recv_from(&mut buffer).unwrap();
            for message in answers(&buffer[..size], number) {
                socket.send_to(&message, client).unwrap();
            }
        }
    });
}

/// Sockets for UDP and TCP with the same port.
fn both_sockets() -> (UdpSocket, TcpListener, SocketAddr) {
    // A port that is free for the one may be in use for the other.
    loop {
        let (socket, address) = socket();
        match TcpListener::bind(address) {
            Ok(listener) => return (socket, listener, address),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}"),
        }
    }
}

#[test]
fn the_first_name_server_decides() {
    let no = server(|query, _| vec![answer(query, 3)]);
    let yes = server(|query, _| vec![answer(query, 0)]);
    let asked = asking("");
    assert_eq!(ask(&[yes, no], &asked, QUERY).unwrap(), found());
    let failure = Outcome::Failure(Failure::NoName);
    assert_eq!(ask(&[no, yes], &asked, QUERY).unwrap(), failure);
}

#[test]
fn the_next_name_server_is_asked_at_once_after_a_refusal() {
    let refuses = server(|query, _| vec![answer(query, 5)]);
    let fails = server(|query, _| vec![answer(query, 2)]);
    let yes = server(|query, _| vec![answer(query, 0)]);
    // Nothing listens there.
    let (_, closed) = socket();
    let begin = Instant::now();
    for servers in [[refuses, fails, yes], [closed, refuses, yes]] {
        assert_eq!(ask(&servers, &asking("timeout:30"), QUERY).unwrap(), found());
    }
    let refused = ask(&[refuses, refuses], &asking("timeout:30"), QUERY).unwrap();
    assert_eq!(refused, Outcome::Failure(Failure::Refused));
    let unreachable = ask(&[closed], &asking("timeout:30"), QUERY).unwrap();
    assert_eq!(unreachable, Outcome::Failure(Failure::NoAnswer));
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}

#[test]
fn what_is_no_answer_does_not_end_the_wait() {
    let address = server(|query, _| {
        let mut other_id = answer(query, 3);
        other_id[0] ^= 1;
        let mut other_name = answer(query, 3);
        other_name[13] ^= 1;
        vec![Vec::new(), vec![0xff; 40], other_id, other_name, query.to_vec(), answer(query, 0)]
    });
    assert_eq!(ask(&[address], &asking("attempts:1"), QUERY).unwrap(), found());
}

#[test]
fn an_answer_to_an_earlier_question_counts() {
    let (sender, receiver) = mpsc::channel();
    let slow = server(move |query, number| match number {
        0 => {
            sender.send(query.to_vec()).unwrap();
            Vec::new()
        }
        // Answers the first question, not this one.
        _ => vec![answer(&receiver.recv().unwrap(), 0)],
    });
    assert_eq!(ask(&[slow], &asking("timeout:1"), QUERY).unwrap(), found());
}

#[test]
fn silence_ends_when_all_attempts_are_over() {
    let (_silent, address) = socket();
    let begin = Instant::now();
    let outcome = ask(&[address], &asking("timeout:1 attempts:2"), QUERY).unwrap();
    assert_eq!(outcome, Outcome::Failure(Failure::NoAnswer));
    assert!(begin.elapsed() >= Duration::from_secs(2));
    assert_eq!(ask(&[], &asking(""), QUERY).unwrap(), Outcome::Failure(Failure::NoAnswer));
}

/// A name server that truncates all answers by UDP, and answers by TCP as `serve` does.
fn truncates(serve: impl Fn(TcpStream, Vec<u8>) + Send + 'static) -> SocketAddr {
    let (socket, listener, address) = both_sockets();
    serve_udp(socket, |query, _| {
        let mut truncated = answer(query, 0);
        truncated[2] |= 2;
        truncated.pop();
        vec![truncated]
    });
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut size = [0; 2];
            stream.read_exact(&mut size).unwrap();
            let mut query = vec![0; u16::from_be_bytes(size).into()];
            stream.read_exact(&mut query).unwrap();
            serve(stream, query);
        }
    });
    address
}

fn send(mut stream: &TcpStream, message: &[u8]) {
    let size = u16::try_from(message.len()).unwrap().to_be_bytes();
    stream.write_all(&[&size, message].concat()).unwrap();
}

#[test]
fn truncated_answers_are_asked_for_by_tcp() {
    let address = truncates(|stream, query| send(&stream, &answer(&query, 0)));
    assert_eq!(ask(&[address], &asking(""), QUERY).unwrap(), found());
    assert_eq!(ask(&[address], &asking("use-vc"), QUERY).unwrap(), found());
}

#[test]
fn name_servers_that_fail_by_tcp_do_not_keep_the_next_one_from_being_asked() {
    let closes = truncates(|stream, _| drop(stream));
    let lies = truncates(|stream, _| send(&stream, &[0xff; 9]));
    let truncates_again = truncates(|stream, mut query| {
        query[2] |= 0x82;
        send(&stream, &query);
    });
    let yes = server(|query, _| vec![answer(query, 0)]);
    for wrong in [closes, lies, truncates_again] {
        assert_eq!(ask(&[wrong, yes], &asking("timeout:30"), QUERY).unwrap(), found());
    }
    let (open, streams) = mpsc::channel();
    let silent = truncates(move |stream, _| open.send(stream).unwrap());
    assert_eq!(ask(&[silent, yes], &asking("timeout:1"), QUERY).unwrap(), found());
    drop(streams);
}

#[test]
fn name_servers_may_have_ipv6() {
    let Ok(socket) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) else { return };
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        let (size, client) = socket.recv_from(&mut buffer).unwrap();
        socket.send_to(&answer(&buffer[..size], 0), client).unwrap();
    });
    assert_eq!(ask(&[address], &asking(""), QUERY).unwrap(), found());
}
