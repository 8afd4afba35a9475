//! `sign`: signs a request with `ssh-keygen`, which also uses agents and hardware keys.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use fleet_contract::operation::Operation;
use fleet_trust::{Bundle, MAX_VALIDITY, NAMESPACE, Statement, Vehicles, is_bundle, sha256};

use super::super::arguments::{ConnectionArgs, SignArgs};
use super::super::failure::Failure;
use super::super::input::read_text;
use super::super::interrupt::Interrupt;
use super::super::{output, progress};
use crate::manifests;
use crate::rollout::ExitCode;

/// By how much the clock of a vehicle may be slow, in seconds.
const CLOCK_SKEW: i64 = 300;

/// Runs the command.
///
/// # Errors
/// The files are wrong, or `ssh-keygen` does not sign.
pub(crate) async fn run(
    connection: &ConnectionArgs,
    args: &SignArgs,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    let mut texts: Vec<(String, String)> = Vec::new();
    for file in &args.files {
        texts.push((file.clone(), read_text(file, interrupt).await?));
    }
    let mut bundle = match texts.as_slice() {
        [(name, text)] if is_bundle(text.as_bytes()) => Bundle::parse(text.as_bytes())
            .map_err(|refusal| Failure::Untrusted(format!("{name}: {refusal}")))?,
        _ => new_bundle(connection, args, &texts)?,
    };
    let statement = Statement::parse_unverified(&bundle.statement)
        .map_err(|reason| Failure::Untrusted(format!("the statement {reason}")))?;
    for line in describe(&statement) {
        progress::note(&line);
    }
    bundle.signatures.push(signature(&args.key, &bundle.statement)?);
    let text = String::from_utf8_lossy(&bundle.to_json()).into_owned();
    match &args.output {
        None => output::document(&text)?,
        Some(path) => std::fs::write(path, format!("{text}\n"))
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?,
    }
    Ok(ExitCode::Success)
}

fn new_bundle(
    connection: &ConnectionArgs,
    args: &SignArgs,
    texts: &[(String, String)],
) -> Result<Bundle, Failure> {
    let operation = Operation::ALL.into_iter().find(|it| it.name() == args.operation);
    let operation = operation
        .ok_or_else(|| Failure::usage(format!("{:?} is not an operation", args.operation)))?;
    let payload = match (operation, texts) {
        (Operation::ManifestApply | Operation::ManifestDelete, texts) => {
            manifests::merge(texts).map_err(Failure::usage)?
        }
        (_, [(_, text)]) => text.clone(),
        _ => return Err(Failure::usage("only manifests can be in several files")),
    };
    let fleet = connection.fleet_name()?;
    let fleet = fleet.ok_or_else(|| Failure::usage("--fleet: the name of the fleet is needed"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    let (not_before, expires) = validity(seconds(now), seconds(args.valid_for.as_secs()));
    let vehicles = match args.vehicles.as_slice() {
        [] => Vehicles::All,
        vins => Vehicles::Vins(vins.iter().map(ToString::to_string).collect()),
    };
    let payload = payload.into_bytes();
    let statement = Statement {
        operation: operation.name().to_owned(),
        fleet: fleet.to_string(),
        vehicles,
        serial: args.serial.unwrap_or(now),
        not_before,
        expires,
        force: args.force,
        rollback: Some(args.rollback.name().to_owned()),
        release: args.release.clone(),
        payload_sha256: sha256(&payload),
    };
    statement.check().map_err(|reason| Failure::usage(format!("the statement {reason}")))?;
    Ok(Bundle { statement: statement.to_bytes(), payload, signatures: Vec::new() })
}

/// `not_before` and `expires`. A request is also valid a little before `now`, as far as
/// [`MAX_VALIDITY`] allows it, so that vehicles with a slow clock accept it at once.
fn validity(now: i64, valid_for: i64) -> (i64, i64) {
    let expires = now.saturating_add(valid_for);
    let earliest = expires.saturating_sub(MAX_VALIDITY).min(now);
    (now.saturating_sub(CLOCK_SKEW).max(earliest), expires)
}

/// What is signed, for people.
pub(super) fn describe(statement: &Statement) -> Vec<String> {
    let vehicles = match &statement.vehicles {
        Vehicles::All => "all vehicles".to_owned(),
        Vehicles::Vins(vins) => vins.join(", "),
    };
    let time = |seconds: i64| {
        let seconds = u64::try_from(seconds).unwrap_or_default();
        let time = UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        fleet_contract::rfc3339::format_seconds(time)
    };
    let Statement { operation, fleet, serial, not_before, expires, .. } = statement;
    vec![
        format!("{operation} for {vehicles} of {fleet}, serial {serial}"),
        format!("valid from {} until {}", time(*not_before), time(*expires)),
    ]
}

fn signature(key: &Path, statement: &[u8]) -> Result<String, Failure> {
    let failed = |reason: String| Failure::Untrusted(format!("ssh-keygen does not sign: {reason}"));
    let mut child = Command::new("ssh-keygen")
        .args(["-Y", "sign", "-n", NAMESPACE, "-f"])
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(statement).map_err(|error| failed(error.to_string()))?;
    }
    let signed = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if !signed.status.success() {
        return Err(failed(signed.status.to_string()));
    }
    String::from_utf8(signed.stdout).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_valid_for_vehicles_with_a_slow_clock() {
        let now = 1_795_600_800;
        assert_eq!(validity(now, 60), (now - CLOCK_SKEW, now + 60));
        assert_eq!(validity(now, MAX_VALIDITY), (now, now + MAX_VALIDITY));
        // More than that is refused, and not made shorter.
        let more = MAX_VALIDITY + 1;
        assert_eq!(validity(now, more), (now, now + more));
    }
}
