//! `verify`: whether vehicles with a trust file accept a signed request.

use std::time::{SystemTime, UNIX_EPOCH};

use fleet_contract::operation::Operation;
use fleet_trust::{
    Bundle, Opened, Purpose, Role, Statement, TrustFile, Vehicles, open, open_update,
};

use super::super::arguments::VerifyArgs;
use super::super::failure::Failure;
use super::super::input::{read_file, read_text};
use super::super::interrupt::Interrupt;
use super::super::output;
use super::sign::describe;
use crate::rollout::ExitCode;

/// Runs the command.
///
/// # Errors
/// The request is not accepted, or the trust file is wrong.
pub(crate) async fn run(args: &VerifyArgs, interrupt: &Interrupt) -> Result<ExitCode, Failure> {
    let name = args.trust_file.display();
    let text =
        read_file(&args.trust_file).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    let operations = Operation::ALL.map(Operation::name);
    let trust = TrustFile::parse(text.as_bytes(), &operations).map_err(|mistakes| {
        let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        Failure::usage(format!("{name}: {}", mistakes.join("; ")))
    })?;
    let request = read_text(&args.file, interrupt).await?;
    let refused = |reason: &dyn std::fmt::Display| {
        Failure::Untrusted(format!("{} is not accepted: {reason}", args.file))
    };
    let bundle = Bundle::parse(request.as_bytes()).map_err(|error| refused(&error))?;
    let statement = Statement::parse_unverified(&bundle.statement)
        .map_err(|reason| refused(&format!("the statement {reason}")))?;
    let vin = match (&args.vehicle, &statement.vehicles) {
        (Some(vin), _) => vin.to_string(),
        (None, Vehicles::Vins(vins)) => vins.first().cloned().unwrap_or_default(),
        (None, Vehicles::All) => "any".to_owned(),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let role = Role::of(&statement.operation);
    let purpose = Purpose {
        operation: &statement.operation,
        vin: &vin,
        role,
        now: i64::try_from(now).unwrap_or(i64::MAX),
        clock_is_plausible: true,
    };
    let opened: Opened = if role == Role::Root {
        open_update(request.as_bytes(), &trust, &purpose, &operations)
            .map(|(opened, _)| opened)
            .map_err(|refusal| refused(&refusal))?
    } else {
        open(request.as_bytes(), &trust, &purpose).map_err(|refusal| refused(&refusal))?
    };
    describe(&opened.statement).iter().try_for_each(|line| output::line(line))?;
    for key in &opened.signed_by {
        output::line(&format!("signed by {key}"))?;
    }
    Ok(ExitCode::Success)
}
