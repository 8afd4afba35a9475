//! The task that owns the FIFOs: it opens them, and begins again whenever they are of
//! no use any more. What happens in between is a [`Session`].

mod session;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio::time::sleep;

use super::client::Client;
use super::metrics::Metrics;
use super::pending::Pending;
use super::pipe::{OpenError, Output, open_input};
use super::status::LinkStatus;
use crate::progress::{Monitor, Progress};
use session::Session;

/// How often missing FIFOs, or an agent that does not read, are looked for.
const OPEN_INTERVAL: Duration = Duration::from_millis(50);

/// Makes a client and the link that serves it.
///
/// `folder` holds the FIFOs `input` and `output`; `request_timeout` is how long
/// one answer of Ankaios is waited for.
#[must_use]
pub fn connect(folder: PathBuf, request_timeout: Duration) -> (Client, Link) {
    let reason = "the control interface has not been opened yet".into();
    let (status, status_receiver) = watch::channel(LinkStatus::Disconnected { reason });
    let pending = Arc::new(Pending::new());
    let metrics = Metrics::new(&status.borrow());
    let client =
        Client::new(Arc::clone(&pending), status_receiver, request_timeout, metrics.clone());
    let progress = Progress::unasked();
    let link = Link { folder, request_timeout, pending, opened: false, status, metrics, progress };
    (client, link)
}

/// The task behind all [`Client`]s.
#[derive(Debug)]
pub struct Link {
    folder: PathBuf,
    request_timeout: Duration,
    pending: Arc<Pending>,
    /// The FIFOs have been there before.
    opened: bool,
    status: watch::Sender<LinkStatus>,
    metrics: Metrics,
    progress: Progress,
}

impl Link {
    /// The state of the link, to be watched.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<LinkStatus> {
        self.status.subscribe()
    }

    /// What is counted of the link and its clients.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Lets `monitor` ask whether the link gets on.
    #[must_use]
    pub fn monitored(mut self, monitor: &Monitor) -> Self {
        self.progress = monitor.begin();
        self
    }

    /// Serves the clients. Never returns; drop it to stop it.
    pub async fn run(mut self) {
        loop {
            let (input, output) = self.open().await;
            let reason = Session::new(&mut self, input, output).run().await;
            self.disconnected(format!("{reason}; waiting for the Ankaios agent"));
        }
    }

    /// Waits until an agent has opened the FIFOs.
    async fn open(&mut self) -> (Receiver, Output) {
        loop {
            // `input` first: an agent may answer as soon as `output` is open.
            let opened =
                open_input(&self.folder).and_then(|input| Ok((input, Output::open(&self.folder)?)));
            match opened {
                Ok(pipes) => {
                    self.opened = true;
                    return pipes;
                }
                Err(error) => self.disconnected(format!("{error}; {}", self.hint(&error))),
            }
            self.progress.during(sleep(OPEN_INTERVAL)).await;
        }
    }

    /// What helps against a FIFO that cannot be opened.
    fn hint(&self, error: &OpenError) -> &'static str {
        match error {
            OpenError::Missing(_) if self.opened => {
                "Ankaios removes it when its server restarts; restart the Ankaios agent, or delete \
                 and apply the connector's workload"
            }
            OpenError::Missing(_) => "does the connector's workload have controlInterfaceAccess?",
            OpenError::NoReader(_) => "is the Ankaios agent running?",
            OpenError::Io { .. } => {
                "the connector must run as the owner of the FIFOs, usually root"
            }
        }
    }

    /// Nothing is answered, not even probes, or the agent does not read.
    fn silent(&self) {
        self.pending.set_overdue();
        self.disconnected(
            "the agent does not answer; Ankaios' server may be down or restarting".into(),
        );
    }

    /// What the agent said when it closed the session is worth more than that
    /// it is gone, and stays until an agent answers again.
    fn disconnected(&self, reason: String) {
        if matches!(*self.status.borrow(), LinkStatus::Closed { .. }) {
            return;
        }
        self.set_status(LinkStatus::Disconnected { reason });
    }

    fn set_status(&self, status: LinkStatus) {
        self.status.send_if_modified(|present| {
            if *present == status {
                return false;
            }
            match &status {
                LinkStatus::Connected => tracing::info!("the link to Ankaios is up"),
                LinkStatus::Disconnected { reason } => {
                    tracing::warn!(reason, "no link to Ankaios");
                }
                LinkStatus::Closed { reason } => {
                    tracing::error!(reason, "Ankaios has closed the control interface");
                }
            }
            self.metrics.status(&status);
            *present = status;
            true
        });
    }
}
