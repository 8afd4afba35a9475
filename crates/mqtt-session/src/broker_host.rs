//! The host of a broker: a name or an address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest host name (RFC 1035, 2.3.4), without a trailing dot.
const MAX_NAME: usize = 253;

/// Longest part of a host name between two dots (RFC 1035, 2.3.4).
const MAX_LABEL: usize = 63;

/// Ports on which brokers usually listen. Such a number behind an IPv6 address without brackets
/// is more likely a port than a part of the address.
const USUAL_PORTS: [&str; 8] = ["1883", "8883", "80", "443", "8080", "8083", "8084", "9001"];

/// A name or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    Name(String),
    V4(Ipv4Addr),
    /// With the zone (RFC 4007), which is the name of a network interface, if there is one.
    V6(Ipv6Addr, Option<String>),
}

impl Host {
    /// An IPv6 address without brackets, which therefore has no port.
    pub(crate) fn parse_bare_v6(text: &str) -> Result<Self, String> {
        if let Some((before, last)) = text.rsplit_once(':')
            && (text.parse::<Ipv6Addr>().is_err() || USUAL_PORTS.contains(&last))
            && last.parse::<u16>().is_ok()
            && let Ok(Self::V6(..)) = Self::parse_v6(before)
        {
            let mut forms = format!("[{before}]:{last} for port {last}");
            if text.parse::<Ipv6Addr>().is_ok() {
                forms = format!("{forms}, or [{text}] for this address");
            }
            return Err(format!("{text:?} is an IPv6 address without brackets; write {forms}"));
        }
        // Without the zone: the name of an interface may contain colons.
        let is_v6 =
            text.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
        if !is_v6 {
            return Err(format!(
                "{text:?} has several colons and is not an IPv6 address; write host:port, or \
                 [address]:port for IPv6"
            ));
        }
        Self::parse_v6(text)
    }

    /// An IPv6 address, which may have a zone. `%25` is a percent sign, as in URLs (RFC 6874).
    pub(crate) fn parse_v6(text: &str) -> Result<Self, String> {
        let (address, zone) = match text.split_once('%') {
            None => (text, None),
            Some((address, zone)) => {
                let zone = zone.strip_prefix("25").filter(|zone| !zone.is_empty()).unwrap_or(zone);
                (address, Some(zone))
            }
        };
        let Ok(address) = address.parse::<Ipv6Addr>() else {
            return Err(format!("{text:?} in brackets is not an IPv6 address; write host:port"));
        };
        if let Some(kind) = no_host(address.into()) {
            return Err(format!("{text:?} {kind}"));
        }
        if let Some(zone) = zone {
            let is_interface = |character: char| character.is_ascii_graphic() && character != '%';
            if zone.is_empty()
                || zone.len() > 15
                || zone.contains([':', '/', ']'])
                || !zone.chars().all(is_interface)
            {
                return Err(format!(
                    "{text:?} needs the name of a network interface after the %, and a port only \
                     after brackets: {address}%eth0, [{address}%eth0]:1883"
                ));
            }
            if !address.is_unicast_link_local() {
                return Err(format!(
                    "{text:?} has a zone, but is not a link-local address; write {address}"
                ));
            }
            return Ok(Self::V6(address, Some(zone.to_owned())));
        }
        if let Some(v4) = address.to_ipv4_mapped() {
            return Self::of_v4(v4);
        }
        if address.is_unicast_link_local() {
            return Err(format!(
                "{text:?} is a link-local address, which needs its network interface: write \
                 {address}%eth0"
            ));
        }
        Ok(Self::V6(address, None))
    }

    /// A host name or an IPv4 address.
    pub(crate) fn parse_name(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Self::of_v4(address);
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if text.chars().any(|character| !character.is_ascii() && character.is_alphanumeric()) {
            return Err(format!(
                "{text:?} has characters other than ASCII; write the ASCII form of the name, which \
                 begins with xn-- (for example xn--mnchen-3ya.example for münchen.example)"
            ));
        }
        let is_valid = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
        if let Some(other) = text.chars().find(|character| !is_valid(*character)) {
            return Err(format!(
                "{text:?} is not a valid host name or address: it has {other:?}; write host or \
                 host:port"
            ));
        }
        if name.len() > MAX_NAME
            || name.split('.').any(|label| !(1..=MAX_LABEL).contains(&label.len()))
        {
            return Err(format!(
                "{text:?} is not a valid host name: its parts between the dots must have 1 to \
                 {MAX_LABEL} characters, and all together at most {MAX_NAME}"
            ));
        }
        let last = name.rsplit('.').next().unwrap_or_default();
        if last.chars().all(|character| character.is_ascii_digit()) {
            return Err(format!(
                "{text:?} is neither a host name nor an IPv4 address, which has four numbers from 0 \
                 to 255"
            ));
        }
        Ok(Self::Name(text.to_owned()))
    }

    fn of_v4(address: Ipv4Addr) -> Result<Self, String> {
        match no_host(address.into()) {
            None => Ok(Self::V4(address)),
            Some(kind) => Err(format!("\"{address}\" {kind}")),
        }
    }

    /// Without trailing dot and zone.
    pub(crate) fn without_zone(&self) -> String {
        match self {
            Self::Name(name) => name.trim_end_matches('.').to_owned(),
            Self::V4(address) => address.to_string(),
            Self::V6(address, _) => address.to_string(),
        }
    }

    /// Whether it is this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => name.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
            Self::V4(address) => address.is_loopback(),
            Self::V6(address, _) => address.is_loopback(),
        }
    }
}

/// Why an address is not that of one host, and what to write.
fn no_host(address: IpAddr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some(
            "is no address of a host: a broker that listens there is reached by the address of its \
             machine; write localhost if it runs on this one",
        )
    } else if address.is_multicast() {
        Some("is a multicast address; write the address or the name of the broker")
    } else if address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        Some("is the broadcast address; write the address or the name of the broker")
    } else {
        None
    }
}

/// As a name server is asked for it: an address has no brackets.
impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => formatter.write_str(name),
            Self::V4(address) => address.fmt(formatter),
            Self::V6(address, None) => address.fmt(formatter),
            Self::V6(address, Some(zone)) => write!(formatter, "{address}%{zone}"),
        }
    }
}
