//! What decides: which trust file is in force, and whether a signed request is a replay.

use std::sync::Arc;

use fleet_contract::operation::Operation;
use fleet_trust::{Opened, Purpose, Refusal, Serials, TrustFile, open_update};
use serde::{Deserialize, Serialize};

use super::file::TrustText;
use super::handle::Signed;
use super::scope::Scope;
use super::store::StoredTrust;

/// The trust file in force, and what was accepted.
#[derive(Debug)]
pub(super) struct TrustState {
    /// The trust file in force.
    current: TrustText,
    shared: Arc<TrustFile>,
    /// `None` until the store was read.
    accepted: Option<Accepted>,
    /// What an operator should correct.
    problem: Option<String>,
}

/// What was accepted, as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Accepted {
    /// The newest `not_before`, in Unix seconds.
    newest_not_before: i64,
    serials: Serials,
}

impl Accepted {
    /// The text to write.
    pub(super) fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and strings always become JSON")
    }
}

/// What a request for `trust/update` leads to.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) opened: Opened,
    /// The trust file to put into force, once it is written; `None` if it is in force already: the
    /// request was delivered again.
    pub(super) file: Option<TrustText>,
}

impl TrustState {
    /// The state with the trust file of the settings.
    pub(super) fn new(mounted: TrustText) -> Self {
        let shared = Arc::new(mounted.file.clone());
        Self { current: mounted, shared, accepted: None, problem: None }
    }

    /// The trust file in force.
    pub(super) fn file(&self) -> Arc<TrustFile> {
        Arc::clone(&self.shared)
    }

    /// What an operator should correct.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Whether the store was read.
    pub(super) fn is_loaded(&self) -> bool {
        self.accepted.is_some()
    }

    /// The newest `not_before` that was accepted, in Unix seconds; 0 if there is none.
    pub(super) fn newest_not_before(&self) -> i64 {
        self.accepted.as_ref().map_or(0, |accepted| accepted.newest_not_before)
    }

    /// Takes over what the store has. Returns the trust file to write, if that of the settings is
    /// newer than what the store has.
    pub(super) fn load(&mut self, stored: StoredTrust) -> Option<String> {
        let accepted = stored.serials.and_then(|text| match serde_json::from_str(&text) {
            Ok(accepted) => Some(accepted),
            Err(error) => {
                tracing::error!(%error, "the serials in the store cannot be read");
                None
            }
        });
        if accepted.is_none() {
            tracing::warn!(
                min_serial = self.current.file.min_serial(),
                "the store has no serials of signed requests: all from min_serial on are accepted"
            );
        }
        self.accepted = Some(accepted.unwrap_or_default());
        let stored = stored.file.and_then(|text| match TrustText::parse(text) {
            Ok(stored) => Some(stored),
            Err(_) => {
                tracing::error!(
                    "the trust file in the store cannot be used: TRUST_FILE is in force"
                );
                None
            }
        });
        match stored {
            Some(stored) if stored.file.version() > self.current.file.version() => {
                self.problem = Some(older(self.current.file.version(), stored.file.version()));
                self.set(stored);
                None
            }
            Some(stored) if stored.file.version() == self.current.file.version() => None,
            _ => Some(self.current.text.clone()),
        }
    }

    /// Decides about a changed TRUST_FILE. Returns the text to write if it is in force now.
    pub(super) fn mounted(&mut self, changed: Result<TrustText, String>) -> Option<String> {
        let in_force = self.current.file.version();
        match changed {
            Ok(mounted) if mounted.file.version() < in_force => {
                self.problem = Some(older(mounted.file.version(), in_force));
                None
            }
            Ok(mounted) => {
                self.problem = None;
                let text = mounted.text.clone();
                self.set(mounted);
                Some(text)
            }
            Err(reason) => {
                self.problem = Some(format!(
                    "TRUST_FILE cannot be used, version {in_force} stays in force: {reason}"
                ));
                None
            }
        }
    }

    fn set(&mut self, file: TrustText) {
        self.shared = Arc::new(file.file.clone());
        self.current = file;
    }

    /// Puts a new trust file into force that the store has.
    pub(super) fn updated(&mut self, file: TrustText) {
        self.problem = None;
        self.set(file);
    }

    /// Opens a request for `trust/update`.
    pub(super) fn update(&self, bundle: &[u8], purpose: &Purpose<'_>) -> Result<Update, Refusal> {
        let operations = Operation::ALL.map(Operation::name);
        let (opened, file) = open_update(bundle, &self.shared, purpose, &operations)?;
        if file == self.current.file {
            return Ok(Update { opened, file: None });
        }
        // It was parsed, so it is UTF-8.
        let text = String::from_utf8_lossy(&opened.payload).into_owned();
        Ok(Update { opened, file: Some(TrustText { file, text }) })
    }

    /// Whether a signed request with this scope is accepted. Returns what is to be written.
    /// `None` before the store was read.
    pub(super) fn admit(
        &self,
        scope: &Scope,
        signed: &Signed,
    ) -> Option<Result<Accepted, Refusal>> {
        let mut next = self.accepted.clone()?;
        let items: Vec<String> = match scope {
            Scope::Items(items) => items.clone(),
            Scope::Everything(_) if !next.serials.is_empty() => {
                next.serials.items().map(str::to_owned).collect()
            }
            Scope::Everything(operation) | Scope::Operation(operation) => {
                vec![operation.name().to_owned()]
            }
        };
        next.serials.set_min_serial(self.current.file.min_serial());
        next.newest_not_before = next.newest_not_before.max(signed.not_before);
        Some(next.serials.accept(&items, signed.serial, signed.digest).map(|_| next))
    }

    /// What was accepted is on the disk.
    pub(super) fn admitted(&mut self, next: Accepted) {
        self.accepted = Some(next);
    }
}

fn older(mounted: u64, in_force: u64) -> String {
    format!(
        "TRUST_FILE has version {mounted}, but version {in_force} is in force: mount that one or a \
         newer one"
    )
}
