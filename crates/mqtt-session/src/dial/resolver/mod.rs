//! Addresses of a host name, as glibc finds them: `/etc/hosts`, then the name servers of
//! `/etc/resolv.conf`. The same with every C library; that of the static binary asks all name
//! servers at once and uses the first answer, even "there is no such name".
//!
//! ```text
//!  lookup ──► literal      addresses that are written as the name; localhost
//!    │    ──► hosts        the lines of /etc/hosts; pure
//!    │    ──► config       what /etc/resolv.conf says; pure
//!    │    ──► candidates   the names to ask for, and what their answers mean together; pure
//!    └──► exchange ──► schedule   which name server is asked when; pure
//!             │
//!             └──────► message    queries and answers in bytes; pure
//! ```

mod candidates;
mod config;
mod exchange;
mod hosts;
mod literal;
mod lookup;
mod lookup_error;
mod message;
mod outcome;
mod schedule;

pub(crate) use lookup::lookup;
pub(crate) use lookup_error::{Answer, LookupError};
