//! The daemon as a function: connects the parts and runs them as tasks.
//!
//! The link to Ankaios, the guard, the revisions, the rollouts and the server of health and metrics
//! live as long as the connector: they need no broker. The session with the broker and the tasks
//! that serve it form an `Activation`. A new one starts each time this replica becomes active; a
//! connector that is the only one of its vehicle has one activation.

mod activation;
mod error;

use std::time::Duration;

use mqtt_session::{Ended, ReconnectWaits};
use service_kit::heartbeat::Monitor;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::guard::{self, Guard};
use crate::health::{Endpoints, Liveness, MetricsPage, Readiness, Server};
use crate::replica::{SeenRecords, Standby};
use crate::revisions::{self, KeeperParts, Kept, Revisions};
use crate::settings::Settings;
use crate::streams::{KeptRecords, RolloutOptions, Rollouts};
use crate::trust::{self, Trust};
use activation::{Activation, Instruments, SharedParts, named};
pub use error::Error;

/// Maximum number of ends of rollouts that wait for the keeper of revisions: more than there are
/// rollouts.
const MAX_ENDED: usize = 1024;

/// Runs the connector until `stop` is cancelled. Then it accepts no more requests, answers
/// those in progress and disconnects from the broker.
///
/// # Errors
/// See [`Error`].
pub async fn run(settings: Settings, stop: CancellationToken) -> Result<(), Error> {
    let server = match &settings.health {
        // The name server may not answer.
        Some(address) => match stop.run_until_cancelled(Server::bind(address)).await {
            Some(server) => Some(server?),
            None => return Ok(()),
        },
        None => None,
    };
    let folder = settings.control_interface_dir.clone();
    let own_workload = guard::own_workload(&folder);
    let (client, link) = ankaios_control::connect(folder, settings.request_timeout);
    let link_monitor = Monitor::new("the link to Ankaios");
    let link = link.monitored(&link_monitor);
    let instruments = Instruments::default();
    let mut options = settings.guard.clone();
    if let Some(own_workload) = own_workload {
        options.protect_own(own_workload);
    }
    let guard = Guard::new(options);
    let mut tasks = JoinSet::new();
    if guard.needs_state() {
        let watch = guard.clone().watch(client.clone());
        tasks.spawn(named("the guard's state watcher", watch));
    }
    let (ended, ended_receiver) = mpsc::channel(MAX_ENDED);
    let rollouts = settings.rollout_timeout.map(|limit| {
        let options = RolloutOptions {
            limit,
            stable_time: settings.stable_time,
            keeps_revisions: settings.revisions.is_some(),
        };
        let (rollouts, task) = Rollouts::new(client.clone(), options, ended);
        tasks.spawn(named("the rollout tracker", task));
        rollouts
    });
    let mut kept_records = KeptRecords::default();
    let mut trust = None;
    let revisions = match settings.revisions.clone() {
        Some(options) => {
            let parts = KeeperParts {
                ankaios: client.clone(),
                link: link.status(),
                guard: guard.clone(),
                rollouts: rollouts.clone(),
                ended: ended_receiver,
                request_timeout: settings.request_timeout,
                confirm_timeout: settings.rollout_timeout,
                has_replicas: settings.replica.is_some(),
                metrics: instruments.revisions.clone(),
            };
            let (kept, task) = revisions::open(options, parts).await?;
            tasks.spawn(named("the keeper of revisions", task));
            let Kept { revisions, records, trust: store } = kept;
            if let Some(source) = settings.trust.clone() {
                let (handle, task) = trust::keep(source, settings.topics.vin(), store);
                tasks.spawn(named("the keeper of the trust file", task));
                trust = Some(handle);
            }
            // The records of a replica that was standby for a while may be outdated.
            if settings.replica.is_none() {
                kept_records = records;
            }
            Some(revisions)
        }
        None => {
            tracing::info!(
                "STATE_DIR is not set: what operators change is lost when ank-server restarts"
            );
            None
        }
    };
    if let Some(server) = server {
        let Instruments { reporter, router, router_monitor, streams, revisions: metrics } =
            &instruments;
        let endpoints = Endpoints {
            liveness: Liveness::new(vec![
                reporter.monitor().clone(),
                router_monitor.clone(),
                link_monitor,
            ]),
            readiness: Readiness {
                session: reporter.status(),
                link: link.status(),
                ankaios: client.clone(),
                guard: guard.needs_state().then(|| guard.clone()),
                revisions: revisions.as_ref().map(Revisions::status),
                trust: trust.as_ref().map(Trust::status),
                stop: stop.clone(),
            },
            metrics: MetricsPage::new(|registry| {
                router.register(registry);
                streams.register(registry);
                if revisions.is_some() {
                    metrics.register(registry);
                }
                reporter.metrics().register(registry);
                link.metrics().register(registry);
                client.event_streams().register(registry);
            }),
        };
        tasks.spawn(named("the server of health and metrics", server.run(endpoints)));
    }
    let parts = SharedParts {
        settings,
        client,
        guard,
        link: link.status(),
        rollouts,
        revisions,
        trust,
        kept_records,
        instruments,
    };
    tasks.spawn(named("the link to Ankaios", link.run()));
    tokio::select! {
        ended = serve(&parts, &stop) => ended,
        Some(ended) = tasks.join_next() => Err(Error::TaskFailed(ended.unwrap_or("a task"))),
    }
}

/// Runs an activation each time this replica becomes active, until `stop` is cancelled.
async fn serve(parts: &SharedParts, stop: &CancellationToken) -> Result<(), Error> {
    let mut standby = parts.settings.replica.clone().map(|replica| {
        Standby::new(
            replica,
            parts.settings.mqtt.clone(),
            parts.settings.topics.clone(),
            parts.link.clone(),
            parts.instruments.reporter.clone(),
        )
    });
    let mut waits = ReconnectWaits::new(Duration::ZERO);
    while !stop.is_cancelled() {
        let mut records = SeenRecords::default();
        if let Some(standby) = &mut standby {
            records = standby.wait(stop).await;
            if stop.is_cancelled() {
                tracing::info!("stopping");
                break;
            }
            tracing::info!("this replica becomes active");
        }
        let start = Instant::now();
        // A session that does not find its broker at once goes back to standby: so it begins where
        // the standby was connected. Others would wait for a node that is down.
        let brokers = standby.as_ref().map(|standby| standby.brokers().clone());
        let activation = Activation::start(parts, brokers, records, stop.clone());
        let ended = activation.run(stop).await?;
        let Some(standby) = &mut standby else { break };
        match ended {
            Ended::Stopped | Ended::Unanswered => break,
            Ended::TakenOver => {
                tracing::warn!("another replica has taken over: this one goes to standby");
                standby.was_taken_over();
            }
            Ended::Lost { retained } => {
                tracing::warn!(
                    "there is no connection, and another replica may have taken over: this one goes \
                     to standby"
                );
                standby.was_active(retained);
            }
        }
        // A session that fails at once must not be retried without a pause.
        let pause = waits.next_wait(Some(start.elapsed()));
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(())
}
