//! HTTP at the level of bytes, so that a test can also send invalid requests.

use std::collections::BTreeMap;
use std::io;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::DEADLINE;

/// The response of a server.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    /// Header values by lower-case name.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Response {
    /// The body, which must be JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// Sends GET for a path to a server on the loopback interface.
pub async fn get(port: u16, path: &str) -> Response {
    request(port, "GET", path).await.unwrap_or_else(|error| panic!("GET {path}: {error}"))
}

/// A request without a body.
pub async fn request(port: u16, method: &str, path: &str) -> io::Result<Response> {
    send(port, format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
}

/// Sends bytes and reads until the server closes the connection.
pub async fn send(port: u16, bytes: impl AsRef<[u8]>) -> io::Result<Response> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(bytes.as_ref()).await?;
    read(&mut stream).await
}

/// Reads a response until the server closes the connection.
pub async fn read(stream: &mut TcpStream) -> io::Result<Response> {
    let mut answer = Vec::new();
    // A server that closes the connection before it has read everything resets it.
    let read = timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
    let read = read.unwrap_or_else(|_| panic!("the server does not close the connection"));
    parse(&answer).ok_or_else(|| {
        read.err()
            .unwrap_or_else(|| io::Error::other("the connection was closed without an answer"))
    })
}

fn parse(answer: &[u8]) -> Option<Response> {
    let answer = std::str::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    Some(Response { status, headers, body: body.to_owned() })
}
