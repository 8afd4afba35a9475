//! What carries MQTT.

use crate::setting_error::SettingError;

const TRANSPORT: &str = "MQTT_TRANSPORT";
const PATH: &str = "MQTT_WEBSOCKET_PATH";

/// The path of most brokers.
const DEFAULT_PATH: &str = "/mqtt";

/// Longest path, in bytes. Signatures in the query are long.
const MAX_PATH: usize = 4096;

/// What carries MQTT, with or without TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Transport {
    /// A connection of TCP.
    #[default]
    Tcp,
    /// Binary messages of WebSocket (RFC 6455, MQTT 5 section 6).
    WebSocket {
        /// Path, and query if there is one.
        path: String,
    },
}

impl Transport {
    /// Checks the values of `MQTT_TRANSPORT` and `MQTT_WEBSOCKET_PATH`; empty is the default.
    ///
    /// # Errors
    /// One of them is invalid.
    pub fn from_settings(
        transport: Option<&str>,
        path: Option<&str>,
    ) -> Result<Self, SettingError> {
        let transport = transport.unwrap_or_default().trim().to_ascii_lowercase();
        let path = path.map(str::trim).filter(|path| !path.is_empty());
        match transport.as_str() {
            "" | "tcp" if path.is_some() => Err(SettingError::new(
                PATH,
                format!("it requires WebSocket, which is off; set {TRANSPORT}=websocket"),
            )),
            "" | "tcp" => Ok(Self::Tcp),
            "websocket" => {
                let path = check_path(path.unwrap_or(DEFAULT_PATH))?;
                Ok(Self::WebSocket { path: path.to_owned() })
            }
            "websockets" | "ws" => Err(SettingError::new(
                TRANSPORT,
                format!("{transport:?} is not a valid transport; write {TRANSPORT}=websocket"),
            )),
            "wss" => Err(SettingError::new(
                TRANSPORT,
                format!(
                    "{transport:?} is not a valid transport; write {TRANSPORT}=websocket and \
                     MQTT_TLS=true"
                ),
            )),
            "tls" | "ssl" | "mqtts" => Err(SettingError::new(
                TRANSPORT,
                format!(
                    "{transport:?} is not a valid transport; write {TRANSPORT}=tcp and \
                     MQTT_TLS=true"
                ),
            )),
            _ => Err(SettingError::new(
                TRANSPORT,
                format!("{transport:?} is not a valid transport; use tcp or websocket"),
            )),
        }
    }
}

fn check_path(path: &str) -> Result<&str, SettingError> {
    let reason = if path.contains("://") {
        "is a URL; write only the path, such as /mqtt".into()
    } else if !path.starts_with('/') {
        format!("does not begin with a slash; write /{path}")
    } else if path.len() > MAX_PATH {
        format!("is longer than {MAX_PATH} bytes")
    } else if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        "has spaces or characters other than ASCII; encode them with %".into()
    } else if path.contains(['#', '"', '<', '>', '\\', '^', '`', '{', '|', '}']) {
        "has characters that a path cannot have; encode them with %".into()
    } else {
        return Ok(path);
    };
    Err(SettingError::new(PATH, format!("{path:?} {reason}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn error(transport: &str, path: Option<&str>) -> String {
        Transport::from_settings(Some(transport), path).unwrap_err().to_string()
    }

    #[test]
    fn tcp_is_the_default_and_websocket_has_a_default_path() {
        for transport in [None, Some(""), Some("tcp"), Some("TCP ")] {
            assert_eq!(Transport::from_settings(transport, Some("")).unwrap(), Transport::Tcp);
        }
        for (given, path) in
            [(None, "/mqtt"), (Some(""), "/mqtt"), (Some("/"), "/"), (Some("/a?b=%20"), "/a?b=%20")]
        {
            let transport = Transport::from_settings(Some("websocket"), given).unwrap();
            assert_eq!(transport, Transport::WebSocket { path: path.into() });
        }
    }

    #[test]
    fn mistakes_say_what_to_write() {
        assert!(error("tcp", Some("/mqtt")).starts_with("MQTT_WEBSOCKET_PATH: it requires"));
        assert!(error("ws", None).contains("write MQTT_TRANSPORT=websocket"));
        assert!(error("wss", None).contains("MQTT_TLS=true"));
        assert!(error("ssl", None).contains("write MQTT_TRANSPORT=tcp and MQTT_TLS=true"));
        assert!(error("quic", None).contains("use tcp or websocket"));
        for (path, part) in [
            ("mqtt", "write /mqtt"),
            ("wss://host/mqtt", "write only the path"),
            ("/a b", "encode them with %"),
            ("/ä", "encode them with %"),
            ("/a#b", "encode them with %"),
        ] {
            let error = error("websocket", Some(path));
            assert!(error.starts_with("MQTT_WEBSOCKET_PATH: ") && error.contains(part), "{error}");
        }
    }
}
