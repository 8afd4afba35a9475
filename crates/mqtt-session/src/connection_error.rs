//! Why a connection has ended, and what helps.

use std::io;
use std::time::Duration;

use crate::connect::RECEIVE_MAXIMUM;
use crate::dial::error::DialError;
use crate::dial::race::DIAL_TIMEOUT;
use crate::dial::transport::Transport;
use crate::foreign::ForeignServer;
use crate::incoming_packet::Reason;
use crate::login::PasswordError;
use crate::network::NetworkError;
use crate::options::SessionOptions;
use crate::reason_code::{EndRule, Help, Pace, ReasonCode};
use crate::tls::{self, Target, Tls};

/// The next connection is not made sooner if the broker asks for fewer, or if nothing changes until
/// somebody does something.
const SLOW: Duration = Duration::from_secs(5);

/// What a broker has to speak, and how some are told to.
const VERSION: &str = "the broker must speak MQTT 5: VerneMQ with listener.tcp.allowed_protocol_versions \
                       = 3,4,5; Mosquitto from 1.6 on; RabbitMQ from 3.13 on; a bridge or proxy must \
                       pass MQTT 5 on";

/// Why a connection has ended, or could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The broker refused or ended it, or the network failed.
    #[error("{0}")]
    Network(#[from] NetworkError),
    /// There is no connection to the broker.
    #[error("{0}")]
    Unreachable(DialError),
    /// The password cannot be read.
    #[error("{0}")]
    Password(#[from] PasswordError),
    /// The broker does not answer.
    #[error("the broker does not answer within {}", humantime::format_duration(DIAL_TIMEOUT))]
    Timeout,
    /// The broker refuses subscriptions.
    #[error(
        "the broker refuses the subscription to {filters:?}: {codes:?}; allow the client to read \
         and write below {base}/"
    )]
    Subscription {
        /// Those that it refuses.
        filters: Vec<String>,
        /// The reason for each.
        codes: Vec<ReasonCode>,
        /// [`SessionOptions::base_topic`].
        base: String,
    },
    /// Another process uses the shared session now.
    #[error("another connector has taken over")]
    TakenOver,
    /// Nothing was received for the keep-alive time.
    #[error("the broker is silent")]
    Silent,
    /// The broker sends what MQTT 5 does not allow.
    #[error("the broker violates the protocol: {0}")]
    Protocol(&'static str),
    /// The broker ignores *Receive Maximum*.
    #[error(
        "the broker sends far more than the {RECEIVE_MAXIMUM} requests that were agreed in Receive \
         Maximum; with Mosquitto, set max_queued_messages to a value other than 0"
    )]
    ReceiveMaximum,
}

impl From<DialError> for ConnectionError {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Timeout => Self::Timeout,
            error => Self::Unreachable(error),
        }
    }
}

impl ConnectionError {
    /// Whether another client uses this client identifier now (MQTT 5, 3.1.4), as far
    /// as the broker says so. Mosquitto 2.0 just closes the connection.
    #[must_use]
    pub fn is_takeover(&self) -> bool {
        matches!(
            self,
            Self::TakenOver
                | Self::Network(NetworkError::Disconnected(Reason {
                    code: ReasonCode::SESSION_TAKEN_OVER,
                    ..
                }))
        )
    }

    /// Whether the broker has ended the connection because it has no subscriptions with wildcards.
    #[must_use]
    pub fn refuses_wildcards(&self) -> bool {
        self.reason().is_some_and(|reason| reason.code == ReasonCode::WILDCARDS_NOT_SUPPORTED)
    }

