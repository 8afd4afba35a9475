#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;

use super::*;

fn broker(address: &str) -> BrokerAddress {
    BrokerAddress::from_settings(address, None, 80).unwrap()
}

/// Opens a WebSocket. `answer` follows the line of the status, with ACCEPT for the right key.
/// Also returns the request, and the other end.
async fn open_with(
    answer: &[u8],
) -> (Result<WebSocket<DuplexStream>, WebSocketError>, String, DuplexStream) {
    let (stream, mut peer) = duplex(1_000_000);
    let broker = broker("[::1]");
    let opening = open(stream, &broker, false, "/mqtt?a=b");
    let serving = async {
        let mut request = vec![0; 10_000];
        let read = peer.read(&mut request).await.unwrap();
        let request = String::from_utf8(request[..read].to_vec()).unwrap();
        let key = request.lines().find_map(|line| {
            let (name, key) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("Sec-WebSocket-Key").then(|| key.to_owned())
        });
        let accept = accept(&key.unwrap());
        let answer = match answer.windows(6).position(|part| part == b"ACCEPT") {
            Some(at) => [&answer[..at], accept.as_bytes(), &answer[at + 6..]].concat(),
            None => answer.to_vec(),
        };
        peer.write_all(&answer).await.unwrap();
        let _ = peer.flush().await;
        (request, peer)
    };
    let limit = Duration::from_secs(5);
    let (opened, (request, peer)) =
        timeout(limit, async { tokio::join!(opening, serving) }).await.unwrap();
    (opened.map(|(socket, _)| socket), request, peer)
}

/// `Sec-WebSocket-Accept`.
fn accept(key: &str) -> String {
    use base64::Engine;
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(digest)
}

const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\nsec-websocket-protocol: mqtt\r\n\r\n";

async fn opened() -> (WebSocket<DuplexStream>, DuplexStream) {
    let (opened, _, peer) = open_with(SWITCH).await;
    (opened.unwrap(), peer)
}

/// A frame of a server: the last of its message or not.
fn frame(opcode: u8, is_last: bool, payload: &[u8]) -> Vec<u8> {
    let first = if is_last { 0x80 | opcode } else { opcode };
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    match payload.len() {
        size @ ..126 => [&[first, size as u8], payload].concat(),
        _ => [&[first, 126, length[0], length[1]], payload].concat(),
    }
}

/// The next frame that the client sends: its opcode and its payload.
async fn read_frame(peer: &mut DuplexStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    peer.read_exact(&mut head).await.unwrap();
    let size = match head[1] & 0x7f {
        126 => peer.read_u16().await.unwrap().into(),
        size => usize::from(size),
    };
    let mut mask = [0; 4];
    peer.read_exact(&mut mask).await.unwrap();
    let mut payload = vec![0; size];
    peer.read_exact(&mut payload).await.unwrap();
    let unmasked = payload.iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]);
    (head[0] & 0x0f, unmasked.collect())
}

#[tokio::test]
async fn the_handshake_asks_for_mqtt() {
    let (opened, request, _peer) = open_with(SWITCH).await;
    assert!(opened.is_ok());
    assert!(request.starts_with("GET /mqtt?a=b HTTP/1.1\r\n"), "{request}");
    let request = request.to_ascii_lowercase();
    for header in ["host: [::1]", "sec-websocket-protocol: mqtt", "upgrade: websocket"] {
        assert!(request.contains(&format!("\r\n{header}\r\n")), "{header} in {request}");
    }
    let host = uri(&broker("b.:8443"), true, "/");
    assert_eq!(host, "wss://b:8443/");
    assert_eq!(uri(&broker("b:443"), true, "/"), "wss://b/");
}

#[tokio::test]
async fn a_message_may_arrive_with_the_answer() {
    let (opened, _, _peer) = open_with(&[SWITCH, &frame(2, true, b"hello")[..]].concat()).await;
    let mut bytes = [0; 5];
    opened.unwrap().read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hello");
}

#[tokio::test]
async fn a_ping_is_answered_while_nothing_is_written() {
    let (mut socket, mut peer) = opened().await;
    peer.write_all(&frame(9, true, b"are you there")).await.unwrap();
    let mut byte = [0];
    tokio::select! {
        _ = socket.read(&mut byte) => unreachable!(),
        pong = read_frame(&mut peer) => assert_eq!(pong, (10, b"are you there".to_vec())),
    }
}

