//! What `/etc/resolv.conf` says, within the limits of glibc.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use resolv_conf::ScopedIp;

/// Most name servers (`MAXNS`).
const MAX_SERVERS: usize = 3;

/// Most search domains.
const MAX_SEARCH: usize = 32;

/// Most dots that a name must have to be asked for as it is first (`RES_MAXNDOTS`).
const MAX_NDOTS: u32 = 15;

/// Longest time for an answer, in seconds (`RES_MAXRETRANS`).
const MAX_TIMEOUT: u32 = 30;

/// Most attempts (`RES_MAXRETRY`).
const MAX_ATTEMPTS: u32 = 5;

/// How names are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) servers: Vec<Server>,
    /// Domains for names with few dots.
    pub(super) search: Vec<String>,
    /// A name with so many dots is asked for as it is first.
    pub(super) ndots: usize,
    /// Whether a name without a dot is only asked for with the search domains.
    pub(super) no_tld_query: bool,
    /// Whether IPv6 addresses are not asked for.
    pub(super) no_aaaa: bool,
    pub(super) asking: Asking,
}

/// How name servers are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asking {
    /// How long the first name server has for an answer.
    pub(super) timeout: Duration,
    /// How often each name server is asked.
    pub(super) attempts: u32,
    /// Whether each lookup begins with another name server.
    pub(super) rotate: bool,
    /// Whether TCP is used from the start.
    pub(super) use_tcp: bool,
}

/// A name server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) ip: IpAddr,
    /// The network interface of a link-local address.
    pub(super) zone: Option<String>,
}

impl Config {
    /// Reads the content of the file, which may be empty. What is not understood does not count.
    /// `host_name` is the name of this machine, whose domain is the search domain if there is no
    /// other.
    pub(super) fn parse(content: &[u8], host_name: &str) -> Self {
        let (config, _mistakes) = resolv_conf::Config::parse_with_errors(content);
        let servers = config.nameservers.iter().take(MAX_SERVERS).map(|server| match server {
            ScopedIp::V4(ip) => Server { ip: (*ip).into(), zone: None },
            ScopedIp::V6(ip, zone) => Server { ip: (*ip).into(), zone: zone.clone() },
        });
        let mut servers: Vec<_> = servers.collect();
        if servers.is_empty() {
            servers.push(Server { ip: Ipv4Addr::LOCALHOST.into(), zone: None });
        }
        let mut search: Vec<_> =
            config.get_last_search_or_domain().take(MAX_SEARCH).cloned().collect();
        if config.get_search().is_none() && config.get_domain().is_none() {
            let domain = host_name.trim().split_once('.').map(|(_, domain)| domain.to_owned());
            search.extend(domain.filter(|domain| !domain.is_empty()));
        }
        Self {
            servers,
            search,
            ndots: config.ndots.min(MAX_NDOTS) as usize,
            no_tld_query: config.no_tld_query,
            no_aaaa: config.no_aaaa,
            asking: Asking {
                timeout: Duration::from_secs(config.timeout.clamp(1, MAX_TIMEOUT).into()),
                attempts: config.attempts.clamp(1, MAX_ATTEMPTS),
                rotate: config.rotate,
                use_tcp: config.use_vc,
            },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(content: &str) -> Config {
        Config::parse(content.as_bytes(), "vehicle")
    }

    fn servers(content: &str) -> Vec<String> {
        let text = |server: Server| match server.zone {
            Some(zone) => format!("{}%{zone}", server.ip),
            None => server.ip.to_string(),
        };
        parse(content).servers.into_iter().map(text).collect()
    }

    #[test]
    fn without_a_file_the_name_server_of_this_machine_is_asked() {
        let config = parse("");
        let asking =
            Asking { timeout: Duration::from_secs(5), attempts: 2, rotate: false, use_tcp: false };
        let localhost = Server { ip: Ipv4Addr::LOCALHOST.into(), zone: None };
        let expected = Config {
            servers: vec![localhost],
            search: Vec::new(),
            ndots: 1,
            no_tld_query: false,
            no_aaaa: false,
            asking,
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn the_first_three_name_servers_count() {
        let content = "# a comment\n; another\nnameserver 192.0.2.1\nnameserver wrong\n\
                       nameserver\nnameserver fe80::1%eth0\nnameserver 2001:db8::1 # last\n\
                       nameserver 192.0.2.4\n";
        assert_eq!(servers(content), ["192.0.2.1", "fe80::1%eth0", "2001:db8::1"]);
    }

    #[test]
    fn the_last_search_or_domain_counts() {
        for (content, expected) in [
            ("search a.test b.test\n", &["a.test", "b.test"][..]),
            ("search a.test\nsearch b.test\n", &["b.test"]),
            ("search a.test\ndomain b.test\n", &["b.test"]),
            ("domain a.test\nsearch b.test .\n", &["b.test", "."]),
            ("search\n", &[]),
        ] {
            assert_eq!(parse(content).search, expected, "{content}");
        }
        let many = format!("search {}\n", "a.test ".repeat(100));
        assert_eq!(parse(&many).search.len(), MAX_SEARCH);
    }

    #[test]
    fn the_domain_of_this_machine_is_searched_if_there_is_no_other() {
        let search = |content: &str, name| Config::parse(content.as_bytes(), name).search;
        assert_eq!(search("", "vehicle.fleet.test\n"), ["fleet.test"]);
        assert_eq!(search("nameserver 192.0.2.1\n", "a.b"), ["b"]);
        assert_eq!(search("search c.test\n", "a.b"), ["c.test"]);
        for name in ["vehicle", "", "vehicle.\n"] {
            assert!(search("", name).is_empty(), "{name:?}");
        }
    }

    #[test]
    fn options_have_the_limits_of_glibc_and_unknown_ones_do_not_count() {
        let config = parse("options timeout:99 attempts:99 ndots:99 future edns0 trust-ad\n");
        assert_eq!(config.asking.timeout, Duration::from_secs(30));
        assert_eq!((config.asking.attempts, config.ndots), (5, 15));
        let config = parse("options timeout:0 attempts:0 ndots:0 rotate use-vc no-aaaa\n");
        assert_eq!(config.asking.timeout, Duration::from_secs(1));
        assert_eq!((config.asking.attempts, config.ndots), (1, 0));
        assert!(config.asking.rotate && config.asking.use_tcp && config.no_aaaa);
        let config = parse("future x\noptions timeout:x attempts:-1 timeout:99999999999 rotate\n");
        assert_eq!((config.asking.timeout.as_secs(), config.asking.attempts), (5, 2));
        assert!(config.asking.rotate);
    }

    proptest! {
        #[test]
        fn any_content_gives_a_name_server(content in proptest::collection::vec(any::<u8>(), 0..300)) {
            let config = Config::parse(&content, "a.b");
            prop_assert!((1..=MAX_SERVERS).contains(&config.servers.len()));
        }

        #[test]
        fn any_words_give_a_name_server(
            words in proptest::collection::vec("nameserver|search|domain|options|sortlist|lookup|\
                family|timeout:|ndots:|[0-9a-f.:%/,]{0,20}|[ \t\n;#]", 0..60)
        ) {
            let config = Config::parse(words.join(" ").as_bytes(), ".");
            prop_assert!((1..=MAX_SERVERS).contains(&config.servers.len()));
        }
    }
}
