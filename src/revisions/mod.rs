//! Revisions: what operators have changed outlives restarts, and bad changes go back by themselves.
//!
//! `ank-server` keeps nothing: at each start it begins with its startup manifest. So the connector
//! keeps the changes of operators, each as a *revision*, and puts them back.
//!
//! ```text
//!  item       one workload or one config; the overlay is a map of them
//!  marker     the config that says which revision Ankaios has
//!  revision   what is known about one change
//!  core       decides: events and the time in, actions out
//!  store      the files
//!  worker     the thread that uses the store
//!   └ records    the records of subscriptions in it
//!  keeper     the task that owns the core, does its actions, and serves operations
//!   └ handle     how operations ask it
//!  metrics
//! ```

mod core;
mod handle;
mod item;
mod keeper;
mod marker;
mod metrics;
mod records;
mod revision;
mod store;
mod worker;

pub(crate) use core::{RollbackTarget, Updated};
pub(crate) use handle::{ChangeRequest, PendingAnswer, Revisions, RevisionsStatus, check_masks};
pub(crate) use keeper::{KeeperParts, Kept, RevisionOptions, open};
pub(crate) use metrics::RevisionMetrics;
pub(crate) use revision::Origin;
pub(crate) use store::OpenError;
