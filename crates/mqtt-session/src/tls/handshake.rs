//! The handshake, and what is known about one that has failed.

use std::io;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, Error, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::config::Tls;
use super::error::server_name;

/// A handshake that has failed.
#[derive(Debug, thiserror::Error)]
#[error("{}", text(source))]
pub(super) struct HandshakeError {
    /// Why.
    pub(super) source: io::Error,
    /// The certificates that the broker has shown, its own first.
    pub(super) shown: Vec<CertificateDer<'static>>,
    /// The authorities that may have signed it.
    pub(super) roots: Arc<RootCertStore>,
}

/// The text of an error. rustls shows those that it passes on with the names of its own types.
fn text(source: &io::Error) -> String {
    match source.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(CertificateError::Other(other))) => {
            format!("invalid peer certificate: {}", other.0)
        }
        _ => source.to_string(),
    }
}

impl Tls {
    /// Makes the handshake with the broker at `host`.
    ///
    /// # Errors
    /// A [`TlsError`](super::TlsError), or what the handshake failed with; see
    /// [`explain`](super::explain()).
    pub(crate) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        let configured = self.configure().map_err(io::Error::other)?;
        self.report_validity();
        let name = server_name(host).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::new(configured.client));
        connector.connect(name, stream).await.map_err(|source| {
            let shown = configured.verifier.shown();
            let kind = source.kind();
            io::Error::new(kind, HandshakeError { source, shown, roots: configured.roots })
        })
    }
}
