//! The daemon without a process around it: makes the tasks and ends them.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::ankaios::{self, LinkStatus};
use crate::mqtt::{Presence, Session};
use crate::operations::{Context, Operations};
use crate::router::Router;
use crate::settings::Settings;
use crate::streams::{Publisher, Rollouts, Subscriptions};

/// Requests to the router, and what is to be published.
const QUEUE: usize = 64;

/// How long requests in flight may take once the connector is to stop. Ankaios
/// kills a workload that has not ended after 10 s.
const DRAIN: Duration = Duration::from_secs(4);

/// The connector was stopped with requests in flight; the broker keeps them.
#[derive(Debug, thiserror::Error)]
#[error(
    "some requests were not answered within {}; the broker delivers them at the next start",
    humantime::format_duration(DRAIN)
)]
pub struct DrainTimeout;

/// Runs the connector until `stop` is cancelled. Then it takes no more
/// requests, answers those in flight and disconnects from the broker.
///
/// # Errors
/// See [`DrainTimeout`].
pub async fn run(settings: Settings, stop: CancellationToken) -> Result<(), DrainTimeout> {
    let (client, link) = ankaios::connect(settings.control_interface_dir, settings.request_timeout);
    let (requests, request_receiver) = mpsc::channel(QUEUE);
    let (outgoing, outgoing_receiver) = mpsc::channel(QUEUE);
    let (presence, presence_receiver) = watch::channel(to_presence(&link.status().borrow()));
    let max_payload = settings.mqtt.max_payload;
    let publisher = Publisher::new(outgoing.clone());
    let (rollouts, followed) = match settings.rollout_timeout {
        Some(limit) => {
            let topics = settings.topics.clone();
            let (rollouts, task) = Rollouts::new(client.clone(), topics, publisher.clone(), limit);
            (Some(rollouts), Some(AbortOnDropHandle::new(tokio::spawn(task))))
        }
        None => (None, None),
    };
    let context = Context {
        subscriptions: Subscriptions::new(client.clone(), settings.topics.clone(), publisher),
        ankaios: client,
        rollouts,
    };
    let operations = Operations::new(context);
    let router = Router::new(settings.topics.clone(), operations, max_payload, outgoing);
    let session = Session::new(
        settings.mqtt,
        settings.topics,
        presence_receiver,
        requests,
        outgoing_receiver,
        stop.clone(),
    );

    let _presence = AbortOnDropHandle::new(tokio::spawn(announce(link.status(), presence)));
    let _link = AbortOnDropHandle::new(tokio::spawn(link.run()));
    let _followed = followed;
    let _router = AbortOnDropHandle::new(tokio::spawn(router.run(request_receiver)));
    let mut session = AbortOnDropHandle::new(tokio::spawn(session.run()));

    // The session ends by itself only after `stop`.
    tokio::select! {
        () = stop.cancelled() => {}
        _ = &mut session => return Ok(()),
    }
    tracing::info!("stopping");
    timeout(DRAIN, session).await.map(drop).map_err(|_| DrainTimeout)
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
