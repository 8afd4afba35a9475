//! Waits until this replica should become active.

use std::time::Duration;

use ankaios_control::LinkStatus;
use fleet_contract::topics::Topics;
use mqtt_session::{
    Brokers, ConnectionError, ReconnectWaits, Reporter, SessionOptions, format_wait,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::election::{Action, Election, Leader};
use super::observer::Observer;

/// Help for the error that two replicas have the same name.
const SAME_NAME: &str =
    "another connector has the same REPLICA_ID: give each connector of the vehicle a different one";

/// The standby side of a replica.
#[derive(Debug)]
pub(crate) struct Standby {
    replica: String,
    options: SessionOptions,
    topics: Topics,
    link: watch::Receiver<LinkStatus>,
    reporter: Reporter,
    /// Whether an active replica of this name is this process or the previous one of this
    /// replica.
    succeeds_itself: bool,
    waits: ReconnectWaits,
}

impl Standby {
    /// `replica` is the name of this replica; `options` are those of the session.
    #[must_use]
    pub(crate) fn new(
        replica: String,
        options: SessionOptions,
        topics: Topics,
        link: watch::Receiver<LinkStatus>,
        reporter: Reporter,
    ) -> Self {
        let (succeeds_itself, waits) = (true, ReconnectWaits::new(Duration::ZERO));
        Self { replica, options, topics, link, reporter, succeeds_itself, waits }
    }

    /// Records that this replica was active. `taken_over` says whether another one is active
    /// now.
    pub(crate) fn was_active(&mut self, taken_over: bool) {
        self.succeeds_itself = !taken_over;
    }

    /// The addresses of the broker. The current one is that of the last connection, which worked.
    pub(crate) fn brokers(&self) -> &Brokers {
        &self.options.brokers
    }

    /// Waits until this replica should become active, or until `stop` is cancelled. Errors are
    /// logged and retried.
    pub(crate) async fn wait(&mut self, stop: &CancellationToken) {
        let mut heartbeat = self.reporter.heartbeat();
        loop {
            let mut ready = None;
            let watched = tokio::select! {
                watched = heartbeat.while_waiting(self.watch(&mut ready)) => watched,
                () = stop.cancelled() => return,
            };
            let Err(error) = watched else { return };
            let wait = self.report_error(&error, ready);
            tokio::select! {
                () = heartbeat.while_waiting(sleep(wait)) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Waits over one connection until this replica should become active. Sets `ready` to the
    /// time of the subscription.
    async fn watch(&mut self, ready: &mut Option<Instant>) -> Result<(), ConnectionError> {
        let metrics = self.reporter.metrics();
        let mut observer =
            Observer::open(&self.options, &self.topics, &self.replica, metrics).await?;
        let now = Instant::now();
        *ready = Some(now);
        self.reporter.standby();
        // Another replica may be active even if nothing is retained.
        observer.ask(&self.replica)?;
        let patience = self.options.keep_alive;
        let mut election = Election::new(self.replica.clone(), patience, self.succeeds_itself, now);
        loop {
            let is_linked = *self.link.borrow_and_update() == LinkStatus::Connected;
            election.set_linked(is_linked);
            let deadline = election.deadline();
            tokio::select! {
                Ok(()) = self.link.changed() => {}
                seen = observer.next() => {
                    let has_changed = election.saw(&seen?, Instant::now());
                    // From now on a status with this name is that of another process.
                    self.succeeds_itself = false;
                    if has_changed {
                        self.report(election.leader());
                    }
                }
                () = sleep_until(deadline.unwrap_or(now)), if deadline.is_some() => {
                    match election.act(Instant::now()) {
                        Action::Wait => {}
                        Action::Ask => observer.ask(&self.replica)?,
                        Action::GiveUpLeader => {
                            tracing::warn!("the active replica does not respond");
                        }
                        Action::TakeOver => break,
                    }
                }
            }
        }
        observer.close().await;
        Ok(())
    }

    /// Logs which connector is active.
    fn report(&self, leader: &Leader) {
        let replica = &self.replica;
        match leader {
            Leader::None { .. } => tracing::info!(replica, "no replica is active"),
            Leader::Active { name: Some(name), .. } if name == replica => {
                tracing::warn!(
                    replica,
                    help = SAME_NAME,
                    "standby: a replica of the same name is active"
                );
            }
            Leader::Active { name, .. } => {
                tracing::info!(replica, active = name, "standby: another connector is active");
            }
        }
    }

    /// Reports the error that has ended a connection. Returns how long to wait before the next
    /// one.
    fn report_error(&mut self, error: &ConnectionError, ready: Option<Instant>) -> Duration {
        let lasted = ready.map(|ready| ready.elapsed());
        let wait = self.waits.next_wait(lasted).max(error.min_wait());
        let help = if error.is_takeover() {
            Some(SAME_NAME.to_owned())
        } else if error.is_closed() && ready.is_some() {
            // Not every broker sends the reason.
            Some(format!("if this continues and the broker is available, {SAME_NAME}"))
        } else {
            error.help(&self.options, ready.is_none())
        };
        self.reporter.failed(&self.options, error, help.as_deref());
        tracing::warn!(
            replica = self.replica,
            %error,
            help,
            retry_in = %format_wait(wait),
            "a standby replica cannot see which replica is active"
        );
        self.options.brokers.advance();
        wait
    }
}
