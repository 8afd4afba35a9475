//! From the settings to a stream of bytes on which CONNECT can be sent.
//!
//! ```text
//!  shell ──► race      which address is tried, and when; pure
//!    │   ──► names ──► resolver   addresses of a host, on threads of their own
//!    └───► attempt ──► proxy, tls, websocket   one address
//! ```

pub(crate) mod address_book;
mod attempt;
pub(crate) mod error;
mod line;
mod names;
mod no_proxy;
pub(crate) mod proxy;
pub(crate) mod race;
mod resolver;
mod shell;
#[cfg(test)]
mod tests;
pub(crate) mod transport;
mod tunnel;
pub(crate) mod websocket;

pub(crate) use line::{Heard, Line};
pub(crate) use shell::{Dialed, open};
