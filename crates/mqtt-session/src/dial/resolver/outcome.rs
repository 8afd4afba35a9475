//! What the name servers say about one name and one family.

use std::net::IpAddr;

use super::lookup_error::LookupError;

/// The result of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// At least one address.
    Found(Vec<IpAddr>),
    Failure(Failure),
}

/// Why there are no addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The name exists, without an address of this family.
    NoData,
    /// There is no such name.
    NoName,
    /// A name server has failed.
    Server,
    /// All name servers refuse to answer.
    Refused,
    /// No name server has answered.
    NoAnswer,
}

impl From<Failure> for LookupError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoData => Self::NoAddress,
            Failure::NoName => Self::NoName,
            Failure::Refused => Self::Refused,
            Failure::Server | Failure::NoAnswer => Self::Temporary,
        }
    }
}
