//! Why the issuer of the broker's certificate is not known.

use super::context::Context;
use crate::tls::keys::MIN_RSA_BITS;
use crate::tls::text;

/// The general remedy.
const REMEDY: &str = "set MQTT_CA_FILE to the certificate of its CA";

/// No authority has issued the certificate.
pub(super) fn unknown(context: &Context<'_>) -> String {
    let known = match context.target.tls.and_then(|tls| tls.ca_file()) {
        Some(file) => {
            let names = context.authorities.iter().map(|name| format!("{:?}", name.to_string()));
            format!("{} has {}", file.display(), text::list(names))
        }
        None => "without MQTT_CA_FILE only public CAs, those of the system, are known".into(),
    };
    let Some(own) = context.own() else {
        return format!("its certificate is not signed by a known CA; {REMEDY}");
    };
    if own.is_self_issued() {
        return format!(
            "its certificate is not signed by a known CA: {:?} has signed it itself, and {known}; \
             {REMEDY}; if it has none, create one as in docs/tls.md",
            own.subject.to_string()
        );
    }
    // From the certificate of the broker as far as it has sent the issuers.
    let mut last = own;
    for _ in 0..context.shown.len() {
        let issuer = context.shown.iter().find(|shown| shown.subject == last.issuer);
        match issuer {
            Some(issuer) if !last.is_self_issued() => last = issuer,
            _ => break,
        }
    }
    let issuer = last.issuer.to_string();
    if last.is_self_issued() {
        return format!(
            "its certificate is not signed by a known CA: the CA is {issuer:?}, and {known}; {REMEDY}"
        );
    }
    format!(
        "its certificate is not signed by a known CA: {:?} has issued that of {:?}, and {known}; \
         {REMEDY}, or, if that is an intermediate CA, let the broker send its certificate, too: \
         `cat server.pem intermediate.pem > chain.pem`, for certfile of Mosquitto",
        issuer,
        last.subject.to_string()
    )
}

/// The issuer is known by its name, but the signature is not by its key.
pub(super) fn bad_signature(context: &Context<'_>) -> String {
    let small = context
        .shown
        .iter()
        .find(|shown| shown.key.rsa_bits.is_some_and(|bits| bits < MIN_RSA_BITS));
    if let Some(small) = small {
        return format!(
            "the certificate of {:?} has a key that is too small, {}; create a new key, at least \
             RSA with {MIN_RSA_BITS} bits or P-256, and a new certificate",
            small.subject.to_string(),
            small.key.name
        );
    }
    let issuer = context.shown.iter().find(|shown| context.authorities.contains(&shown.issuer));
    match issuer {
        Some(shown) => format!(
            "its certificate is not signed by a known CA: {:?} is known by its name, but has \
             another key, or one that is too small (RSA below {MIN_RSA_BITS} bits); was the CA \
             created again? {REMEDY}: `openssl verify -CAfile ca.pem server.pem` must succeed",
            shown.issuer.to_string()
        ),
        None => format!(
            "a signature in its certificates or in the handshake is wrong; {REMEDY}, and see \
             whether certfile and keyfile of the broker belong together with {}",
            context.show()
        ),
    }
}
