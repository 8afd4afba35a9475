//! Why a connection has ended, and what helps.

use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode, SubscribeReasonCode};

use crate::connect::{CONNECTION_TIMEOUT, RECEIVE_MAXIMUM};
use crate::login::PasswordError;
use crate::network::NetworkError;
use crate::options::SessionOptions;
use crate::tls;

/// Why a connection has ended, or could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The broker refused or ended it, or the network failed.
    #[error("{0}")]
    Network(#[from] NetworkError),
    /// There is no connection of TCP or TLS.
    #[error("it cannot be reached: {0}")]
    Unreachable(#[from] std::io::Error),
    /// The password cannot be read.
    #[error("{0}")]
    Password(#[from] PasswordError),
    /// The broker does not answer.
    #[error("the broker does not answer within {}", humantime::format_duration(CONNECTION_TIMEOUT))]
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
        codes: Vec<SubscribeReasonCode>,
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

impl ConnectionError {
    /// Whether another client uses this client identifier now (MQTT 5, 3.1.4), as far
    /// as the broker says so. Mosquitto 2.0 just closes the connection.
    #[must_use]
    pub fn is_takeover(&self) -> bool {
        matches!(
            self,
            Self::TakenOver
                | Self::Network(NetworkError::Disconnected {
                    reason: DisconnectReasonCode::SessionTakenOver,
                    ..
                })
        )
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
        match self {
            // A broker that expects TLS closes the connection over a plain CONNECT.
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
                    "it refuses {:?} with this password and client identifier; check \
                     MQTT_USERNAME and MQTT_PASSWORD_FILE",
                    login.username
                ),
                None => {
                    "it requires a login; set MQTT_USERNAME and MQTT_PASSWORD_FILE, or a client \
                         certificate"
                        .into()
                }
            }),
            Self::Network(NetworkError::Closed) => Some(format!(
                "if this continues and the broker is available, another client uses the client \
                 identifier {:?}",
                options.client_id
            )),
            error if error.is_takeover() => Some(format!(
                "another client uses the client identifier {:?}: set MQTT_CLIENT_ID",
                options.client_id
            )),
            _ => None,
        }
    }

    /// The broker's reason, if it ended the connection because it objects to a packet
    /// (MQTT 5, 3.14.2.1).
    pub(crate) fn packet_rejection(&self) -> Option<DisconnectReasonCode> {
        use DisconnectReasonCode::{
            ImplementationSpecificError, MalformedPacket, PacketTooLarge, PayloadFormatInvalid,
            ProtocolError, QoSNotSupported, RetainNotSupported, TopicNameInvalid,
        };
        let Self::Network(NetworkError::Disconnected { reason, .. }) = self else { return None };
        matches!(
            reason,
            MalformedPacket
                | ProtocolError
                | ImplementationSpecificError
                | TopicNameInvalid
                | PacketTooLarge
                | PayloadFormatInvalid
                | RetainNotSupported
                | QoSNotSupported
        )
        .then_some(*reason)
    }
}
