//! Groups vehicles that have not succeeded by the cause.

use std::collections::BTreeMap;
use std::fmt;

use super::fold::fold_vins;
use super::numbers::thousands;
use crate::rollout::{OutcomeKind, State};
use crate::vin::Vin;

/// A cause, and the vehicles that it has hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// How it has ended for the vehicles.
    pub outcome: OutcomeKind,
    /// The workload that has failed.
    pub workload: Option<String>,
    /// Why.
    pub message: String,
    /// The vehicles, sorted.
    pub vins: Vec<Vin>,
}

/// The causes for which vehicles have not succeeded, the most frequent first. Pending vehicles have
/// none.
#[must_use]
pub fn causes(state: &State) -> Vec<Cause> {
    let mut causes: BTreeMap<(OutcomeKind, Option<&str>, &str), Vec<Vin>> = BTreeMap::new();
    for vehicle in state.vehicles() {
        let Some(cause) = vehicle.cause() else { continue };
        let is_fine = matches!(
            cause.outcome,
            OutcomeKind::Succeeded | OutcomeKind::Unchanged | OutcomeKind::Undone
        );
        if !is_fine || !cause.message.is_empty() && cause.outcome == OutcomeKind::Succeeded {
            let key = (cause.outcome, cause.workload.as_deref(), cause.message.as_str());
            causes.entry(key).or_default().push(vehicle.vin.clone());
        }
    }
    let mut causes: Vec<Cause> = causes
        .into_iter()
        .map(|((outcome, workload, message), mut vins)| {
            vins.sort();
            let workload = workload.map(str::to_owned);
            Cause { outcome, workload, message: message.to_owned(), vins }
        })
        .collect();
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.vins.len()));
    causes
}

/// `9× nginx Pending(StartingFailed): No such image   WDB0[412,533]`
impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}× ", thousands(self.vins.len()))?;
        match self.outcome {
            OutcomeKind::Failed | OutcomeKind::TimedOut => {}
            outcome => write!(formatter, "{}: ", outcome.name().replace('_', " "))?,
        }
        if let Some(workload) = &self.workload {
            write!(formatter, "{workload} ")?;
        }
        write!(formatter, "{}   {}", self.message, fold_vins(&self.vins))
    }
}
