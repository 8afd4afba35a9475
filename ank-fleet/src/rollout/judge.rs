//! What the messages and the state of a vehicle mean for the roll-out.

use std::time::Duration;

use fleet_contract::error::ErrorCode;
use fleet_contract::replies::WorkloadState;
use fleet_contract::revision::{RevisionStatus, RollbackMode};
use fleet_contract::rollout::{RolloutProgress, RolloutStatus};

use super::event::{OwnRevision, Settled, VehicleState};
use super::id::RequestKind;
use super::outcome::{Code, Outcome, OutcomeKind};
use crate::text::{self, MAX_MESSAGE, MAX_NAME, shortened};

/// What follows for a vehicle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is not over.
    Wait,
    /// It has accepted the change, and it is not over.
    Accepted(Option<u64>),
    /// It has not got the request.
    Missing,
    /// It is over.
    Ended(Outcome, Option<u64>),
}

/// Judges a message on `manifest/apply/status`.
pub(super) fn progress(progress: &RolloutProgress, rollback: RollbackMode) -> Verdict {
    let failed = || failed_workload(&progress.workloads);
    let takes_back = rollback != RollbackMode::Off;
    let ended = |outcome| Verdict::Ended(outcome, None);
    match progress.status {
        RolloutStatus::InProgress | RolloutStatus::RollingBack => Verdict::Accepted(None),
        RolloutStatus::Succeeded => ended(Outcome::succeeded()),
        // What comes last says whether it was taken back.
        RolloutStatus::Failed | RolloutStatus::TimedOut if takes_back => Verdict::Accepted(None),
        RolloutStatus::Failed => ended(failed().unwrap_or_else(|| {
            Outcome::new(OutcomeKind::Failed, Code::WorkloadFailed, "a workload has failed")
        })),
        RolloutStatus::TimedOut => ended(not_settled()),
        RolloutStatus::Superseded => ended(superseded()),
        RolloutStatus::RolledBack => {
            let cause = failed().map_or(
                Outcome::new(OutcomeKind::RolledBack, Code::RolledBack, ""),
                |failed| Outcome {
                    outcome: OutcomeKind::RolledBack,
                    code: Code::RolledBack,
                    ..failed
                },
            );
            ended(Outcome { message: or(cause.message, "taken back by the vehicle"), ..cause })
        }
        RolloutStatus::RollbackFailed => {
            let reason = progress.reason.clone().unwrap_or_default();
            let message =
                format!("the vehicle could not take it back: {}", or(reason, "no reason"));
            ended(Outcome::new(OutcomeKind::Failed, Code::RollbackFailed, message))
        }
    }
}

/// Judges what was read from a vehicle that is being changed.
pub(super) fn changed(state: &VehicleState, is_answered: bool, rollback: RollbackMode) -> Verdict {
    if state.is_undone {
        return Verdict::Ended(undone_outcome(), None);
    }
    if let Some(own) = state.own {
        let revision = Some(own.revision);
        let ended = |outcome| Verdict::Ended(outcome, revision);
        let takes_back = rollback != RollbackMode::Off;
        return match own.status {
            RevisionStatus::Succeeded | RevisionStatus::Unconfirmed => ended(Outcome::succeeded()),
            RevisionStatus::Superseded => ended(superseded()),
            RevisionStatus::RolledBack => ended(rolled_back()),
            RevisionStatus::InProgress => Verdict::Accepted(revision),
            RevisionStatus::Failed | RevisionStatus::TimedOut if takes_back => {
                Verdict::Accepted(revision)
            }
            RevisionStatus::Failed => ended(match &state.workloads {
                Settled::Failed { workload, message } => {
                    Outcome::workload_failed(workload, message.clone())
                }
                Settled::Up | Settled::Starting => {
                    Outcome::new(OutcomeKind::Failed, Code::WorkloadFailed, "a workload has failed")
                }
            }),
            RevisionStatus::TimedOut => ended(not_settled()),
        };
    }
    match (state.is_applied, &state.workloads) {
        (false, _) if is_answered => Verdict::Ended(superseded(), None),
        (false, _) => Verdict::Missing,
        (true, Settled::Up) => Verdict::Ended(Outcome::succeeded(), None),
        (true, Settled::Starting) => Verdict::Accepted(None),
        (true, Settled::Failed { workload, message }) => {
            Verdict::Ended(Outcome::workload_failed(workload, message.clone()), None)
        }
    }
}

/// Judges what an earlier start of the roll-out has done with a vehicle: `None` if it is to be changed
/// now.
pub(super) fn found(
    state: &VehicleState,
    own: OwnRevision,
    rollback: RollbackMode,
) -> Option<Verdict> {
    if !state.is_changed() {
        return None;
    }
    let is_replaced = !state.is_applied && !state.is_undone && own.has_succeeded();
    Some(if is_replaced {
        Verdict::Ended(superseded(), Some(own.revision))
    } else {
        changed(state, true, rollback)
    })
}

/// Judges what was read from a vehicle in the soak time: `None` if all is well.
pub(super) fn soaked(state: &VehicleState) -> Option<Outcome> {
    match state.own.map(|own| own.status) {
        Some(RevisionStatus::RolledBack) => return Some(rolled_back()),
        Some(
            RevisionStatus::InProgress
            | RevisionStatus::Succeeded
            | RevisionStatus::Failed
            | RevisionStatus::TimedOut
            | RevisionStatus::Superseded
            | RevisionStatus::Unconfirmed,
        )
        | None => {}
    }
    let Settled::Failed { workload, message } = &state.workloads else { return None };
    let outcome = Outcome::workload_failed(workload, message.clone());
    // Another change is not this one's failure.
    state.is_applied.then_some(Outcome { code: Code::Soak, ..outcome })
}

