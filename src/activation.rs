//! The tasks between the MQTT session and the link to Ankaios, for as long as this
//! connector is the active one of its vehicle.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::ankaios::Client;
use crate::connector::Error;
use crate::guard::Guard;
use crate::mqtt::{self, Ended, Presence, Reporter, Session};
use crate::operations::{Context, Lane, Operations};
use crate::progress::Monitor;
use crate::router::{self, Router};
use crate::settings::Settings;
use crate::streams::{self, Publisher, Rollouts, Subscriptions};

/// Requests that wait for the router.
const QUEUE: usize = 64;

/// How long requests in flight may take once the connector is to stop. Ankaios
/// kills a workload that has not ended after 10 s.
pub(crate) const DRAIN: Duration = Duration::from_secs(4);

/// What lives as long as the process, and each activation uses.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) client: Client,
    pub(crate) guard: Guard,
    /// What the status topic says about the link to Ankaios.
    pub(crate) presence: watch::Receiver<Presence>,
    pub(crate) instruments: Instruments,
}

/// Where the tasks tell how they fare.
#[derive(Debug)]
pub(crate) struct Instruments {
    pub(crate) reporter: Reporter,
    pub(crate) router: router::Metrics,
    pub(crate) router_monitor: Monitor,
    pub(crate) streams: streams::Metrics,
}

impl Default for Instruments {
    fn default() -> Self {
        Self {
            reporter: Reporter::default(),
            router: router::Metrics::default(),
            router_monitor: Monitor::new("the router"),
            streams: streams::Metrics::default(),
        }
    }
}

/// The tasks, which have begun.
#[derive(Debug)]
pub(crate) struct Activation {
    session: AbortOnDropHandle<Ended>,
    tasks: JoinSet<&'static str>,
    subscriptions: Subscriptions,
}

impl Activation {
    /// Starts a session and what serves it. When `stop` is cancelled it takes no more
    /// requests, answers those in flight and disconnects from the broker.
    pub(crate) fn start(parts: &Parts, stop: CancellationToken) -> Self {
        let Parts { settings, client, guard, presence, instruments } = parts;
        let (requests, request_receiver) = mpsc::channel(QUEUE);
        let (outgoing, outgoing_receiver) = mqtt::queue();
        let publisher = Publisher::new(outgoing.clone());
        let topics = &settings.topics;
        let mut tasks = JoinSet::new();
        let rollouts = settings.rollout_timeout.map(|limit| {
            let (rollouts, task) =
                Rollouts::new(client.clone(), topics.clone(), publisher.clone(), limit);
            tasks.spawn(named("the task that follows roll-outs", task));
            rollouts
        });
        let subscriptions = Subscriptions::new(
            client.clone(),
            topics.clone(),
            publisher,
            instruments.reporter.status(),
            instruments.streams.clone(),
        );
        let context = Context {
            guard: guard.clone(),
            updates: Lane::new(settings.request_timeout),
            subscriptions: subscriptions.clone(),
            ankaios: client.clone(),
            rollouts,
        };
        let router = Router::new(
            topics.clone(),
            Operations::new(context),
            settings.mqtt.max_payload,
            outgoing,
            instruments.router.clone(),
        );
        let progress = instruments.router_monitor.begin();
        tasks.spawn(named("the router", router.run(request_receiver, progress)));
        let session = Session::new(
            settings.mqtt.clone(),
            topics.clone(),
            presence.clone(),
            requests,
            outgoing_receiver,
            stop,
            instruments.reporter.clone(),
        );
        let session = AbortOnDropHandle::new(tokio::spawn(session.run()));
        Self { session, tasks, subscriptions }
    }

    /// Runs until `stop` is cancelled, or until another replica has taken over. Of
    /// what was under way nothing is left then: the broker delivers the requests to
    /// the other one, which also takes up the streams.
    ///
    /// # Errors
    /// See [`Error`].
    pub(crate) async fn run(self, stop: &CancellationToken) -> Result<Ended, Error> {
        let Self { mut session, mut tasks, subscriptions } = self;
        let failed = |_| Error::TaskFailed("the MQTT session");
        tokio::select! {
            // First: tasks may end because of it.
            biased;
            () = stop.cancelled() => {
                tracing::info!("stopping");
                // The session waits for all who may publish.
                drop(subscriptions);
                let ended = timeout(DRAIN, session).await.map_err(|_| Error::DrainTimeout)?;
                ended.map_err(failed)
            }
            ended = &mut session => match ended.map_err(failed)? {
                Ended::Stopped => Err(Error::TaskFailed("the MQTT session")),
                ended => {
                    tasks.shutdown().await;
                    // They hold each other: they do not end by themselves.
                    subscriptions.stop();
                    Ok(ended)
                }
            },
            Some(ended) = tasks.join_next() => {
                Err(Error::TaskFailed(ended.unwrap_or("a task")))
            }
        }
    }
}

/// A task that tells its name when it ends, also by a panic, which has been
/// written to the log by then.
pub(crate) async fn named<T>(name: &'static str, task: impl Future<Output = T>) -> &'static str {
    let _: Result<T, _> = AssertUnwindSafe(task).catch_unwind().await;
    name
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_tells_its_name() {
        assert_eq!(named("the router", async { panic!("for a test") }).await, "the router");
    }
}
