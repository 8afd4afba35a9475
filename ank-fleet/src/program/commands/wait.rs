//! `wait`: until workloads have a state on all vehicles.

use std::time::Duration;

use bytes::Bytes;
use fleet_contract::operation::Operation;
use fleet_contract::requests::WorkloadWaitRequest;

use super::super::answers::Missing;
use super::super::arguments::{ConnectionArgs, WaitArgs};
use super::super::call::Call;
use super::super::context::Context;
use super::super::failure::Failure;
use super::super::interrupt::Interrupt;
use super::super::output;
use crate::report::thousands;
use crate::rollout::ExitCode;

/// How much longer the answer is waited for than the vehicle waits.
const ANSWER: Duration = Duration::from_secs(15);

/// How many vehicles wait at the same time.
const PARALLEL: usize = 1000;

/// Runs the command.
///
/// # Errors
/// There is no connection, or the selection is empty.
pub(crate) async fn run(
    connection: &ConnectionArgs,
    args: WaitArgs,
    interrupt: &Interrupt,
) -> Result<ExitCode, Failure> {
    let WaitArgs { workloads, selection, state, timeout } = args;
    let selection = selection.read(interrupt).await?;
    if selection.is_missing() {
        return Err(Failure::usage(crate::selection::SelectionError::MissingOption));
    }
    let mut payloads = Vec::new();
    for workload in &workloads {
        let request = WorkloadWaitRequest {
            workload_name: workload.clone(),
            agent_name: None,
            state: state.to_ascii_uppercase(),
            timeout: Some(humantime::format_duration(timeout).to_string()),
        };
        let payload = serde_json::to_vec(&request).map_err(std::io::Error::from)?;
        WorkloadWaitRequest::parse(&payload).map_err(Failure::usage)?;
        payloads.push(Bytes::from(payload));
    }
    let mut context = Context::open(connection, interrupt, |_| Vec::new()).await?;
    let vins = context.select(&selection)?;
    let (online, offline) = context.online(&vins);
    let calls = online.iter().flat_map(|vin| {
        payloads.iter().map(|payload| {
            Call::new(vin, Operation::WorkloadWait, payload.clone(), timeout + ANSWER)
        })
    });
    let calls: Vec<Call> = calls.collect();
    let (mut missing, mut reached) = (Missing::default(), 0);
    let ask = context.ask(calls, PARALLEL, |vin, answer| {
        reached += usize::from(missing.reply(vin, answer).is_some());
        Ok(())
    });
    ask.await?;
    context.close().await;
    missing.offline(&offline);
    let all = vins.len() * workloads.len();
    let noun = if all == 1 { "workload" } else { "workloads" };
    let state = state.to_ascii_uppercase();
    output::line(&format!("{} of {} {noun} {state}", thousands(reached), thousands(all)))?;
    Ok(missing.report())
}