    /// Whether the broker has ended the connection after it had accepted it, or closed it at any time.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Network(NetworkError::Closed | NetworkError::Disconnected(_)))
    }

    /// Whether the broker has closed the connection without a reason.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Network(NetworkError::Closed))
    }

    /// What to do about it, where that is known. `early` says that the subscriptions of the
    /// connection were not granted yet.
    #[must_use]
    pub fn help(&self, options: &SessionOptions, early: bool) -> Option<String> {
        if let Some(reason) = self.reason()
            && let Some(help) = self.rule().and_then(|rule| rule.help)
        {
            return Some(reason_help(help, reason, options));
        }
        match self {
            Self::Network(NetworkError::Version3(code)) => Some(match code.0 {
                2 => client_id_help(options),
                4 | 5 => format!("{VERSION}; {}", login_help(options)),
                _ => VERSION.into(),
            }),
            Self::Network(NetworkError::Foreign(server)) => Some(foreign_help(server)),
            // A broker that expects TLS closes the connection over a plain CONNECT.
            Self::Network(NetworkError::Closed) if early => Some(closed_help(options)),
            Self::Network(NetworkError::Io(_))
                if early && options.tls.is_none() && options.transport == Transport::Tcp =>
            {
                Some(closed_help(options))
            }
            Self::Unreachable(error) => error.help(options.broker(), options.tls.as_ref()),
            Self::Timeout if early => Some(
                "check MQTT_BROKER_ADDR and MQTT_BROKER_PORT; where only HTTP may leave the \
                 network, set HTTPS_PROXY or MQTT_TRANSPORT=websocket"
                    .into(),
            ),
            Self::Network(NetworkError::Io(error)) => {
                let (host, port) = (options.broker().tls_host(), options.broker().port());
                let help =
                    tls::explain(error, Target { host: &host, port, tls: options.tls.as_ref() });
                let is_closed = early && options.tls.is_some();
                help.or_else(|| is_closed.then(|| closed_help(options)))
            }
            Self::Network(NetworkError::Closed) => Some(format!(
                "if this continues and the broker is available, another client uses the client \
                 identifier {:?}",
                options.client_id
            )),
            error if error.is_takeover() => Some(same_client_id_help(options)),
            _ => None,
        }
    }

    /// The broker's reason.
    fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Network(NetworkError::Refused(reason) | NetworkError::Disconnected(reason)) => {
                Some(reason)
            }
            _ => None,
        }
    }

    /// What the broker's reason means.
    fn rule(&self) -> Option<EndRule> {
        match self {
            Self::Network(NetworkError::Refused(reason)) => Some(reason.code.connack_rule()),
            Self::Network(NetworkError::Disconnected(reason)) => {
                Some(reason.code.disconnect_rule())
            }
            _ => None,
        }
    }

    /// How long to wait at least before the next connection.
    #[must_use]
    pub fn min_wait(&self) -> Duration {
        let is_slow = match self {
            Self::Network(NetworkError::Version3(_) | NetworkError::Foreign(_)) => true,
            Self::Unreachable(error) => error.is_lasting(),
            _ => self.rule().is_some_and(|rule| rule.pace == Pace::Slow),
        };
        if is_slow { SLOW } else { Duration::ZERO }
    }

    /// Whether a message may be why the broker has ended the connection.
    pub(crate) fn blames_message(&self) -> Option<MessageFault> {
        match self {
            Self::Network(NetworkError::Disconnected(reason)) => {
                let blames = reason.code.disconnect_rule().blames_message;
                blames.then_some(MessageFault::Reason(reason.code))
            }
            Self::Network(NetworkError::Closed) => Some(MessageFault::Closed),
            // A server that closes a connection before it has read everything resets it.
            Self::Network(NetworkError::Io(error)) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof
            )
            .then_some(MessageFault::Closed),
            _ => None,
        }
    }
}

/// Why a message may be what the broker objects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageFault {
    /// The broker gives a reason (MQTT 5, 3.14.2.1).
    Reason(ReasonCode),
    /// The broker closes the connection. A network that fails looks the same.
    Closed,
}

