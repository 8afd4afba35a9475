//! A simulated vehicle: Eclipse Ankaios over real FIFOs, with its habits.
//!
//! [`SimulatedVehicle`] stands in for Ankaios in tests, benchmarks and the demo.
//! It keeps a desired state, lets workloads start, run, fail and stop, reports
//! changes to those who have subscribed, and streams logs. Everything goes over
//! the two FIFOs of a control interface, framed and worded like that of a real
//! agent. What real ones do wrong can be switched on: see [`Fault`], [`ReadPace`]
//! and the methods of [`SimulatedVehicle`].
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use vehicle_simulator::{Options, SimulatedVehicle};
//!
//! let dir = std::path::Path::new("/tmp/control_interface");
//! let vehicle = SimulatedVehicle::start(dir, Options::default()).await?;
//! vehicle.drop_requests(1);
//! vehicle.restart_server().await?;
//! assert_eq!(vehicle.requests(), []);
//! # Ok(())
//! # }
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `simulated_vehicle` | the handle |
//! | `options`, `faults`, `record` | what it starts with, what goes wrong, what has arrived |
//! | `agent`, `fifos`, `framing` | the session over the FIFOs |
//! | `simulation` | requests in, responses out, in their order |
//! | `vehicle`, `lifecycle`, `timeline`, `execution`, `logs`, `events`, `access` | the server |
//! | `broker` | the MQTT broker of the demo (feature `demo`) |
//! | `update`, `template`, `mask`, `document`, `conversion`, `instance` | states and what is done to them |

pub mod access;
mod agent;
#[cfg(feature = "demo")]
pub mod broker;
mod conversion;
mod document;
mod events;
pub mod execution;
mod faults;
mod fifos;
mod framing;
mod instance;
mod lifecycle;
mod logs;
mod mask;
mod options;
mod record;
mod simulated_vehicle;
mod simulation;
mod template;
mod timeline;
mod update;
mod vehicle;

pub use faults::{Fault, ReadPace};
pub use framing::frame;
pub use instance::{InstanceName, InvalidInstanceName};
pub use lifecycle::UNKNOWN_IMAGE;
pub use options::{CONNECTOR_WORKLOAD, Options, agent_attributes};
pub use record::{Counters, Problem};
pub use simulated_vehicle::{NotYet, SimulatedVehicle, UnknownWorkload};
pub use timeline::Timing;
