//! The HTTP server. It shares one thread with more important tasks, so clients are limited: one
//! request per connection, few connections, short timeouts, small headers, and bodies are not
//! read.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::Endpoints;
use super::address::Address;
use super::metrics::MEDIA_TYPE;

/// Maximum number of connections. One more closes the oldest, so that slow clients cannot block
/// others.
const MAX_CONNECTIONS: usize = 16;

/// How long a client may take for the head of its request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may last.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum size of the head of a request, in bytes. Hyper allows no smaller limit.
const MAX_HEAD: usize = 8 * 1024;

/// Maximum number of headers of a request.
const MAX_HEADERS: usize = 64;

/// The pause after a connection could not be accepted. Without free file descriptors each
/// attempt fails at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The server cannot listen on the address.
#[derive(Debug, thiserror::Error)]
#[error(
    "HEALTH_ADDR: cannot listen on {address}: {reason}; choose an address of this machine and a \
     port that no other program uses"
)]
pub struct BindError {
    address: Address,
    reason: String,
}

/// The HTTP server for health and metrics, which listens already.
#[derive(Debug)]
pub(crate) struct Server {
    listener: TcpListener,
}

impl Server {
    /// Listens on the address. Connections wait until [`Server::run`].
    ///
    /// # Errors
    /// See [`BindError`].
    pub(crate) async fn bind(address: &Address) -> Result<Self, BindError> {
        match TcpListener::bind(address.to_listen()).await {
            Ok(listener) => {
                tracing::info!(%address, "health and metrics are served");
                Ok(Self { listener })
            }
            Err(error) => Err(BindError { address: address.clone(), reason: error.to_string() }),
        }
    }

    /// Serves the endpoints. Never returns; drop the future to stop the server.
    pub(crate) async fn run(self, endpoints: Endpoints) {
        let endpoints = Arc::new(endpoints);
        let mut connections: VecDeque<AbortOnDropHandle<()>> = VecDeque::new();
        let mut reported = false;
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    reported = false;
                    connections.retain(|connection| !connection.is_finished());
                    if connections.len() >= MAX_CONNECTIONS {
                        connections.pop_front();
                    }
                    let connection = tokio::spawn(serve(stream, Arc::clone(&endpoints)));
                    connections.push_back(AbortOnDropHandle::new(connection));
                    // Other tasks must get their turn, however many clients connect.
                    yield_now().await;
                }
                Err(error) => {
                    if !reported {
                        tracing::warn!(
                            %error,
                            "a connection for health and metrics cannot be accepted"
                        );
                        reported = true;
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve(stream: TcpStream, endpoints: Arc<Endpoints>) {
    let service = service_fn(|request| {
        let endpoints = Arc::clone(&endpoints);
        async move { Ok::<_, Infallible>(respond(&request, &endpoints).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection for health and metrics has failed"),
        Err(_) => tracing::debug!("a client of health and metrics is too slow"),
    }
}

async fn respond(request: &Request<Incoming>, endpoints: &Endpoints) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let error = json!({"error": "only GET and HEAD are supported"});
        let mut response = json(StatusCode::METHOD_NOT_ALLOWED, &error);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/livez" => {
            let alive = endpoints.liveness.check().await;
            json(healthy(alive.alive), &alive)
        }
        "/readyz" => {
            let ready = endpoints.readiness.check();
            json(healthy(ready.ready), &ready)
        }
        "/metrics" => response(StatusCode::OK, MEDIA_TYPE, endpoints.metrics.text().into()),
        _ => {
            let error = json!({"error": "the paths are /livez, /readyz and /metrics"});
            json(StatusCode::NOT_FOUND, &error)
        }
    }
}

fn healthy(healthy: bool) -> StatusCode {
    if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    let mut body = serde_json::to_vec(body).expect("texts always become JSON");
    body.push(b'\n');
    response(status, "application/json", body.into())
}

fn response(status: StatusCode, media_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
