//! Waits until this replica should become active, and remembers the records until then.

use std::time::Duration;

use ankaios_control::LinkStatus;
use fleet_contract::topics::Topics;
use mqtt_session::{
    Brokers, ConnectionError, Publication, ReconnectWaits, Reporter, SessionOptions, format_wait,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::election::{Action, Election, Leader};
use super::observer::{Observer, Scope, Seen};
use super::seen_records::SeenRecords;

/// Help for the error that two replicas have the same name.
const SAME_NAME: &str =
    "another connector has the same REPLICA_ID: give each connector of the vehicle a different one";

/// After how many connections that the broker has ended before it has granted the subscriptions a
/// standby does without the records: some brokers do that instead of refusing a subscription.
const MAX_EARLY_ENDS: u32 = 3;

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
    /// The replica that was active when the connection was lost.
    leader: Option<String>,
    /// Those of the replicas that were active. Kept until this one has had a session with them.
    records: SeenRecords,
    /// What the broker lets a standby watch.
    scope: Scope,
    /// How many connections in succession the broker has ended before it has granted the
    /// subscriptions.
    early_ends: u32,
    has_reported_no_records: bool,
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
        Self {
            replica,
            options,
            topics,
            link,
            reporter,
            succeeds_itself: true,
            leader: None,
            records: SeenRecords::default(),
            scope: Scope::StatusAndRecords,
            early_ends: 0,
            has_reported_no_records: false,
            waits: ReconnectWaits::new(Duration::ZERO),
        }
    }

    /// Records that this replica was active, and another one is now.
    pub(crate) fn was_taken_over(&mut self) {
        self.succeeds_itself = false;
        self.records = SeenRecords::default();
    }

    /// Records that this replica was active, and perhaps another one is now. `records` are those that
    /// it had; `None` if it has not got as far as that.
    pub(crate) fn was_active(&mut self, records: Option<Vec<Publication>>) {
        self.succeeds_itself = true;
        let Some(records) = records else { return };
        self.records = SeenRecords::default();
        for Publication { topic, payload, expiry, .. } in records {
            self.records.insert(topic, payload, expiry);
        }
    }

    /// The addresses of the broker. The current one is that of the last connection, which worked.
    pub(crate) fn brokers(&self) -> &Brokers {
        &self.options.brokers
    }

    /// Waits until this replica should become active, or until `stop` is cancelled. Returns the
    /// records of the replica that was active before. Errors are logged and retried.
    pub(crate) async fn wait(&mut self, stop: &CancellationToken) -> SeenRecords {
        let mut heartbeat = self.reporter.heartbeat();
        self.scope = Scope::StatusAndRecords;
        loop {
            let mut ready = None;
            let watched = tokio::select! {
                watched = heartbeat.while_waiting(self.watch(&mut ready)) => watched,
                () = stop.cancelled() => return SeenRecords::default(),
            };
            let Err(error) = watched else { return self.records.clone() };
            let wait = self.report_error(&error, ready);
            tokio::select! {
                () = heartbeat.while_waiting(sleep(wait)) => {}
                () = stop.cancelled() => return SeenRecords::default(),
            }
        }
    }

    /// Waits over one connection until this replica should become active. Sets `ready` to the
    /// time of the subscription.
    async fn watch(&mut self, ready: &mut Option<Instant>) -> Result<(), ConnectionError> {
        let (topics, replica, scope) = (&self.topics, &self.replica, self.scope);
        let metrics = self.reporter.metrics();
        let mut observer = Observer::open(&self.options, topics, scope, replica, metrics).await?;
        let now = Instant::now();
        *ready = Some(now);
        self.early_ends = 0;
        self.reporter.standby();
        // Another replica may be active even if nothing is retained.
        observer.ask(replica, Scope::Status)?;
        let patience = self.options.keep_alive;
        let mut election = Election::new(replica.clone(), patience, self.succeeds_itself, now);
        if let Some(leader) = self.leader.take() {
            election.expect(leader, now);
        }
        if let Err(error) = self.follow(&mut observer, &mut election).await {
            if let Leader::Active { name, .. } = election.leader() {
                self.leader.clone_from(name);
            }
            return Err(error);
        }
        // From here to the session's connection nobody watches. If the replica that is about to be
        // replaced is still alive and ends a subscription in these moments, that is resumed.
        observer.close().await;
        Ok(())
    }

    /// Follows the election until this replica should become active.
    async fn follow(
        &mut self,
        observer: &mut Observer,
        election: &mut Election,
    ) -> Result<(), ConnectionError> {
        // The last active replica that was asked for its records.
        let mut asked = None;
        let mut is_answered = false;
        loop {
            let is_linked = *self.link.borrow_and_update() == LinkStatus::Connected;
            election.set_linked(is_linked);
            let deadline = election.deadline();
            tokio::select! {
                Ok(()) = self.link.changed() => {}
                seen = observer.next() => match seen? {
                    Seen::Record(record) => self.records.saw(record),
                    Seen::Status(status) => {
                        let has_changed = election.saw(&status, Instant::now());
                        // From now on a status with this name is that of another process.
                        self.succeeds_itself = false;
                        if has_changed {
                            self.report(election.leader());
                        }
                        if let Some((replica, since)) = status.active() {
                            let active = Some((replica.to_owned(), since.to_owned()));
                            if !observer.sees_records() {
                                self.report_no_records();
                                // It cannot learn more, and usually the others cannot either: none goes first.
                                // What it has from before is kept: nobody says which of it has ended.
                                election.inform();
                            } else if asked != active {
                                self.records.asked();
                                observer.ask(&self.replica, Scope::StatusAndRecords)?;
                                asked = active;
                                is_answered = false;
                            } else if !is_answered {
                                // It publishes its records, and then its status.
                                is_answered = true;
                                self.records.answered();
                                election.inform();
                                tracing::info!(
                                    replica = self.replica,
                                    active = replica,
                                    records = self.records.len(),
                                    "standby: the records of the active replica are known"
                                );
                            }
                        }
                    }
                },
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    match election.act(Instant::now()) {
                        Action::Wait => {}
                        Action::Ask => observer.ask(&self.replica, Scope::Status)?,
                        Action::GiveUpLeader => {
                            tracing::warn!("the active replica does not respond");
                        }
                        Action::TakeOver => return Ok(()),
                    }
                }
            }
        }
    }

    /// Logs, once, that the broker does not let a standby see the records.
    fn report_no_records(&mut self) {
        if !std::mem::replace(&mut self.has_reported_no_records, true) {
            tracing::warn!(
                replica = self.replica,
                help = "it must allow wildcards in subscriptions, and this client to read below the base topic",
                "standby: the broker sends no records: subscriptions and rollouts may end with the active replica"
            );
        }
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
        if ready.is_none() && error.is_ended() {
            self.early_ends += 1;
        }
        if error.refuses_wildcards() || self.early_ends >= MAX_EARLY_ENDS {
            self.scope = Scope::Status;
        }
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
