//! Why the broker's certificate is refused.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use rustls::{CertificateError, ExtendedKeyPurpose};
use service_kit::clock;

use super::context::Context;
use super::remedy::{critical_extension, with_extensions};
use super::webpki::Meaning;
use super::{issuer, webpki};
use crate::tls::keys::signature_algorithm;
use crate::tls::text;

/// What an error in the broker's certificate means.
pub(super) fn explain(error: &CertificateError, context: &Context<'_>) -> String {
    use CertificateError as E;
    let host = context.target.host;
    #[allow(deprecated)]
    match error {
        E::BadEncoding => format!(
            "its certificate is damaged: it is not valid DER; create it again, as in docs/tls.md; \
             look at it with {}",
            context.show()
        ),
        E::Expired => expired(context, None, context.now),
        E::ExpiredContext { time, not_after } => {
            expired(context, Some(not_after.as_secs()), time.as_secs())
        }
        E::NotValidYet => not_valid_yet(None, context.now),
        E::NotValidYetContext { time, not_before } => {
            not_valid_yet(Some(not_before.as_secs()), time.as_secs())
        }
        E::Revoked => "its CA has revoked its certificate; renew it".into(),
        E::UnknownRevocationStatus
        | E::ExpiredRevocationList
        | E::ExpiredRevocationListContext { .. } => {
            "the list of revoked certificates does not say whether its certificate is still valid; \
             let the CA publish a new list, and correct the clock of the vehicle if that is wrong"
                .into()
        }
        E::UnhandledCriticalExtension => critical_extension(context),
        E::UnknownIssuer => issuer::unknown(context),
        E::BadSignature => issuer::bad_signature(context),
        E::UnsupportedSignatureAlgorithm => unsupported_signature(None, context),
        E::UnsupportedSignatureAlgorithmContext { signature_algorithm_id, .. } => {
            unsupported_signature(Some(signature_algorithm_id), context)
        }
        E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => unsupported_key(context),
        E::NotValidForName => wrong_name(host, &[], context),
        E::NotValidForNameContext { presented, .. } => wrong_name(host, presented, context),
        E::InvalidPurpose => wrong_purpose(&[]),
        E::InvalidPurposeContext { presented, .. } => wrong_purpose(presented),
        E::InvalidOcspResponse => {
            "it sends a wrong OCSP response; turn off OCSP stapling at the broker, or renew it"
                .into()
        }
        E::ApplicationVerificationFailure => {
            "its certificate is refused for a reason of this program; report it".into()
        }
        E::Other(other) => {
            match other.0.downcast_ref().map(|error| webpki::meaning(error, context)) {
                Some(Meaning::Certificate(error)) => explain(&error, context),
                Some(Meaning::Text(text)) => text,
                None => unknown(&other.0, context),
            }
        }
        other => unknown(other, context),
    }
}

fn unknown(error: impl fmt::Display, context: &Context<'_>) -> String {
    format!("its certificate cannot be used ({error}); look at it with {}", context.show())
}

/// The time of the vehicle, and whether it can be right.
fn clock_says(now: u64) -> String {
    let time = text::time(now);
    if !clock::is_set(UNIX_EPOCH + Duration::from_secs(now)) {
        format!("the clock of the vehicle is not set, it says {time}")
    } else {
        format!("the clock of the vehicle says {time}")
    }
}

fn expired(context: &Context<'_>, end: Option<u64>, now: u64) -> String {
    let certificate = match end {
        Some(end) => context.shown.iter().find(|shown| shown.not_after == Some(end)),
        None => context.shown.iter().find(|shown| shown.not_after < shown.not_before),
    };
    let subject = certificate.map_or_else(String::new, |certificate| {
        format!(" of {:?}", certificate.subject.to_string())
    });
    let period = match end.or_else(|| certificate?.not_after) {
        Some(end) => {
            format!(": that{subject} was valid until {}, and {}", text::time(end), clock_says(now))
        }
        None => format!(": {}", clock_says(now)),
    };
    let reversed = if end.is_none() { " (or it ends before it begins)" } else { "" };
    format!(
        "its certificate has expired{reversed}; renew it, or correct the clock of the \
         vehicle{period}"
    )
}

fn not_valid_yet(begin: Option<u64>, now: u64) -> String {
    let period = begin
        .map_or_else(String::new, |begin| format!(": it is valid from {}, and", text::time(begin)));
    let period = if period.is_empty() { ":".into() } else { period };
    format!(
        "its certificate is not valid yet; correct the clock of the vehicle{period} {}. The \
         connector tries again at least every 20 s, so it connects when the clock is right",
        clock_says(now)
    )
}

fn wrong_name(host: &str, presented: &[String], context: &Context<'_>) -> String {
    let wanted = text::alternative_name(host);
    if presented.is_empty() {
        let common = context.own().and_then(|own| own.subject.common_name());
        let common = common.map_or_else(String::new, |name| format!(" (CN={name})"));
        return format!(
            "its certificate is not for {host:?}: it has no subjectAltName, and the common \
             name{common} does not count; create it again with one: {}",
            with_extensions(&wanted)
        );
    }
    if host.parse::<IpAddr>().is_ok() && presented.contains(&format!("DnsName({host:?})")) {
        return format!(
            "its certificate has the address {host} as a name (DNS:{host}), which does not count: an \
             address must be {wanted} in subjectAltName; create it again: {}",
            with_extensions(&wanted)
        );
    }
    let names = presented.iter().map(|name| {
        // As webpki formats it: `DnsName("localhost")`, `IpAddress(127.0.0.1)`.
        let inner = name.split_once('(').map_or(name.as_str(), |(_, inner)| inner);
        inner.trim_end_matches(')').trim_matches('"').to_owned()
    });
    format!(
        "its certificate is not for {host:?}; set MQTT_BROKER_ADDR to a name in the certificate, \
         which has {}, or create it again: {}",
        text::list(names),
        with_extensions(&wanted)
    )
}

fn wrong_purpose(presented: &[ExtendedKeyPurpose]) -> String {
    let allowed = text::list(presented.iter().map(ToString::to_string));
    let allowed = if allowed.is_empty() { "something else".into() } else { allowed };
    format!(
        "its certificate must not be used for a server, only for {allowed}; is it that of a \
         client? Create one with extendedKeyUsage=serverAuth, or without extendedKeyUsage"
    )
}

fn unsupported_signature(algorithm: Option<&[u8]>, context: &Context<'_>) -> String {
    let name = algorithm.map_or_else(|| "not supported".into(), signature_algorithm);
    format!(
        "the signature of its certificate, or of one of its CA, is {name}; sign it again with \
         SHA-256: `openssl x509 -req … -sha256`, by a key of RSA, P-256, P-384 or Ed25519; look at \
         them with {}",
        context.show()
    )
}

fn unsupported_key(context: &Context<'_>) -> String {
    let key = context.own().map_or_else(String::new, |own| format!(", {}", own.key.name));
    let issuer = context.shown.iter().find(|shown| context.authorities.contains(&shown.issuer));
    let renamed = issuer.map_or_else(String::new, |shown| {
        format!(
            " Or {:?} in the CA file has another kind of key than the CA that signed it: was the \
             CA created again? Then set MQTT_CA_FILE to its new certificate.",
            shown.issuer.to_string()
        )
    });
    format!(
        "its key{key}, or that of its CA, is of a kind that is not supported; use RSA with at \
         least 2048 bits, P-256, P-384 or Ed25519.{renamed} Look at them with {}",
        context.show()
    )
}
