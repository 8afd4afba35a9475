//! The client side of the subcommand `health`, for images without a shell.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::address::Address;

/// How long the response may take; longer than `/livez` waits for its tasks.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum size of the response, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// An endpoint that can be probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Endpoint {
    /// Whether requests can be served: broker and Ankaios are connected
    Readyz,
    /// Whether all tasks of the connector make progress; if not, restart it
    Livez,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Readyz => "readyz",
            Self::Livez => "livez",
        })
    }
}

/// The response of the connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeResponse {
    /// Whether the connector is healthy.
    pub healthy: bool,
    /// JSON, with the reason if it is not healthy.
    pub text: String,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
#[error(
    "http://{address}/{endpoint} does not respond: {reason}; is the connector running, with the \
     same HEALTH_ADDR?"
)]
pub struct ProbeError {
    address: Address,
    endpoint: Endpoint,
    reason: String,
}

/// Asks the connector that serves its health at `address`, on the same machine or in the same
/// container.
///
/// # Errors
/// There is no response within 5 s, or it is not that of a connector.
pub async fn probe(address: &Address, endpoint: Endpoint) -> Result<ProbeResponse, ProbeError> {
    let response = timeout(TIMEOUT, get(address, endpoint)).await;
    let late = || Err(format!("no response within {}", humantime::format_duration(TIMEOUT)).into());
    response.unwrap_or_else(|_| late()).map_err(|error| ProbeError {
        address: address.clone(),
        endpoint,
        reason: error.to_string(),
    })
}

async fn get(
    address: &Address,
    endpoint: Endpoint,
) -> Result<ProbeResponse, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address.to_connect()).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get(format!("/{endpoint}"))
        .header(HOST, address.to_string())
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    if !matches!(status, StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE) {
        return Err(format!("it responds with {status}").into());
    }
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await?.to_bytes();
    let text = String::from_utf8_lossy(&body).trim_end().to_owned();
    Ok(ProbeResponse { healthy: status == StatusCode::OK, text })
}
