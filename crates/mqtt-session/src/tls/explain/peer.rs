//! What the broker does that TLS does not allow, or that this program does not support.

use rustls::{PeerIncompatible, PeerMisbehaved};

use super::context::Context;

/// It lacks something.
pub(super) fn incompatible(why: &PeerIncompatible, context: &Context<'_>) -> String {
    use PeerIncompatible as P;
    match why {
        P::ServerDoesNotSupportTls12Or13 | P::ServerTlsVersionIsDisabledByOurConfig => {
            "it supports neither TLS 1.2 nor TLS 1.3; update it or its settings, with Mosquitto: \
             tls_version tlsv1.2"
                .into()
        }
        P::NoCertificateRequestSignatureSchemesInCommon => {
            "it accepts no signature that the key in MQTT_KEY_FILE can make; use a key of P-256 or \
             RSA with 2048 bits, or allow more signature algorithms at the broker"
                .into()
        }
        P::NoCipherSuitesInCommon
        | P::NoEcPointFormatsInCommon
        | P::NoKxGroupsInCommon
        | P::NoSignatureSchemesInCommon
        | P::EcPointsExtensionRequired
        | P::NamedGroupsExtensionRequired
        | P::UncompressedEcPointsRequired
        | P::KeyShareExtensionRequired
        | P::SignatureAlgorithmsExtensionRequired
        | P::SupportedVersionsExtensionRequired
        | P::NullCompressionRequired
        | P::ExtendedMasterSecretExtensionRequired
        | P::Tls12NotOffered
        | P::Tls12NotOfferedOrEnabled
        | P::Tls13RequiredForQuic => format!(
            "it has no cipher, curve or signature in common with this program ({why:?}); allow TLS \
             1.3, or TLS 1.2 with ECDHE, X25519, P-256 or P-384, and AES-GCM or ChaCha20; see what it \
             allows: `openssl s_client -connect {} -brief </dev/null`",
            context.target.address()
        ),
        P::IncorrectCertificateTypeExtension
        | P::UnsolicitedCertificateTypeExtension
        | P::ServerSentHelloRetryRequestWithUnknownExtension => format!(
            "it uses an extension of TLS that was not offered ({why:?}); its TLS library is faulty: \
             update it, or turn the extension off"
        ),
        P::ServerRejectedEncryptedClientHello(_) => {
            "it refuses an encrypted ClientHello, which is not used here; report it".into()
        }
        other => format!("its TLS lacks something ({other:?}); update its TLS library"),
    }
}

/// It breaks the rules.
pub(super) fn misbehaved(why: &PeerMisbehaved) -> String {
    use PeerMisbehaved as P;
    match why {
        P::SelectedUnofferedApplicationProtocol | P::OfferedEmptyApplicationProtocol => {
            "it answers with a protocol that is not in MQTT_ALPN; set the one that its documents \
             name"
                .into()
        }
        P::SignedKxWithWrongAlgorithm | P::SignedHandshakeWithUnadvertisedSigScheme => format!(
            "its key makes signatures that are not supported ({why:?}); use a key of RSA with at \
             least 2048 bits, P-256, P-384 or Ed25519, and a certificate for it"
        ),
        P::AttemptedDowngradeToTls12WhenTls13IsSupported => {
            "a device between vehicle and broker has changed TLS 1.3 to TLS 1.2: this is an attack, \
             or a faulty firewall; try another network"
                .into()
        }
        _ => format!(
            "it violates TLS ({why:?}); its TLS library, or a device on the way, is faulty: update \
             it, and try another network"
        ),
    }
}
