//! `get`.

mod events;
mod items;
mod subscriptions;
mod vehicles;

use super::super::arguments::{ConnectionArgs, GetArgs, Kind};
use super::super::context::Context;
use super::super::failure::Failure;
use super::super::interrupt::Interrupt;
use super::super::session::subscription;
use crate::rollout::ExitCode;
use items::Items;
use mqtt_session::{Qos, Subscription};

/// Runs the command.
///
/// # Errors
/// There is no connection, or the selection is empty.
pub(crate) async fn run(
    connection: &ConnectionArgs,
    args: GetArgs,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    let GetArgs { kind, vins, selection, output, watch, asking } = args;
    if watch && !matches!(kind, Kind::Vehicles | Kind::Events | Kind::Workloads) {
        return Err(Failure::usage("-w is for vehicles, workloads and events"));
    }
    let selection = selection.with_vins(vins).read()?;
    let mut context = Context::open(connection, interrupt, |id| filters(kind, watch, id)).await?;
    let vins = context.select_or_all(&selection)?;
    let result = match kind {
        Kind::Vehicles => {
            vehicles::get(&mut context, &vins, output, watch.then_some(&selection)).await
        }
        Kind::Workloads if watch => {
            events::workloads(&mut context, &vins, &selection, output, &asking).await
        }
        Kind::Workloads => items::get(&mut context, &vins, Items::Workloads, output, &asking).await,
        Kind::Configs => items::get(&mut context, &vins, Items::Configs, output, &asking).await,
        Kind::State => items::get(&mut context, &vins, Items::State, output, &asking).await,
        Kind::Events => events::get(&mut context, &vins, &selection, output, &asking).await,
        Kind::Subscriptions => subscriptions::get(&mut context, &vins, output).await,
    };
    context.close().await;
    result
}

/// The subscriptions that it needs besides statuses and replies.
fn filters(kind: Kind, watch: bool, id: &str) -> Vec<Subscription> {
    match kind {
        Kind::Events => {
            vec![subscription(&format!("vehicle/+/events/{id}"), Qos::AtLeastOnce, false)]
        }
        Kind::Workloads if watch => {
            vec![subscription(&format!("vehicle/+/events/{id}"), Qos::AtLeastOnce, false)]
        }
        Kind::Subscriptions => ["events", "logs"]
            .map(|kind| {
                let filter = format!("vehicle/+/{kind}/+/subscription");
                subscription(&filter, Qos::AtLeastOnce, true)
            })
            .into(),
        Kind::Vehicles | Kind::Workloads | Kind::State | Kind::Configs => Vec::new(),
    }
}
