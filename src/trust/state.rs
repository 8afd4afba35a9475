//! What decides: which trust file is in force, and whether a signed request is a replay.

use std::sync::Arc;

use fleet_contract::operation::Operation;
use fleet_trust::{Opened, Purpose, Reason, Refusal, Serial, Serials, TrustFile, open_update};
use serde::{Deserialize, Serialize};

use super::file::TrustText;
use super::handle::Signed;
use super::scope::{Scope, is_item};
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
    /// The newest request that could change every item. Items without a serial have this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    everything: Option<Serial>,
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
    /// What is to be written before, if the statement is newer than all that were accepted.
    pub(super) accepted: Option<Accepted>,
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

    /// Opens a request for `trust/update`, which is a bundle.
    pub(super) fn update(&self, bundle: &[u8], purpose: &Purpose<'_>) -> Result<Update, Refusal> {
        let operations = Operation::ALL.map(Operation::name);
        let (opened, file) = open_update(bundle, &self.shared, purpose, &operations)?;
        let not_before = opened.statement.not_before;
        let older = self.accepted.as_ref().filter(|one| one.newest_not_before < not_before);
        let accepted = older.map(|one| Accepted { newest_not_before: not_before, ..one.clone() });
        let file = (file != self.current.file).then(|| {
            // It was parsed, so it is UTF-8.
            let text = String::from_utf8_lossy(&opened.payload).into_owned();
            TrustText { file, text }
        });
        Ok(Update { opened, file, accepted })
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
            Scope::Everything => {
                next.serials.items().filter(|name| is_item(name)).map(str::to_owned).collect()
            }
            Scope::Operation(operation) => vec![operation.name().to_owned()],
        };
        let new = Serial { serial: signed.serial, digest: signed.digest };
        let has_unknown_items = match scope {
            Scope::Items(items) => items.iter().any(|item| next.serials.get(item).is_none()),
            Scope::Everything => true,
            Scope::Operation(_) => false,
        };
        if has_unknown_items
            && let Some(newest) = next.everything
            && new.serial <= newest.serial
            && new != newest
        {
            return Some(Err(older_than_everything(new, newest)));
        }
        if *scope == Scope::Everything {
            next.everything = Some(new);
        }
        next.serials.set_min_serial(self.current.file.min_serial());
        next.newest_not_before = next.newest_not_before.max(signed.not_before);
        Some(next.serials.accept(&items, signed.serial, signed.digest).map(|()| next))
    }

    /// Whether this is what was accepted.
    pub(super) fn has_accepted(&self, next: &Accepted) -> bool {
        self.accepted.as_ref() == Some(next)
    }

    /// What was accepted is on the disk.
    pub(super) fn admitted(&mut self, next: Accepted) {
        self.accepted = Some(next);
    }
}

fn older_than_everything(new: Serial, newest: Serial) -> Refusal {
    let message = format!(
        "a newer request was accepted for all workloads and configs, with the serial {}; this one \
         has {}; sign with a higher one",
        newest.serial, new.serial
    );
    Refusal { reason: Reason::Replayed, message, keys: Vec::new() }
}

