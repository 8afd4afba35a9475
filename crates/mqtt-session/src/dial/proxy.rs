//! Which HTTP proxy leads to the broker.

use std::fmt;

use hyper::http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use super::no_proxy;
use crate::broker_address::BrokerAddress;
use crate::setting_error::SettingError;

/// The variables with a proxy, in the order of curl. `HTTP_PROXY` is not one of them: it is for
/// requests that a proxy reads, while MQTT needs a tunnel, as HTTPS does.
const VARIABLES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

/// The variables with hosts that are reached without a proxy, in the order of curl.
const EXCEPTIONS: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// Those that are not used, although they look alike.
const UNUSED: [&str; 2] = ["http_proxy", "HTTP_PROXY"];

/// Whether the broker is reached through a proxy.
#[derive(Debug, Clone, Default)]
pub enum ProxyChoice {
    /// No proxy is set.
    #[default]
    None,
    /// Only `HTTP_PROXY` is set, which is not for MQTT.
    Unused,
    /// A proxy is set, but `NO_PROXY` names the broker, or the broker has a link-local address.
    Excluded,
    /// This one.
    Used(HttpProxy),
}

/// An HTTP proxy that opens a tunnel to the broker (RFC 9110, 9.3.6).
#[derive(Clone)]
pub struct HttpProxy {
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Whether the proxy itself is reached over TLS.
    pub(super) is_tls: bool,
    /// `Proxy-Authorization`.
    pub(super) login: Option<HeaderValue>,
    variable: &'static str,
}

impl ProxyChoice {
    /// Chooses the proxy for `broker` as curl does; `variable` returns environment variables. An
    /// empty variable counts as not set.
    ///
    /// # Errors
    /// The URL of the proxy is invalid or not supported.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
        broker: &BrokerAddress,
    ) -> Result<Self, SettingError> {
        let first = |names: &[&'static str]| {
            names.iter().find_map(|name| {
                let value = variable(name)?.trim().to_owned();
                (!value.is_empty()).then_some((*name, value))
            })
        };
        let Some((name, url)) = first(&VARIABLES) else {
            return Ok(if first(&UNUSED).is_some() { Self::Unused } else { Self::None });
        };
        let exceptions = first(&EXCEPTIONS).map(|(_, list)| list).unwrap_or_default();
        let exceptions = no_proxy::prepare(&exceptions, broker.port());
        if broker.has_zone() || intercept(&url, &exceptions, broker).is_none() {
            // Not because of the URL.
            if broker.has_zone() || intercept(&url, "", broker).is_some() {
                return Ok(Self::Excluded);
            }
        }
        let proxy = intercept(&url, "", broker)
            .ok_or_else(|| invalid(name))
            .and_then(|intercept| HttpProxy::new(name, &intercept))?;
        Ok(Self::Used(proxy))
    }

    pub(super) fn proxy(&self) -> Option<&HttpProxy> {
        match self {
            Self::Used(proxy) => Some(proxy),
            _ => None,
        }
    }
}

impl fmt::Display for ProxyChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => formatter.write_str("none"),
            Self::Unused => {
                formatter.write_str("none: HTTP_PROXY is not for MQTT, set HTTPS_PROXY")
            }
            Self::Excluded => formatter.write_str("none: NO_PROXY covers the broker"),
            Self::Used(proxy) => write!(formatter, "{proxy}"),
        }
    }
}

impl HttpProxy {
    fn new(variable: &'static str, intercept: &Intercept) -> Result<Self, SettingError> {
        let uri = intercept.uri();
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            scheme => {
                let scheme = scheme.unwrap_or_default();
                return Err(SettingError::new(
                    variable,
                    format!(
                        "{scheme} proxies are not supported; use an HTTP proxy, or add the \
                         broker to NO_PROXY"
                    ),
                ));
            }
        };
        let authority = uri.authority().ok_or_else(|| invalid(variable))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let given = authority.as_str().get(authority.host().len()..).unwrap_or_default();
        let port = match given.trim_start_matches(':') {
            "" if is_tls => 443,
            "" => 80,
            port => port.parse().ok().filter(|port| *port > 0).ok_or_else(|| invalid(variable))?,
        };
        if host.is_empty() {
            return Err(invalid(variable));
        }
        let login = intercept.basic_auth().cloned();
        Ok(Self { host: host.to_owned(), port, is_tls, login, variable })
    }

    /// The environment variable that sets it.
    pub(super) fn variable(&self) -> &'static str {
        self.variable
    }
}

impl fmt::Display for HttpProxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        let Self { host, port, .. } = self;
        if host.contains(':') {
            write!(formatter, "{scheme}://[{host}]:{port}")
        } else {
            write!(formatter, "{scheme}://{host}:{port}")
        }
    }
}

impl fmt::Debug for HttpProxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HttpProxy({self})")
    }
}

/// The proxy at `url`, unless `exceptions` name the broker or the URL is invalid.
fn intercept(url: &str, exceptions: &str, broker: &BrokerAddress) -> Option<Intercept> {
    let host = broker.tls_host();
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let target = Uri::try_from(format!("https://{host}/")).ok()?;
    Matcher::builder().https(url).no(exceptions).build().intercept(&target)
}

