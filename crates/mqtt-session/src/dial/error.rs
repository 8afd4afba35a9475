//! Why the broker cannot be reached, and what helps.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use hyper::http::StatusCode;

use super::proxy::HttpProxy;
use super::race::{DIAL_TIMEOUT, RESOLUTION_TIMEOUT};
use super::resolver::LookupError;
use super::websocket::WebSocketError;
use crate::broker_address::BrokerAddress;
use crate::tls::{self, Target, Tls};

/// Most addresses that a message lists.
const MAX_LISTED: usize = 4;

/// Linux: the kernel has no such family of addresses. The standard library has no kind for it.
const EAFNOSUPPORT: i32 = 97;

/// Why there is no stream of bytes to the broker.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// TCP or TLS failed.
    #[error("it cannot be reached: {0}")]
    Io(#[from] io::Error),
    /// Nothing has answered.
    #[error("the broker does not answer within {}", humantime::format_duration(DIAL_TIMEOUT))]
    Timeout,
    /// The name of the broker has no address.
    #[error("{0}")]
    Name(NameError),
    /// The proxy does not open a tunnel.
    #[error("{0}")]
    Proxy(Box<ProxyError>),
    /// The WebSocket handshake failed.
    #[error("{0}")]
    WebSocket(#[from] WebSocketError),
    /// Each address failed for another reason.
    #[error("it cannot be reached: {0}")]
    Addresses(AddressErrors),
}

/// What went wrong at each address of a host.
#[derive(Debug)]
pub struct AddressErrors(pub(super) Vec<(SocketAddr, DialError)>);

impl fmt::Display for AddressErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (address, error)) in self.0.iter().take(MAX_LISTED).enumerate() {
            let separator = if index > 0 { "; " } else { "" };
            match error {
                DialError::Io(error) => write!(formatter, "{separator}{address}: {error}")?,
                DialError::Timeout => write!(formatter, "{separator}{address}: no answer")?,
                error => write!(formatter, "{separator}{address}: {error}")?,
            }
        }
        match self.0.len().saturating_sub(MAX_LISTED) {
            0 => Ok(()),
            more => write!(formatter, "; and {more} more addresses"),
        }
    }
}

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
#[error("the name {host} is not resolved: {}", self.reason())]
pub struct NameError {
    pub(super) host: String,
    /// `None` if the name servers did not answer.
    pub(super) cause: Option<LookupError>,
}

impl NameError {
    fn reason(&self) -> String {
        match &self.cause {
            None => format!(
                "no answer from the name server within {}",
                humantime::format_duration(RESOLUTION_TIMEOUT)
            ),
            Some(LookupError::NoName) if let Some(zone) = self.zone() => {
                format!("there is no network interface {zone:?}")
            }
            Some(LookupError::NoName) => "there is no such host".into(),
            Some(LookupError::NoAddress) => "it has no address".into(),
            Some(LookupError::Temporary) => {
                "the name server cannot be reached, or reports a temporary failure".into()
            }
            Some(LookupError::Refused) => "the name server refuses to answer".into(),
            Some(LookupError::Other(text)) => text.clone(),
        }
    }

    /// The zone of an IPv6 address (RFC 4007).
    fn zone(&self) -> Option<&str> {
        self.host.split_once('%').map(|(_, zone)| zone)
    }

    /// Whether the name is usually one of multicast DNS (RFC 6762).
    fn is_multicast(&self) -> bool {
        let name = self.host.trim_end_matches('.').to_ascii_lowercase();
        name.ends_with(".local")
    }

    /// `setting` is the one that contains the name.
    fn help(&self, setting: &str) -> String {
        match &self.cause {
            _ if self.is_multicast() => format!(
                "names below .local are known by multicast DNS, which is not supported: set \
                 {setting} to the address"
            ),
            _ if let Some(zone) = self.zone() => format!(
                "the part of {setting} after the % names the network interface that leads to the \
                 broker: `ip -br link` lists them; in a container without --net=host it has other \
                 ones, and {zone:?} may not be up yet"
            ),
            None | Some(LookupError::Temporary) => {
                "check the network, and the name servers in /etc/resolv.conf".into()
            }
            Some(LookupError::Refused) => {
                "check the name servers in /etc/resolv.conf: one of them must serve this vehicle, \
                 and ask others for names that it does not know"
                    .into()
            }
            Some(LookupError::NoName | LookupError::NoAddress) => format!(
                "check {setting}, and the name servers in /etc/resolv.conf: the next one is only \
                 asked if one does not answer, so one that knows the name must come first"
            ),
            Some(LookupError::Other(_)) => format!("check {setting}"),
        }
    }
}

/// A proxy that does not open a tunnel.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {proxy} {cause}")]
pub struct ProxyError {
    /// The proxy.
    pub proxy: HttpProxy,
    /// Why.
    pub cause: ProxyCause,
}

/// Why a proxy does not open a tunnel.
#[derive(Debug, thiserror::Error)]
pub enum ProxyCause {
    /// Its name has no address.
    #[error("cannot be reached: {0}")]
    Name(NameError),
    /// TCP or TLS to the proxy failed.
    #[error("cannot be reached: {0}")]
    Unreachable(io::Error),
    /// Each of its addresses failed for another reason.
    #[error("cannot be reached: {0}")]
    Addresses(AddressErrors),
    /// It does not accept a connection.
    #[error("does not answer within {}", humantime::format_duration(DIAL_TIMEOUT))]
    Timeout,
    /// It accepts a connection, and does not answer the request.
    #[error(
        "does not answer the request for a tunnel within {}",
        humantime::format_duration(DIAL_TIMEOUT)
    )]
    NoTunnel,
    /// It requires a login.
    #[error("refuses the tunnel with HTTP status 407{}", offer(.schemes))]
    Login {
        /// The kinds of logins that it offers, as far as it says so.
        schemes: Vec<String>,
    },
    /// It answers with another status than success.
    #[error("refuses the tunnel with HTTP status {0}")]
    Status(StatusCode),
    /// It is no HTTP proxy.
    #[error("does not answer with HTTP")]
    NotHttp,
    /// Its answer is too long.
    #[error("answers with a header that is longer than allowed")]
    TooLong,
    /// It closes the connection instead of an answer.
    #[error("closes the connection instead of opening a tunnel")]
    Closed,
}

