//! What is known when an error is explained.

use crate::tls::config::Tls;
use crate::tls::x509::{Certificate, Name};

/// The broker, and how it is reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// `None` for a connection without TLS.
    pub(crate) tls: Option<&'a Tls>,
}

impl Target<'_> {
    /// Host and port, as `openssl s_client -connect` takes them.
    pub(super) fn address(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// The circumstances of an error.
pub(in crate::tls) struct Context<'a> {
    pub(in crate::tls) target: Target<'a>,
    /// Whether it happened after the handshake.
    pub(in crate::tls) established: bool,
    /// The certificates that the broker has shown, its own first.
    pub(in crate::tls) shown: Vec<Certificate>,
    /// The names of the authorities that may have signed it.
    pub(in crate::tls) authorities: Vec<Name>,
    /// What the clock shows, in seconds since 1970.
    pub(in crate::tls) now: u64,
}

impl Context<'_> {
    /// The certificate of the broker.
    pub(in crate::tls) fn own(&self) -> Option<&Certificate> {
        self.shown.first()
    }

    /// Whether a client certificate is set.
    pub(in crate::tls) fn has_identity(&self) -> bool {
        self.target.tls.is_some_and(Tls::has_identity)
    }

    /// The command that shows the certificates of the broker.
    pub(in crate::tls) fn show(&self) -> String {
        format!("`openssl s_client -connect {} -showcerts </dev/null`", self.target.address())
    }
}
