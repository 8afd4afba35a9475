//! `rollout`: roll-outs of this machine.

use std::time::SystemTime;

use bytes::Bytes;
use jiff::ZonedDateTime;
use serde_json::json;

use super::super::arguments::{
    ConnectionArgs, Lines, Output, ResumeArgs, RetryArgs, RolloutCommand, StatusArgs, UndoArgs,
};
use super::super::context::Context;
use super::super::failure::Failure;
use super::super::input::{confirm, read_text};
use super::super::interrupt::Interrupt;
use super::super::local_time;
use super::super::rollouts::{Control, ControlFile, Driver, Start, filters};
use super::super::{output, payload, progress};
use super::apply::{self, journals};
use crate::journal::{Journal, JournalError, Recorded};
use crate::report::{next_commands, thousands, verdict_lines, wave_line};
use crate::rollout::{
    Event, ExitCode, Halt, OutcomeKind, Rollout, RolloutId, Stage, State, Vehicle,
};
use crate::table::Table;

/// Runs the command.
///
/// # Errors
/// There is no such roll-out, its journal cannot be used, or there is no connection.
pub(crate) async fn run(
    connection: &ConnectionArgs,
    command: RolloutCommand,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    match command {
        RolloutCommand::List => list(),
        RolloutCommand::Status(StatusArgs { id, output }) => status(&id, output),
        RolloutCommand::Pause(args) => control(&args.id, Control::Pause),
        RolloutCommand::Abort(args) => control(&args.id, Control::Abort),
        RolloutCommand::Resume(ResumeArgs { id, until: text, output }) => {
            let now = ZonedDateTime::now();
            let until = text.map(|text| local_time::until(&text, &now)).transpose()?;
            if let Some(until) = until {
                progress::note(&apply::until_line(until, now.time_zone()));
            }
            drive(connection, &id, output, interrupt, None, |state| resume(state, until)).await
        }
        RolloutCommand::Retry(RetryArgs { id, failed, pending: _, output }) => {
            let start = |state: &State| {
                if failed { Start::RetryFailed } else { resume(state, None) }
            };
            drive(connection, &id, output, interrupt, None, start).await
        }
        RolloutCommand::Undo(args) => undo(connection, args, interrupt).await,
    }
}

fn resume(state: &State, until: Option<crate::Time>) -> Start {
    let is_over = state.stage() == Stage::Finished;
    if state.halt().is_some() || is_over { Start::Resume(until) } else { Start::Begin }
}

/// Goes on with a roll-out.
async fn drive(
    connection: &ConnectionArgs,
    id: &RolloutId,
    form: Option<Lines>,
    interrupt: &Interrupt,
    signed: Option<Bytes>,
    start: impl FnOnce(&State) -> Start,
) -> Result<ExitCode, Failure> {
    let journals = journals()?;
    let (journal, Recorded { plan, lines }) = Journal::open(&journals, id)?;
    let text = plan.payload.clone();
    let wanted = payload::understand("the payload of the journal", text, plan.operation)?.wanted;
    let rollout = Rollout::resume(plan, &lines);
    let state = rollout.state();
    let is_undo = state.halt() == Some(&Halt::Undo) && state.stage() != Stage::Finished;
    let start = if is_undo { Start::Begin } else { start(state) };
    if state.halt() == Some(&Halt::Aborted) && start != Start::Undo {
        return Err(Failure::usage(format!(
            "roll-out {id} was aborted; only undo goes on with it"
        )));
    }
    if state.is_undone() && state.stage() == Stage::Finished && start != Start::Undo {
        return Err(Failure::usage(format!(
            "roll-out {id} was taken back; make the change again with ank-fleet apply"
        )));
    }
    let mut context = Context::open(connection, interrupt, filters).await?;
    let control = ControlFile::new(&journals, id);
    let session = &mut context.session;
    let mut driver = Driver::new(session, rollout, journal, wanted, control, interrupt, form);
    driver.undo_by(signed);
    let result = driver.run(start).await;
    context.close().await;
    result
}

async fn undo(
    connection: &ConnectionArgs,
    args: UndoArgs,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    let UndoArgs { id, yes, signed, output: form } = args;
    let signed = match signed {
        Some(file) => Some(Bytes::from(read_text(&file, interrupt).await?)),
        None => None,
    };
    let Recorded { plan, lines } = Journal::read(&journals()?, &id)?;
    let rollout = Rollout::resume(plan, &lines);
    let changed = rollout.state().vehicles().iter().filter(|vehicle| {
        vehicle.wave.is_some() && vehicle.outcome().is_none_or(OutcomeKind::can_be_undone)
    });
    let changed = thousands(changed.count());
    progress::note(&format!(
        "roll-out {id}: goes back on {changed} vehicles; those that were changed since are left alone"
    ));
    if !yes && !confirm(interrupt).await? {
        return Err(Failure::usage("nothing was sent"));
    }
    drive(connection, &id, form, interrupt, signed, |_| Start::Undo).await
}

