//! The payloads of requests, with their checks.
//!
//! Each request has a function `parse`. Its error is the reply `invalid_payload`, which names the
//! field that is wrong and describes the expected payload.

mod events;
mod logs;
mod state;
mod state_update;
mod unsubscribe;
mod workload_wait;

pub use events::EventsRequest;
pub use logs::LogsRequest;
pub use state::StateRequest;
pub use state_update::StateUpdateRequest;
pub use unsubscribe::UnsubscribeRequest;
pub use workload_wait::WorkloadWaitRequest;

mod payload;
