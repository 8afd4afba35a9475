//! Vehicles from which a command has no result, together by their cause.

use std::collections::BTreeMap;

use super::call::Answer;
use super::progress;
use crate::Vin;
use crate::report::{fold_vins, thousands};
use crate::rollout::ExitCode;
use crate::text::message;

/// Vehicles without a result.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    causes: BTreeMap<String, Vec<Vin>>,
    failed: usize,
    unreachable: usize,
    untrusted: usize,
    results: usize,
}

impl Missing {
    /// Counts an answer. Returns the reply, if it is one.
    pub(crate) fn reply(&mut self, vin: &Vin, answer: Answer) -> Option<bytes::Bytes> {
        match answer {
            Answer::Reply(payload) => {
                self.results += 1;
                return Some(payload);
            }
            Answer::Error(error) => {
                if error.code == fleet_contract::error::ErrorCode::Untrusted {
                    self.untrusted += 1;
                }
                self.failed(vin, format!("{}: {}", error.code, error.message));
            }
            Answer::None(reason) => {
                self.unreachable += 1;
                self.add(vin, &reason);
            }
        }
        None
    }

    /// Counts a vehicle that has failed.
    pub(crate) fn failed(&mut self, vin: &Vin, cause: impl Into<String>) {
        self.failed += 1;
        self.add(vin, &cause.into());
    }

    /// Counts vehicles that are offline.
    pub(crate) fn offline(&mut self, vins: &[Vin]) {
        self.unreachable += vins.len();
        for vin in vins {
            self.add(vin, "offline");
        }
    }

    fn add(&mut self, vin: &Vin, cause: &str) {
        self.causes.entry(message(cause)).or_default().push(vin.clone());
    }

    /// Writes the causes to standard error, the most frequent first, and returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let mut causes: Vec<(&String, &Vec<Vin>)> = self.causes.iter().collect();
        causes.sort_by_key(|(_, vins)| std::cmp::Reverse(vins.len()));
        for (cause, vins) in causes {
            progress::note(&format!("{}× {cause}   {}", thousands(vins.len()), fold_vins(vins)));
        }
        self.code()
    }

    /// The exit code.
    pub(crate) fn code(&self) -> ExitCode {
        if self.failed > 0 && self.failed == self.untrusted && self.results == 0 {
            ExitCode::Untrusted
        } else if self.failed > 0 {
            ExitCode::SomeFailed
        } else if self.unreachable > 0 {
            ExitCode::Left
        } else {
            ExitCode::Success
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fleet_contract::error::{ErrorCode, ErrorReply};

    use super::*;

    #[test]
    fn what_is_kept_of_an_error_is_short_and_one_line() {
        let mut missing = Missing::default();
        let text = format!("no\n9,999× succeeded\u{1b}[2K{}", "x".repeat(1 << 20));
        let error = Answer::Error(ErrorReply::new(ErrorCode::Internal, text));
        assert_eq!(missing.reply(&"A1".parse().unwrap(), error), None);
        let (cause, _) = missing.causes.first_key_value().unwrap();
        assert!(cause.starts_with("internal: no 9,999× succeeded [2Kxxx"), "{cause}");
        assert!(cause.len() < 600, "{}", cause.len());
        assert_eq!(missing.code(), ExitCode::SomeFailed);
    }
}
