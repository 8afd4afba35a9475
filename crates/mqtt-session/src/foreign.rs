//! Recognises servers that do not speak MQTT by the first bytes that they send.

/// Why no CONNACK can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForeignServer {
    /// A web server, or MQTT over WebSocket.
    #[error("it is not an MQTT broker: it answers in HTTP: {0:?}")]
    Http(String),
    /// An alert of TLS.
    #[error("it is not an MQTT broker without TLS: it answers with a TLS record")]
    Tls,
    /// SSH.
    #[error("it is not an MQTT broker but an SSH server: {0:?}")]
    Ssh(String),
    /// AMQP, which RabbitMQ speaks on port 5672.
    #[error("it is not an MQTT broker: it answers in AMQP")]
    Amqp,
    /// Another server that sends text.
    #[error("it is not an MQTT broker: it answers {0:?}")]
    Text(String),
    /// Another server.
    #[error("it is not an MQTT broker: it answers with the bytes {0}")]
    Bytes(String),
}

/// Bytes of the answer that are shown.
const SHOWN: usize = 60;

/// So many printable characters at the start are text: no packet that answers CONNECT begins so.
const TEXT: usize = 4;

impl ForeignServer {
    /// Looks at what was received before a CONNACK.
    pub(crate) fn recognise(received: &[u8]) -> Option<Self> {
        let line = || {
            let end = received.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let line = received.get(..end.unwrap_or(received.len())).unwrap_or(received);
            let line = line.get(..SHOWN).unwrap_or(line);
            String::from_utf8_lossy(line).into_owned()
        };
        let is_text = |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\r' | b'\n');
        match received {
            // Records of TLS 1.0 to 1.3: alert and handshake.
            [0x15 | 0x16, 3, 0..=4, ..] => Some(Self::Tls),
            [b'A', b'M', b'Q', b'P', ..] => Some(Self::Amqp),
            _ if received.starts_with(b"HTTP/") => Some(Self::Http(line())),
            _ if received.starts_with(b"SSH-") => Some(Self::Ssh(line())),
            // A CONNACK begins with a space.
            [first, ..] if *first != 0x20 => {
                let start = received.get(..TEXT)?;
                start.iter().all(is_text).then(|| Self::Text(line()))
            }
            _ => None,
        }
    }

    /// What was received when there can be no CONNACK any more.
    pub(crate) fn of(received: &[u8]) -> Option<Self> {
        if received.is_empty() {
            return None;
        }
        let bytes = || {
            let start = received.iter().take(SHOWN / 3);
            start.map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
        };
        Some(Self::recognise(received).unwrap_or_else(|| Self::Bytes(bytes())))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn other_servers_are_named() {
        for (received, expected) in [
            (
                &b"HTTP/1.1 400 Bad Request\r\nServer: nginx"[..],
                "in HTTP: \"HTTP/1.1 400 Bad Request\"",
            ),
            (b"SSH-2.0-OpenSSH_9.2p1\r\n", "but an SSH server: \"SSH-2.0-OpenSSH_9.2p1\""),
            (&[0x15, 3, 3, 0, 2, 2, 70], "answers with a TLS record"),
            (b"AMQP\0\0\x09\x01", "answers in AMQP"),
            (b"220 mail ESMTP\r\n", "it answers \"220 mail ESMTP\""),
            (b"-ERR unknown command", "it answers \"-ERR unknown command\""),
        ] {
            let server = ForeignServer::recognise(received).unwrap().to_string();
            assert!(server.contains(expected), "{server}");
        }
    }

    #[test]
    fn packets_are_not_taken_for_other_servers() {
        for received in [
            &[0x20, 3, 0, 0, 0][..],
            // A CONNACK of 32 bytes with printable properties.
            &[0x20, 0x20, 0x20, 0x20, 0x20],
            &[0xe0, 2, 0x87, 0],
            &[0x40, 2, 0, 1],
            &[0x40],
            &[],
        ] {
            assert_eq!(ForeignServer::recognise(received), None, "{received:?}");
        }
        assert_eq!(ForeignServer::of(&[]), None);
        let unknown = ForeignServer::of(&[1, 2, 255]).unwrap().to_string();
        assert!(unknown.ends_with("with the bytes 01 02 ff"), "{unknown}");
    }
}
