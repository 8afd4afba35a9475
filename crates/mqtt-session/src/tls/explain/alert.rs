//! What the broker says before it ends the connection.

use rustls::AlertDescription;

use super::context::Context;

/// What an alert of the broker means.
pub(super) fn explain(alert: AlertDescription, context: &Context<'_>) -> String {
    use AlertDescription as A;
    let said = format!("it says {alert:?}");
    match alert {
        A::CertificateRequired | A::NoCertificate => no_certificate(&said),
        // A broker that verifies certificates says it after it has shown its own.
        A::HandshakeFailure if context.established || !context.shown.is_empty() => {
            if context.has_identity() { refused(&said, REFUSED) } else { no_certificate(&said) }
        }
        A::HandshakeFailure | A::InsufficientSecurity => format!(
            "it has no cipher, curve or kind of key in common with this program ({said}); its key \
             must be RSA with at least 2048 bits, P-256, P-384 or Ed25519, and it must allow TLS 1.2 \
             with ECDHE and AES-GCM or ChaCha20, or TLS 1.3; see which it allows: `openssl s_client \
             -connect {} -brief </dev/null`",
            context.target.address()
        ),
        A::UnknownCA => refused(
            &said,
            "it does not know its CA: cafile of Mosquitto must have the certificate of the CA that \
             has issued the vehicle's, and MQTT_CERT_FILE the intermediate certificates, too; `openssl \
             verify -CAfile ca.pem vehicle.pem` must succeed",
        ),
        A::CertificateExpired => refused(
            &said,
            "it has expired, or is not valid yet by the clock of the broker: `openssl x509 -in \
             vehicle.pem -noout -dates`; renew it",
        ),
        A::CertificateRevoked => {
            refused(&said, "its CA has revoked it; get a new key and a new certificate")
        }
        A::UnsupportedCertificate => refused(
            &said,
            "it must not be used for a client: create it with extendedKeyUsage=clientAuth, or \
             without extendedKeyUsage",
        ),
        A::BadCertificate
        | A::CertificateUnknown
        | A::CertificateUnobtainable
        | A::BadCertificateHashValue
        | A::BadCertificateStatusResponse => {
            if context.has_identity() {
                refused(&said, REFUSED)
            } else {
                no_certificate(&said)
            }
        }
        A::AccessDenied => refused(&said, "it knows the certificate, but does not let it in"),
        // OpenSSL says so if the CA that it knows by this name has another key.
        A::DecryptError => refused(
            &said,
            "it knows a CA of that name with another key; was the CA created again? Then issue the \
             certificate again, so that `openssl verify -CAfile ca.pem vehicle.pem` succeeds with \
             the cafile of Mosquitto. Or it does not accept this kind of key: use P-256 or RSA \
             with 2048 bits, and SHA-256",
        ),
        A::ProtocolVersion | A::InappropriateFallback => {
            format!(
                "it supports neither TLS 1.2 nor TLS 1.3 ({said}); update it or its settings, with \
                 Mosquitto: tls_version tlsv1.2"
            )
        }
        A::UnrecognisedName => format!(
            "it has no certificate for {:?} ({said}); set MQTT_BROKER_ADDR to a name that it knows",
            context.target.host
        ),
        A::NoApplicationProtocol => {
            format!(
                "it supports none of the protocols in MQTT_ALPN ({said}); set the one that its \
                     documents name, such as mqtt, or none"
            )
        }
        A::UnknownPSKIdentity => format!(
            "it wants a pre-shared key (PSK), which is not supported ({said}); use certificates: with \
             Mosquitto, certfile and keyfile instead of psk_hint"
        ),
        A::CloseNotify | A::UserCanceled => format!(
            "it ends the connection ({said}): it is stopping, or does not want this client; its log \
             has the reason"
        ),
        A::InternalError => format!(
            "it has a fault of its own ({said}); its log has the reason, often a certfile or \
             keyfile that cannot be read"
        ),
        A::EncryptedClientHelloRequired => format!(
            "it wants an encrypted ClientHello, which is not supported ({said}); turn that off at \
             the broker"
        ),
        A::UnexpectedMessage
        | A::BadRecordMac
        | A::DecryptionFailed
        | A::RecordOverflow
        | A::DecompressionFailure
        | A::IllegalParameter
        | A::DecodeError
        | A::ExportRestriction
        | A::NoRenegotiation
        | A::MissingExtension
        | A::UnsupportedExtension => format!(
            "it does not understand this program ({said}); its TLS library is old or faulty, or a \
             device on the way changes what is sent: update it, and try another network"
        ),
        other => {
            format!("it ends the connection with alert {}; its log has the reason", u8::from(other))
        }
    }
}

const REFUSED: &str = "its log has the reason; most often it does not know the CA (`openssl verify \
                       -CAfile ca.pem vehicle.pem`), or the certificate has expired (`openssl x509 \
                       -in vehicle.pem -noout -dates`)";

fn refused(said: &str, reason: &str) -> String {
    format!(
        "it does not accept this vehicle's certificate ({said}); check MQTT_CERT_FILE and \
         MQTT_KEY_FILE: {reason}"
    )
}

fn no_certificate(said: &str) -> String {
    format!(
        "it requires a certificate of the vehicle ({said}), and has received none; check \
         MQTT_CERT_FILE and MQTT_KEY_FILE: both must be set; how to create them: docs/tls.md"
    )
}