#[tokio::test]
async fn other_answers_are_errors() {
    let long = [b"HTTP/1.1 101 Switching\r\nA: ".as_slice(), &vec![b'a'; 100_000]].concat();
    let many = [b"HTTP/1.1 429 X\r\n".as_slice(), &b"A: b\r\n".repeat(40), b"\r\n"].concat();
    let other_protocol = String::from_utf8_lossy(SWITCH).replace("mqtt", "chat");
    let no_protocol =
        String::from_utf8_lossy(SWITCH).replace("sec-websocket-protocol: mqtt\r\n", "");
    let wrong_key = String::from_utf8_lossy(SWITCH).replace("ACCEPT", "AAAA");
    for (answer, expected, help) in [
        (&b"HTTP/1.1 404 Not Found\r\n\r\n"[..], "HTTP status 404", "MQTT_WEBSOCKET_PATH"),
        (b"HTTP/1.1 301 Moved\r\nLocation: x\r\n\r\n", "HTTP status 301", "redirects"),
        (
            b"HTTP/1.1 301 Moved\r\nA: b\r\nlocation: https://b.example/ws\r\n\r\n<html>",
            "HTTP status 301 and leads to \"https://b.example/ws\"",
            "set MQTT_BROKER_ADDR=b.example:443 MQTT_TLS=true MQTT_TRANSPORT=websocket \
             MQTT_WEBSOCKET_PATH=/ws",
        ),
        (b"HTTP/1.0 302 \nLocation: /ws\n\n", "leads to \"/ws\"", "set MQTT_WEBSOCKET_PATH=/ws"),
        (
            b"HTTP/1.1 307 X\r\nLocation: wss://u:secret@b.example\r\n\r\n",
            "leads to \"wss://***@b.example\"",
            "MQTT_BROKER_ADDR=b.example:443",
        ),
        (b"HTTP/1.1 302 X\r\nLocation: a\x01\r\n\r\n", "HTTP status 302", "redirects"),
        (b"HTTP/1.1 400 Bad\r\n\r\n", "HTTP status 400", "MQTT_TLS=true"),
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", "HTTP status 401", "a login of its own"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "HTTP status 403", "forbids"),
        (b"HTTP/1.1 407 Login\r\n\r\n", "HTTP status 407", "HTTPS_PROXY"),
        (b"HTTP/1.1 426 Upgrade\r\n\r\n", "HTTP status 426", "must pass on the headers Upgrade"),
        (b"HTTP/1.1 429 Too Many\r\n\r\n", "HTTP status 429", "too many connections"),
        (&many, "HTTP status 429", "too many connections"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "HTTP status 502", "does not reach"),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>", "HTTP status 200", "MQTT_WEBSOCKET_PATH"),
        (other_protocol.as_bytes(), "subprotocol mqtt", "MQTT_WEBSOCKET_PATH"),
        (no_protocol.as_bytes(), "subprotocol mqtt", "MQTT_WEBSOCKET_PATH"),
        (wrong_key.as_bytes(), "valid HTTP", "MQTT_TRANSPORT=tcp"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "valid HTTP", "MQTT_TRANSPORT=tcp"),
        (&long, "longer than 16384 bytes", ""),
    ] {
        let (opened, ..) = open_with(answer).await;
        let error = opened.err().unwrap();
        assert!(error.to_string().contains(expected), "{error}, not {expected}");
        assert!(error.help().unwrap_or_default().contains(help), "{:?}", error.help());
        assert!(!format!("{error} {:?}", error.help()).contains("secret"));
        assert_eq!(error.is_lasting(), !expected.contains("502"), "{error}");
    }
    for begin in ["", "HTTP/1.1 101 Swit"] {
        let (stream, mut peer) = duplex(10_000);
        peer.write_all(begin.as_bytes()).await.unwrap();
        peer.shutdown().await.unwrap();
        let opened = open(stream, &broker("b"), false, "/").await;
        assert!(matches!(opened.err(), Some(WebSocketError::Closed)));
    }
}

#[tokio::test]
async fn messages_are_a_stream_of_bytes_however_they_are_cut() {
    let (mut socket, mut peer) = opened().await;
    let large = vec![7; 60_000];
    for bytes in [
        frame(2, true, b"ab"),
        frame(2, true, b""),
        frame(2, false, b"c"),
        frame(9, true, b"ping"),
        frame(0, false, b""),
        frame(0, true, b"d"),
        frame(10, true, b"pong"),
        frame(2, true, &large),
    ] {
        peer.write_all(&bytes).await.unwrap();
    }
    let mut bytes = vec![0; 4 + large.len()];
    socket.read_exact(&mut bytes).await.unwrap();
    assert!(bytes.starts_with(b"abcd") && bytes.ends_with(&large));
    socket.flush().await.unwrap();
    assert_eq!(read_frame(&mut peer).await, (10, b"ping".to_vec()));
}

