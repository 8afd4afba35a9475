//! Recognises URLs where a host is expected, and says which settings they mean.

use crate::setting_error::ADDRESS;

/// What a scheme means.
struct Scheme {
    is_tls: bool,
    /// The default port, if it is a scheme of HTTP or WebSocket.
    web_port: Option<u16>,
}

/// The parts of a URL, or of what has parts of one.
pub(crate) struct Url<'a> {
    scheme: Option<&'a str>,
    has_login: bool,
    /// Host and port.
    pub(crate) address: &'a str,
    path: &'a str,
}

impl<'a> Url<'a> {
    /// Splits `text`; `None` if it has nothing of a URL.
    pub(crate) fn split(text: &'a str) -> Option<Self> {
        let (scheme, rest) = split_scheme(text);
        // First, because people put anything into a password.
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Some(login), rest),
            None => (None, rest),
        };
        let (address, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let has_login = login.is_some();
        let is_url = scheme.is_some() || has_login || !path.is_empty();
        is_url.then_some(Self { scheme, has_login, address, path })
    }

    /// Whether it begins with a scheme.
    pub(crate) fn has_scheme(&self) -> bool {
        self.scheme.is_some_and(|scheme| !scheme.is_empty())
    }

    /// What it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self { scheme: Some(_), .. } => "is a URL",
            Self { has_login: true, .. } => "contains a login",
            _ => "contains a path",
        }
    }

    /// The port that its scheme has, unless it is the default of MQTT.
    pub(crate) fn web_port(&self) -> Option<u16> {
        self.scheme.map(known)?.web_port
    }

    /// The settings that mean the same. `address` is the one without the other parts.
    pub(crate) fn settings(&self, address: &str) -> String {
        let mut settings = vec![format!("{ADDRESS}={address}")];
        if self.scheme.map(known).is_some_and(|scheme| scheme.is_tls) {
            settings.push("MQTT_TLS=true".into());
        }
        if self.web_port().is_some() {
            settings.push("MQTT_TRANSPORT=websocket".into());
            let path = if self.path.is_empty() { "/" } else { self.path };
            settings.push(format!("MQTT_WEBSOCKET_PATH={path}"));
        }
        if self.has_login {
            settings.push("and the login into MQTT_USERNAME and MQTT_PASSWORD_FILE".into());
        }
        settings.join(" ")
    }
}

/// The scheme, and what follows it and its slashes.
fn split_scheme(text: &str) -> (Option<&str>, &str) {
    if let Some(rest) = text.strip_prefix("//") {
        return (Some(""), rest);
    }
    match text.split_once(":/") {
        // A known one may have too few slashes, or too many.
        Some((scheme, rest)) if rest.starts_with('/') || is_known(scheme) => {
            (Some(scheme), rest.trim_start_matches('/'))
        }
        _ => (None, text),
    }
}

fn is_known(scheme: &str) -> bool {
    let Scheme { is_tls, web_port } = known(scheme);
    is_tls || web_port.is_some() || ["mqtt", "tcp"].iter().any(|s| scheme.eq_ignore_ascii_case(s))
}

fn known(scheme: &str) -> Scheme {
    let (is_tls, web_port) = match scheme.to_ascii_lowercase().as_str() {
        "mqtts" | "ssl" | "tls" | "mqtt+ssl" | "mqtt+tls" | "tcps" => (true, None),
        "ws" | "http" | "mqtt+ws" => (false, Some(80)),
        "wss" | "https" | "mqtt+wss" => (true, Some(443)),
        _ => (false, None),
    };
    Scheme { is_tls, web_port }
}

/// An address as messages show it: in quotes, and without the password that it may contain.
pub(crate) fn shown(text: &str) -> String {
    let Some((before, after)) = text.rsplit_once('@') else { return format!("{text:?}") };
    let scheme = before.split_once("://").map(|(scheme, _)| format!("{scheme}://"));
    format!("{:?}", format!("{}***@{after}", scheme.unwrap_or_default()))
}
