//! Errors of the verifier that rustls passes on as they are.

use rustls::CertificateError;
use webpki::Error;

use super::context::Context;
use super::remedy::with_extensions;
use crate::tls::text;

/// How an error of the verifier is explained.
pub(super) enum Meaning {
    /// Like this error of rustls.
    Certificate(CertificateError),
    /// By this sentence.
    Text(String),
}

/// What an error of the verifier means.
pub(super) fn meaning(error: &Error, context: &Context<'_>) -> Meaning {
    same_as(error).map_or_else(|| Meaning::Text(explain(error, context)), Meaning::Certificate)
}

fn explain(error: &Error, context: &Context<'_>) -> String {
    let wanted = text::alternative_name(context.target.host);
    let show = context.show();
    #[allow(deprecated)]
    match error {
        Error::UnsupportedCertVersion => format!(
            "its certificate, or one of its CA, has X.509 version 1, without extensions, as \
             `openssl x509 -req` creates it; it must have version 3 with subjectAltName: {}",
            with_extensions(&wanted)
        ),
        Error::CaUsedAsEndEntity => format!(
            "its certificate is that of a CA, as `openssl req -x509` creates it, and cannot be used \
             for a server; sign one with it that is not: {}",
            with_extensions(&wanted)
        ),
        Error::EndEntityUsedAsCa => {
            "one of its CA certificates is none: it has no basicConstraints=CA:TRUE; create the CA \
             again: `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days \
             3650 -subj /CN=Fleet -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out \
             ca.pem`"
                .into()
        }
        Error::PathLenConstraintViolated => {
            "its chain has more CAs than one of them allows (pathlen in basicConstraints); create \
             the intermediate CA again, or issue the certificate by the CA above"
                .into()
        }
        Error::NameConstraintViolation => format!(
            "its CA must not issue certificates for these names (nameConstraints); use a name that \
             is allowed, or another CA; look at them with {show}"
        ),
        Error::EmptyEkuExtension => {
            "its certificate has an extendedKeyUsage without a value; create it again with \
             extendedKeyUsage=serverAuth"
                .into()
        }
        Error::CertDistrusted => {
            "the key of its CA is known to be misused, and refused everywhere; get a certificate of \
             another CA"
                .into()
        }
        Error::SignatureAlgorithmMismatch => format!(
            "its certificate names two different signature algorithms; the program that created it \
             is faulty: create it with openssl, as in docs/tls.md; look at it with {show}"
        ),
        Error::InvalidSerialNumber => {
            "a serial number in its certificates is negative or too long; create it again, with \
             -CAcreateserial of `openssl x509`"
                .into()
        }
        Error::BadDer
        | Error::BadDerTime
        | Error::TrailingData(_)
        | Error::ExtensionValueInvalid
        | Error::MalformedExtensions
        | Error::MalformedDnsIdentifier
        | Error::MalformedNameConstraint
        | Error::InvalidNetworkMaskConstraint => format!(
            "its certificate, or one of its CA, is not well-formed ({error}); create it again, as in \
             docs/tls.md; look at it with {show}"
        ),
        Error::MaximumNameConstraintComparisonsExceeded
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumPathDepthExceeded
        | Error::MaximumSignatureChecksExceeded => format!(
            "it sends too many certificates ({error}); let it send only its own and those of the \
             intermediate CAs; count them with {show}"
        ),
        Error::UnsupportedNameType => {
            "this kind of name cannot be in a certificate; set MQTT_BROKER_ADDR to a host name or an \
             address"
                .into()
        }
        other => format!("its certificate cannot be used ({other}); look at it with {show}"),
    }
}

/// The error of rustls that means the same.
fn same_as(error: &Error) -> Option<CertificateError> {
    use CertificateError as C;
    #[allow(deprecated)]
    Some(match error {
        Error::CertExpired { time, not_after } => {
            C::ExpiredContext { time: *time, not_after: *not_after }
        }
        Error::CertNotValidYet { time, not_before } => {
            C::NotValidYetContext { time: *time, not_before: *not_before }
        }
        Error::InvalidCertValidity => C::Expired,
        Error::CertNotValidForName(names) => C::NotValidForNameContext {
            expected: names.expected.clone(),
            presented: names.presented.clone(),
        },
        Error::CertRevoked => C::Revoked,
        Error::UnknownIssuer => C::UnknownIssuer,
        Error::InvalidSignatureForPublicKey => C::BadSignature,
        Error::RequiredEkuNotFound | Error::RequiredEkuNotFoundContext(_) => C::InvalidPurpose,
        Error::UnsupportedCriticalExtension => C::UnhandledCriticalExtension,
        Error::UnsupportedSignatureAlgorithm => C::UnsupportedSignatureAlgorithm,
        Error::UnsupportedSignatureAlgorithmContext(unsupported) => {
            C::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: unsupported.signature_algorithm_id.clone(),
                supported_algorithms: Vec::new(),
            }
        }
        Error::UnsupportedSignatureAlgorithmForPublicKey
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            C::UnsupportedSignatureAlgorithmForPublicKeyContext {
                signature_algorithm_id: Vec::new(),
                public_key_algorithm_id: Vec::new(),
            }
        }
        Error::UnknownRevocationStatus
        | Error::CrlExpired { .. }
        | Error::InvalidCrlNumber
        | Error::InvalidCrlSignatureForPublicKey
        | Error::IssuerNotCrlSigner
        | Error::UnsupportedCrlIssuingDistributionPoint
        | Error::UnsupportedCrlVersion
        | Error::UnsupportedDeltaCrl
        | Error::UnsupportedIndirectCrl
        | Error::UnsupportedRevocationReason
        | Error::UnsupportedRevocationReasonsPartitioning
        | Error::UnsupportedCrlSignatureAlgorithm
        | Error::UnsupportedCrlSignatureAlgorithmContext(_)
        | Error::UnsupportedCrlSignatureAlgorithmForPublicKey
        | Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => {
            C::UnknownRevocationStatus
        }
        _ => return None,
    })
}
