//! `diff`: what apply would change.

use std::path::Path;

use super::super::arguments::{ConnectionArgs, DiffArgs, FilesArgs, split};
use super::super::context::Context;
use super::super::failure::Failure;
use super::super::interrupt::Interrupt;
use super::super::survey::survey;
use super::super::{output, payload};
use crate::report::{fold_vins, thousands};
use crate::rollout::{Change, ExitCode};

/// Runs the command. The exit code says whether something differs.
///
/// # Errors
/// The manifest or the selection is wrong, or there is no connection.
pub(crate) async fn run(
    connection: &ConnectionArgs,
    args: DiffArgs,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    let DiffArgs { files: FilesArgs { files, selection, asking }, delete } = args;
    let (files, vins) = split(files, |name| Path::new(name).exists());
    let selection = selection.with_vins(vins).read(interrupt).await?;
    let operation = if delete { Change::Delete } else { Change::Apply };
    let payload = payload::read(&files, operation, interrupt).await?;
    if selection.is_missing() {
        return Err(Failure::usage(crate::selection::SelectionError::Missing));
    }
    let mut context = Context::open(connection, interrupt, |_| Vec::new()).await?;
    let vins = context.select(&selection)?;
    let (online, offline) = context.online(&vins);
    let mut found = survey(&mut context, &online, &payload.wanted, &asking).await?;
    context.close().await;
    for group in &found.groups {
        let (count, vins) = (thousands(group.vins.len()), fold_vins(&group.vins));
        output::line(&format!("{count}× {group}   {vins}"))?;
    }
    found.missing.offline(&offline);
    let code = found.missing.report();
    let differs = found.groups.iter().any(|group| !group.changes.is_empty());
    Ok(if differs { ExitCode::SomeFailed } else { code })
}
