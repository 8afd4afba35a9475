//! The lines of `/etc/hosts`: an address, then its names.
//!
//! As with glibc, a name that has addresses of one family only is not looked up elsewhere for the
//! other.

use std::io::{self, BufRead, Read};
use std::net::{IpAddr, SocketAddr};
use std::str;

use super::literal;
use super::lookup_error::{Answer, LookupError};
use crate::dial::race::Family;

/// Most bytes of the file that are read.
const MAX_FILE: u64 = 16 << 20;

/// Longest line, in bytes. Longer ones are skipped.
const MAX_LINE: usize = 16 << 10;

/// Most addresses of a name.
const MAX_ADDRESSES: usize = 64;

/// The addresses of a name on all lines; `None` if none of them has the name.
pub(super) fn addresses(file: impl BufRead, name: &str, family: Family) -> Option<Answer> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut file = file.take(MAX_FILE);
    let mut line = Vec::new();
    let mut found = Vec::new();
    let mut is_known = false;
    // What follows an error of the disk is not known.
    while read_line(&mut file, &mut line).unwrap_or(false) {
        let Some(address) = str::from_utf8(&line).ok().and_then(|line| address(line, name)) else {
            continue;
        };
        is_known = true;
        let is_wanted = literal::of_family(address.ip(), family) && !found.contains(&address);
        if is_wanted && found.len() < MAX_ADDRESSES {
            found.push(address);
        }
    }
    match found.is_empty() {
        false => Some(Ok(found)),
        true => is_known.then_some(Err(LookupError::NoAddress)),
    }
}

/// Reads a line; an empty one instead of one that is too long. Whether there was one.
fn read_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut is_long = false;
    loop {
        let before = line.len();
        let room = MAX_LINE.saturating_sub(before);
        let size = file.by_ref().take(room as u64).read_until(b'\n', line)?;
        if line.last() == Some(&b'\n') || size < room {
            let is_line = is_long || !line.is_empty();
            if is_long {
                line.clear();
            }
            return Ok(is_line);
        }
        is_long = true;
        line.clear();
    }
}

/// The address of a line that has the name.
fn address(line: &str, name: &str) -> Option<SocketAddr> {
    let mut words = line.split('#').next()?.split_ascii_whitespace();
    let address = words.next()?;
    if !words.any(|word| word.eq_ignore_ascii_case(name)) {
        return None;
    }
    let (ip, scope): (IpAddr, u32) = literal::parse(address)??;
    Some(literal::socket_address(ip, scope, 0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HOSTS: &str = "# 192.0.2.9 broker\n\
        127.0.0.1\tlocalhost\n\
        192.0.2.1  Broker.Example broker mqtt # 192.0.2.8 other\n\
        \n\
        192.0.2.2\tbroker\r\n\
        192.0.2.1 broker\n\
        2001:db8::1 broker\n\
        fe80::1%7 linked\n\
        fe80::1%no-such-if lost\n\
        not-an-address wrong\n\
        192.0.2.3\n\
        192.0.2.4 last";

    fn find(name: &str, family: Family) -> Option<Answer> {
        addresses(HOSTS.as_bytes(), name, family)
    }

    fn found(addresses: &[&str]) -> Option<Answer> {
        Some(Ok(addresses.iter().map(|address| address.parse().unwrap()).collect()))
    }

    #[test]
    fn a_name_has_the_addresses_of_all_its_lines() {
        assert_eq!(find("broker", Family::V4), found(&["192.0.2.1:0", "192.0.2.2:0"]));
        assert_eq!(find("broker", Family::V6), found(&["[2001:db8::1]:0"]));
        assert_eq!(find("BROKER.example.", Family::V4), found(&["192.0.2.1:0"]));
        assert_eq!(find("mqtt", Family::V4), found(&["192.0.2.1:0"]));
        assert_eq!(find("linked", Family::V6), found(&["[fe80::1%7]:0"]));
        assert_eq!(find("last", Family::V4), found(&["192.0.2.4:0"]));
    }

    #[test]
    fn a_name_with_the_other_family_only_has_no_address() {
        assert_eq!(find("mqtt", Family::V6), Some(Err(LookupError::NoAddress)));
        assert_eq!(find("linked", Family::V4), Some(Err(LookupError::NoAddress)));
    }

    #[test]
    fn comments_mistakes_and_other_names_do_not_count() {
        for name in ["other", "192.0.2.8", "brok", "lost", "wrong", "192.0.2.3", "", "#"] {
            assert_eq!(find(name, Family::V4), None, "{name}");
        }
    }

    #[test]
    fn long_lines_many_addresses_and_other_encodings_are_bounded() {
        let mut file = Vec::from("192.0.2.1 long ".repeat(MAX_LINE));
        file.extend(b"\n\xff 192.0.2.1 broker\n192.0.2.2 \xff\n");
        for last in 0..=255 {
            file.extend(format!("127.0.0.{last} broker long2\n").bytes());
        }
        assert_eq!(addresses(&*file, "long", Family::V4), None);
        let found = addresses(&*file, "broker", Family::V4).unwrap().unwrap();
        assert_eq!(found.len(), MAX_ADDRESSES);
        let exact = format!("{}\n192.0.2.1 after\n", "x".repeat(MAX_LINE));
        assert!(addresses(exact.as_bytes(), "after", Family::V4).is_some());
        let endless = io::BufReader::new(io::repeat(b'x'));
        assert_eq!(addresses(endless, "broker", Family::V4), None);
    }
}
