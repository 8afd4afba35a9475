//! The names that are asked for instead of a host name, with search domains, and what their
//! answers mean together (`res_search` of glibc).

use std::collections::VecDeque;

use super::config::Config;
use super::message;
use super::outcome::Failure;

/// The names to ask for, in turn.
#[derive(Debug)]
pub(super) struct Candidates {
    names: VecDeque<Candidate>,
    failures: Failures,
}

#[derive(Debug)]
struct Candidate {
    name: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The name as it is, before others.
    First,
    /// With a search domain.
    Search,
    /// The name as it is, after others.
    Last,
}

/// What has failed so far.
#[derive(Debug, Default)]
struct Failures {
    first: Option<Failure>,
    latest: Option<Failure>,
    has_no_data: bool,
    has_server: bool,
}

impl Candidates {
    pub(super) fn new(host: &str, config: &Config) -> Self {
        let name = host.strip_suffix('.');
        let is_absolute = name.is_some();
        let name = name.unwrap_or(host);
        let dots = name.matches('.').count();
        let mut names = VecDeque::new();
        let mut is_asked_as_it_is = is_absolute || dots >= config.ndots;
        if is_asked_as_it_is {
            names.push_back(Candidate { name: name.to_owned(), kind: Kind::First });
        }
        let domains = if is_absolute { &[] } else { config.search.as_slice() };
        for domain in domains {
            let domain = domain.trim_matches('.');
            let name = match domain.is_empty() {
                // The root, which need not be asked twice.
                true if is_asked_as_it_is => continue,
                true => name.to_owned(),
                false => format!("{name}.{domain}"),
            };
            is_asked_as_it_is |= domain.is_empty();
            if message::is_name(&name) {
                names.push_back(Candidate { name, kind: Kind::Search });
            }
        }
        let may_be_top_level = dots > 0 || domains.is_empty() || !config.no_tld_query;
        if !is_asked_as_it_is && may_be_top_level {
            names.push_back(Candidate { name: name.to_owned(), kind: Kind::Last });
        }
        Self { names, failures: Failures::default() }
    }

    /// The name to ask for now.
    pub(super) fn current(&self) -> Option<&str> {
        self.names.front().map(|candidate| candidate.name.as_str())
    }

    /// Whether there are more after this one.
    pub(super) fn has_more(&self) -> bool {
        self.names.len() > 1
    }

    /// There are no addresses for this name.
    pub(super) fn failed(&mut self, failure: Failure) {
        let Some(candidate) = self.names.pop_front() else { return };
        self.failures.latest = Some(failure);
        match candidate.kind {
            Kind::First => self.failures.first = Some(failure),
            Kind::Search => match failure {
                Failure::NoData => self.failures.has_no_data = true,
                Failure::Server => self.failures.has_server = true,
                Failure::NoName => {}
                // The next domain would be no better.
                Failure::Refused | Failure::NoAnswer => {
                    self.names.retain(|candidate| candidate.kind != Kind::Search);
                }
            },
            Kind::Last => {}
        }
    }

    /// Why none of the names has an address.
    pub(super) fn into_failure(self) -> Failure {
        let Failures { first, latest, has_no_data, has_server } = self.failures;
        match first {
            Some(failure) => failure,
            None if has_no_data => Failure::NoData,
            None if has_server => Failure::Server,
            None => latest.unwrap_or(Failure::NoName),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn candidates(host: &str, content: &str) -> Candidates {
        Candidates::new(host, &Config::parse(content.as_bytes(), ""))
    }

    /// Lets these names fail in turn. Returns what was asked for, and the failure.
    fn fail(host: &str, content: &str, failures: &[Failure]) -> (Vec<String>, Failure) {
        let mut candidates = candidates(host, content);
        let mut asked = Vec::new();
        let mut failures = failures.iter().copied().chain(std::iter::repeat(Failure::NoName));
        while let Some(name) = candidates.current() {
            asked.push(name.to_owned());
            candidates.failed(failures.next().unwrap());
        }
        (asked, candidates.into_failure())
    }

    #[test]
    fn dots_decide_what_is_asked_for_first() {
        let search = "search a.test b.test\n";
        for (host, content, expected) in [
            ("broker", "", &["broker"][..]),
            ("broker", search, &["broker.a.test", "broker.b.test", "broker"]),
            ("broker.sub", search, &["broker.sub", "broker.sub.a.test", "broker.sub.b.test"]),
            ("broker.sub.", search, &["broker.sub"]),
            ("broker.", search, &["broker"]),
            ("a.b", "search x\noptions ndots:2\n", &["a.b.x", "a.b"]),
            ("a.b.c", "search x\noptions ndots:2\n", &["a.b.c", "a.b.c.x"]),
            ("broker", "search x\noptions ndots:0\n", &["broker", "broker.x"]),
            ("broker", "search x\noptions no-tld-query\n", &["broker.x"]),
            ("broker", "options no-tld-query\n", &["broker"]),
            ("a.b", "search x\noptions no-tld-query ndots:2\n", &["a.b.x", "a.b"]),
            // The root.
            ("broker", "search . x\n", &["broker", "broker.x"]),
            ("a.b", "search . x.\n", &["a.b", "a.b.x"]),
        ] {
            assert_eq!(fail(host, content, &[]).0, expected, "{host} {content}");
        }
    }

    #[test]
    fn a_domain_that_makes_the_name_too_long_is_left_out() {
        let long = ["x".repeat(60).as_str(); 4].join(".");
        let content = format!("search {long} {} ok\n", "y".repeat(64));
        assert_eq!(
            fail("broker.sub.test", &content, &[]).0,
            ["broker.sub.test", "broker.sub.test.ok"]
        );
    }

    #[test]
    fn the_failures_decide_together() {
        use Failure::{NoAnswer, NoData, NoName, Refused, Server};
        let search = "search a b\n";
        for (host, failures, asked, expected) in [
            ("x", &[][..], 3, NoName),
            // The failure of the name itself says most.
            ("x.y", &[NoData, NoName, NoName], 3, NoData),
            ("x.y", &[NoName, NoData, NoData], 3, NoName),
            ("x.y", &[NoAnswer, NoName, NoName], 3, NoAnswer),
            ("x.y", &[NoName, NoAnswer], 2, NoName),
            ("x", &[NoData, NoName, NoName], 3, NoData),
            ("x", &[Server, NoName, NoName], 3, Server),
            ("x", &[Server, NoData, NoName], 3, NoData),
            // Without an answer, only the name itself is left.
            ("x", &[NoAnswer, NoName], 2, NoName),
            ("x", &[NoAnswer, NoAnswer], 2, NoAnswer),
            ("x", &[Refused, Refused], 2, Refused),
        ] {
            let (names, failure) = fail(host, search, failures);
            assert_eq!((names.len(), failure), (asked, expected), "{host} {failures:?}");
        }
    }
}
