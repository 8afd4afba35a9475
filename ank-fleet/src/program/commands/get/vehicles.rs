//! `get vehicles`.

use fleet_contract::status::{AnkaiosLink, Availability, ConnectorStatus};
use serde::Serialize;

use super::super::super::arguments::Output;
use super::super::super::context::Context;
use super::super::super::failure::Failure;
use super::super::super::session::SessionEvent;
use super::super::super::{output, progress};
use crate::Vin;
use crate::inventory::KnownVehicle;
use crate::report::thousands;
use crate::rollout::ExitCode;
use crate::selection::Selection;
use crate::table::Table;

/// A vehicle in JSON and YAML.
#[derive(Serialize)]
struct Row<'a> {
    vin: &'a Vin,
    seen: bool,
    labels: &'a fleet_contract::Labels,
    /// Whether it does not answer, although its status says that it is online.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    silent: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a ConnectorStatus>,
}

/// Shows vehicles. With `watch`, also changes of all that it selects, whenever they appear.
pub(super) async fn get(
    context: &mut Context,
    vins: &[Vin],
    form: Option<Output>,
    watch: Option<&Selection>,
) -> Result<ExitCode, Failure> {
    print(context, vins, form, if watch.is_some() { Section::First } else { Section::Whole })?;
    let seen = vins.iter().filter(|vin| context.session.presence().get(vin).is_some()).count();
    progress::note(&format!(
        "{} of {} seen{}",
        thousands(seen),
        thousands(vins.len()),
        sources(context)
    ));
    let Some(selection) = watch else { return Ok(ExitCode::Success) };
    loop {
        tokio::select! {
            event = context.session.next() => {
                let vin = match event {
                    SessionEvent::Presence(vin, _) => vin,
                    SessionEvent::Message(message) => {
                        match crate::presence::vehicle_of(&message.topic) {
                            Some((vin, "connector/status")) => vin,
                            _ => continue,
                        }
                    }
                    _ => continue,
                };
                if context.is_selected(selection, &vin) {
                    print(context, std::slice::from_ref(&vin), form, Section::Later)?;
                }
            }
            () = context.interrupt.wait() => return Err(Failure::Interrupted),
        }
    }
}

/// How the vehicles were found.
fn sources(context: &Context) -> String {
    let sources = context.session.presence().sources();
    let mut parts = Vec::new();
    if sources.retained > 0 {
        parts.push("retained statuses".to_owned());
    }
    if let Some(fleet) = context.connection.fleet.as_ref() {
        parts.push(match sources.published {
            0 => format!("no answers of fleet {fleet}"),
            published => format!("{} answers of fleet {fleet}", thousands(published)),
        });
    }
    match parts.len() {
        0 => " (the broker has no retained statuses; set --fleet to ask the vehicles)".to_owned(),
        _ => format!(" ({})", parts.join(", ")),
    }
}

/// Which part of the output it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Whole,
    First,
    Later,
}

/// Prints vehicles.
fn print(
    context: &Context,
    vins: &[Vin],
    form: Option<Output>,
    part: Section,
) -> Result<(), Failure> {
    let unknown = KnownVehicle::default();
    let rows: Vec<Row<'_>> = vins
        .iter()
        .map(|vin| {
            let presence = context.session.presence();
            let status = presence.get(vin);
            let known = context.fleet.get(vin).unwrap_or(&unknown);
            let silent = presence.is_silent(vin);
            Row { vin, seen: status.is_some(), labels: &known.labels, silent, status }
        })
        .collect();
    match form {
        Some(form @ (Output::Json | Output::Yaml)) if part != Section::Whole => {
            rows.iter().try_for_each(|row| output::item(form, row))
        }
        Some(Output::Json) => output::json(&rows),
        Some(Output::Yaml) => output::yaml(&rows),
        Some(Output::Jsonl) => rows.iter().try_for_each(output::json_line),
        Some(Output::Name) => rows.iter().try_for_each(|row| output::line(row.vin.as_str())),
        None | Some(Output::Wide) => {
            let table = table(&rows, form.is_some());
            output::table(&if part == Section::Later { table.continued() } else { table })
        }
    }
}

fn table(rows: &[Row<'_>], is_wide: bool) -> Table {
    let mut header = vec!["VIN", "STATUS", "ANKAIOS", "VERSION", "RELEASE", "REVISION", "ROLLOUT"];
    if is_wide {
        header.extend(["SINCE", "LABELS", "REASON"]);
    }
    let mut table = Table::new(&header);
    for row in rows {
        let mut cells = vec![row.vin.to_string()];
        cells.extend(columns(row.status, row.silent));
        if is_wide {
            let labels: Vec<String> =
                row.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let reason = row.status.and_then(|status| status.link.as_ref()?.reason.clone());
            let since = row.status.and_then(|status| status.since.clone());
            cells.extend([since.unwrap_or_default(), labels.join(","), reason.unwrap_or_default()]);
        }
        table.row(cells);
    }
    table
}

fn columns(status: Option<&ConnectorStatus>, is_silent: bool) -> [String; 6] {
    let Some(status) = status else {
        return ["not seen", "", "", "", "", ""].map(str::to_owned);
    };
    let online = match status.status {
        Availability::Online if is_silent => "no answer",
        Availability::Online => "online",
        Availability::Offline => "offline",
    };
    let link = match status.link.as_ref().map(|link| link.ankaios) {
        Some(AnkaiosLink::Connected) => "connected",
        Some(AnkaiosLink::Disconnected) => "disconnected",
        Some(AnkaiosLink::Closed) => "closed",
        None => "",
    };
    let revision = status.revision.as_ref();
    [
        online.to_owned(),
        link.to_owned(),
        status.version.clone(),
        revision.and_then(|it| it.release.clone()).unwrap_or_default(),
        revision.map(|it| it.revision.to_string()).unwrap_or_default(),
        revision.and_then(|it| it.rollout).map(|it| it.name().to_owned()).unwrap_or_default(),
    ]
}
