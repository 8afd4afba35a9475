//! The task that opens the FIFOs. It runs a [`FifoSession`] over them, which writes to `output` and
//! has a task that reads `input`, and starts again when that ends.

mod context;
mod session;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use context::{Context, OPEN_INTERVAL};
use service_kit::heartbeat::Monitor;
use session::FifoSession;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio::time::sleep;

use super::client::Client;
use super::metrics::LinkMetrics;
use super::pipe::{OpenError, Output, open_input};
use super::status::LinkStatus;

/// Creates a client and the link that serves it.
///
/// `folder` contains the FIFOs `input` and `output`; Ankaios mounts it into a workload as
/// `/run/ankaios/control_interface`. `request_timeout` limits the time from a call to its
/// answer.
///
/// Nothing is opened before [`Link::run`], and requests wait for it. Only one process may use
/// a folder at a time.
#[must_use]
pub fn connect(folder: PathBuf, request_timeout: Duration) -> (Client, Link) {
    let context = Context::new(request_timeout);
    let client = Client::new(
        Arc::clone(&context.pending),
        context.status.subscribe(),
        request_timeout,
        context.metrics.clone(),
    );
    (client, Link { folder, opened: false, context })
}

/// The task that serves all clones of a [`Client`]. Spawn [`Link::run`].
#[derive(Debug)]
pub struct Link {
    folder: PathBuf,
    /// The FIFOs have been opened before.
    opened: bool,
    context: Context,
}

impl Link {
    /// The status of the link, and its changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<LinkStatus> {
        self.context.status.subscribe()
    }

    /// The metrics of the link and its clients.
    #[must_use]
    pub fn metrics(&self) -> LinkMetrics {
        self.context.metrics.clone()
    }

    /// Answers the liveness checks of `monitor`.
    #[must_use]
    pub fn monitored(mut self, monitor: &Monitor) -> Self {
        self.context.heartbeat = monitor.start();
        self
    }

    /// Serves the clients. Never returns; drop the future to stop the link.
    pub async fn run(mut self) {
        loop {
            let (input, output) = self.open().await;
            let reason = FifoSession::new(&mut self.context, input, output).run().await;
            self.context.set_disconnected(format!("{reason}; waiting for the Ankaios agent"));
        }
    }

    /// Waits until the FIFOs exist and an agent has opened them.
    async fn open(&mut self) -> (Receiver, Output) {
        loop {
            // `input` first, because an agent may answer as soon as `output` is open.
            let opened =
                open_input(&self.folder).and_then(|input| Ok((input, Output::open(&self.folder)?)));
            match opened {
                Ok(pipes) => {
                    self.opened = true;
                    return pipes;
                }
                Err(error) => {
                    self.context.set_disconnected(format!("{error}; {}", self.hint(&error)))
                }
            }
            self.context.heartbeat.while_waiting(sleep(OPEN_INTERVAL)).await;
        }
    }

    /// What to do about a FIFO that cannot be opened.
    fn hint(&self, error: &OpenError) -> &'static str {
        match error {
            OpenError::Missing(_) if self.opened => {
                "Ankaios removes it when its server restarts, and systemd-tmpfiles when it is old; \
                 restart the Ankaios agent, or delete and apply the connector's workload"
            }
            OpenError::Missing(_) => {
                "does the connector's workload have controlInterfaceAccess? If it has, the file was \
                 removed, for example by systemd-tmpfiles: restart the Ankaios agent, or delete and \
                 apply the connector's workload"
            }
            OpenError::NoReader(_) => "is the Ankaios agent running?",
            OpenError::Io { .. } => {
                "the connector must run as the owner of the FIFOs, usually root"
            }
        }
    }
}
