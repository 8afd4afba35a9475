//! The address at which health and metrics are served.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use hyper::http::uri::Authority;

/// A host name or IP address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Without brackets if it is an IPv6 address.
    host: String,
    port: u16,
}

/// Text that is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is not a valid host and port; write it as 127.0.0.1:9090, [::1]:9090 or, to be reachable \
     from other machines, 0.0.0.0:9090"
)]
pub struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let authority: Authority = text.parse().map_err(|_| AddressError)?;
        let port = authority.port_u16().filter(|port| *port > 0).ok_or(AddressError)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || text.contains('@') {
            return Err(AddressError);
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl Address {
    /// The host and port to listen on.
    pub(super) fn to_listen(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// The host and port to connect to from the same machine.
    pub(super) fn to_connect(&self) -> (String, u16) {
        let host = match self.host.parse() {
            Ok(IpAddr::V4(address)) if address.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
            Ok(IpAddr::V6(address)) if address.is_unspecified() => Ipv6Addr::LOCALHOST.to_string(),
            _ => self.host.clone(),
        };
        (host, self.port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_host_and_port() {
        for (text, listen, connect) in [
            ("127.0.0.1:9090", ("127.0.0.1", 9090), "127.0.0.1"),
            ("0.0.0.0:80", ("0.0.0.0", 80), "127.0.0.1"),
            ("[::]:80", ("::", 80), "::1"),
            ("[::1]:80", ("::1", 80), "::1"),
            ("localhost:65535", ("localhost", 65535), "localhost"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_listen(), listen);
            assert_eq!(address.to_connect(), (connect.to_owned(), listen.1));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn text_that_is_not_an_address_is_refused() {
        for text in [
            "",
            "9090",
            ":9090",
            "host",
            "host:",
            "host:0",
            "host:65536",
            "host:x",
            "::1:80",
            "[::1]",
            "a@host:80",
            "http://host:80",
            "host:80/x",
            "ho st:80",
        ] {
            assert_eq!(text.parse::<Address>(), Err(AddressError), "{text}");
        }
    }
}
