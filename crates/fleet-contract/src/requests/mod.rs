//! The payloads of requests, with their checks.
//!
//! Each request has a function `parse`. Its error is the reply `invalid_payload`, which names the
//! field that is wrong and describes the expected payload.

mod confirm;
mod events;
mod history;
mod logs;
mod rollback;
mod state;
mod state_update;
mod unsubscribe;
mod workload_wait;

pub use confirm::ConfirmRequest;
pub use events::EventsRequest;
pub use history::HistoryRequest;
pub use logs::LogsRequest;
pub use rollback::RollbackRequest;
pub use state::StateRequest;
pub use state_update::StateUpdateRequest;
pub use unsubscribe::UnsubscribeRequest;
pub use workload_wait::WorkloadWaitRequest;

mod mistakes;
mod payload;
