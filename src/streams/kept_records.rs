//! The records of subscriptions and rollouts in the store of the vehicle, beside the retained ones.
//!
//! Brokers lose retained messages, or do not find them on another node. So a connector with a store
//! keeps the records there, too. Where both exist, the store counts. The rollout of a revision has
//! no record in the store: the status of the revision says that its rollout is in progress.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use fleet_contract::topics::StreamKind;
use futures_util::future::BoxFuture;

/// Begins the name of the record of a rollout.
const ROLLOUT: &str = "rollout";

/// Where records are kept. A failure is logged: the retained record remains.
pub(crate) trait RecordStore: fmt::Debug + Send + Sync {
    /// Saves a record under this name, and syncs it.
    fn save(&self, name: String, record: Bytes) -> BoxFuture<'static, ()>;

    /// Removes a record.
    fn remove(&self, name: String) -> BoxFuture<'static, ()>;

    /// All records, each with its name.
    fn load(&self) -> BoxFuture<'static, Vec<(String, Bytes)>>;
}

/// The records in the store, if there is one. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeptRecords(Option<Arc<dyn RecordStore>>);

impl KeptRecords {
    /// The records in this store.
    #[must_use]
    pub(crate) fn new(store: Arc<dyn RecordStore>) -> Self {
        Self(Some(store))
    }

    /// Saves the record of a subscription.
    pub(super) async fn save(&self, kind: StreamKind, id: &str, record: Bytes) {
        if let Some(store) = &self.0 {
            store.save(name(kind, id), record).await;
        }
    }

    /// Removes the record of a subscription.
    pub(super) async fn remove(&self, kind: StreamKind, id: &str) {
        if let Some(store) = &self.0 {
            store.remove(name(kind, id)).await;
        }
    }

    /// The records of all subscriptions.
    pub(super) async fn load(&self) -> Vec<(StreamKind, String, Bytes)> {
        let records = self.all().await.into_iter();
        let parsed = records.filter_map(|(name, record)| {
            let (kind, id) = name.split_once('-')?;
            let kind = StreamKind::ALL.into_iter().find(|one| one.name() == kind)?;
            Some((kind, id.to_owned(), record))
        });
        parsed.collect()
    }

    /// Saves the record of a rollout.
    pub(super) async fn save_rollout(&self, id: &str, record: Bytes) {
        if let Some(store) = &self.0 {
            store.save(format!("{ROLLOUT}-{id}"), record).await;
        }
    }

    /// Removes the record of a rollout.
    pub(super) async fn remove_rollout(&self, id: &str) {
        if let Some(store) = &self.0 {
            store.remove(format!("{ROLLOUT}-{id}")).await;
        }
    }

    /// The records of all rollouts, each with its id.
    pub(super) async fn load_rollouts(&self) -> Vec<(String, Bytes)> {
        let records = self.all().await.into_iter();
        let parsed = records.filter_map(|(name, record)| {
            let (kind, id) = name.split_once('-')?;
            (kind == ROLLOUT).then(|| (id.to_owned(), record))
        });
        parsed.collect()
    }

    async fn all(&self) -> Vec<(String, Bytes)> {
        match &self.0 {
            Some(store) => store.load().await,
            None => Vec::new(),
        }
    }
}

fn name(kind: StreamKind, id: &str) -> String {
    format!("{}-{id}", kind.name())
}
