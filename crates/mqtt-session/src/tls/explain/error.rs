//! Any error of a connection with TLS.

use std::io;
use std::time::SystemTime;

use rustls::{Error, InconsistentKeys};

use super::context::{Context, Target};
use super::{alert, certificate, peer};
use crate::tls::config::Tls;
use crate::tls::handshake::HandshakeError;
use crate::tls::text;
use crate::tls::x509::{Certificate, Name};

/// What an error of TLS means, and what to do; `None` for other errors, and for those whose text
/// says it.
pub(crate) fn explain(error: &io::Error, target: Target<'_>) -> Option<String> {
    let inner = error.get_ref()?;
    let now = text::seconds(SystemTime::now());
    let Some(handshake) = inner.downcast_ref::<HandshakeError>() else {
        let error = inner.downcast_ref::<Error>()?;
        let (shown, authorities) = (Vec::new(), Vec::new());
        return Some(explain_tls(
            error,
            &Context { target, established: true, shown, authorities, now },
        ));
    };
    let shown = handshake.shown.iter().filter_map(|der| Certificate::read(der)).collect();
    let authorities = handshake.roots.roots.iter();
    let authorities = authorities.map(|anchor| Name::of_anchor(&anchor.subject)).collect();
    let context = Context { target, established: false, shown, authorities, now };
    Some(match handshake.source.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => explain_tls(error, &context),
        None => cut(&context),
    })
}

/// The broker closes the connection without an answer to CONNECT, or to SUBSCRIBE, over TLS.
pub(crate) fn closed_early(tls: &Tls) -> String {
    let certificate = if tls.has_identity() {
        "it may not accept this vehicle's certificate"
    } else {
        "it may require a certificate of the vehicle"
    };
    format!(
        "{certificate}: check MQTT_CERT_FILE and MQTT_KEY_FILE; the log of the broker has the reason"
    )
}

/// The connection was cut during the handshake.
fn cut(context: &Context<'_>) -> String {
    let address = context.target.address();
    if context.shown.is_empty() {
        format!(
            "it ends the connection instead of a TLS handshake: either it does not use TLS on this \
             port, then set MQTT_BROKER_PORT, usually to 8883; or it is stopping, or a firewall \
             cuts TLS; try `openssl s_client -connect {address} </dev/null`"
        )
    } else {
        "it ends the connection after it has shown its certificate; it may require a certificate \
         of the vehicle: check MQTT_CERT_FILE and MQTT_KEY_FILE; its log has the reason"
            .into()
    }
}

/// What an error of rustls means, and what to do.
pub(in crate::tls) fn explain_tls(error: &Error, context: &Context<'_>) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate::explain(error, context),
        Error::AlertReceived(alert) => alert::explain(*alert, context),
        Error::PeerIncompatible(why) => peer::incompatible(why, context),
        Error::PeerMisbehaved(why) => peer::misbehaved(why),
        Error::InvalidMessage(_) | Error::PeerSentOversizedRecord
            if !context.established && context.shown.is_empty() =>
        {
            format!(
                "it does not use TLS on this port; set MQTT_BROKER_PORT, usually to 8883; `openssl \
                 s_client -connect {} </dev/null` shows whether it does",
                context.target.address()
            )
        }
        Error::InvalidMessage(_)
        | Error::PeerSentOversizedRecord
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::DecryptError => format!(
            "what it sends is not valid TLS ({error}); its TLS library, or a device on the way, is \
             faulty: update it, and try another network"
        ),
        Error::NoCertificatesPresented => {
            "it shows no certificate; set certfile and keyfile at the broker".into()
        }
        Error::UnsupportedNameType => {
            "this kind of name cannot be in a certificate; set MQTT_BROKER_ADDR to a host name or an \
             address"
                .into()
        }
        Error::NoApplicationProtocol => {
            "it supports none of the protocols in MQTT_ALPN; set the one that its documents name, \
             such as mqtt, or none"
                .into()
        }
        Error::FailedToGetCurrentTime => {
            "the clock of the vehicle cannot be read; set it to a time after 1970".into()
        }
        Error::FailedToGetRandomBytes => {
            "the kernel gives no random numbers; let the container use the system call getrandom \
             (seccomp), and mount /dev/urandom"
                .into()
        }
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch | InconsistentKeys::Unknown) => {
            "MQTT_KEY_FILE does not match MQTT_CERT_FILE; `openssl x509 -in vehicle.pem -noout \
             -pubkey` and `openssl pkey -in vehicle.key -pubout` must print the same"
                .into()
        }
        Error::InvalidCertRevocationList(_) => {
            "a list of revoked certificates cannot be used, although this program uses none; report it"
                .into()
        }
        Error::InvalidEncryptedClientHello(_)
        | Error::EncryptError
        | Error::HandshakeNotComplete
        | Error::BadMaxFragmentSize => {
            format!("this is a fault of this program ({error}); report it")
        }
        Error::General(_) | Error::Other(_) => format!(
            "TLS fails ({error}); see whether `openssl s_client -connect {} </dev/null` succeeds, \
             and report it",
            context.target.address()
        ),
        other => format!("TLS fails: {other}"),
    }
}
