//! `ank-fleet`, the command line of operators of fleets.
//!
//! What decides is pure: no MQTT, no terminal, no clock. Events and the time come in, actions go
//! out, so it is tested on virtual time with thousands of vehicles. Only [`journal`] has files, and
//! only [`program`] has the rest: the command line, the connection to the broker, and output.
//!
//! ```text
//!  arguments, inventory, statuses             manifest, states of vehicles
//!        │                                          │
//!        ▼                                          ▼
//!  inventory: Fleet ─► selection: VINs        changes: what would change, groups
//!                            │                      │
//!                            ▼                      ▼
//!                  rollout: Plan (frozen VINs in order, waves, limits, unchanged)
//!                            │
//!   events, now ────────► Rollout ────────► journal lines, then actions: requests, reads, gate
//!                            │                      │
//!                            ▼                      ▼
//!                    report: lines            journal: synced, then resumed from
//! ```
//!
//! | module | what it contains |
//! |---|---|
//! | [`selection`] | label selectors, lists of VINs |
//! | [`presence`] | which vehicles there are, and whether they are online |
//! | [`inventory`] | the inventory file, and its merge with what vehicles declare |
//! | [`waves`] | waves, limits, rates |
//! | [`manifests`] | manifests of several files as one |
//! | [`changes`] | the difference between a vehicle's state and a change; equal answers together |
//! | [`rollout`] | the plan, and the state machine that carries it out |
//! | [`journal`] | plan and transitions on the disk, locked |
//! | [`report`], [`table`] | what is printed, as functions of the state; tables |
//! | [`program`] | the program around them |
//!
//! A roll-out is event-sourced: [`rollout::State`] changes only by [`rollout::Transition`]s, each of
//! which is a line of the journal that is on the disk before the actions that follow from it are
//! done. So a command that was killed goes on from the same state.

#![forbid(unsafe_code)]

pub mod changes;
pub mod inventory;
pub mod journal;
pub mod manifests;
mod own_file;
pub mod presence;
pub mod program;
pub mod report;
pub mod rollout;
pub mod selection;
pub mod table;
mod text;
mod time;
mod vin;
pub mod waves;

pub use time::{InvalidTime, Time};
pub use vin::{InvalidVin, Vin};
