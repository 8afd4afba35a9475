//! Remedies that several errors share.

use super::context::Context;

/// The command that creates a certificate of version 3 from the request of a broker. It has
/// neither quotes nor backslashes, which the log would escape.
pub(super) fn with_extensions(alternative_name: &str) -> String {
    format!(
        "`(echo basicConstraints=CA:FALSE; echo subjectAltName={alternative_name}) > server.ext && \
         openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 365 \
         -extfile server.ext -out server.pem`"
    )
}

/// A critical extension that is not known.
pub(super) fn critical_extension(context: &Context<'_>) -> String {
    format!(
        "its certificate, or one of its CA, has a critical extension that is not supported; create \
         it without, or not as critical; look at it with {} | openssl x509 -noout -text",
        context.show().trim_end_matches('`')
    ) + "`"
}
