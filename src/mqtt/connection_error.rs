//! Why a connection has ended, and what helps.

use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode, SubscribeReasonCode};

use super::connect::{CONNECTION_TIMEOUT, Options, RECEIVE_MAXIMUM};
use super::login::PasswordError;
use super::network::NetworkError;
use super::tls;

/// Why a connection has ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("{0}")]
    Network(#[from] NetworkError),
    #[error("it cannot be reached: {0}")]
    Unreachable(#[from] std::io::Error),
    #[error("{0}")]
    Password(#[from] PasswordError),
    #[error("the broker does not answer within {}", humantime::format_duration(CONNECTION_TIMEOUT))]
    Timeout,
    #[error(
        "the broker refuses the subscription to {filters:?}: {codes:?}; allow the client to read \
         and write below {base}/"
    )]
    Subscription { filters: Vec<String>, codes: Vec<SubscribeReasonCode>, base: String },
    #[error("another connector has taken over")]
    TakenOver,
    #[error("the broker is silent")]
    Silent,
    #[error("the broker breaks the protocol: {0}")]
    Protocol(&'static str),
    #[error(
        "the broker sends far more than the {RECEIVE_MAXIMUM} requests that were agreed in Receive \
         Maximum; with Mosquitto, set max_queued_messages to another value than 0"
    )]
    ReceiveMaximum,
}

impl ConnectionError {
    /// Whether another client has this client identifier now (MQTT 5, 3.1.4), as far
    /// as the broker says so. Mosquitto 2.0 just closes the connection.
    pub(super) fn is_takeover(&self) -> bool {
        matches!(
            self,
            Self::TakenOver
                | Self::Network(NetworkError::Disconnected {
                    reason: DisconnectReasonCode::SessionTakenOver,
                    ..
                })
        )
    }

    /// What to do about it, where that is known. `early` is before the connection
    /// stood.
    pub(super) fn help(&self, options: &Options, early: bool) -> Option<String> {
        match self {
            // The TLS library of the broker does not know what to make of CONNECT.
            Self::Network(NetworkError::Closed | NetworkError::Io(_))
                if early && options.tls.is_none() =>
            {
                Some("if it is a port for TLS, set MQTT_TLS=true".into())
            }
            Self::Unreachable(error) | Self::Network(NetworkError::Io(error)) => {
                tls::explain(error, &options.host)
            }
            Self::Network(NetworkError::Refused(
                ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
            )) => Some(match &options.login {
                Some(login) => format!(
                    "it does not let in {:?} with this password and client identifier; look at \
                     MQTT_USERNAME and MQTT_PASSWORD_FILE",
                    login.username
                ),
                None => "it wants a login; set MQTT_USERNAME and MQTT_PASSWORD_FILE, or a client \
                         certificate"
                    .into(),
            }),
            Self::Network(NetworkError::Closed) => Some(format!(
                "if this goes on and the broker is well, another client uses the client \
                 identifier {:?}",
                options.client_id
            )),
            error if error.is_takeover() => Some(format!(
                "another client uses the client identifier {:?}: give each connector its own \
                 vehicle, or MQTT_CLIENT_ID. To run several for one vehicle, set REPLICA_ID to \
                 another name in each",
                options.client_id
            )),
            _ => None,
        }
    }
}
