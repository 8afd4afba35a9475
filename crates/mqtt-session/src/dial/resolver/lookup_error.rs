//! The result of a lookup.

use std::net::SocketAddr;

/// Why a host name has no address of a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LookupError {
    /// There is no such name.
    NoName,
    /// The name has no address of this family.
    NoAddress,
    /// The name servers cannot be reached, or report a temporary failure.
    Temporary,
    /// All name servers refuse to answer.
    Refused,
    /// Anything else, as text.
    Other(String),
}

/// The result of a lookup. The ports of the addresses have no meaning.
pub(crate) type Answer = Result<Vec<SocketAddr>, LookupError>;
