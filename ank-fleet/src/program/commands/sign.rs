//! `sign`: signs a request with `ssh-keygen`, which also uses agents and hardware keys.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use fleet_contract::operation::Operation;
use fleet_trust::{Bundle, NAMESPACE, Statement, Vehicles, is_bundle, sha256};

use super::super::arguments::{ConnectionArgs, SignArgs};
use super::super::failure::Failure;
use super::super::input::read_text;
use super::super::interrupt::Interrupt;
use super::super::{output, progress};
use crate::manifests;
use crate::rollout::ExitCode;

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
        not_before: seconds(now),
        expires: seconds(now.saturating_add(args.valid_for.as_secs())),
        force: args.force,
        rollback: Some(args.rollback.name().to_owned()),
        release: args.release.clone(),
        payload_sha256: sha256(&payload),
    };
    statement.check().map_err(|reason| Failure::usage(format!("the statement {reason}")))?;
    Ok(Bundle { statement: statement.to_bytes(), payload, signatures: Vec::new() })
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
