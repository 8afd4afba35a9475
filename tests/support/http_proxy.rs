//! An HTTP proxy that opens tunnels to the loopback interface, or answers as a test wants.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::DEADLINE;

/// What the proxy does with each request.
#[derive(Clone)]
pub enum Reaction {
    /// Connects to this port, whatever the request names.
    Tunnel(u16),
    /// Sends these bytes and closes the connection.
    Answer(Vec<u8>),
}

/// Listens on the loopback interface.
pub struct HttpProxy {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    _task: AbortOnDropHandle<()>,
}

impl HttpProxy {
    /// Starts a proxy, with TLS if there is an acceptor.
    pub async fn start(reaction: Reaction, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (reaction, seen, tls) = (reaction.clone(), Arc::clone(&seen), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, reaction, &seen).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, reaction, &seen).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, requests, _task: AbortOnDropHandle::new(task) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The heads of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    reaction: Reaction,
    seen: &Mutex<Vec<String>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = timeout(DEADLINE, stream.read_u8()).await.unwrap() else { return };
        head.push(byte);
    }
    seen.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
    match reaction {
        Reaction::Tunnel(port) => {
            let mut broker = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            broker.set_nodelay(true).unwrap();
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
            let _ = copy_bidirectional(&mut stream, &mut broker).await;
        }
        Reaction::Answer(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.flush().await;
            // The rest of a long answer arrives before the end of the connection does.
            let _ = timeout(Duration::from_millis(100), stream.read_u8()).await;
        }
    }
}
