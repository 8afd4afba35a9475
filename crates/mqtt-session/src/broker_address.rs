//! The address of a broker, in all forms in which people write it.

use std::fmt;

use crate::address_url::{Url, shown};
use crate::broker_host::Host;
use crate::setting_error::{ADDRESS, PORT, SettingError};

/// Most addresses of one broker.
const MAX_ADDRESSES: usize = 16;

/// Host and port of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    host: Host,
    port: u16,
}

impl BrokerAddress {
    /// Parses `address`, which may contain a port. `port` is the value of the setting for the
    /// port; without either, `default_port` applies.
    ///
    /// # Errors
    /// The address or the port is invalid, or they contradict each other. There is one error for
    /// each of the two settings at most.
    pub fn from_settings(
        address: &str,
        port: Option<&str>,
        default_port: u16,
    ) -> Result<Self, Vec<SettingError>> {
        let port = port.map(str::trim).filter(|port| !port.is_empty());
        let parsed = parse(address, port);
        let parsed = parsed.map_err(|reason| SettingError::new(ADDRESS, reason));
        let separate =
            port.map(parse_port).transpose().map_err(|reason| SettingError::new(PORT, reason));
        let ((host, included), separate) = match (parsed, separate) {
            (Ok(parsed), Ok(separate)) => (parsed, separate),
            (parsed, separate) => {
                return Err([parsed.err(), separate.err()].into_iter().flatten().collect());
            }
        };
        if let (Some(included), Some(separate)) = (included, separate)
            && included != separate
        {
            let address = address.trim();
            return Err(vec![SettingError::new(
                PORT,
                format!("it is {separate}, but {ADDRESS}={address} says {included}; set only one"),
            )]);
        }
        Ok(Self { host, port: included.or(separate).unwrap_or(default_port) })
    }

    /// Parses one address or several that are separated by commas, each as in
    /// [`from_settings`](Self::from_settings). `port` is for all of them.
    ///
    /// # Errors
    /// The mistakes of all of them; an address is missing or is there twice; there are too many.
    pub fn list_from_settings(
        addresses: &str,
        port: Option<&str>,
        default_port: u16,
    ) -> Result<Vec<Self>, Vec<SettingError>> {
        let mistake = |reason: String| SettingError::new(ADDRESS, reason);
        let parts: Vec<&str> = addresses.split(',').map(str::trim).collect();
        if parts.len() > 1 && parts.iter().any(|part| part.is_empty()) {
            return Err(vec![mistake(format!("{addresses:?} has a comma without an address"))]);
        }
        if parts.len() > MAX_ADDRESSES {
            let count = parts.len();
            return Err(vec![mistake(format!(
                "it has {count} addresses; at most {MAX_ADDRESSES} are tried: name fewer, or one \
                 name that has all of them in DNS"
            ))]);
        }
        let mut found: Vec<Self> = Vec::new();
        let mut mistakes: Vec<SettingError> = Vec::new();
        for part in parts {
            match Self::from_settings(part, port, default_port) {
                Ok(address) if found.contains(&address) => {
                    mistakes.push(mistake(format!("{address} is there twice")));
                }
                Ok(address) => found.push(address),
                // A mistake in the port is the same for each.
                Err(errors) => {
                    for error in errors {
                        if !mistakes.contains(&error) {
                            mistakes.push(error);
                        }
                    }
                }
            }
        }
        if mistakes.is_empty() { Ok(found) } else { Err(mistakes) }
    }

    /// The host as a name server or a proxy is asked for it: a name, or an address without
    /// brackets.
    #[must_use]
    pub fn host(&self) -> String {
        self.host.to_string()
    }

    /// The host as a certificate and a `Host` header have it: without trailing dot and zone.
    #[must_use]
    pub fn tls_host(&self) -> String {
        self.host.without_zone()
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether only an interface of this machine leads there, so that no proxy does.
    pub(crate) fn has_zone(&self) -> bool {
        matches!(self.host, Host::V6(_, Some(_)))
    }

    /// Whether this machine is the host.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host.is_loopback()
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host {
            Host::V6(..) => write!(formatter, "[{host}]:{port}"),
            _ => write!(formatter, "{host}:{port}"),
        }
    }
}

