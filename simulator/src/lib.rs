//! A simulated vehicle: Eclipse Ankaios behind the two FIFOs of a control interface, for tests,
//! benchmarks and the demo of the fleet connector.
//!
//! [`SimulatedVehicle`] keeps a desired state, starts and stops workloads, sends events, and
//! streams logs. It behaves like a real Ankaios as seen by one workload: its frames are tested
//! against recorded ones, and its error messages are the same. Faults of real agents and servers
//! can be switched on: see [`Fault`], [`ReadPace`] and the methods of [`SimulatedVehicle`].
//!
//! It is not an Ankaios: no container runs, nothing is stored, and only one workload has a control
//! interface. With the connector it shares only messages and instance names (`ankaios-model`). All
//! logic is written independently, because a bug in shared code would be invisible to the tests.
//! It is never part of an image.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use vehicle_simulator::{SimulatedVehicle, VehicleOptions};
//!
//! let dir = std::path::Path::new("/tmp/control_interface");
//! let vehicle = SimulatedVehicle::start(dir, VehicleOptions::default()).await?;
//! vehicle.drop_requests(1);
//! vehicle.restart_server().await?;
//! assert_eq!(vehicle.requests(), []);
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//!  workload (the connector)         tests, benchmarks, demo
//!     │ output        ▲ input                │
//!  ┌──▼───────────────┴──┐   commands  ┌─────▼─────────────┐
//!  │ agent               │◄────────────┤ simulated_vehicle │
//!  │  └ fifos, framing   │             │   (the handle)    │
//!  └──┬───────────────▲──┘             └─────┬─────────────┘
//!     │ Request       │ Response             │ states, logs, faults
//!  ┌──▼───────────────┴──────────────────────▼──┐
//!  │ simulation           orders the responses  │
//!  │  └ access, faults, observations            │
//!  ├────────────────────────────────────────────┤
//!  │ requests             serves one request    │
//!  ├────────────────────────────────────────────┤
//!  │ server               starts and stops      │
//!  │  └ timeline, runtime workloads             │
//!  │  └ logs                                    │
//!  ├────────────────────────────────────────────┤
//!  │ state                returns the events of │
//!  │  └ update, events    each change           │
//!  └────────────────────────────────────────────┘
//! ```
//!
//! A request goes down through these layers, and its answer comes back up. Events and log entries
//! go up in the same way. Their cause is a request, a step of the timeline or a call of the handle.
//!
//! | files | contents |
//! |---|---|
//! | `tree`, `conversion`, `field_mask`, `template` | the state as a tree, and operations on it |
//! | `instance`, `execution` | instance names, rendered workloads, execution states |
//! | `options` | what a simulated vehicle starts with |
//! | `broker` | the MQTT broker of the demo (feature `demo`) |
//! | `main`, `arguments`, `demo`, `connector`, `fleet`, `many` | the demo program (feature `demo`) |

pub mod access;
mod agent;
#[cfg(feature = "demo")]
pub mod broker;
mod conversion;
mod events;
pub mod execution;
mod faults;
mod field_mask;
mod fifos;
mod framing;
mod instance;
mod logs;
mod observations;
mod options;
mod requests;
mod runtime;
mod server;
mod simulated_vehicle;
mod simulation;
mod state;
mod template;
mod timeline;
mod tree;
mod update;

pub use faults::{Fault, ReadPace};
pub use framing::frame;
pub use instance::instance_name;
pub use observations::{Counters, Problem};
pub use options::{CONNECTOR_WORKLOAD, VehicleOptions, agent_attributes};
pub use runtime::UNKNOWN_IMAGE;
pub use simulated_vehicle::{
    InvalidStartupManifest, SimulatedVehicle, UnknownWorkload, WaitTimeout,
};
pub use timeline::Timing;