#[tokio::test]
async fn a_message_without_an_end_is_read_as_it_arrives_and_not_kept() {
    let (mut socket, mut peer) = opened().await;
    peer.write_all(&frame(2, false, b"begin")).await.unwrap();
    socket.read_exact(&mut [0; 5]).await.unwrap();
    for _ in 0..4 {
        peer.write_all(&frame(0, false, &[7; 60_000])).await.unwrap();
        let mut bytes = vec![0; 60_000];
        timeout(Duration::from_secs(5), socket.read_exact(&mut bytes)).await.unwrap().unwrap();
        assert!(bytes == [7; 60_000]);
    }
    // A frame without an end neither.
    peer.write_all(&[&[0, 127], &(u64::MAX / 2).to_be_bytes()[..]].concat()).await.unwrap();
    for _ in 0..10 {
        peer.write_all(&[8; 60_000]).await.unwrap();
        let mut bytes = vec![0; 49_152];
        timeout(Duration::from_secs(5), socket.read_exact(&mut bytes)).await.unwrap().unwrap();
        assert!(bytes == [8; 49_152]);
    }
}

#[tokio::test]
async fn a_message_within_another_one_is_an_error() {
    let (mut socket, mut peer) = opened().await;
    peer.write_all(&frame(2, false, b"begin")).await.unwrap();
    peer.write_all(&frame(2, true, b"x")).await.unwrap();
    socket.read_exact(&mut [0; 5]).await.unwrap();
    let error = socket.read_u8().await.unwrap_err().to_string();
    assert!(error.contains("violates the WebSocket protocol"), "{error}");
}

#[tokio::test]
async fn what_is_written_leaves_in_binary_frames_of_limited_size() {
    let (mut socket, mut peer) = opened().await;
    let bytes: Vec<_> = (0..40_000_u32).map(|number| number as u8).collect();
    socket.write_all(&bytes).await.unwrap();
    socket.flush().await.unwrap();
    let mut received = Vec::new();
    while received.len() < bytes.len() {
        let (opcode, payload) = read_frame(&mut peer).await;
        assert!(opcode == 2 && payload.len() <= MAX_FRAME);
        received.extend(payload);
    }
    assert!(received == bytes);
    // Small slices share a frame.
    let slices = [IoSlice::new(b"ab"), IoSlice::new(b"cd")];
    assert_eq!(socket.write_vectored(&slices).await.unwrap(), 4);
    socket.flush().await.unwrap();
    assert_eq!(read_frame(&mut peer).await, (2, b"abcd".to_vec()));
}

#[tokio::test]
async fn the_end_of_a_websocket_says_why() {
    for (bytes, expected) in [
        (frame(8, true, b"\x03\xf0no access"), "closes the WebSocket: 1008 \"no access\""),
        (frame(8, true, b"\x03\xe9"), "closes the WebSocket: 1001"),
        (frame(1, true, b"hello"), "text message"),
        (frame(3, true, b""), "violates the WebSocket protocol"),
        (frame(8, true, b"\x00"), "violates the WebSocket protocol"),
        (vec![0x82, 0xff], "violates the WebSocket protocol"),
    ] {
        let (mut socket, mut peer) = opened().await;
        peer.write_all(&bytes).await.unwrap();
        let error = socket.read_u8().await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}, not {expected}");
    }
    for bytes in [frame(8, true, b""), frame(8, true, b"\x03\xe8"), Vec::new()] {
        let (mut socket, mut peer) = opened().await;
        peer.write_all(&bytes).await.unwrap();
        peer.shutdown().await.unwrap();
        assert_eq!(socket.read(&mut [0]).await.unwrap(), 0, "{bytes:?}");
    }
}

#[tokio::test]
async fn a_peer_that_only_pings_does_not_fill_the_memory() {
    let (stream, mut peer) = duplex(4096);
    let answer = Answer::default();
    answer.take(b"HTTP/1.1 101\r\n\r\n");
    let mut socket = WebSocket {
        socket: ClientBuilder::new().take_over(Metered::new(stream, answer)),
        received: Bytes::new(),
        pings: 0,
    };
    let ping = frame(9, true, &[0; 100]);
    let flood = async {
        for _ in 0..1000 {
            if timeout(Duration::from_millis(50), peer.write_all(&ping)).await.is_err() {
                return true;
            }
        }
        false
    };
    let mut byte = [0];
    let (is_slowed_down, _) =
        tokio::join!(flood, timeout(Duration::from_millis(200), socket.read(&mut byte)));
    assert!(is_slowed_down);
}
