//! Reads the files of the system and asks its name servers. Blocks.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::net::SocketAddr;
use std::str;

use super::candidates::Candidates;
use super::config::{Config, Server};
use super::exchange::ask;
use super::hosts;
use super::literal;
use super::lookup_error::{Answer, LookupError};
use super::message::{Query, is_name};
use super::outcome::{Failure, Outcome};
use crate::dial::race::Family;

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// The port of name servers.
const PORT: u16 = 53;

/// Most bytes of a file with settings.
const MAX_FILE: u64 = 64 << 10;

/// The addresses of `host`.
///
/// # Errors
/// See [`LookupError`].
pub(crate) fn lookup(host: &str, family: Family) -> Answer {
    if let Some(answer) = literal::addresses(host, family) {
        return answer;
    }
    let hosts = File::open(HOSTS).ok().map(BufReader::new);
    if let Some(answer) = hosts.and_then(|hosts| hosts::addresses(hosts, host, family)) {
        return answer;
    }
    check(host)?;
    let host_name = read(HOST_NAME);
    let config = Config::parse(&read(RESOLV_CONF), str::from_utf8(&host_name).unwrap_or_default());
    let servers: Vec<_> = config.servers.iter().filter_map(address).collect();
    ask_for(host, family, &config, &servers)
}

/// Whether name servers can be asked for it.
fn check(host: &str) -> Result<(), LookupError> {
    if !host.is_ascii() {
        let text =
            "it has characters other than ASCII; write its ASCII form, which begins with xn--";
        return Err(LookupError::Other(text.into()));
    }
    match is_name(host.strip_suffix('.').unwrap_or(host)) {
        true => Ok(()),
        false => Err(LookupError::NoName),
    }
}

/// The content of a file; empty if it cannot be read, as without name servers.
fn read(path: &str) -> Vec<u8> {
    let mut content = Vec::new();
    if let Ok(file) = File::open(path) {
        // What is read before an error counts.
        let _ = file.take(MAX_FILE).read_to_end(&mut content);
    }
    content
}

/// `None` if the network interface does not exist now.
fn address(server: &Server) -> Option<SocketAddr> {
    let scope = match &server.zone {
        None => 0,
        Some(zone) => literal::interface(zone)?,
    };
    Some(literal::socket_address(server.ip, scope, PORT))
}

/// Asks for all names that `host` may stand for.
fn ask_for(host: &str, family: Family, config: &Config, servers: &[SocketAddr]) -> Answer {
    if family == Family::V6 && config.no_aaaa {
        return Err(LookupError::NoAddress);
    }
    let ask = |name: &str, family| {
        if family == Family::V6 && config.no_aaaa {
            return Ok(Outcome::Failure(Failure::NoData));
        }
        let outcome = ask(servers, &config.asking, Query { name, family });
        outcome.map_err(|error| LookupError::Other(random_error(&error)))
    };
    let mut candidates = Candidates::new(host, config);
    while let Some(name) = candidates.current() {
        match ask(name, family)? {
            Outcome::Found(addresses) => {
                return Ok(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect());
            }
            // A search domain must not add addresses to a name that has some of the other family.
            Outcome::Failure(Failure::NoData) if candidates.has_more() => {
                match ask(name, family.other())? {
                    Outcome::Failure(Failure::NoData | Failure::NoName) => {
                        candidates.failed(Failure::NoData);
                    }
                    _ => return Err(LookupError::NoAddress),
                }
            }
            Outcome::Failure(failure) => candidates.failed(failure),
        }
    }
    Err(candidates.into_failure().into())
}

fn random_error(error: &io::Error) -> String {
    format!("no random number for the question: {error}")
}
