//! The records of subscriptions and rollouts in the store.

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::worker::StoreWorker;
use crate::streams::RecordStore;

/// The records in the store, once it is open.
#[derive(Debug)]
pub(super) struct StoredRecords(watch::Receiver<Option<StoreWorker>>);

impl StoredRecords {
    /// The receiver gets the store when it is open.
    pub(super) fn new(worker: watch::Receiver<Option<StoreWorker>>) -> Self {
        Self(worker)
    }

    fn worker(&self) -> Option<StoreWorker> {
        self.0.borrow().clone()
    }
}

impl RecordStore for StoredRecords {
    fn save(&self, name: String, record: Bytes) -> BoxFuture<'static, ()> {
        let saving = self.worker().map(|worker| worker.save_record(name, record));
        async {
            if let Some(saving) = saving
                && let Err(error) = saving.await
            {
                tracing::warn!(%error, "a record is not in the store");
            }
        }
        .boxed()
    }

    fn remove(&self, name: String) -> BoxFuture<'static, ()> {
        let removing = self.worker().map(|worker| worker.remove_record(name));
        async {
            if let Some(removing) = removing
                && let Err(error) = removing.await
            {
                tracing::warn!(%error, "a record stays in the store");
            }
        }
        .boxed()
    }

    fn load(&self) -> BoxFuture<'static, Vec<(String, Bytes)>> {
        let loading = self.worker().map(|worker| worker.records());
        async {
            let Some(loading) = loading else { return Vec::new() };
            match loading.await {
                Ok(records) => {
                    records.into_iter().map(|(name, record)| (name, record.into())).collect()
                }
                Err(error) => {
                    tracing::error!(%error, "the records in the store cannot be read");
                    Vec::new()
                }
            }
        }
        .boxed()
    }
}
