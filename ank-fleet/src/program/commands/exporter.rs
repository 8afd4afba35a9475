//! `exporter`: serves metrics of the fleet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::interval;

use super::super::arguments::{ConnectionArgs, ExporterArgs};
use super::super::config;
use super::super::context::Context;
use super::super::exporter::{RolloutCounts, RolloutState, Snapshot, serve, text};
use super::super::failure::Failure;
use super::super::interrupt::Interrupt;
use super::super::progress;
use super::super::session::SessionEvent;
use crate::inventory::Fleet;
use crate::journal::{Journal, Recorded};
use crate::rollout::{ExitCode, Rollout, RolloutId, Stage, Transition};

/// How often the metrics are made anew.
const INTERVAL: Duration = Duration::from_secs(2);

/// How often the fleet is asked who is there, in rounds of [`INTERVAL`].
const ASKED_EVERY: u32 = 30;

/// Runs the command until it is interrupted.
///
/// # Errors
/// There is no connection, or the address cannot be listened on.
pub(crate) async fn run(
    connection: &ConnectionArgs,
    args: ExporterArgs,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    let mut context = Context::open(connection, interrupt, |_| Vec::new()).await?;
    let mut rollouts = Rollouts::default();
    let (page, pages) = watch::channel(page(&context, &args, true, &mut rollouts));
    let (listener, address) = listen(args.listen)
        .await
        .map_err(|error| Failure::usage(format!("--listen {}: {error}", args.listen)))?;
    let server = serve(listener, pages);
    tokio::pin!(server);
    progress::note(&format!("metrics are served on http://{address}/metrics"));
    let mut ticks = interval(INTERVAL);
    let mut is_connected = true;
    let mut rounds: u32 = 0;
    loop {
        tokio::select! {
            event = context.session.next() => match event {
                SessionEvent::Connected => is_connected = true,
                SessionEvent::Disconnected => is_connected = false,
                _ => {}
            },
            _ = ticks.tick() => {
                rounds = rounds.wrapping_add(1);
                if rounds.is_multiple_of(ASKED_EVERY) {
                    context.session.ask_who_again();
                }
                let inventory = context.connection.inventory.as_ref();
                context.fleet = Fleet::new(inventory, context.session.presence().seen());
                page.send_replace(self::page(&context, &args, is_connected, &mut rollouts));
            }
            never = &mut server => match never {},
            () = interrupt.wait() => {
                context.close().await;
                return Err(Failure::Interrupted);
            }
        }
    }
}

/// The listener, and the address it has got: with port 0 the system chooses one.
async fn listen(address: SocketAddr) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn page(
    context: &Context,
    args: &ExporterArgs,
    is_connected: bool,
    rollouts: &mut Rollouts,
) -> bytes::Bytes {
    let snapshot = Snapshot {
        fleet: &context.fleet,
        presence: context.session.presence(),
        is_connected,
        rollouts: &rollouts.open(),
        group_by: args.group_by.as_deref(),
        per_vehicle: args.per_vehicle,
    };
    text(&snapshot).into()
}

/// The roll-outs of this machine, each with the size of its journal when it was read. A roll-out that
/// is over stays in its journal for good, so only those that have changed are read again.
#[derive(Debug, Default)]
struct Rollouts(BTreeMap<RolloutId, (u64, Option<RolloutCounts>)>);

impl Rollouts {
    /// Those that are not over.
    fn open(&mut self) -> Vec<&RolloutCounts> {
        let Some(journals) = config::journals() else { return Vec::new() };
        let ids: BTreeSet<RolloutId> =
            Journal::list(&journals).unwrap_or_default().into_iter().collect();
        self.0.retain(|id, _| ids.contains(id));
        for id in ids {
            // One that is just being created, or is damaged, is left out.
            let Ok(size) = Journal::size(&journals, &id) else { continue };
            if self.0.get(&id).is_some_and(|(before, _)| *before == size) {
                continue;
            }
            match Journal::read(&journals, &id) {
                Ok(recorded) => self.0.insert(id, (size, counts(recorded))),
                Err(_) => self.0.remove(&id),
            };
        }
        self.0.values().filter_map(|(_, counts)| counts.as_ref()).collect()
    }
}

/// The counts of a roll-out that is not over.
fn counts(Recorded { plan, lines }: Recorded) -> Option<RolloutCounts> {
    let mut requests = BTreeMap::new();
    for line in &lines {
        if let Transition::Sent { request, .. } = &line.transition {
            *requests.entry(*request).or_default() += 1;
        }
    }
    let rollout = Rollout::resume(plan, &lines);
    let state = rollout.state();
    if state.stage() == Stage::Finished {
        return None;
    }
    let mut vehicles: BTreeMap<_, usize> = BTreeMap::new();
    for vehicle in state.vehicles() {
        *vehicles.entry(vehicle.outcome()).or_default() += 1;
    }
    Some(RolloutCounts {
        id: state.plan().id.to_string(),
        state: RolloutState::of(state.halt()),
        wave: state.wave(),
        waves: state.plan().waves.len(),
        vehicles,
        requests,
    })
}
