//! The daemon without a process around it: makes the tasks and ends them.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::ankaios::{self, LinkStatus};
use crate::guard::Guard;
use crate::health::{self, BindError, Health, Liveness, Readiness, Server};
use crate::mqtt::{self, Presence, Reporter, Session};
use crate::operations::{Context, Lane, Operations};
use crate::progress::Monitor;
use crate::router::{self, Router};
use crate::settings::Settings;
use crate::streams::{self, Publisher, Rollouts, Subscriptions};

/// Requests that wait for the router.
const QUEUE: usize = 64;

/// How long requests in flight may take once the connector is to stop. Ankaios
/// kills a workload that has not ended after 10 s.
const DRAIN: Duration = Duration::from_secs(4);

/// Why the connector has not ended as it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was stopped with requests in flight; the broker keeps them.
    #[error(
        "some requests were not answered within {}; the broker delivers them at the next start",
        humantime::format_duration(DRAIN)
    )]
    DrainTimeout,
    /// Health and metrics cannot be served.
    #[error(transparent)]
    Health(#[from] BindError),
    /// One of its tasks has ended, which is a fault of the connector. Without it
    /// the others would look healthy and answer nothing.
    #[error("{0} has failed; see the log, and please report it")]
    TaskFailed(&'static str),
}

/// Runs the connector until `stop` is cancelled. Then it takes no more
/// requests, answers those in flight and disconnects from the broker.
///
/// # Errors
/// See [`Error`].
pub async fn run(settings: Settings, stop: CancellationToken) -> Result<(), Error> {
    let server = match &settings.health {
        Some(address) => Some(Server::bind(address).await?),
        None => None,
    };
    let (client, link) = ankaios::connect(settings.control_interface_dir, settings.request_timeout);
    let link_monitor = Monitor::new("the link to Ankaios");
    let link = link.monitored(&link_monitor);
    let router_monitor = Monitor::new("the router");
    let reporter = Reporter::default();
    let router_metrics = router::Metrics::default();
    let stream_metrics = streams::Metrics::default();
    let (requests, request_receiver) = mpsc::channel(QUEUE);
    let (outgoing, outgoing_receiver) = mqtt::queue();
    let (presence, presence_receiver) = watch::channel(to_presence(&link.status().borrow()));
    let max_payload = settings.mqtt.max_payload;
    let publisher = Publisher::new(outgoing.clone());
    // These run as long as the connector does.
    let mut tasks = JoinSet::new();
    let rollouts = settings.rollout_timeout.map(|limit| {
        let topics = settings.topics.clone();
        let (rollouts, task) = Rollouts::new(client.clone(), topics, publisher.clone(), limit);
        tasks.spawn(named("the task that follows roll-outs", task));
        rollouts
    });
    let guard = Guard::new(settings.guard);
    if guard.needs_the_vehicle() {
        let watch = guard.clone().watch(client.clone());
        tasks.spawn(named("the task that knows what is protected", watch));
    }
    if let Some(server) = server {
        let health = Health {
            liveness: Liveness::new(vec![
                reporter.monitor().clone(),
                router_monitor.clone(),
                link_monitor,
            ]),
            readiness: Readiness {
                session: reporter.status(),
                link: link.status(),
                ankaios: client.clone(),
                guard: guard.needs_the_vehicle().then(|| guard.clone()),
                stop: stop.clone(),
            },
            metrics: health::Metrics::new(|registry| {
                router_metrics.register(registry);
                stream_metrics.register(registry);
                reporter.metrics().register(registry);
                link.metrics().register(registry);
                client.event_streams().register(registry);
            }),
        };
        tasks.spawn(named("the server of health and metrics", server.run(health)));
    }
    let context = Context {
        guard,
        updates: Lane::new(settings.request_timeout),
        subscriptions: Subscriptions::new(
            client.clone(),
            settings.topics.clone(),
            publisher,
            stream_metrics,
        ),
        ankaios: client,
        rollouts,
    };
    let operations = Operations::new(context);
    let router =
        Router::new(settings.topics.clone(), operations, max_payload, outgoing, router_metrics);
    let session = Session::new(
        settings.mqtt,
        settings.topics,
        presence_receiver,
        requests,
        outgoing_receiver,
        stop.clone(),
        reporter,
    );

    tasks.spawn(named("the task that reports the link", announce(link.status(), presence)));
    tasks.spawn(named("the link to Ankaios", link.run()));
    tasks.spawn(named("the router", router.run(request_receiver, router_monitor.begin())));
    let mut session = AbortOnDropHandle::new(tokio::spawn(session.run()));

    tokio::select! {
        // First: tasks may end because of it.
        biased;
        () = stop.cancelled() => {}
        _ = &mut session => return Err(Error::TaskFailed("the MQTT session")),
        Some(ended) = tasks.join_next() => return Err(Error::TaskFailed(ended.unwrap_or("a task"))),
    }
    tracing::info!("stopping");
    match timeout(DRAIN, session).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Error::TaskFailed("the MQTT session")),
        Err(_) => Err(Error::DrainTimeout),
    }
}

/// A task that tells its name when it ends, also by a panic, which has been
/// written to the log by then.
async fn named<T>(name: &'static str, task: impl Future<Output = T>) -> &'static str {
    let _: Result<T, _> = AssertUnwindSafe(task).catch_unwind().await;
    name
}

/// Tells the MQTT session about the link to Ankaios.
async fn announce(mut status: watch::Receiver<LinkStatus>, presence: watch::Sender<Presence>) {
    while status.changed().await.is_ok() {
        let present = to_presence(&status.borrow_and_update());
        presence.send_if_modified(|former| {
            let changed = *former != present;
            *former = present;
            changed
        });
    }
}

fn to_presence(status: &LinkStatus) -> Presence {
    let reason = (*status != LinkStatus::Connected).then(|| status.reason());
    Presence { ankaios: status.to_string(), reason }
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