fn older(mounted: u64, in_force: u64) -> String {
    format!(
        "TRUST_FILE has version {mounted}, but version {in_force} is in force: mount that one or a \
         newer one"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use fleet_trust::testing::{Signer, bundle, trust_file};
    use fleet_trust::{Role, Statement, Vehicles};
    use proptest::prelude::*;

    use super::*;

    fn text(version: u64, min_serial: u64) -> String {
        let key = Signer::ed25519(1);
        trust_file(1, &[&key], &[&key])
            .replace("version: 1", &format!("version: {version}"))
            .replace("min_serial: 0", &format!("min_serial: {min_serial}"))
    }

    fn file(version: u64) -> TrustText {
        TrustText::parse(text(version, 0)).unwrap()
    }

    fn loaded(version: u64, min_serial: u64) -> TrustState {
        let mut state = TrustState::new(TrustText::parse(text(version, min_serial)).unwrap());
        state.load(StoredTrust::default());
        state
    }

    fn signed(serial: u64) -> Signed {
        Signed {
            operation: Operation::ManifestApply,
            request_id: "r".into(),
            serial,
            digest: [u8::try_from(serial % 251).unwrap(); 32],
            not_before: i64::try_from(serial).unwrap() * 10,
            signed_by: vec!["SHA256:a".into()],
        }
    }

    fn items(names: &[&str]) -> Scope {
        Scope::Items(names.iter().map(|&name| name.to_owned()).collect())
    }

    /// Whether it is accepted; then it is on the disk.
    fn admit(state: &mut TrustState, scope: &Scope, serial: u64) -> bool {
        match state.admit(scope, &signed(serial)).unwrap() {
            Ok(next) => {
                state.admitted(next);
                true
            }
            Err(refusal) => {
                assert_eq!(refusal.reason, Reason::Replayed);
                false
            }
        }
    }

    /// The state of the next start.
    fn restarted(state: &TrustState) -> TrustState {
        let serials = state.accepted.as_ref().map(Accepted::text);
        let mut next = TrustState::new(state.current.clone());
        next.load(StoredTrust { serials, file: None });
        next
    }

    #[test]
    fn nothing_is_accepted_before_the_store_was_read() {
        let state = TrustState::new(file(1));
        assert!(!state.is_loaded());
        assert!(state.admit(&Scope::Everything, &signed(1)).is_none());
    }

    #[test]
    fn the_newest_trust_file_is_in_force() {
        let stored = |text: &str| StoredTrust { serials: None, file: Some(text.to_owned()) };
        for (mounted, kept, in_force, is_written) in
            [(1, 2, 2, false), (2, 2, 2, false), (3, 2, 3, true)]
        {
            let mut state = TrustState::new(file(mounted));
            let written = state.load(stored(&text(kept, 0)));
            assert_eq!(state.file().version(), in_force, "{mounted}, {kept}");
            assert_eq!(written.is_some(), is_written, "{mounted}, {kept}");
            assert_eq!(state.problem().is_some(), kept > mounted, "{mounted}, {kept}");
        }
        let mut state = TrustState::new(file(1));
        assert_eq!(state.load(stored("fleet: x\n")), Some(text(1, 0)));
        assert_eq!(state.file().version(), 1);
    }

    #[test]
    fn a_mounted_file_that_is_older_or_wrong_changes_nothing() {
        let mut state = loaded(2, 0);
        assert_eq!(state.mounted(Err("half".into())), None);
        assert!(state.problem().unwrap().contains("half"));
        assert_eq!(state.mounted(Ok(file(1))), None);
        assert!(state.problem().unwrap().contains("version 1"));
        assert_eq!(state.file().version(), 2);
        assert_eq!(state.mounted(Ok(file(3))), Some(text(3, 0)));
        assert_eq!((state.file().version(), state.problem()), (3, None));
    }

    const PURPOSE: Purpose<'_> = Purpose {
        operation: "trust/update",
        vin: "1",
        role: Role::Root,
        now: 50,
        clock_is_plausible: true,
    };

    fn update_statement() -> Statement {
        Statement {
            operation: "trust/update".into(),
            fleet: "prod-eu".into(),
            vehicles: Vehicles::All,
            serial: 1,
            not_before: 0,
            expires: 100,
            force: false,
            rollback: None,
            release: None,
            payload_sha256: [0; 32],
        }
    }

    #[test]
    fn an_update_that_is_in_force_is_a_redelivery() {
        let mut state = loaded(1, 0);
        let next = text(2, 0);
        let request = bundle(&update_statement(), next.as_bytes(), &[&Signer::ed25519(1)]);
        let purpose = PURPOSE;
        let update = state.update(&request, &purpose).unwrap();
        assert_eq!(update.accepted, None, "the time is not before 0 anyway");
        let file = update.file.unwrap();
        assert_eq!(file.text, next);
        assert_eq!(state.file().version(), 1, "it is not on the disk yet");
        state.updated(file);
        assert!(state.update(&request, &purpose).unwrap().file.is_none());
        state.updated(super::tests::file(3));
        assert_eq!(state.update(&request, &purpose).unwrap_err().reason, Reason::Replayed);
    }

    #[test]
    fn an_update_raises_the_time() {
        let mut state = loaded(1, 0);
        assert!(admit(&mut state, &items(&["workloads/a"]), 3));
        let update = |state: &TrustState, not_before| {
            let statement =
                Statement { not_before, expires: not_before + 100, ..update_statement() };
            let request = bundle(&statement, text(2, 0).as_bytes(), &[&Signer::ed25519(1)]);
            state.update(&request, &Purpose { now: not_before, ..PURPOSE }).unwrap()
        };
        assert_eq!(update(&state, 30).accepted, None);
        let next = update(&state, 31).accepted.unwrap();
        state.admitted(next);
        assert_eq!(restarted(&state).newest_not_before(), 31);
        assert!(!admit(&mut state, &items(&["workloads/a"]), 2), "the serials are the same");
    }

    #[test]
    fn the_time_never_goes_back() {
        let mut state = loaded(1, 0);
        assert!(admit(&mut state, &items(&["workloads/a"]), 7));
        assert!(admit(&mut state, &items(&["workloads/b"]), 3));
        assert_eq!(state.newest_not_before(), 70);
        assert_eq!(restarted(&state).newest_not_before(), 70);
    }

    #[test]
    fn min_serial_holds_for_everything() {
        let mut state = loaded(1, 5);
        for scope in
            [items(&["workloads/a"]), Scope::Everything, Scope::Operation(Operation::State)]
        {
            assert!(!admit(&mut state, &scope, 4), "{scope:?}");
            assert!(admit(&mut state, &scope, 5), "{scope:?}");
        }
    }

    #[test]
    fn what_changes_everything_is_newer_than_all_that_was_signed_before() {
        let mut state = loaded(1, 0);
        assert!(admit(&mut state, &Scope::Operation(Operation::State), 90));
        assert!(admit(&mut state, &items(&["workloads/a"]), 1));
        assert!(admit(&mut state, &Scope::Everything, 5));
        assert!(admit(&mut state, &Scope::Everything, 5), "a redelivery");
        for name in ["workloads/a", "configs/unknown"] {
            for serial in [1, 4, 5] {
                // The same digest, but other items: it is not that request.
                let is_same = serial == 5;
                assert_eq!(
                    admit(&mut restarted(&state), &items(&[name]), serial),
                    is_same,
                    "{name}"
                );
            }
        }
        assert!(admit(&mut state, &Scope::Operation(Operation::State), 91), "it has its own");
        assert!(admit(&mut state, &items(&["configs/unknown"]), 6));
        assert!(!admit(&mut state, &Scope::Everything, 5));
        assert!(admit(&mut restarted(&state), &Scope::Everything, 7));
    }

    #[test]
    fn what_an_earlier_version_has_stored_is_read() {
        let text = r#"{"newest_not_before": 7, "serials": {"floor": 3, "items": {}}}"#;
        let mut state = TrustState::new(file(1));
        state.load(StoredTrust { serials: Some(text.into()), file: None });
        assert_eq!(state.newest_not_before(), 7);
        assert!(!admit(&mut state, &items(&["workloads/a"]), 2));
    }

    proptest! {
        /// In any order of deliveries, with restarts: nothing older than what an item has.
        #[test]
        fn no_item_goes_back(order in prop::collection::vec((0..5_usize, 0..9_u64, any::<bool>()), 0..60)) {
            let all = ["configs/x", "configs/y", "workloads/x"];
            let mut state = loaded(1, 0);
            let mut newest = [None; 3];
            for (which, serial, restarts) in order {
                let touched: Vec<usize> = match which {
                    0..3 => vec![which],
                    3 => vec![0, 2],
                    _ => vec![0, 1, 2],
                };
                // A serial is that of one request.
                let serial = serial * 5 + u64::try_from(which).unwrap();
                let scope = match which {
                    4 => Scope::Everything,
                    _ => items(&touched.iter().map(|&index| all[index]).collect::<Vec<_>>()),
                };
                let is_new = touched.iter().all(|&index| newest[index].is_none_or(|it| serial >= it));
                prop_assert_eq!(admit(&mut state, &scope, serial), is_new);
                if is_new {
                    touched.iter().for_each(|&index| newest[index] = Some(serial));
                }
                if restarts {
                    state = restarted(&state);
                }
            }
        }
    }
}
