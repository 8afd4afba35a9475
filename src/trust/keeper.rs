//! The keeper: the task that owns the state, looks at `TRUST_FILE`, and writes to the store.

use std::sync::Arc;
use std::time::Duration;

use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::operation::Operation;
use fleet_contract::status::TrustReport;
use fleet_trust::Role;
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::clock::Clock;
use super::file::{TrustSource, TrustWatch};
use super::handle::{
    Command, MAX_COMMANDS, Signed, Trust, TrustStatus, TrustView, fingerprints, refused, refused_by,
};
use super::scope::Scope;
use super::state::{Accepted, TrustState, Update};
use super::store::TrustStore;

/// How often `TRUST_FILE` is read.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The pause before the store is read again.
const RETRY: Duration = Duration::from_secs(10);

/// Creates a handle and the task. `store` may be opened later; until then no request is served,
/// because a newer trust file may be in it.
pub(crate) fn keep(
    source: TrustSource,
    vin: &str,
    store: Arc<dyn TrustStore>,
) -> (Trust, impl Future<Output = ()> + Send + 'static) {
    let state = TrustState::new(source.mounted.clone());
    let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
    let (view, view_receiver) = watch::channel(view(&state));
    let (status, status_receiver) = watch::channel(status(&state));
    let trust = Trust { vin: vin.into(), commands, view: view_receiver, status: status_receiver };
    let watch = Some(TrustWatch::new(&source));
    let keeper = Keeper { state, vin: vin.into(), store, is_written: false, watch, view, status };
    (trust, keeper.run(receiver))
}

/// Why no request is served before the store was read.
const NOT_LOADED: &str =
    "STATE_DIR cannot be used yet, and what it has about signed requests must be known first";

fn view(state: &TrustState) -> TrustView {
    TrustView {
        file: state.file(),
        unavailable: (!state.is_loaded()).then_some(NOT_LOADED),
        newest_not_before: state.newest_not_before(),
    }
}

fn status(state: &TrustState) -> TrustStatus {
    let unavailable = (!state.is_loaded()).then_some(NOT_LOADED);
    let file = state.file();
    let report = TrustReport {
        fleet: file.fleet().to_owned(),
        version: file.version(),
        problem: unavailable.or(state.problem()).map(str::to_owned),
    };
    TrustStatus { report, unavailable }
}

#[derive(Debug)]
struct Keeper {
    state: TrustState,
    vin: Arc<str>,
    store: Arc<dyn TrustStore>,
    /// Whether the store is known to have what was accepted.
    is_written: bool,
    /// `None` if looking at the file has failed in a way that it does not recover from.
    watch: Option<TrustWatch>,
    view: watch::Sender<TrustView>,
    status: watch::Sender<TrustStatus>,
}

