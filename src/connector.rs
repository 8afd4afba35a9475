//! The daemon without a process around it.
//!
//! The link to Ankaios lives as long as it. The session with the broker, and all that
//! serves it, is made anew each time this connector becomes the active one; if it is
//! the only one of its vehicle, that is once.

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::activation::{Activation, DRAIN, Instruments, Parts, named};
use crate::ankaios::{self, LinkStatus};
use crate::guard::Guard;
use crate::health::{self, BindError, Health, Liveness, Readiness, Server};
use crate::mqtt::{Backoff, Ended, Presence, Standby};
use crate::progress::Monitor;
use crate::settings::Settings;

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
    let folder = settings.control_interface_dir.clone();
    let (client, link) = ankaios::connect(folder, settings.request_timeout);
    let link_monitor = Monitor::new("the link to Ankaios");
    let link = link.monitored(&link_monitor);
    let instruments = Instruments::default();
    let guard = Guard::new(settings.guard.clone());
    let (presence, presence_receiver) = watch::channel(to_presence(&link.status().borrow()));
    // These run as long as the connector does.
    let mut tasks = JoinSet::new();
    if guard.needs_the_vehicle() {
        let watch = guard.clone().watch(client.clone());
        tasks.spawn(named("the task that knows what is protected", watch));
    }
    if let Some(server) = server {
        let Instruments { reporter, router, router_monitor, streams } = &instruments;
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
                router.register(registry);
                streams.register(registry);
                reporter.metrics().register(registry);
                link.metrics().register(registry);
                client.event_streams().register(registry);
            }),
        };
        tasks.spawn(named("the server of health and metrics", server.run(health)));
    }
    tasks.spawn(named("the task that reports the link", announce(link.status(), presence)));
    tasks.spawn(named("the link to Ankaios", link.run()));
    let parts = Parts { settings, client, guard, presence: presence_receiver, instruments };
    tokio::select! {
        ended = serve(&parts, &stop) => ended,
        Some(ended) = tasks.join_next() => Err(Error::TaskFailed(ended.unwrap_or("a task"))),
    }
}

/// Is active whenever it is this connector's turn, until it is stopped.
async fn serve(parts: &Parts, stop: &CancellationToken) -> Result<(), Error> {
    let mut standby = Standby::new(
        parts.settings.mqtt.clone(),
        parts.settings.topics.clone(),
        parts.presence.clone(),
        parts.instruments.reporter.clone(),
    );
    let mut backoff = Backoff::new();
    while !stop.is_cancelled() {
        if let Some(standby) = &mut standby {
            standby.wait(stop).await;
            if stop.is_cancelled() {
                tracing::info!("stopping");
                break;
            }
            tracing::info!("this replica becomes active");
        }
        let begin = Instant::now();
        let activation = Activation::start(parts, stop.clone());
        let ended = activation.run(stop).await?;
        let Some(standby) = &mut standby else { break };
        match ended {
            Ended::Stopped => break,
            Ended::TakenOver => {
                tracing::warn!("another replica has taken over: this one goes to standby");
            }
            Ended::Lost => tracing::warn!(
                "another replica may have taken over, as there is no connection: this one goes to \
                 standby"
            ),
        }
        standby.was_active(ended == Ended::TakenOver);
        // A session that fails at once must not be tried again and again.
        let pause = backoff.next(begin.elapsed());
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(())
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
