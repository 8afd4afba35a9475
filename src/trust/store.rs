//! What the keeper needs of the store.

use std::fmt;

use futures_util::future::BoxFuture;

/// What the store has about signed requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StoredTrust {
    /// The serials that were accepted.
    pub(crate) serials: Option<String>,
    /// The newest trust file that was in force.
    pub(crate) file: Option<String>,
}

/// Where serials and trust files are kept. Errors are texts for people.
pub(crate) trait TrustStore: fmt::Debug + Send + Sync {
    /// Waits until the store is open, and reads what it has.
    fn load(&self) -> BoxFuture<'static, Result<StoredTrust, String>>;

    /// Replaces the serials. Afterwards they are on the disk.
    fn save_serials(&self, text: String) -> BoxFuture<'static, Result<(), String>>;

    /// Replaces the trust file. Afterwards it is on the disk.
    fn save_file(&self, text: String) -> BoxFuture<'static, Result<(), String>>;
}
