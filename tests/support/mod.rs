//! Shared code of the integration tests: a private Mosquitto, its clients, the real connector
//! and Podman. Every process started here is killed when its handle is dropped. Every wait has
//! a deadline and panics with the output so far.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "every test binary compiles this module and uses a part of it"
)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

pub mod ank_fleet;
pub mod ankaios;
pub mod broker;
pub mod certificates;
pub mod client;
pub mod clock;
pub mod connector;
pub mod contract;
pub mod http;
pub mod http_proxy;
pub mod name_server;
pub mod openmetrics;
pub mod podman;
pub mod process;
pub mod proxy;
pub mod requester;
pub mod sandbox;
pub mod scene;
pub mod script;
pub mod scripted_broker;
pub mod scripted_scene;
pub mod vehicle;

use std::future::Future;
use std::io::Write;
use std::net::TcpListener;
use std::ops::Range;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

pub use broker::{Broker, Message, Subscription};
pub use client::Client;
pub use connector::start_connector;
pub use process::Process;
pub use proxy::Proxy;
pub use requester::Requester;
pub use scene::Scene;
pub use script::write_script;

/// The time limit for everything that normally happens at once.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A free TCP port of the loopback interface. Until it is used, neither the kernel nor another
/// test of this process assigns it.
pub fn free_port() -> u16 {
    /// Below the ports that the kernel assigns to connections and to listeners on port 0.
    const PORTS: Range<u16> = 10_000..32_000;
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(PORTS)));
    let mut ports = std::iter::repeat_with(|| {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        PORTS.start + port % (PORTS.end - PORTS.start)
    });
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// Polls until the result is `Some`, for conditions that cannot be awaited. Prefer
/// [`Process::line`] and [`Subscription::next`], which wait for an event.
pub async fn eventually<T, F>(what: &str, deadline: Duration, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + deadline;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Prints that a test was skipped. With `FAIL_ON_SKIP` set in the environment, as in `make
/// test`, it panics instead.
pub fn skipped(test: &str, missing: &str) {
    let message = format!("\nSKIPPED {test}: {missing}\n");
    assert!(std::env::var_os("FAIL_ON_SKIP").is_none(), "{message}(FAIL_ON_SKIP is set)");
    say(&message);
}

/// Writes past the output capture of the test harness, which hides what passing tests print.
pub fn say(message: &str) {
    let _ = std::io::stderr().write_all(message.as_bytes());
}