/// Does not show the URL: it may contain a password.
fn invalid(variable: &'static str) -> SettingError {
    SettingError::new(
        variable,
        "it is not the URL of a proxy; write http://host:port or \
         http://user:password@host:port, with %40 for @ and %2F for / in the password",
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn choose(broker: &str, variables: &[(&str, &str)]) -> Result<ProxyChoice, SettingError> {
        let broker = BrokerAddress::from_settings(broker, None, 1883).unwrap();
        let variable = |name: &str| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        ProxyChoice::from_environment(variable, &broker)
    }

    fn chosen(broker: &str, variables: &[(&str, &str)]) -> String {
        choose(broker, variables).unwrap().to_string()
    }

    #[test]
    fn variables_are_read_in_the_order_of_curl() {
        let all = [
            ("https_proxy", "http://a:1"),
            ("HTTPS_PROXY", "http://b:2"),
            ("all_proxy", "http://c:3"),
            ("ALL_PROXY", "http://d:4"),
            ("http_proxy", "http://e:5"),
        ];
        for (skip, expected) in [
            (0, "http://a:1"),
            (1, "http://b:2"),
            (2, "http://c:3"),
            (3, "http://d:4"),
            (4, "none: HTTP_PROXY is not for MQTT, set HTTPS_PROXY"),
            (5, "none"),
        ] {
            assert_eq!(chosen("broker", all.get(skip..).unwrap()), expected);
        }
        assert_eq!(chosen("broker", &[("https_proxy", " "), ("HTTPS_PROXY", "p:1")]), "http://p:1");
    }

    #[test]
    fn a_proxy_is_written_in_many_ways_and_shown_without_its_login() {
        for (url, shown, login) in [
            ("http://proxy", "http://proxy:80", None),
            ("https://proxy", "https://proxy:443", None),
            ("HTTP://proxy:3128/", "http://proxy:3128", None),
            ("proxy:3128", "http://proxy:3128", None),
            ("10.0.0.1:3128", "http://10.0.0.1:3128", None),
            ("http://[::1]:3128/", "http://[::1]:3128", None),
            ("http://user:p%40ss%3A@proxy:1", "http://proxy:1", Some("Basic dXNlcjpwQHNzOg==")),
            ("user@proxy:1", "http://proxy:1", Some("Basic dXNlcjo=")),
        ] {
            let choice = choose("broker", &[("HTTPS_PROXY", url)]).unwrap();
            let proxy = choice.proxy().unwrap();
            let seen = proxy.login.as_ref().map(|login| login.to_str().unwrap());
            assert_eq!((choice.to_string().as_str(), seen), (shown, login), "{url}");
            assert!(!format!("{choice:?}").contains("user"));
        }
    }

    #[test]
    fn a_wrong_url_is_refused_and_not_shown() {
        for url in [
            "http://user:secret/1@proxy:1",
            "http://user:secret@1@proxy:1",
            "http://proxy:secret",
            "http://proxy:0",
            "http://proxy:65536",
            "ftp://user:secret@proxy",
            "http://",
            "secret secret",
        ] {
            let error = choose("broker", &[("HTTPS_PROXY", url)]).unwrap_err();
            assert_eq!(error.name, "HTTPS_PROXY");
            assert!(!error.reason.contains("secret"), "{url}: {error}");
            assert!(error.reason.contains("write http://host:port"), "{url}: {error}");
        }
        let error = choose("broker", &[("all_proxy", "socks5h://user:secret@p:1")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "all_proxy: socks5h proxies are not supported; use an HTTP proxy, or add the broker to \
             NO_PROXY"
        );
    }

    #[test]
    fn no_proxy_has_hosts_suffixes_networks_and_ports() {
        let is_excluded = |broker, exceptions| {
            let variables = [("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", exceptions)];
            matches!(choose(broker, &variables).unwrap(), ProxyChoice::Excluded)
        };
        for (broker, exceptions) in [
            ("broker.example", "broker.example"),
            ("Broker.Example.", "a, broker.EXAMPLE"),
            ("broker.example", "example"),
            ("broker.example", ".example"),
            ("broker.example", "*.example"),
            ("broker.example", "*"),
            ("10.1.2.3", "*"),
            ("[::1]", "*"),
            ("localhost", "*"),
            ("broker.example", "broker.example:1883"),
            ("broker.example", "a b broker.example"),
            ("10.1.2.3", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3"),
            ("::ffff:10.1.2.3", "10.0.0.0/8"),
            ("[fd00::1]:8883", "fd00::/8"),
            ("[::1]", "[::1]"),
            ("localhost", "localhost,127.0.0.1"),
        ] {
            assert!(is_excluded(broker, exceptions), "{broker} in {exceptions}");
        }
        for (broker, exceptions) in [
            ("broker.example", ""),
            ("mybroker.example", "broker.example"),
            ("broker.example", "broker.example:8883"),
            ("broker.example", "sub.broker.example"),
            ("10.1.2.3", "10.1.0.0/24"),
            ("localhost", "127.0.0.1"),
        ] {
            assert!(!is_excluded(broker, exceptions), "{broker} in {exceptions}");
        }
        assert!(is_excluded("fe80::1%eth0", ""));
        // A proxy that is not used need not be valid.
        assert!(choose("a", &[("HTTPS_PROXY", "socks5://p:1"), ("no_proxy", "a")]).is_ok());
    }
}