impl From<hyper::Error> for ProxyCause {
    fn from(error: hyper::Error) -> Self {
        let reason = error.source().and_then(|source| source.downcast_ref::<hyper::Error>());
        // What comes before the request cancels it.
        let is_early = error.is_canceled()
            && reason
                .is_some_and(|reason| !reason.is_incomplete_message() && reason.source().is_none());
        if error.is_parse_too_large() {
            Self::TooLong
        } else if error.is_parse() || is_early {
            Self::NotHttp
        } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            Self::Closed
        } else {
            Self::Unreachable(io::Error::other(error))
        }
    }
}

impl ProxyCause {
    fn help(&self, proxy: &HttpProxy, broker: &BrokerAddress) -> Option<String> {
        let variable = proxy.variable();
        let reach_directly = "to reach the broker without a proxy, add it to NO_PROXY";
        Some(match self {
            Self::Name(error) => error.help(variable),
            // An error of TLS has no number of the system.
            Self::Unreachable(error) if proxy.is_tls && error.raw_os_error().is_none() => format!(
                "check {variable}, with http:// if the proxy itself does not use TLS; its \
                 certificate is verified with those of the system, or those in SSL_CERT_FILE"
            ),
            Self::Login { schemes } if !schemes.is_empty() && !has_basic(schemes) => format!(
                "only Basic is supported, which this proxy does not offer: let it accept Basic, or \
                 let {broker} pass without a login; or run a local proxy that logs in by another \
                 kind, and set {variable} to it"
            ),
            Self::Login { .. } if proxy.login.is_some() => {
                format!("it does not accept the login in {variable}")
            }
            Self::Login { .. } => format!(
                "it requires a login: set {variable}=http://user:password@host:port; only Basic \
                 is supported"
            ),
            Self::Status(_) if broker.is_loopback() => format!(
                "the proxy does not lead to this machine; add {} to NO_PROXY",
                broker.host()
            ),
            Self::Status(StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED) => format!(
                "it must allow CONNECT to {broker}; many allow port 443 only, where a broker may \
                 listen, too"
            ),
            Self::Status(status) if status.is_server_error() => {
                format!(
                    "it cannot reach {broker}; check MQTT_BROKER_ADDR, or ask who runs the proxy"
                )
            }
            Self::NotHttp if !proxy.is_tls => format!(
                "check {variable}: it must name an HTTP proxy; if that uses TLS itself, write \
                 https://"
            ),
            _ => format!("check {variable}; {reach_directly}"),
        })
    }
}

fn has_basic(schemes: &[String]) -> bool {
    schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("Basic"))
}

/// What a proxy offers, as a message ends.
fn offer(schemes: &[String]) -> String {
    if schemes.is_empty() { String::new() } else { format!(" and offers {}", schemes.join(", ")) }
}

impl DialError {
    pub(super) fn proxy(proxy: &HttpProxy, cause: ProxyCause) -> Self {
        Self::Proxy(Box::new(ProxyError { proxy: proxy.clone(), cause }))
    }

    /// Whether this is what attempts by IPv6 fail with on a machine without it.
    pub(super) fn is_without_ipv6(&self) -> bool {
        let error = match self {
            Self::Io(error) => error,
            Self::Proxy(error) => match &error.cause {
                ProxyCause::Unreachable(error) => error,
                _ => return false,
            },
            _ => return false,
        };
        let kinds = [io::ErrorKind::AddrNotAvailable, io::ErrorKind::NetworkUnreachable];
        kinds.contains(&error.kind()) || error.raw_os_error() == Some(EAFNOSUPPORT)
    }

    /// Whether a server or proxy has refused, and will until somebody changes something, or until
    /// there are fewer connections.
    pub(crate) fn is_lasting(&self) -> bool {
        match self {
            Self::WebSocket(error) => error.is_lasting(),
            Self::Proxy(error) => match &error.cause {
                ProxyCause::Status(status) => !status.is_server_error(),
                ProxyCause::Login { .. } | ProxyCause::NotHttp | ProxyCause::TooLong => true,
                _ => false,
            },
            Self::Addresses(AddressErrors(errors)) => {
                errors.iter().all(|(_, error)| error.is_lasting())
            }
            Self::Io(_) | Self::Timeout | Self::Name(_) => false,
        }
    }

    /// What to do about it, where that is known.
    pub(crate) fn help(&self, broker: &BrokerAddress, tls: Option<&Tls>) -> Option<String> {
        match self {
            Self::Io(error) => {
                let (host, port) = (broker.tls_host(), broker.port());
                tls::explain(error, Target { host: &host, port, tls })
            }
            Self::Timeout => None,
            Self::Name(error) => Some(error.help("MQTT_BROKER_ADDR")),
            Self::Proxy(error) => error.cause.help(&error.proxy, broker),
            Self::WebSocket(error) => error.help(),
            Self::Addresses(AddressErrors(errors)) => {
                errors.iter().find_map(|(_, error)| error.help(broker, tls))
            }
        }
    }
}
