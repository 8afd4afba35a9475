//! The daemon without a process around it.
//!
//! The link to Ankaios lives as long as it. The session with the broker, and all that
//! serves it, is made anew each time this connector becomes the active one; if it is
//! the only one of its vehicle, that is once.

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::activation::{Activation, DRAIN, named};
use crate::ankaios::{self, Client, LinkStatus};
use crate::mqtt::{Backoff, Ended, Presence, Standby};
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
    /// One of its tasks has ended, which is a fault of the connector. Without it
    /// the others would look healthy and answer nothing.
    #[error("{0} has failed; see the log, and please report it")]
    TaskFailed(&'static str),
}

/// Which part a connector plays for its vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It waits until it is to be the active one.
    Standby,
    /// It serves the requests.
    Active,
}

/// Runs the connector until `stop` is cancelled. Then it takes no more
/// requests, answers those in flight and disconnects from the broker.
///
/// # Errors
/// See [`Error`].
pub async fn run(settings: Settings, stop: CancellationToken) -> Result<(), Error> {
    let folder = settings.control_interface_dir.clone();
    let (client, link) = ankaios::connect(folder, settings.request_timeout);
    let (presence, presence_receiver) = watch::channel(to_presence(&link.status().borrow()));
    // These run as long as the connector does.
    let mut tasks = JoinSet::new();
    tasks.spawn(named("the task that reports the link", announce(link.status(), presence)));
    tasks.spawn(named("the link to Ankaios", link.run()));
    let role = watch::Sender::new(Role::Standby);
    tokio::select! {
        ended = serve(&settings, &client, &presence_receiver, &role, &stop) => ended,
        Some(ended) = tasks.join_next() => Err(Error::TaskFailed(ended.unwrap_or("a task"))),
    }
}

/// Is active whenever it is this connector's turn, until it is stopped.
async fn serve(
    settings: &Settings,
    client: &Client,
    presence: &watch::Receiver<Presence>,
    role: &watch::Sender<Role>,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let (options, topics) = (settings.mqtt.clone(), settings.topics.clone());
    let mut standby = Standby::new(options, topics, presence.clone());
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
        role.send_replace(Role::Active);
        let begin = Instant::now();
        let activation = Activation::start(settings, client, presence.clone(), stop.clone());
        let ended = activation.run(stop).await?;
        role.send_replace(Role::Standby);
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
