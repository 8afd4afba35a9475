//! A handle for operations and for the status of the connector.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::operation::Operation;
use fleet_contract::status::TrustReport;
use fleet_trust::{KeyId, Reason, Refusal, Role, TrustFile, is_bundle, open};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::clock::Clock;
use super::scope::Scope;

/// Maximum number of requests that wait for the keeper.
pub(super) const MAX_COMMANDS: usize = 64;

/// How long requests wait at the start until the trust file in force is known. Reading it takes
/// milliseconds, unless the store cannot be used.
const LOAD_WAIT: Duration = Duration::from_secs(2);

/// Whether something may be done without a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsigned {
    Allowed,
    /// The trust file requires signatures for it.
    Refused,
    /// Why the trust file in force is not known yet.
    Unknown(&'static str),
}

/// What a signed request has beside its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signed {
    pub(crate) operation: Operation,
    pub(crate) request_id: String,
    pub(crate) serial: u64,
    /// Of the statement, SHA-256: two requests with the same serial are the same one or not.
    pub(crate) digest: [u8; 32],
    /// In Unix seconds.
    pub(crate) not_before: i64,
    pub(crate) signed_by: Vec<String>,
}

/// A request whose signatures are verified.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) payload: Bytes,
    pub(crate) force: bool,
    pub(crate) rollback: Option<String>,
    pub(crate) release: Option<String>,
    pub(crate) signed: Signed,
}

/// What is needed to verify a request.
#[derive(Debug, Clone)]
pub(super) struct TrustView {
    pub(super) file: Arc<TrustFile>,
    /// Why it is not known yet which trust file is in force, so that no request is served.
    pub(super) unavailable: Option<&'static str>,
    /// The newest `not_before` that was accepted.
    pub(super) newest_not_before: i64,
}

/// The trust file, for the status of the connector and for health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrustStatus {
    pub(crate) report: TrustReport,
    /// Why it is not known yet which trust file is in force, so that no request is served.
    pub(crate) unavailable: Option<&'static str>,
}

/// A request to the keeper.
#[derive(Debug)]
pub(super) enum Command {
    Admit { scope: Scope, signed: Signed, answer: oneshot::Sender<Result<(), ErrorReply>> },
    Update { bundle: Bytes, request_id: String, answer: oneshot::Sender<Result<u64, ErrorReply>> },
}

/// What a signed request waits for: its serial is accepted and on the disk.
pub(crate) struct Admission(BoxFuture<'static, Result<(), ErrorReply>>);

impl Admission {
    /// Waits for it.
    ///
    /// # Errors
    /// The error that is the reply.
    pub(crate) async fn granted(self) -> Result<(), ErrorReply> {
        self.0.await
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Admission").finish_non_exhaustive()
    }
}

/// A handle to the trust of the vehicle. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Trust {
    pub(super) vin: Arc<str>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) view: watch::Receiver<TrustView>,
    pub(super) status: watch::Receiver<TrustStatus>,
}

/// The error for a signed request to a connector without a trust file.
pub(crate) fn not_configured() -> ErrorReply {
    let message = "the request is signed, but this connector cannot verify it: its setting \
                   TRUST_FILE is not set; publish the payload alone";
    ErrorReply::new(ErrorCode::Untrusted, message).with("reason", Reason::UnknownKey.as_str())
}

impl Trust {
    /// The trust file in force, and its changes.
    pub(crate) fn status(&self) -> watch::Receiver<TrustStatus> {
        self.status.clone()
    }

    /// Waits until the trust file in force is known, but not for long.
    pub(crate) async fn loaded(&self) {
        let mut view = self.view.clone();
        // Without a keeper the connector is stopping.
        let _ = timeout(LOAD_WAIT, view.wait_for(|view| view.unavailable.is_none())).await;
    }

    /// Checks that the trust file in force is known: the store may have a newer one than
    /// TRUST_FILE, which requires more. `why` is the reason why the store cannot be used, if known.
    ///
    /// # Errors
    /// The error that is the reply.
    pub(crate) fn check_loaded(&self, why: Option<&str>) -> Result<(), ErrorReply> {
        let Some(reason) = self.view.borrow().unavailable else { return Ok(()) };
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        let message = format!("{reason}; nothing was done, try again later{why}");
        Err(ErrorReply::new(ErrorCode::Unavailable, message))
    }

