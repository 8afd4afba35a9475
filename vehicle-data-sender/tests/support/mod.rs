//! A private Mosquitto, its clients and certificates, shared with the tests of the connector.

#![allow(dead_code, unreachable_pub, reason = "shared files of which only a part is used")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../../../tests/support/broker.rs"]
pub mod broker;
#[path = "../../../tests/support/certificates.rs"]
pub mod certificates;
#[path = "../../../tests/support/process.rs"]
pub mod process;

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

/// The messages of the sender are text on any topic.
pub mod contract {
    pub fn published(_topic: &str, _payload: &[u8]) {}

    pub fn received(_topic: &str, _payload: &[u8], _has_user_properties: bool) {}

    pub fn served(_topic: &str, _request: &[u8], _reply: &[u8]) {}
}

pub use broker::Broker;
pub use process::Process;

/// How long a test waits for something that should happen at once.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A free TCP port of the loopback interface.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Writes directly to standard error, which the test harness does not capture.
pub fn say(message: &str) {
    let _ = std::io::stderr().write_all(message.as_bytes());
}