/// Judges what was read from a vehicle whose confirmation was refused or not answered.
pub(super) fn confirmed(state: &VehicleState) -> Verdict {
    match state.own.map(|own| own.status) {
        Some(RevisionStatus::Succeeded) => Verdict::Accepted(None),
        Some(RevisionStatus::Unconfirmed) => Verdict::Missing,
        Some(RevisionStatus::RolledBack) => Verdict::Ended(rolled_back(), None),
        Some(RevisionStatus::Superseded) | None => Verdict::Ended(superseded(), None),
        Some(RevisionStatus::InProgress | RevisionStatus::Failed | RevisionStatus::TimedOut) => {
            Verdict::Wait
        }
    }
}

/// Judges what was read from a vehicle whose undo was refused or not answered.
pub(super) fn undone(state: &VehicleState, former: &Outcome) -> Verdict {
    if state.is_undone {
        return Verdict::Ended(undone_outcome(), None);
    }
    match state.own.map(|own| own.status) {
        Some(RevisionStatus::RolledBack) => Verdict::Ended(rolled_back(), None),
        Some(_) if state.own.is_some_and(|own| own.is_current) => Verdict::Missing,
        Some(_) => Verdict::Ended(superseded(), None),
        // Nothing was changed, so there is nothing to take back.
        None if former.outcome != OutcomeKind::Succeeded => Verdict::Ended(former.clone(), None),
        None => Verdict::Ended(superseded(), None),
    }
}

pub(super) fn undone_outcome() -> Outcome {
    Outcome::new(OutcomeKind::Undone, Code::Undone, "taken back by this roll-out")
}

pub(super) fn superseded() -> Outcome {
    let message = "another change was made on the vehicle since";
    Outcome::new(OutcomeKind::Superseded, Code::Superseded, message)
}

/// The outcome of a vehicle that has given up by its own time limit.
pub(super) fn not_settled() -> Outcome {
    let message = "timed out by ROLLOUT_TIMEOUT of the vehicle";
    Outcome::new(OutcomeKind::TimedOut, Code::NotSettled, message)
}

/// The outcome of a vehicle whose workloads have not settled by its deadline.
pub(super) fn timed_out(deadline: Duration) -> Outcome {
    let message = format!("timed out after {}", humantime::format_duration(deadline));
    Outcome::new(OutcomeKind::TimedOut, Code::NotSettled, message)
}

/// The outcome of a vehicle that has not got the request by its deadline.
pub(super) fn no_answer() -> Outcome {
    Outcome::new(OutcomeKind::Unreachable, Code::NoAnswer, "it did not answer in time")
}

pub(super) fn unsettled(former: &Outcome, request: RequestKind) -> Outcome {
    match request {
        RequestKind::Confirm => {
            let message = "it did not answer the confirmation in time";
            Outcome::new(OutcomeKind::Unreachable, Code::NoAnswer, message)
        }
        RequestKind::Undo | RequestKind::Change => {
            let message = "not taken back: it did not answer in time";
            Outcome { code: Code::NoAnswer, message: message.to_owned(), ..former.clone() }
        }
    }
}

pub(super) fn not_undone(former: &Outcome, message: &str, code: ErrorCode) -> Outcome {
    let message = text::message(&format!("not taken back: {message}"));
    Outcome { code: Code::Reply(code), message, ..former.clone() }
}

fn rolled_back() -> Outcome {
    Outcome::new(OutcomeKind::RolledBack, Code::RolledBack, "taken back by the vehicle")
}

fn or(text: String, other: &str) -> String {
    if text.is_empty() { other.to_owned() } else { text }
}

/// The first workload that has failed.
fn failed_workload(workloads: &[WorkloadState]) -> Option<Outcome> {
    let failed = workloads
        .iter()
        .find(|it| has_failed(&it.execution_state.state, &it.execution_state.substate))?;
    let state = &failed.execution_state;
    let message = describe(&state.state, &state.substate, &state.additional_info);
    Some(Outcome::workload_failed(&failed.instance.workload_name, message))
}

/// Whether the state of an instance is a failure that Ankaios does not mend by itself.
pub(crate) fn has_failed(state: &str, substate: &str) -> bool {
    state == "FAILED" || substate == "PENDING_STARTING_FAILED"
}

/// The state of an instance in short, as `ank` prints it: `Pending(StartingFailed): No such image`.
pub(crate) fn describe(state: &str, substate: &str, info: &str) -> String {
    let words = |name: &str| {
        shortened(name, MAX_NAME)
            .split('_')
            .map(|word| {
                let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
                format!("{first}{}", rest.to_lowercase())
            })
            .collect::<String>()
    };
    let substate = substate.strip_prefix(state).unwrap_or(substate).trim_start_matches('_');
    let info = shortened(info.lines().next().unwrap_or_default().trim(), MAX_MESSAGE);
    let separator = if info.is_empty() { "" } else { ": " };
    format!("{}({}){separator}{info}", words(state), words(substate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_written_as_ank_prints_them() {
        assert_eq!(
            describe("PENDING", "PENDING_STARTING_FAILED", "No such image\nmore"),
            "Pending(StartingFailed): No such image"
        );
        assert_eq!(describe("FAILED", "FAILED_EXEC_FAILED", ""), "Failed(ExecFailed)");
        assert_eq!(describe("RUNNING", "RUNNING_OK", ""), "Running(Ok)");
    }
}
