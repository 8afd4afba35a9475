//! Why there is no WebSocket, and what helps.

use std::io;

use tokio_websockets::Error;
use tokio_websockets::upgrade::Error as UpgradeError;

use crate::address_url::shown;
use crate::broker_address::url_settings;

/// The subprotocol of MQTT (MQTT 5, 6.0).
pub(super) const SUBPROTOCOL: &str = "mqtt";

/// Most bytes of the head of the answer to the handshake.
pub(super) const MAX_HEAD: usize = 16 * 1024;

/// Why there is no WebSocket.
#[derive(Debug, thiserror::Error)]
pub enum WebSocketError {
    /// The server does not switch to WebSocket.
    #[error(
        "it answers the WebSocket handshake with HTTP status {status}{}",
        location.as_ref().map(|to| format!(" and leads to {}", shown(to))).unwrap_or_default()
    )]
    Status {
        /// The number.
        status: u16,
        /// The header `Location`.
        location: Option<String>,
    },
    /// The server does not speak MQTT over WebSocket.
    #[error("it does not agree to the WebSocket subprotocol {SUBPROTOCOL}")]
    Subprotocol,
    /// The server does not speak HTTP, or not as it should.
    #[error("it does not answer the WebSocket handshake with valid HTTP: {0}")]
    Invalid(String),
    /// The answer is too long.
    #[error("its answer to the WebSocket handshake is longer than {MAX_HEAD} bytes")]
    TooLong,
    /// The connection was closed.
    #[error("it closes the connection during the WebSocket handshake")]
    Closed,
    /// The network failed.
    #[error("the WebSocket handshake fails: {0}")]
    Io(io::Error),
}

impl WebSocketError {
    /// What to do about it, where that is known.
    pub(in crate::dial) fn help(&self) -> Option<String> {
        Some(match self {
            Self::Status { status, location } => status_help(*status, location.as_deref()),
            Self::Subprotocol => {
                "check MQTT_WEBSOCKET_PATH: there is no MQTT over WebSocket".into()
            }
            Self::Invalid(_) | Self::Closed => {
                "if it is a port for MQTT without WebSocket, set MQTT_TRANSPORT=tcp; if it is one \
                 for TLS, set MQTT_TLS=true"
                    .into()
            }
            Self::TooLong | Self::Io(_) => return None,
        })
    }

    /// Whether it stays so until somebody changes something, or until there are fewer connections.
    pub(in crate::dial) fn is_lasting(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status < 500,
            Self::Subprotocol | Self::Invalid(_) | Self::TooLong => true,
            Self::Closed | Self::Io(_) => false,
        }
    }
}

/// What to do about a status other than 101.
fn status_help(status: u16, location: Option<&str>) -> String {
    let text = match status {
        300..=399 => return redirection_help(location),
        400 => "check MQTT_WEBSOCKET_PATH; if it is a port for TLS, set MQTT_TLS=true",
        401 => {
            "the server in front of the broker requires a login of its own, which is not \
             supported: it must let MQTT_WEBSOCKET_PATH pass without one; MQTT_USERNAME and \
             MQTT_PASSWORD_FILE are for the broker behind it"
        }
        403 => {
            "the server in front of the broker forbids it: check MQTT_WEBSOCKET_PATH; the rules of \
             that server must let it pass from this address without a login, because MQTT_USERNAME \
             and MQTT_PASSWORD_FILE are for the broker behind it"
        }
        404 | 410 => {
            "there is nothing at this path: set MQTT_WEBSOCKET_PATH to that of the broker (often \
             /mqtt, /ws or /)"
        }
        407 => {
            "it is a proxy that requires a login: set HTTPS_PROXY=http://user:password@host:port"
        }
        426 => {
            "the server sees no request for WebSocket: a proxy or load balancer in front of the \
             broker must pass on the headers Upgrade, Connection and Sec-WebSocket-Version (13)"
        }
        429 => {
            "too many connections or attempts at a time, perhaps together with other vehicles behind \
             the same address: raise the limit of the server in front of the broker"
        }
        500..=599 => "the server in front of the broker does not reach it",
        _ => "check MQTT_WEBSOCKET_PATH: there is no MQTT over WebSocket",
    };
    text.into()
}

fn redirection_help(location: Option<&str>) -> String {
    match location {
        Some(path) if path.starts_with('/') && !path.starts_with("//") => {
            format!("it redirects to another path: set MQTT_WEBSOCKET_PATH={path}")
        }
        Some(url) if let Some(settings) = url_settings(url) => {
            format!("redirections are not followed; if this one is right, set {settings}")
        }
        _ => "it redirects: check MQTT_WEBSOCKET_PATH and MQTT_BROKER_PORT, and set MQTT_TLS=true \
              if it requires TLS"
            .into(),
    }
}

pub(super) fn invalid(error: &dyn std::error::Error) -> WebSocketError {
    WebSocketError::Invalid(error.to_string())
}

impl From<Error> for WebSocketError {
    fn from(error: Error) -> Self {
        match error {
            Error::Upgrade(UpgradeError::DidNotSwitchProtocols(status)) => {
                Self::Status { status, location: None }
            }
            Error::Upgrade(error) => Self::Invalid(error.to_string()),
            Error::Io(error) => match error.kind() {
                io::ErrorKind::QuotaExceeded => Self::TooLong,
                // The decoder reports the end within an answer as another error.
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::Other => Self::Closed,
                _ => Self::Io(error),
            },
            error => Self::Invalid(error.to_string()),
        }
    }
}