/// Pauses or aborts a roll-out, whether a command drives it or not.
fn control(id: &RolloutId, control: Control) -> Result<ExitCode, Failure> {
    let journals = journals()?;
    match Journal::open(&journals, id) {
        Ok((mut journal, Recorded { plan, lines })) => {
            let mut rollout = Rollout::resume(plan, &lines);
            let event = match control {
                Control::Pause => Event::Pause,
                Control::Abort => Event::Abort,
            };
            let step = rollout.step(event, SystemTime::now().into());
            journal.append(&step.journal)?;
            output::line(&format!("roll-out {id}: {}", state_of(rollout.state(), false)))?;
        }
        Err(JournalError::Locked { .. }) => {
            ControlFile::new(&journals, id).write(control)?;
            output::line(&format!("roll-out {id}: the command that drives it sends nothing new"))?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(ExitCode::Success)
}

fn list() -> Result<ExitCode, Failure> {
    let journals = journals()?;
    let mut table = Table::new(&[
        "ID",
        "CREATED",
        "OPERATION",
        "VEHICLES",
        "OK",
        "FAILED",
        "PENDING",
        "RELEASE",
        "STATE",
    ]);
    let mut rows = Vec::new();
    for id in Journal::list(&journals)? {
        let Recorded { plan, lines } = match Journal::read(&journals, &id) {
            Ok(recorded) => recorded,
            Err(error) => {
                progress::note(&format!("{id}: {error}"));
                continue;
            }
        };
        let is_running = Journal::is_running(&journals, &id).unwrap_or_default();
        let rollout = Rollout::resume(plan, &lines);
        let state = rollout.state();
        let plan = state.plan();
        let count = |is_counted: fn(OutcomeKind) -> bool| {
            let outcomes = state.vehicles().iter().filter_map(crate::rollout::Vehicle::outcome);
            thousands(outcomes.filter(|outcome| is_counted(*outcome)).count())
        };
        let operation = serde_json::to_value(plan.operation).unwrap_or_default();
        rows.push((
            plan.created,
            [
                id.to_string(),
                plan.created.to_string(),
                operation.as_str().unwrap_or_default().to_owned(),
                thousands(plan.vehicles.len()),
                count(|it| matches!(it, OutcomeKind::Succeeded | OutcomeKind::Unchanged)),
                count(OutcomeKind::is_failure),
                count(|it| matches!(it, OutcomeKind::Pending | OutcomeKind::Unreachable)),
                plan.options.release.clone().unwrap_or_default(),
                state_of(state, is_running),
            ],
        ));
    }
    rows.sort();
    for (_, row) in rows {
        table.row(row);
    }
    output::table(&table)?;
    Ok(ExitCode::Success)
}

fn status(id: &RolloutId, form: Option<Output>) -> Result<ExitCode, Failure> {
    let journals = journals()?;
    let Recorded { plan, lines } = Journal::read(&journals, id)?;
    let is_running = Journal::is_running(&journals, id)?;
    let rollout = Rollout::resume(plan, &lines);
    let state = rollout.state();
    if let Some(form) = form {
        print_vehicles(state, form)?;
        return Ok(rollout.exit_code());
    }
    output::line(&format!("roll-out {id}: {}", state_of(state, is_running)))?;
    for wave in 1..=state.wave() {
        output::line(&wave_line(state, wave))?;
    }
    verdict_lines(state).iter().try_for_each(|line| output::line(line))?;
    for vehicle in state.vehicles().iter().filter(|vehicle| !vehicle.log.is_empty()).take(3) {
        output::line(&format!("log of {}:", vehicle.vin))?;
        vehicle.log.iter().try_for_each(|line| output::line(&format!("  {line}")))?;
    }
    if !is_running {
        next_commands(state).iter().for_each(|line| progress::note(line));
    }
    Ok(rollout.exit_code())
}

/// Prints how it has ended for each vehicle.
fn print_vehicles(state: &State, form: Output) -> Result<(), Failure> {
    let outcome = |vehicle: &Vehicle| vehicle.outcome().map_or("in_progress", OutcomeKind::name);
    let mut vehicles = state.vehicles().iter().map(|vehicle| {
        let cause = vehicle.cause();
        json!({
            "vin": vehicle.vin,
            "wave": vehicle.wave,
            "outcome": outcome(vehicle),
            "code": cause.map(|cause| cause.code),
            "message": cause.map(|cause| &cause.message),
            "workload": cause.and_then(|cause| cause.workload.as_ref()),
            "revision": vehicle.revision,
            "log": vehicle.log,
        })
    });
    match form {
        Output::Jsonl => vehicles.try_for_each(|vehicle| output::json_line(&vehicle)),
        Output::Json => output::json(&vehicles.collect::<Vec<_>>()),
        Output::Yaml => output::yaml(&vehicles.collect::<Vec<_>>()),
        Output::Name => {
            let mut vins = state.vehicles().iter().map(|vehicle| &vehicle.vin);
            vins.try_for_each(|vin| output::line(vin.as_str()))
        }
        Output::Wide => {
            let mut table =
                Table::new(&["VIN", "WAVE", "OUTCOME", "REVISION", "WORKLOAD", "MESSAGE"]);
            for vehicle in state.vehicles() {
                let number = |number: Option<String>| number.unwrap_or_default();
                let cause = vehicle.cause();
                table.row([
                    vehicle.vin.to_string(),
                    number(vehicle.wave.map(|wave| wave.to_string())),
                    outcome(vehicle).to_owned(),
                    number(vehicle.revision.map(|revision| revision.to_string())),
                    cause.and_then(|cause| cause.workload.clone()).unwrap_or_default(),
                    cause.map(|cause| cause.message.clone()).unwrap_or_default(),
                ]);
            }
            output::table(&table)
        }
    }
}

/// What happens with a roll-out, in short.
fn state_of(state: &State, is_running: bool) -> String {
    match (state.stage(), state.halt(), is_running) {
        (Stage::Finished, Some(Halt::Undo), _) => "taken back".to_owned(),
        (Stage::Finished, ..) => "finished".to_owned(),
        (Stage::Undoing, _, true) => "being taken back".to_owned(),
        (_, None, true) => format!("running, wave {}", state.wave()),
        (_, Some(halt), true) => format!("stopping: {halt}"),
        (_, Some(halt), false) => halt.to_string(),
        (_, None, false) => format!("interrupted in wave {}", state.wave()),
    }
}
