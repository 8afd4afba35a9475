//! `apply` and `apply -d`: roll-outs.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use fleet_contract::revision::RollbackMode;
use jiff::ZonedDateTime;
use jiff::tz::TimeZone;

use super::super::arguments::{ApplyArgs, ConnectionArgs, FilesArgs, Lines, split};
use super::super::config;
use super::super::context::Context;
use super::super::failure::Failure;
use super::super::input::confirm;
use super::super::interrupt::Interrupt;
use super::super::local_time;
use super::super::rollouts::{ControlFile, Driver, Start, filters};
use super::super::survey::{Resurvey, resurvey, survey};
use super::super::{output, payload, progress};
use crate::Time;
use crate::journal::Journal;
use crate::report::{plan_lines, thousands};
use crate::rollout::{Change, ExitCode, Plan, Rollout, RolloutId};

/// Runs the command.
///
/// # Errors
/// The manifest or the selection is wrong, or there is no connection.
pub(crate) async fn run(
    connection: &ConnectionArgs,
    args: ApplyArgs,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    let ApplyArgs { files, delete, output: form, rollout } = args;
    let FilesArgs { files, selection, asking } = files;
    let (files, vins) = split(files, |name| Path::new(name).exists());
    let selection = selection.with_vins(vins).read(interrupt).await?;
    let operation = if delete { Change::Delete } else { Change::Apply };
    let local = ZonedDateTime::now();
    let mut options = rollout.options(&local)?;
    let payload = payload::read(&files, operation, interrupt).await?;
    if let Some(statement) = &payload.statement {
        // Vehicles take these from what is signed, and ignore the user properties.
        options.release.clone_from(&statement.release);
        let mode = statement.rollback.as_deref().and_then(|mode| mode.parse().ok());
        options.rollback = mode.unwrap_or(RollbackMode::Off);
    }
    if selection.is_missing() {
        return Err(Failure::usage(crate::selection::SelectionError::Missing));
    }
    let journals = journals()?;
    let mut context = Context::open(connection, interrupt, filters).await?;
    let vins = context.select(&selection)?;
    let (online, _) = context.online(&vins);
    // A random id is new, so no vehicle can know it.
    let (id, Resurvey { survey: found, found: changed }) = match rollout.id.clone() {
        Some(id) => {
            let wanted = &payload.wanted;
            let result = resurvey(&mut context, &online, wanted, &asking, &id).await?;
            (id, result)
        }
        None => {
            let survey = survey(&mut context, &online, &payload.wanted, &asking).await?;
            (random_id(), Resurvey { survey, found: BTreeMap::new() })
        }
    };
    found.missing.report();
    let change = (operation, payload.text);
    let plan = Plan::new(id, now(), change, vins, rollout.waves.as_ref(), options);
    let mut plan = plan.map_err(|error| Failure::usage(format!("--waves: {error}")))?;
    plan.unchanged = found.unchanged().cloned().collect();
    for line in plan_lines(&plan, online.len(), &found.groups) {
        progress::note(&line);
    }
    if !changed.is_empty() {
        let count = thousands(changed.len());
        progress::note(&format!("  {count} have got it from an earlier start of this roll-out"));
    }
    if let Some(until) = plan.options.until {
        progress::note(&until_line(until, local.time_zone()));
    }
    let count = plan.vehicles.len();
    if plan.unchanged.len() == count {
        if form != Some(Lines::Jsonl) {
            output::line(&format!("{} unchanged", thousands(count)))?;
        }
        context.close().await;
        return Ok(ExitCode::Success);
    }
    // A single vehicle is no roll-out for the operator.
    if count > 1 && !rollout.yes && !confirm(interrupt).await? {
        context.close().await;
        return Err(Failure::usage("nothing was sent"));
    }
    let journal = Journal::create(&journals, &plan)?;
    let control = ControlFile::new(&journals, &plan.id);
    let mut driver = Driver::new(
        &mut context.session,
        Rollout::new(plan),
        journal,
        payload.wanted,
        control,
        interrupt,
        form,
    );
    driver.found(changed);
    let result = driver.run(Start::Begin).await;
    context.close().await;
    result
}

/// The line of the plan about `--until`.
pub(crate) fn until_line(until: Time, zone: &TimeZone) -> String {
    format!("  starts nothing after {}", local_time::describe(until, zone))
}

/// The folder of the journals.
///
/// # Errors
/// There is no home directory.
pub(crate) fn journals() -> Result<std::path::PathBuf, Failure> {
    config::journals().ok_or_else(|| {
        Failure::usage("neither XDG_STATE_HOME nor HOME is set: no place for the journal")
    })
}

fn random_id() -> RolloutId {
    let hex = service_kit::random::hex();
    let number = u32::from_str_radix(hex.get(..8).unwrap_or_default(), 16).unwrap_or_default();
    RolloutId::from_random(number)
}

fn now() -> Time {
    SystemTime::now().into()
}
