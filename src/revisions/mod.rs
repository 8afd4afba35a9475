//! Revisions: what operators have changed outlives restarts, and bad changes go back by themselves.
//!
//! `ank-server` keeps nothing: at each start it begins with its startup manifest. So the connector
//! keeps the changes of operators, each as a *revision*, and puts them back.
//!
//! ```text
//!  item       one workload or one config; the overlay is a map of them
//!  marker     the config that says which revision Ankaios has
//!  revision   what is known about one change
//!  serial     the serials of the signed requests that made changes
//!  core       decides: events and the time in, actions out
//!   ├ event      the events and the actions
//!   ├ job        what is in its queue: changes, rollbacks, confirmations, ends of rollouts
//!   ├ book       the revisions that are kept; compares a marker with them
//!   └ plan       the next overlay, and the update for it with marker and condition
//!  store      the files
//!  worker     the thread that uses the store
//!   ├ records      the records of subscriptions in it
//!   └ trust_files  what is kept about signed requests in it
//!  keeper     the task that owns the core, does its actions, and serves operations
//!   └ handle     how operations ask it, and how status and health read it
//!  metrics    the current revision, restorations, rollbacks and the time of syncs
//! ```
//!
//! ```text
//!  operations ─► Revisions ─► Keeper::start ─┐        ┌─► Read, Send ─► ankaios-control; guard
//!  link, marker subscription, RolloutEnded ──┼► Core ─┼─► Load, Save ─► StoreWorker
//!  what an action has led to, time ──────────┘        ├─► Answer ─────► operations
//!                                                     └─► Follow ─────► streams::Rollouts
//! ```
//!
//! The steps of a change and of putting the overlay back are in `core`.

mod core;
mod handle;
mod item;
mod keeper;
mod marker;
mod metrics;
mod records;
mod revision;
mod serial;
mod store;
mod trust_files;
mod worker;

pub(crate) use core::{RollbackTarget, Updated};
pub(crate) use handle::{ChangeRequest, PendingAnswer, Revisions, RevisionsStatus, check_masks};
pub(crate) use keeper::{KeeperParts, Kept, RevisionOptions, open};
pub(crate) use metrics::RevisionMetrics;
pub(crate) use revision::Origin;
pub(crate) use serial::{OriginSignature, RequestSerial};
pub(crate) use store::OpenError;
