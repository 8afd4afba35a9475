//! The thread that uses the store. Syncing a disk takes long; nothing else waits for it.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::item::Items;
use super::metrics::RevisionMetrics;
use super::store::{Store, StoreChange, StoreError, TrustFileName};
use crate::trust::StoredTrust;

/// Maximum number of tasks that wait for the thread. The keeper gives it one at a time.
const MAX_TASKS: usize = 8;

type Task = Box<dyn FnOnce(&mut Store) + Send>;

/// A handle to the thread. The thread ends, and unlocks the store, when all handles are dropped.
/// Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct StoreWorker {
    tasks: mpsc::Sender<Task>,
    metrics: RevisionMetrics,
}

impl StoreWorker {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system starts no thread.
    pub(super) fn start(mut store: Store, metrics: RevisionMetrics) -> io::Result<Self> {
        let (tasks, mut receiver) = mpsc::channel::<Task>(MAX_TASKS);
        let run = move || {
            while let Some(task) = receiver.blocking_recv() {
                task(&mut store);
            }
        };
        std::thread::Builder::new().name("store".into()).spawn(run)?;
        Ok(Self { tasks, metrics })
    }

    /// Writes and syncs changes.
    pub(super) fn save(
        &self,
        changes: Vec<StoreChange>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let metrics = self.metrics.clone();
        self.run(move |store| {
            let start = Instant::now();
            let saved = store.save(&changes);
            metrics.synced(start.elapsed());
            saved
        })
    }

    /// Reads the overlay of a revision.
    pub(super) fn load(
        &self,
        revision: u64,
    ) -> impl Future<Output = Result<Items, StoreError>> + Send + use<> {
        self.run(move |store| store.overlay(revision))
    }

    /// Saves the record of a subscription.
    pub(super) fn save_record(
        &self,
        name: String,
        record: Bytes,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.run(move |store| store.save_record(&name, &record))
    }

    /// Removes the record of a subscription.
    pub(super) fn remove_record(
        &self,
        name: String,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.run(move |store| store.remove_record(&name))
    }

    /// Reads the records of all subscriptions.
    pub(super) fn records(
        &self,
    ) -> impl Future<Output = Result<Vec<(String, Vec<u8>)>, StoreError>> + Send + use<> {
        self.run(Store::records)
    }

    /// Reads what is kept about signed requests.
    pub(super) fn trust(
        &self,
    ) -> impl Future<Output = Result<StoredTrust, StoreError>> + Send + use<> {
        self.run(Store::trust)
    }

    /// Saves a file about signed requests.
    pub(super) fn save_trust(
        &self,
        name: TrustFileName,
        text: String,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        self.run(move |store| store.save_trust(name, &text))
    }

    fn run<T, W>(&self, work: W) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    {
        let tasks = self.tasks.clone();
        let (sender, answer) = oneshot::channel();
        let task: Task = Box::new(move |store| {
            // Without a receiver the connector is stopping.
            let _ = sender.send(work(store));
        });
        async move {
            let ended = || StoreError::Io {
                file: "the store".into(),
                reason: "its thread has ended; see the log".into(),
            };
            tasks.send(task).await.map_err(|_| ended())?;
            answer.await.unwrap_or_else(|_| Err(ended()))
        }
    }
}

/// How long to wait for the disk.
pub(super) const DISK_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a store that cannot be opened is left before the next attempt.
pub(super) const REOPEN: Duration = Duration::from_secs(10);
