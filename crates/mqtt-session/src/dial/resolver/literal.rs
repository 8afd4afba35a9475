//! Addresses for which nobody is asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use rustix::net::netdevice::name_to_index;

use super::lookup_error::{Answer, LookupError};
use crate::dial::race::Family;

/// The addresses of a host that is itself an address, or this machine.
pub(super) fn addresses(host: &str, family: Family) -> Option<Answer> {
    let loopback = match family {
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
    };
    if is_localhost(host) {
        return Some(Ok(vec![SocketAddr::new(loopback, 0)]));
    }
    let literal = parse(host)?;
    Some(match literal.map(|(ip, scope)| socket_address(ip, scope, 0)) {
        None => Err(LookupError::NoName),
        Some(address) if of_family(address.ip(), family) => Ok(vec![address]),
        Some(_) => Err(LookupError::NoAddress),
    })
}

/// `localhost` and all names below it are this machine, whatever name servers say (RFC 6761, 6.3).
fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case("localhost"))
}

/// An address, and the index of its network interface, or 0. `Some(None)` if there is no such
/// interface.
pub(super) fn parse(text: &str) -> Option<Option<(IpAddr, u32)>> {
    match text.split_once('%') {
        None => Some(Some((text.parse().ok()?, 0))),
        Some((address, zone)) => {
            let address: Ipv6Addr = address.parse().ok()?;
            Some(interface(zone).map(|index| (address.into(), index)))
        }
    }
}

/// The index of a network interface, which may be written as a number.
pub(super) fn interface(zone: &str) -> Option<u32> {
    // The kernel wants any socket.
    let by_name = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .ok()
        .and_then(|socket| name_to_index(socket, zone).ok());
    by_name.or_else(|| zone.parse().ok())
}

pub(super) fn socket_address(ip: IpAddr, scope: u32, port: u16) -> SocketAddr {
    match ip {
        IpAddr::V4(ip) => SocketAddr::from((ip, port)),
        IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, scope).into(),
    }
}

pub(super) fn of_family(ip: IpAddr, family: Family) -> bool {
    ip.is_ipv6() == (family == Family::V6)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_their_family_and_zone() {
        let found = |text: &str| Some(Ok(vec![text.parse::<SocketAddr>().unwrap()]));
        assert_eq!(addresses("192.0.2.1", Family::V4), found("192.0.2.1:0"));
        assert_eq!(addresses("192.0.2.1", Family::V6), Some(Err(LookupError::NoAddress)));
        assert_eq!(addresses("2001:db8::1", Family::V6), found("[2001:db8::1]:0"));
        assert_eq!(addresses("2001:db8::1", Family::V4), Some(Err(LookupError::NoAddress)));
        assert_eq!(addresses("fe80::1%7", Family::V6), found("[fe80::1%7]:0"));
        let lo = addresses("fe80::1%lo", Family::V6).unwrap().unwrap();
        assert!(matches!(lo.as_slice(), [SocketAddr::V6(address)] if address.scope_id() > 0));
        for zone in ["no-such-if", "", "4294967296", "-1", "interface-with-a-long-name", "l\0o"] {
            let host = format!("fe80::1%{zone}");
            assert_eq!(addresses(&host, Family::V6), Some(Err(LookupError::NoName)), "{host}");
        }
        for name in ["broker.example", "broker%lo", "192.0.2.1%lo", "1.2.3", "", "%"] {
            assert_eq!(addresses(name, Family::V4), None, "{name}");
        }
    }

    #[test]
    fn localhost_is_this_machine() {
        for name in ["localhost", "LocalHost.", "broker.localhost", "a.b.LOCALHOST."] {
            let v4 = Some(Ok(vec![SocketAddr::from(([127, 0, 0, 1], 0))]));
            assert_eq!(addresses(name, Family::V4), v4, "{name}");
            let v6 = Some(Ok(vec![SocketAddr::from((Ipv6Addr::LOCALHOST, 0))]));
            assert_eq!(addresses(name, Family::V6), v6, "{name}");
        }
        for name in ["localhost.example", "notlocalhost", "localhost.."] {
            assert_eq!(addresses(name, Family::V4), None, "{name}");
        }
    }
}
