//! The payloads of requests, and the checks of their shape.
//!
//! Each request is read by `parse`. Its error is the reply `invalid_payload`, which names the
//! field that is wrong and says what is expected.

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
