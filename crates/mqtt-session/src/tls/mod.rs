//! TLS to the broker: certificates and keys, and what to do about an error.
//!
//! The files are read for each connection, so that certificates can be renewed without a
//! restart. If the new ones are broken, the previous ones stay in use.
//!
//! ```text
//!  config ─► roots, identity ─► file, pem ─► form        what a file is instead
//!     │            └─► x509, keys ─► der
//!     ▼
//!  handshake ─► verifier                                 the certificates of the broker
//!     ▼
//!  explain: certificate, webpki, issuer, alert, peer     what an error means, what to do
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | `config` | [`Tls`], the settings, and the configuration of a connection |
//! | `error` | [`TlsError`], mistakes in files, each with what to do |
//! | `file`, `pem`, `form` | read a file; its PEM blocks; what a file is that has not the right ones |
//! | `der`, `x509`, `keys` | read DER; certificates; private keys |
//! | `roots`, `identity` | CA certificates; the client certificate and its key |
//! | `expiry` | when the client certificate expires |
//! | `handshake`, `verifier` | the handshake, and the certificates that the broker has shown |
//! | `explain` | from an error of rustls to a sentence |
//! | `text` | times, names and paths in messages |

mod certificates;
mod config;
mod der;
mod error;
mod expiry;
mod explain;
mod file;
mod form;
mod handshake;
mod identity;
mod keys;
mod pem;
mod roots;
mod signature;
mod text;
mod verifier;
mod x509;

pub use config::{Identity, Tls};
pub use error::{TlsError, server_name};
pub(crate) use explain::{Target, closed_early, explain};
