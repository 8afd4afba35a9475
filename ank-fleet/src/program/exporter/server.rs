//! The HTTP server of the metrics.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// Maximum number of connections at the same time; others wait.
const MAX_CONNECTIONS: usize = 16;

/// How long a client may take for a request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The media type of the text.
const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text that is served.
type Page = watch::Receiver<Bytes>;

/// Serves `/metrics` to whoever connects to `listener`. Never returns.
pub(crate) async fn serve(listener: TcpListener, page: Page) -> Infallible {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let permit = Arc::clone(&permits).acquire_owned().await;
        let Ok((stream, _)) = listener.accept().await else {
            // Without free file descriptors each attempt fails at once.
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let page = page.clone();
        tokio::spawn(async move {
            let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
                let response = respond(request.uri().path(), &page);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away or is too slow is its own affair.
            let _ = timeout(TIMEOUT, connection).await;
            drop(permit);
        });
    }
}

fn respond(path: &str, page: &Page) -> Response<Full<Bytes>> {
    let (status, body) = match path {
        "/metrics" => (StatusCode::OK, page.borrow().clone()),
        _ => (StatusCode::NOT_FOUND, Bytes::from_static(b"metrics are at /metrics\n")),
    };
    let response = Response::builder().status(status).header(CONTENT_TYPE, MEDIA_TYPE);
    response.body(Full::new(body)).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn garbage_is_refused_and_others_are_served_meanwhile() {
        let (_page, pages) = watch::channel(Bytes::from_static(b"# EOF\n"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, pages));
        // They send nothing, or never end.
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS - 1 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nx: ").await.unwrap();
            silent.push(stream);
        }
        let long = [b"GET /", &[b'x'; 100_000][..], b" HTTP/1.1\r\n\r\n"].concat();
        for (request, answer) in [
            (&b"\x16\x03\x01\0\xff"[..], "HTTP/1.1 400 Bad Request"),
            (&long, "HTTP/1.1 414 URI Too Long"),
            (b"GET /other HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found"),
            (b"GET /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK"),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // It may be answered before all of it was sent.
            let _ = stream.write_all(request).await;
            let mut text = Vec::new();
            let _ = stream.read_to_end(&mut text).await;
            let text = String::from_utf8_lossy(&text);
            assert!(text.starts_with(answer), "{answer}: {text}");
        }
        server.abort();
    }
}
