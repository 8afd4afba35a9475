//! What a change would do to a vehicle, and what a vehicle has of it.
//!
//! ```text
//!  manifest or update ─► WantedChange ─┐
//!  state of a vehicle ─► Known ────────┴─► Observed: nothing, or what changes ─► group: equal answers
//!                                             │
//!  history ───────────────────────────────────┴─► vehicle_state: for the roll-out
//! ```

mod diff;
mod group;
mod known;
mod normal;
mod vehicle;
mod wanted;

pub use diff::{FieldChange, ItemChange, ItemDiff, diff_items};
pub use group::{ChangeGroup, group};
pub use known::{InvalidState, Known};
pub use vehicle::{Observed, vehicle_state};
pub use wanted::{ChangeError, WantedChange};

#[cfg(test)]
mod tests;