/// Host and port, if there is one; or what is wrong. `separate` is the setting for the port.
fn parse(address: &str, separate: Option<&str>) -> Result<(Host, Option<u16>), String> {
    let text = address.trim();
    if text.is_empty() {
        return Err("it is empty; write the host name or address of the broker".into());
    }
    let bare = text.trim_matches(|character: char| {
        character.is_whitespace() || ['"', '\'', '`', '“', '”', '‘', '’', '„'].contains(&character)
    });
    if bare != text {
        return Err(match parse(bare, separate) {
            Ok(_) => format!("{text:?} has quotes; write {bare}"),
            Err(reason) => format!("it has quotes, and {reason}"),
        });
    }
    match Url::split(text) {
        None => parse_address(text),
        Some(url) => Err(not_a_url(text, &url, separate)),
    }
}

/// What to write instead of a URL.
fn not_a_url(text: &str, url: &Url<'_>, separate: Option<&str>) -> String {
    let (shown, kind) = (shown(text), url.kind());
    if url.address.is_empty() {
        return format!("{shown} {kind} without a host; write {ADDRESS}=host");
    }
    match parse_address(url.address) {
        Err(reason) => format!("{shown} {kind}, and {reason}"),
        Ok((host, port)) => {
            let differs = separate.is_some_and(|separate| port != separate.parse().ok());
            let remove = if port.is_some() && differs {
                format!(" and remove {PORT}")
            } else {
                String::new()
            };
            let port = port.or_else(|| url.web_port().filter(|_| separate.is_none()));
            let address = match port {
                Some(port) => BrokerAddress { host, port }.to_string(),
                None => host.to_string(),
            };
            format!("{shown} {kind}; write {}{remove}", url.settings(&address))
        }
    }
}

/// The settings that mean the same as a URL with a scheme.
pub(crate) fn url_settings(text: &str) -> Option<String> {
    let url = Url::split(text).filter(Url::has_scheme)?;
    let (host, port) = parse_address(url.address).ok()?;
    let address = match port.or_else(|| url.web_port()) {
        Some(port) => BrokerAddress { host, port }.to_string(),
        None => host.to_string(),
    };
    Some(url.settings(&address))
}

/// Host and port, if there is one; or what is wrong.
fn parse_address(text: &str) -> Result<(Host, Option<u16>), String> {
    let is_separator = |character: char| character.is_whitespace() || ",;".contains(character);
    let parts: Vec<&str> = text.split(is_separator).filter(|part| !part.is_empty()).collect();
    if parts.len() > 1 && parts.iter().all(|part| parse_address(part).is_ok()) {
        return Err(format!(
            "{text:?} is not one address; separate several by commas: a:1883,b:1883"
        ));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let Some((inside, port)) = rest.split_once(']') else {
            return Err(format!("{text:?} has no closing bracket; write [::1] or [::1]:1883"));
        };
        let host = Host::parse_v6(inside)?;
        return match port.strip_prefix(':') {
            Some(port) => Ok((host, Some(parse_port(port)?))),
            None if port.is_empty() => Ok((host, None)),
            None => Err(format!("{text:?} has {port:?} after the bracket; write [{inside}]:1883")),
        };
    }
    match text.split_once(':') {
        None => Ok((Host::parse_name(text)?, None)),
        Some((_, port)) if port.contains(':') => Ok((Host::parse_bare_v6(text)?, None)),
        Some(("", port)) => Err(format!("{text:?} has no host; write localhost:{port}")),
        Some((host, port)) => Ok((Host::parse_name(host)?, Some(parse_port(port)?))),
    }
}

