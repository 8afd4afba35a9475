//! The MQTT session and the tasks between it and the link to Ankaios. They run while this
//! connector is the active one of its vehicle.

use std::panic::AssertUnwindSafe;

use ankaios_control::{Client, LinkStatus};
use futures_util::FutureExt;
use mqtt_session::{Brokers, Ended, Reporter, Session};
use service_kit::clock::Deadline;
use service_kit::heartbeat::Monitor;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::error::Error;
use crate::broker::{Identity, PartStatuses, StatusRequests, Vehicle};
use crate::guard::Guard;
use crate::operations::{OperationContext, Operations, UpdateQueue};
use crate::replica::{SeenRecord, SeenRecords};
use crate::revisions::{RevisionMetrics, Revisions};
use crate::router::{RequestMetrics, Router};
use crate::settings::Settings;
use crate::streams::{KeptRecords, Publisher, Rollouts, SubscriptionMetrics, Subscriptions};
use crate::trust::Trust;

/// Maximum number of messages that wait for the router.
const MAX_MESSAGES: usize = 64;

/// The parts that live as long as the connector. Each activation uses them.
#[derive(Debug)]
pub(super) struct SharedParts {
    pub(super) settings: Settings,
    pub(super) client: Client,
    pub(super) guard: Guard,
    pub(super) link: watch::Receiver<LinkStatus>,
    /// `None` if rollouts are not followed.
    pub(super) rollouts: Option<Rollouts>,
    /// `None` if revisions are not kept.
    pub(super) revisions: Option<Revisions>,
    /// `None` without a trust file.
    pub(super) trust: Option<Trust>,
    /// The records of subscriptions in the store.
    pub(super) kept_records: KeptRecords,
    pub(super) instruments: Instruments,
}

/// Status, metrics and liveness monitors of the tasks.
#[derive(Debug)]
pub(super) struct Instruments {
    pub(super) reporter: Reporter,
    pub(super) router: RequestMetrics,
    pub(super) router_monitor: Monitor,
    pub(super) streams: SubscriptionMetrics,
    pub(super) revisions: RevisionMetrics,
}

impl Default for Instruments {
    fn default() -> Self {
        Self {
            reporter: Reporter::default(),
            router: RequestMetrics::default(),
            router_monitor: Monitor::new("the router"),
            streams: SubscriptionMetrics::default(),
            revisions: RevisionMetrics::default(),
        }
    }
}

/// The running session and its tasks.
#[derive(Debug)]
pub(super) struct Activation {
    session: AbortOnDropHandle<Ended>,
    tasks: JoinSet<&'static str>,
}