impl Keeper {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        self.load().await;
        let mut ticks: Interval = interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.serve(command).await,
                    None => return,
                },
                _ = ticks.tick() => self.look().await,
            }
        }
    }

    /// Reads the store, once it is open.
    async fn load(&mut self) {
        let stored = loop {
            match self.store.load().await {
                Ok(stored) => break stored,
                Err(reason) => {
                    tracing::error!(
                        reason,
                        "what the store has about signed requests cannot be read"
                    );
                    sleep(RETRY).await;
                }
            }
        };
        let text = self.state.load(stored);
        self.remember(text).await;
        let file = self.state.file();
        tracing::info!(fleet = file.fleet(), version = file.version(), "a trust file is in force");
        if let Some(problem) = self.state.problem() {
            tracing::warn!("{problem}");
        }
        self.publish();
    }

    /// Looks whether TRUST_FILE has changed.
    async fn look(&mut self) {
        let Some(mut watch) = self.watch.take() else { return };
        let looked = tokio::task::spawn_blocking(move || {
            let changed = watch.changed();
            (watch, changed)
        });
        let Ok((watch, changed)) = looked.await else { return };
        self.watch = Some(watch);
        let Some(changed) = changed else { return };
        let text = self.state.mounted(changed);
        match self.state.problem() {
            Some(problem) => tracing::error!("{problem}"),
            None => {
                let file = self.state.file();
                let (fleet, version) = (file.fleet(), file.version());
                tracing::info!(fleet, version, "the trust file has changed");
            }
        }
        self.remember(text).await;
        self.publish();
    }

    /// Writes the trust file in force, so that no older one comes into force at the next start.
    async fn remember(&self, text: Option<String>) {
        if let Some(text) = text
            && let Err(reason) = self.store.save_file(text).await
        {
            tracing::warn!(reason, "the trust file cannot be kept: an older one may replace it");
        }
    }

    fn publish(&self) {
        self.view.send_replace(view(&self.state));
        let next = status(&self.state);
        self.status.send_if_modified(|status| {
            let changed = *status != next;
            if changed {
                *status = next;
            }
            changed
        });
    }

    async fn serve(&mut self, command: Command) {
        // Without a receiver the connector is stopping.
        match command {
            Command::Admit { scope, signed, answer } => {
                let _ = answer.send(self.admit(&scope, &signed).await);
            }
            Command::Update { bundle, request_id, answer } => {
                let _ = answer.send(self.update(&bundle, &request_id).await);
            }
        }
    }

    async fn admit(&mut self, scope: &Scope, signed: &Signed) -> Result<(), ErrorReply> {
        let Signed { operation, request_id, serial, signed_by, .. } = signed;
        let operation = *operation;
        let Some(admitted) = self.state.admit(scope, signed) else {
            let message = "the serials in STATE_DIR are not known yet";
            return Err(ErrorReply::new(ErrorCode::Unavailable, message));
        };
        let next =
            admitted.map_err(|refusal| refused_by(signed_by, operation, request_id, &refusal))?;
        if let Err(reason) = self.accept(next).await {
            let message =
                format!("the serial of the request cannot be kept, so nothing was done: {reason}");
            return Err(ErrorReply::new(ErrorCode::Unavailable, message));
        }
        self.publish();
        let keys = signed_by.join(" ");
        tracing::info!(%operation, request_id, serial, keys, "a signed request is accepted");
        Ok(())
    }

    /// Writes what is accepted now. A redelivery changes nothing: the broker can make any number of
    /// them, and each write wears the disk.
    async fn accept(&mut self, next: Accepted) -> Result<(), String> {
        if self.is_written && self.state.has_accepted(&next) {
            return Ok(());
        }
        // If writing fails, the store has the former serials or these.
        self.is_written = false;
        self.store.save_serials(next.text()).await?;
        self.is_written = true;
        self.state.admitted(next);
        Ok(())
    }

    async fn update(&mut self, bundle: &[u8], request_id: &str) -> Result<u64, ErrorReply> {
        let operation = Operation::TrustUpdate;
        if !self.state.is_loaded() {
            let message = "the trust file in STATE_DIR is not known yet";
            return Err(ErrorReply::new(ErrorCode::Unavailable, message));
        }
        let clock = Clock::now(self.state.newest_not_before());
        let purpose = clock.purpose(operation, &self.vin, Role::Root);
        let update = self
            .state
            .update(bundle, &purpose)
            .map_err(|refusal| refused(operation, request_id, &refusal))?;
        let Update { opened, file, accepted } = update;
        let cannot_be_kept = |reason: String| {
            let message = format!("the trust file cannot be kept, so nothing was done: {reason}");
            ErrorReply::new(ErrorCode::Unavailable, message)
        };
        // Before the file: what it replaces stays in the past, whatever the clock shows later.
        if let Some(accepted) = accepted {
            self.accept(accepted).await.map_err(cannot_be_kept)?;
        }
        if let Some(file) = file {
            self.store.save_file(file.text.clone()).await.map_err(cannot_be_kept)?;
            self.state.updated(file);
        }
        self.publish();
        let version = self.state.file().version();
        let keys = fingerprints(&opened.signed_by).join(" ");
        let serial = opened.statement.serial;
        tracing::info!(%operation, request_id, serial, keys, version, "a signed request is accepted");
        Ok(version)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::sync::Mutex;

    use fleet_trust::testing::{Signer, trust_file};
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;
    use tempfile::TempDir;

    use super::*;
    use crate::trust::StoredTrust;

    /// A store that counts how often serials are written.
    #[derive(Debug, Default)]
    struct CountingStore {
        writes: Mutex<usize>,
        is_full: Mutex<bool>,
    }

    impl TrustStore for CountingStore {
        fn load(&self) -> BoxFuture<'static, Result<StoredTrust, String>> {
            async { Ok(StoredTrust::default()) }.boxed()
        }

        fn save_serials(&self, _: String) -> BoxFuture<'static, Result<(), String>> {
            *self.writes.lock().unwrap() += 1;
            let is_full = *self.is_full.lock().unwrap();
            async move { if is_full { Err("full".into()) } else { Ok(()) } }.boxed()
        }

        fn save_file(&self, _: String) -> BoxFuture<'static, Result<(), String>> {
            async { Ok(()) }.boxed()
        }
    }

    #[tokio::test]
    async fn a_redelivery_is_written_only_if_writing_has_failed_before() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("trust.yaml");
        let key = Signer::ed25519(1);
        fs::write(&path, trust_file(1, &[&key], &[&key])).unwrap();
        let store = Arc::new(CountingStore::default());
        let kept: Arc<dyn TrustStore> = Arc::clone(&store) as _;
        let (trust, keeper) = keep(TrustSource::open(path).unwrap(), "1", kept);
        tokio::spawn(keeper);
        trust.loaded().await;
        let admit = async |serial: u64| {
            let signed = Signed {
                operation: Operation::ManifestApply,
                request_id: "r".into(),
                serial,
                digest: [1; 32],
                not_before: 1,
                signed_by: Vec::new(),
            };
            let scope = Scope::Items(vec!["workloads/a".into()]);
            let granted = trust.admit(scope, signed).await.unwrap().granted().await;
            (granted.is_ok(), *store.writes.lock().unwrap())
        };
        assert_eq!(admit(5).await, (true, 1));
        for _ in 0..3 {
            assert_eq!(admit(5).await, (true, 1));
        }
        // The store may have the serial 6 now.
        *store.is_full.lock().unwrap() = true;
        assert_eq!(admit(6).await, (false, 2));
        assert_eq!(admit(5).await, (false, 3));
        *store.is_full.lock().unwrap() = false;
        assert_eq!(admit(5).await, (true, 4));
        assert_eq!(admit(5).await, (true, 4));
    }
}
