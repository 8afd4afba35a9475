//! `get`.

mod events;
mod items;
mod printed;
mod subscriptions;
mod vehicles;

use super::super::arguments::{ConnectionArgs, GetArgs, Kind, Output};
use super::super::context::Context;
use super::super::failure::Failure;
use super::super::interrupt::Interrupt;
use super::super::session::subscription;
use crate::rollout::ExitCode;
use events::Shown;
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
    if kind == Kind::State && output == Some(Output::Wide) {
        return Err(Failure::usage("a state is not a table: -o is yaml, json, jsonl or name"));
    }
    let selection = selection.with_vins(vins).read(interrupt).await?;
    let mut context = Context::open(connection, interrupt, |id| filters(kind, watch, id)).await?;
    let vins = context.select_or_all(&selection)?;
    let watched = watch.then_some(&selection);
    let shown = match kind {
        Kind::Events => Some(Shown::Events),
        _ => kind.items().filter(|_| watch).map(Shown::Items),
    };
    let result = match (kind, shown, kind.items()) {
        (_, Some(shown), _) => {
            events::get(&mut context, &vins, &selection, shown, output, &asking).await
        }
        (_, None, Some(items)) => items::get(&mut context, &vins, items, output, &asking).await,
        (Kind::Subscriptions, ..) => subscriptions::get(&mut context, &vins, output, watched).await,
        _ => vehicles::get(&mut context, &vins, output, watched).await,
    };
    context.close().await;
    result
}

/// The subscriptions that it needs besides statuses and replies.
fn filters(kind: Kind, watch: bool, id: &str) -> Vec<Subscription> {
    match kind {
        Kind::Events => vec![events::filter(id)],
        Kind::Workloads | Kind::State | Kind::Configs if watch => vec![events::filter(id)],
        Kind::Subscriptions => ["events", "logs"]
            .map(|kind| {
                let filter = format!("vehicle/+/{kind}/+/subscription");
                subscription(&filter, Qos::AtLeastOnce, true)
            })
            .into(),
        Kind::Vehicles | Kind::Workloads | Kind::State | Kind::Configs => Vec::new(),
    }
}

impl Kind {
    /// What is read of the states of vehicles for it.
    fn items(self) -> Option<Items> {
        match self {
            Self::Workloads => Some(Items::Workloads),
            Self::State => Some(Items::State),
            Self::Configs => Some(Items::Configs),
            Self::Vehicles | Self::Events | Self::Subscriptions => None,
        }
    }
}