    /// Whether something may be done that these operations would do, without a signature.
    pub(crate) fn unsigned(&self, operations: &[Operation]) -> Unsigned {
        let view = self.view.borrow();
        match view.unavailable {
            Some(reason) => Unsigned::Unknown(reason),
            None if operations.iter().any(|one| view.file.requires(one.name())) => {
                Unsigned::Refused
            }
            None => Unsigned::Allowed,
        }
    }

    /// Verifies a request. Returns `None` if it is not signed and need not be.
    ///
    /// # Errors
    /// The error that is the reply. It is logged.
    pub(crate) fn open(
        &self,
        operation: Operation,
        payload: &Bytes,
        request_id: &str,
    ) -> Result<Option<Opened>, ErrorReply> {
        self.check_loaded(None)?;
        // Only now: before the store was read, it may be an older file.
        let view = self.view.borrow().clone();
        let is_signed = is_bundle(payload);
        if !is_signed && !view.file.requires(operation.name()) {
            return Ok(None);
        }
        if !is_signed {
            return Err(refused(operation, request_id, &Refusal::unsigned(operation.name())));
        }
        let clock = Clock::now(view.newest_not_before);
        let purpose = clock.purpose(operation, &self.vin, Role::Release);
        match open(payload, &view.file, &purpose) {
            Ok(opened) => Ok(Some(Opened {
                payload: opened.payload.into(),
                force: opened.statement.force,
                rollback: opened.statement.rollback.clone(),
                release: opened.statement.release.clone(),
                signed: Signed {
                    operation,
                    request_id: request_id.to_owned(),
                    serial: opened.statement.serial,
                    digest: opened.digest,
                    not_before: opened.statement.not_before,
                    signed_by: fingerprints(&opened.signed_by),
                },
            })),
            Err(refusal) => Err(refused(operation, request_id, &refusal)),
        }
    }

    /// Has the serial of a signed request accepted and written. Must be called in the order of
    /// arrival.
    ///
    /// # Errors
    /// The connector is stopping.
    pub(crate) async fn admit(
        &self,
        scope: Scope,
        signed: Signed,
    ) -> Result<Admission, ErrorReply> {
        let (answer, admitted) = oneshot::channel();
        let command = Command::Admit { scope, signed, answer };
        self.commands.send(command).await.map_err(|_| stopping())?;
        Ok(Admission(async { admitted.await.unwrap_or_else(|_| Err(stopping())) }.boxed()))
    }

    /// Replaces the trust file. Returns a future of the version that is in force afterwards.
    ///
    /// # Errors
    /// The error that is the reply: it is not signed, the keeper does not serve it at the moment, or
    /// the connector is stopping.
    pub(crate) async fn update(
        &self,
        bundle: Bytes,
        request_id: String,
    ) -> Result<impl Future<Output = Result<u64, ErrorReply>> + Send + use<>, ErrorReply> {
        self.check_loaded(None)?;
        let operation = Operation::TrustUpdate;
        if !is_bundle(&bundle) {
            return Err(refused(operation, &request_id, &Refusal::unsigned(operation.name())));
        }
        let (answer, updated) = oneshot::channel();
        let command = Command::Update { bundle, request_id, answer };
        self.commands.send(command).await.map_err(|_| stopping())?;
        Ok(async { updated.await.unwrap_or_else(|_| Err(stopping())) })
    }
}

/// The fingerprints of keys.
pub(super) fn fingerprints(keys: &[KeyId]) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}

/// Logs why a request is refused. Returns the reply.
pub(super) fn refused(operation: Operation, request_id: &str, refusal: &Refusal) -> ErrorReply {
    refused_by(&fingerprints(&refusal.keys), operation, request_id, refusal)
}

/// Like [`refused`], with the fingerprints of the keys that have signed the request.
pub(super) fn refused_by(
    keys: &[String],
    operation: Operation,
    request_id: &str,
    refusal: &Refusal,
) -> ErrorReply {
    let keys = keys.join(" ");
    let Refusal { reason, message, .. } = refusal;
    let reason = reason.as_str();
    tracing::warn!(%operation, request_id, reason, keys, "an untrusted request is refused: {message}");
    ErrorReply::new(ErrorCode::Untrusted, message.clone()).with("reason", reason)
}

fn stopping() -> ErrorReply {
    ErrorReply::new(ErrorCode::Unavailable, "the connector is stopping")
}