fn reason_help(help: Help, reason: &Reason, options: &SessionOptions) -> String {
    match help {
        Help::Version => VERSION.into(),
        Help::Login if reason.code.0 == 0x85 => client_id_help(options),
        Help::Login if reason.code.0 == 0x8c => {
            "it requires an enhanced authentication (AUTH), which is not supported; allow a user \
             name and password, or a client certificate"
                .into()
        }
        Help::Login => login_help(options),
        Help::SameClientId => same_client_id_help(options),
        Help::OtherServer => match &reason.server {
            Some(server) => format!(
                "it refers to another broker, {server:?}: if that is right, set MQTT_BROKER_ADDR \
                 and MQTT_BROKER_PORT to it"
            ),
            None => "ask its operator for the new address, and set MQTT_BROKER_ADDR".into(),
        },
        Help::Limit => "a limit of the broker is reached: of connections, messages, their rate or \
                        their size; raise it, or reduce what is sent"
            .into(),
        Help::KeepAlive => "no packet arrived in time: the line is too slow or was down; if this \
                            continues, set a larger MQTT_KEEP_ALIVE"
            .into(),
        Help::Feature => {
            let feature = match reason.code.0 {
                0x9a => "retained messages",
                0x9b => "QoS 1",
                0xa2 => "wildcards in subscriptions",
                _ => "the subscriptions",
            };
            format!(
                "the broker or its policy does not allow {feature}: the connector tries to do \
                 without; to have it, change the settings or the policy of the broker"
            )
        }
        Help::Access => format!(
            "allow the client to read and write below {}/ in the access list of the broker",
            options.base_topic
        ),
        Help::Administrator => format!(
            "the client identifier {:?}, the login or the address was blocked at the broker",
            options.client_id
        ),
    }
}

fn same_client_id_help(options: &SessionOptions) -> String {
    format!("another client uses the client identifier {:?}: set MQTT_CLIENT_ID", options.client_id)
}

fn client_id_help(options: &SessionOptions) -> String {
    format!(
        "the broker or its policy does not allow the client identifier {:?}: set MQTT_CLIENT_ID to \
         one that it allows (AWS IoT: the name of the thing; Mosquitto: clientid_prefixes)",
        options.client_id
    )
}

fn login_help(options: &SessionOptions) -> String {
    let has_certificate = options.tls.as_ref().is_some_and(Tls::has_identity);
    let client_id = client_id_help(options);
    match &options.login {
        Some(login) => format!(
            "it refuses {:?} with this password and client identifier; check MQTT_USERNAME and \
             MQTT_PASSWORD_FILE; or {client_id}",
            login.username
        ),
        None if has_certificate => format!(
            "it accepts the TLS connection, but not this client: {client_id}; or allow the client \
             certificate (MQTT_CERT_FILE) to connect; or it requires a login as well \
             (MQTT_USERNAME)"
        ),
        None => format!(
            "it requires a login; set MQTT_USERNAME and MQTT_PASSWORD_FILE, or a client \
             certificate; or {client_id}"
        ),
    }
}

/// The broker has closed the connection instead of accepting it.
fn closed_help(options: &SessionOptions) -> String {
    let certificate = options.tls.as_ref().map(tls::closed_early);
    let certificate = certificate.map(|help| format!("{help}; ")).unwrap_or_default();
    let port = match (&options.tls, &options.transport) {
        (None, Transport::Tcp) => {
            "if it is a port for TLS, set MQTT_TLS=true; if it is one for WebSocket, set \
             MQTT_TRANSPORT=websocket; "
        }
        (Some(_), Transport::Tcp) => {
            "if it is a port for WebSocket, set MQTT_TRANSPORT=websocket; "
        }
        (_, Transport::WebSocket { .. }) => "",
    };
    format!(
        "{certificate}{port}if it is an old broker: {VERSION}; or {}; or a limit of its connections \
         is reached",
        client_id_help(options)
    )
}

