//! What is kept about signed requests in the store.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::timeout;

use super::store::{StoreError, TrustFileName};
use super::worker::{DISK_TIMEOUT, StoreWorker};
use crate::trust::{StoredTrust, TrustStore};

/// The files about signed requests, once the store is open.
#[derive(Debug)]
pub(super) struct StoredTrustFiles(watch::Receiver<Option<StoreWorker>>);

impl StoredTrustFiles {
    /// The receiver gets the store when it is open.
    pub(super) fn new(worker: watch::Receiver<Option<StoreWorker>>) -> Self {
        Self(worker)
    }

    fn save(&self, name: TrustFileName, text: String) -> BoxFuture<'static, Result<(), String>> {
        let saving = self.0.borrow().as_ref().map(|worker| worker.save_trust(name, text));
        async {
            match saving {
                Some(saving) => match timeout(DISK_TIMEOUT, saving).await {
                    Ok(saved) => saved.map_err(|error| error.to_string()),
                    Err(_) => Err("the disk of STATE_DIR does not answer".to_owned()),
                },
                None => Err("STATE_DIR is not open".to_owned()),
            }
        }
        .boxed()
    }
}

impl TrustStore for StoredTrustFiles {
    fn load(&self) -> BoxFuture<'static, Result<StoredTrust, String>> {
        let mut opened = self.0.clone();
        async move {
            let worker = opened.wait_for(Option::is_some).await.ok().and_then(|one| one.clone());
            let Some(worker) = worker else {
                return Err("the connector is stopping".to_owned());
            };
            worker.trust().await.map_err(|error: StoreError| error.to_string())
        }
        .boxed()
    }

    fn save_serials(&self, text: String) -> BoxFuture<'static, Result<(), String>> {
        self.save(TrustFileName::Serials, text)
    }

    fn save_file(&self, text: String) -> BoxFuture<'static, Result<(), String>> {
        self.save(TrustFileName::Trust, text)
    }
}