impl Activation {
    /// Starts a session and the tasks that serve it. When `stop` is cancelled, the session
    /// accepts no more requests, answers those in progress and disconnects from the broker. `brokers`
    /// are the addresses to begin with, if not those of the settings, and `records` those of the
    /// replica that was active before.
    pub(super) fn start(
        parts: &SharedParts,
        brokers: Option<Brokers>,
        records: SeenRecords,
        stop: CancellationToken,
    ) -> Self {
        let SharedParts {
            settings,
            client,
            guard,
            link,
            rollouts,
            revisions,
            trust,
            kept_records,
            instruments,
        } = parts;
        let (messages, message_receiver) = mpsc::channel(MAX_MESSAGES);
        let (outgoing, outgoing_receiver) = mqtt_session::queue();
        let publisher = Publisher::new(outgoing.clone());
        let status_outgoing = outgoing.clone();
        let topics = &settings.topics;
        let mut tasks = JoinSet::new();
        let replied = CancellationToken::new();
        if let Some(rollouts) = rollouts {
            let publish = rollouts.publish(
                topics.clone(),
                publisher.clone(),
                kept_records.clone(),
                replied.clone(),
            );
            tasks.spawn(named("the publisher of rollouts", publish));
        }
        let (subscriptions, task) = Subscriptions::new(
            client.clone(),
            topics.clone(),
            publisher,
            kept_records.clone(),
            instruments.reporter.status(),
            instruments.streams.clone(),
        );
        tasks.spawn(named("the subscriptions task", task));
        let stopping = CancellationToken::new();
        let context = OperationContext {
            ankaios: client.clone(),
            guard: guard.clone(),
            updates: UpdateQueue::new(settings.request_timeout),
            subscriptions: subscriptions.clone(),
            rollouts: rollouts.clone(),
            revisions: revisions.clone(),
            trust: trust.clone(),
            replica: settings.replica.as_deref().map(Into::into),
            rollback: settings.rollback,
            wait_permits: OperationContext::wait_permits(),
            stopping: stopping.clone(),
        };
        let router = Router {
            topics: topics.clone(),
            operations: Operations::new(context),
            subscriptions,
            rollouts: rollouts.clone(),
            max_payload: settings.max_payload,
            outgoing,
            stopping,
            metrics: instruments.router.clone(),
        };
        let (kept_records, trust_file) = (kept_records.clone(), trust.clone());
        let mut heartbeat = instruments.router_monitor.start();
        let run = async move {
            // Until it is known, requests are refused.
            if let Some(trust) = trust_file {
                trust.loaded().await;
            }
            // Before the session delivers the retained ones.
            router.subscriptions.restore_kept().await;
            if let Some(rollouts) = &router.rollouts {
                rollouts.restore_kept(&kept_records).await;
            }
            for SeenRecord { topic, payload, expires } in records.into_current() {
                let resume = router.resume(&topic, payload, expires.map(Deadline::left));
                heartbeat.while_waiting(resume).await;
            }
            router.run(message_receiver, heartbeat).await;
            replied.cancel();
        };
        tasks.spawn(named("the router", run));
        let status_requests = settings.fleet.fleet.as_ref().map(|fleet| {
            let (requests, answers) = StatusRequests::new(fleet);
            tasks.spawn(named(
                "the answers to requests for the status",
                answers.run(status_outgoing, stop.clone()),
            ));
            requests
        });
        let vehicle = Vehicle::new(
            topics.clone(),
            settings.max_payload,
            Identity {
                replica: settings.replica.clone(),
                fleet: settings.fleet.fleet.clone(),
                labels: settings.fleet.labels.clone(),
            },
            PartStatuses {
                link: link.clone(),
                revisions: revisions.as_ref().map(Revisions::status),
                trust: trust.as_ref().map(Trust::status),
                warning: guard.warning(),
            },
            status_requests,
        );
        let mut options = settings.mqtt.clone();
        options.brokers = brokers.unwrap_or(options.brokers);
        let session = Session::new(
            options,
            vehicle,
            messages,
            outgoing_receiver,
            stop,
            instruments.reporter.clone(),
        );
        let session = AbortOnDropHandle::new(tokio::spawn(session.run()));
        Self { session, tasks }
    }

    /// Runs until `stop` is cancelled or another replica has taken over. After a takeover,
    /// requests in progress are dropped: the broker delivers them to the other replica, which
    /// also resumes the streams.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) async fn run(self, stop: &CancellationToken) -> Result<Ended, Error> {
        let Self { mut session, mut tasks } = self;
        let failed = |_| Error::TaskFailed("the MQTT session");
        tokio::select! {
            // A stop comes first: the other tasks may end because of it.
            biased;
            () = stop.cancelled() => {
                tracing::info!("stopping");
                match session.await.map_err(failed)? {
                    Ended::Unanswered => Err(Error::DrainTimeout),
                    ended => Ok(ended),
                }
            }
            ended = &mut session => match ended.map_err(failed)? {
                Ended::Stopped | Ended::Unanswered => Err(Error::TaskFailed("the MQTT session")),
                ended => {
                    tasks.shutdown().await;
                    Ok(ended)
                }
            },
            Some(ended) = tasks.join_next() => {
                Err(Error::TaskFailed(ended.unwrap_or("a task")))
            }
        }
    }
}

/// Runs a task and returns its name when the task ends or panics. The panic hook has logged
/// the panic by then.
pub(super) async fn named<T>(name: &'static str, task: impl Future<Output = T>) -> &'static str {
    let _: Result<T, _> = AssertUnwindSafe(task).catch_unwind().await;
    name
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_returns_its_name() {
        assert_eq!(named("the router", async { panic!("for a test") }).await, "the router");
    }
}