fn foreign_help(server: &ForeignServer) -> String {
    match server {
        ForeignServer::Http(_) => {
            "set MQTT_BROKER_PORT to the port for MQTT over TCP (1883, with \
                                   TLS 8883); if this is the port for MQTT over WebSocket, set \
                                   MQTT_TRANSPORT=websocket"
        }
        ForeignServer::Tls => "if it is a port for TLS, set MQTT_TLS=true",
        ForeignServer::Amqp => {
            "set MQTT_BROKER_PORT to the port for MQTT (1883, with TLS 8883); \
                                in RabbitMQ, enable the plugin rabbitmq_mqtt"
        }
        ForeignServer::Ssh(_) | ForeignServer::Text(_) | ForeignServer::Bytes(_) => {
            "set MQTT_BROKER_ADDR and MQTT_BROKER_PORT to those of the MQTT broker (1883, with TLS \
             8883)"
        }
    }
    .into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::dial::websocket::WebSocketError;
    use crate::tls::Identity;

    fn reason(code: u8) -> Reason {
        Reason { code: ReasonCode(code), text: String::new(), server: None }
    }

    fn refused(code: u8) -> ConnectionError {
        NetworkError::Refused(reason(code)).into()
    }

    fn ended(code: u8) -> ConnectionError {
        NetworkError::Disconnected(reason(code)).into()
    }

    fn with_certificate() -> SessionOptions {
        let identity = Identity { cert_file: "c".into(), key_file: "k".into() };
        let tls = Tls::new(None, Some(identity), Vec::new());
        SessionOptions { tls: Some(tls), ..SessionOptions::for_tests() }
    }

    #[test]
    fn a_client_that_is_not_allowed_is_asked_for_its_client_identifier() {
        for options in [SessionOptions::for_tests(), with_certificate()] {
            for code in [0x85, 0x86, 0x87] {
                let help = refused(code).help(&options, true).unwrap();
                assert!(help.contains("set MQTT_CLIENT_ID"), "{help}");
                assert!(help.contains("policy"), "{help}");
            }
            let closed: ConnectionError = NetworkError::Closed.into();
            let help = closed.help(&options, true).unwrap();
            assert!(help.contains("MQTT_CLIENT_ID") && help.contains("MQTT 5"), "{help}");
            assert_eq!(help.contains("MQTT_TLS=true"), options.tls.is_none());
        }
        let help = refused(0x87).help(&with_certificate(), true).unwrap();
        assert!(!help.starts_with("it requires a login"), "{help}");
    }

    #[test]
    fn a_broker_of_mqtt_3_is_told_to_speak_mqtt_5() {
        let options = SessionOptions::for_tests();
        for code in 0..=5 {
            let error: ConnectionError = NetworkError::Version3(ReasonCode(code)).into();
            let help = error.help(&options, true).unwrap();
            assert!(code == 2 || help.contains("the broker must speak MQTT 5"), "{help}");
            assert_eq!(error.min_wait(), SLOW);
        }
        let help = refused(0x84).help(&options, true).unwrap();
        assert!(help.contains("allowed_protocol_versions = 3,4,5"), "{help}");
    }

    #[test]
    fn a_server_in_front_of_the_broker_that_refuses_is_not_asked_often() {
        for (status, wait) in [
            (200, SLOW),
            (301, SLOW),
            (403, SLOW),
            (404, SLOW),
            (429, SLOW),
            (500, Duration::ZERO),
            (503, Duration::ZERO),
        ] {
            let refused = || WebSocketError::Status { status, location: None };
            let error: ConnectionError = DialError::from(refused()).into();
            assert_eq!(error.min_wait(), wait, "{status}");
        }
        let closed: ConnectionError = DialError::from(WebSocketError::Closed).into();
        assert_eq!(closed.min_wait(), Duration::ZERO);
    }

    #[test]
    fn each_code_has_a_wait_and_ends_nothing_else() {
        for code in 0..=u8::MAX {
            for error in [refused(code), ended(code)] {
                assert!(error.min_wait() <= SLOW);
                assert_eq!(
                    error.is_takeover(),
                    matches!(&error, ConnectionError::Network(NetworkError::Disconnected(_)))
                        && code == 0x8e
                );
            }
            assert_eq!(refused(code).blames_message(), None);
        }
        let too_large = Some(MessageFault::Reason(ReasonCode::PACKET_TOO_LARGE));
        assert_eq!(ended(0x95).blames_message(), too_large);
        assert_eq!(ended(0x8b).blames_message(), None);
        let closed: ConnectionError = NetworkError::Closed.into();
        assert_eq!(closed.blames_message(), Some(MessageFault::Closed));
        assert_eq!(ConnectionError::Silent.blames_message(), None);
    }

    #[test]
    fn a_broker_that_has_moved_is_named() {
        for code in [0x9c, 0x9d] {
            let moved = Reason { server: Some("b.example:1883".into()), ..reason(code) };
            let error: ConnectionError = NetworkError::Disconnected(moved).into();
            let help = error.help(&SessionOptions::for_tests(), false).unwrap();
            assert!(help.contains("b.example:1883") && help.contains("MQTT_BROKER_ADDR"), "{help}");
            assert!(ended(code).help(&SessionOptions::for_tests(), false).is_some());
        }
    }
}