/// A port, in decimal digits.
fn parse_port(text: &str) -> Result<u16, String> {
    // `parse` accepts a plus sign.
    let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.map(str::parse) {
        Some(Ok(0)) => Err("0 is not a valid port; use 1 to 65535".into()),
        Some(Ok(port)) => Ok(port),
        _ => Err(format!("{text:?} is not a port, a number from 1 to 65535")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(address: &str, port: Option<&str>) -> Result<BrokerAddress, Vec<SettingError>> {
        BrokerAddress::from_settings(address, port, 1883)
    }

    fn mistake(address: &str) -> String {
        let [mistake] = <[_; 1]>::try_from(read(address, None).unwrap_err()).unwrap();
        assert_eq!(mistake.name, ADDRESS);
        mistake.reason
    }

    #[test]
    fn each_valid_form_is_taken() {
        for (address, shown, host, tls_host) in [
            ("broker", "broker:1883", "broker", "broker"),
            ("broker.example:8883", "broker.example:8883", "broker.example", "broker.example"),
            ("  broker\n", "broker:1883", "broker", "broker"),
            ("broker.example.", "broker.example.:1883", "broker.example.", "broker.example"),
            ("broker.example.:1884", "broker.example.:1884", "broker.example.", "broker.example"),
            ("my_broker", "my_broker:1883", "my_broker", "my_broker"),
            (
                "xn--mnchen-3ya.example",
                "xn--mnchen-3ya.example:1883",
                "xn--mnchen-3ya.example",
                "xn--mnchen-3ya.example",
            ),
            ("3com.example", "3com.example:1883", "3com.example", "3com.example"),
            ("1.2.3.4:1884", "1.2.3.4:1884", "1.2.3.4", "1.2.3.4"),
            ("[::1]", "[::1]:1883", "::1", "::1"),
            ("[::1]:1884", "[::1]:1884", "::1", "::1"),
            ("::1", "[::1]:1883", "::1", "::1"),
            ("2001:DB8:0:0:0:0:0:0001", "[2001:db8::1]:1883", "2001:db8::1", "2001:db8::1"),
            ("2001:db8::80", "[2001:db8::80]:1883", "2001:db8::80", "2001:db8::80"),
            ("[::1:1883]", "[::1:1883]:1883", "::1:1883", "::1:1883"),
            ("::ffff:1.2.3.4", "1.2.3.4:1883", "1.2.3.4", "1.2.3.4"),
            ("[::FFFF:1.2.3.4]:1884", "1.2.3.4:1884", "1.2.3.4", "1.2.3.4"),
            ("fe80::1%eth0", "[fe80::1%eth0]:1883", "fe80::1%eth0", "fe80::1"),
            ("[fe80::1%eth0]:1884", "[fe80::1%eth0]:1884", "fe80::1%eth0", "fe80::1"),
            ("[fe80::1%25eth0]", "[fe80::1%eth0]:1883", "fe80::1%eth0", "fe80::1"),
        ] {
            let broker = read(address, None).unwrap();
            let seen = (broker.to_string(), broker.host(), broker.tls_host());
            assert_eq!(seen, (shown.into(), host.into(), tls_host.into()), "{address}");
        }
    }

    #[test]
    fn each_invalid_form_is_refused_with_the_right_one() {
        for (address, part) in [
            ("", "it is empty"),
            ("  ", "it is empty"),
            ("\"broker\"", "has quotes; write broker"),
            ("'broker:1883'", "has quotes; write broker:1883"),
            ("' \" '", "it has quotes, and it is empty"),
            ("a:1883,b:1883", "is not one address; separate several by commas"),
            ("a b", "is not one address; separate several by commas"),
            ("broker:", "\"\" is not a port"),
            (":1883", "write localhost:1883"),
            ("broker:0", "0 is not a valid port; use 1 to 65535"),
            ("broker:65536", "\"65536\" is not a port"),
            ("broker:+1883", "\"+1883\" is not a port"),
            ("broker:mqtt", "\"mqtt\" is not a port"),
            ("broker: 1883", "\" 1883\" is not a port"),
            ("broker:1883:1884", "has several colons"),
            ("[::1", "has no closing bracket"),
            ("[::1]1883", "write [::1]:1883"),
            ("[broker]:1883", "in brackets is not an IPv6 address; write host:port"),
            ("[1.2.3.4]:1883", "in brackets is not an IPv6 address; write host:port"),
            ("::1:1883", "write [::1]:1883 for port 1883, or [::1:1883] for this address"),
            ("2001:db8:0:0:0:0:0:1:8883", "write [2001:db8:0:0:0:0:0:1]:8883 for port 8883"),
            ("ff02::1", "is a multicast address"),
            ("[ff05::1:3]:1883", "is a multicast address"),
            ("ff02::1%eth0", "is a multicast address"),
            ("224.0.0.1", "is a multicast address"),
            ("239.1.2.3:1883", "is a multicast address"),
            ("::ffff:224.0.0.1", "is a multicast address"),
            ("0.0.0.0", "write localhost if it runs on this one"),
            ("0.0.0.0:1883", "write localhost"),
            ("::", "write localhost"),
            ("[::]:1883", "write localhost"),
            ("::ffff:0.0.0.0", "write localhost"),
            ("255.255.255.255", "is the broadcast address"),
            ("mqtt://0.0.0.0", "write localhost"),
            ("fe80::1", "write fe80::1%eth0"),
            ("2001:db8::1%eth0", "is not a link-local address; write 2001:db8::1"),
            ("fe80::1%", "needs the name of a network interface"),
            ("fe80::1%eth0:1883", "[fe80::1%eth0]:1883"),
            ("1.2.3", "neither a host name nor an IPv4 address"),
            ("256.1.1.1:1883", "neither a host name nor an IPv4 address"),
            ("münchen.example", "write the ASCII form of the name"),
            ("a..b", "its parts between the dots must have 1 to 63 characters"),
            (".", "its parts between the dots must have 1 to 63 characters"),
            ("${BROKER}", "it has '$'"),
            ("broker\u{200b}", "it has '\\u{200b}'"),
            ("broker–1", "it has '–'"),
            ("2001:db8::1:8883", "write [2001:db8::1]:8883 for port 8883, or"),
            ("::1:1883/", "contains a path, and \"::1:1883\" is an IPv6 address without brackets"),
            ("[::1]:", "\"\" is not a port"),
            ("[]:1883", "in brackets is not an IPv6 address"),
            ("127.1", "neither a host name nor an IPv4 address"),
            ("1.2.3.4.", "neither a host name nor an IPv4 address"),
        ] {
            let mistake = mistake(address);
            assert!(mistake.contains(part), "{address}: {mistake}");
        }
    }

    #[test]
    fn a_url_is_refused_with_the_settings_that_mean_the_same() {
        for (text, expected) in [
            ("mqtt://host", "\"mqtt://host\" is a URL; write MQTT_BROKER_ADDR=host"),
            ("tcp://host:1884/", "\"tcp://host:1884/\" is a URL; write MQTT_BROKER_ADDR=host:1884"),
            ("mqtt:/host", "\"mqtt:/host\" is a URL; write MQTT_BROKER_ADDR=host"),
            ("//host:1884", "\"//host:1884\" is a URL; write MQTT_BROKER_ADDR=host:1884"),
            ("mqtt:///host", "\"mqtt:///host\" is a URL; write MQTT_BROKER_ADDR=host"),
            (
                "mqtts://host:8883",
                "\"mqtts://host:8883\" is a URL; write MQTT_BROKER_ADDR=host:8883 MQTT_TLS=true",
            ),
            (
                "SSL://[::1]:1",
                "\"SSL://[::1]:1\" is a URL; write MQTT_BROKER_ADDR=[::1]:1 MQTT_TLS=true",
            ),
            ("mqtt://::1", "\"mqtt://::1\" is a URL; write MQTT_BROKER_ADDR=::1"),
            (
                "ws://host",
                "\"ws://host\" is a URL; write MQTT_BROKER_ADDR=host:80 MQTT_TRANSPORT=websocket \
                 MQTT_WEBSOCKET_PATH=/",
            ),
            (
                "wss://host/mqtt?a=b",
                "\"wss://host/mqtt?a=b\" is a URL; write MQTT_BROKER_ADDR=host:443 MQTT_TLS=true \
                 MQTT_TRANSPORT=websocket MQTT_WEBSOCKET_PATH=/mqtt?a=b",
            ),
            (
                "https://::1",
                "\"https://::1\" is a URL; write MQTT_BROKER_ADDR=[::1]:443 MQTT_TLS=true \
                 MQTT_TRANSPORT=websocket MQTT_WEBSOCKET_PATH=/",
            ),
            (
                "mqtt://user:p@ss/word@host",
                "\"mqtt://***@host\" is a URL; write MQTT_BROKER_ADDR=host and the login into \
                 MQTT_USERNAME and MQTT_PASSWORD_FILE",
            ),
            (
                "user:secret@host:1883",
                "\"***@host:1883\" contains a login; write MQTT_BROKER_ADDR=host:1883 and the \
                 login into MQTT_USERNAME and MQTT_PASSWORD_FILE",
            ),
            ("host/", "\"host/\" contains a path; write MQTT_BROKER_ADDR=host"),
            ("host:1884/a", "\"host:1884/a\" contains a path; write MQTT_BROKER_ADDR=host:1884"),
            ("mqtt://", "\"mqtt://\" is a URL without a host; write MQTT_BROKER_ADDR=host"),
            // What it says to write must be valid.
            (
                "mqtt://host:70000",
                "\"mqtt://host:70000\" is a URL, and \"70000\" is not a port, a number from 1 to 65535",
            ),
            (
                "'mqtt://u:secret@fe80::1'",
                "it has quotes, and \"mqtt://***@fe80::1\" is a URL, and \"fe80::1\" is a \
                 link-local address, which needs its network interface: write fe80::1%eth0",
            ),
        ] {
            assert_eq!(mistake(text), expected);
        }
        // The port of the scheme must not contradict the setting.
        let [mistake] = <[_; 1]>::try_from(read("wss://host/", Some("8084")).unwrap_err()).unwrap();
        assert!(mistake.reason.contains("write MQTT_BROKER_ADDR=host MQTT_TLS=true"), "{mistake}");
        let [mistake] = <[_; 1]>::try_from(read("tcp://host:1", Some("2")).unwrap_err()).unwrap();
        let expected = "write MQTT_BROKER_ADDR=host:1 and remove MQTT_BROKER_PORT";
        assert!(mistake.reason.ends_with(expected), "{mistake}");
    }

    #[test]
    fn the_port_of_the_address_wins_over_the_default_and_must_not_contradict_the_setting() {
        let port = |address, port| read(address, port).unwrap().port();
        assert_eq!(port("broker", None), 1883);
        assert_eq!(port("broker", Some("")), 1883);
        assert_eq!(port("broker", Some(" 1884 ")), 1884);
        assert_eq!(port("broker:1884", None), 1884);
        assert_eq!(port("broker:1884", Some("1884")), 1884);
        let mistakes = read("broker:1884", Some("8883")).unwrap_err();
        assert_eq!(
            mistakes,
            [SettingError::new(
                PORT,
                "it is 8883, but MQTT_BROKER_ADDR=broker:1884 says 1884; set only one"
            )]
        );
        let names =
            |mistakes: Vec<SettingError>| mistakes.iter().map(|m| m.name).collect::<Vec<_>>();
        assert_eq!(names(read("a b", Some("0")).unwrap_err()), [ADDRESS, PORT]);
        assert_eq!(names(read("a:1", Some("x")).unwrap_err()), [PORT]);
    }

    fn list(addresses: &str, port: Option<&str>) -> Result<String, String> {
        let listed = BrokerAddress::list_from_settings(addresses, port, 1883);
        let shown = |found: Vec<BrokerAddress>| {
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        listed.map(shown).map_err(|mistakes| {
            mistakes.iter().map(|mistake| mistake.reason.clone()).collect::<Vec<_>>().join(" | ")
        })
    }

    #[test]
    fn several_addresses_are_separated_by_commas() {
        for (addresses, port, shown) in [
            ("a", None, "a:1883"),
            ("a:1884,b", None, "a:1884 b:1883"),
            (" a , [::1]:1 ,::1\n", None, "a:1883 [::1]:1 [::1]:1883"),
            ("a,b:1884", Some("1884"), "a:1884 b:1884"),
            ("a:1,a:2", None, "a:1 a:2"),
        ] {
            assert_eq!(list(addresses, port).as_deref(), Ok(shown));
        }
    }

    #[test]
    fn all_mistakes_of_several_addresses_are_found() {
        let many = (0..17).map(|number| format!("n{number}")).collect::<Vec<_>>().join(",");
        for (addresses, port, part) in [
            ("", None, "it is empty"),
            ("a,", None, "has a comma without an address"),
            (",a", None, "has a comma without an address"),
            ("a;b", None, "separate several by commas: a:1883,b:1883"),
            ("a:1883 b:1883", None, "separate several by commas: a:1883,b:1883"),
            ("a,b,a:1883", None, "a:1883 is there twice"),
            ("x y,mqtt://b,c", None, "by commas: a:1883,b:1883 | \"mqtt://b\" is a URL"),
            ("a:1,b", Some("2"), "it is 2, but MQTT_BROKER_ADDR=a:1 says 1"),
            (&many, None, "17 addresses; at most 16"),
        ] {
            let mistakes = list(addresses, port).unwrap_err();
            assert!(mistakes.contains(part), "{addresses}: {mistakes}");
        }
        // The port is wrong once.
        assert_eq!(
            list("a,b", Some("x")),
            Err("\"x\" is not a port, a number from 1 to 65535".into())
        );
    }

    #[test]
    fn loopback_is_known_in_each_form() {
        for address in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "127.0.0.1",
            "127.1.2.3:1",
            "::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(read(address, None).unwrap().is_loopback(), "{address}");
        }
        for address in ["192.0.2.1", "localhost.example", "broker", "10.0.0.1", "2001:db8::"] {
            assert!(!read(address, None).unwrap().is_loopback(), "{address}");
        }
    }
}
