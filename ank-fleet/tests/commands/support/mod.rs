//! A broker, vehicles with real connectors in this process, and the real `ank-fleet`.

#[path = "../../../../tests/support/broker.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests of the connector use the rest")]
mod broker;
#[path = "../../../../tests/support/clock.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests of the connector use the rest")]
mod clock;
#[path = "../../../../tests/support/contract.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests of the connector use the rest")]
mod contract;
mod fleet;
#[path = "../../../../tests/support/process.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests of the connector use the rest")]
mod process;

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

pub(crate) use broker::Broker;
pub(crate) use clock::Clock;
pub(crate) use fleet::{Output, TestFleet, manifest, vin};
pub(crate) use process::Process;
use tokio::time::sleep;

/// The time limit for everything that normally happens at once.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A free TCP port of the loopback interface, below those that the kernel assigns.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(10_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Prints that a test was skipped, or panics with `FAIL_ON_SKIP` set in the environment.
pub(crate) fn skipped(test: &str, missing: &str) {
    let message = format!("\nSKIPPED {test}: {missing}\n");
    assert!(std::env::var_os("FAIL_ON_SKIP").is_none(), "{message}(FAIL_ON_SKIP is set)");
    say(&message);
}

/// Writes past the output capture of the test harness.
pub(crate) fn say(message: &str) {
    let _ = std::io::stderr().write_all(message.as_bytes());
}

/// Polls until the condition holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
