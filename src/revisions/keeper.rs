//! The keeper: the task that owns the core, does its actions, and serves operations.
//!
//! The core does one thing at a time, so at most one action is in progress. Requests that only read
//! the state never come here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ankaios_control::{Client, EventStream, LinkState, LinkStatus};
use ankaios_model::proto::ank_base::UpdateStateRequest;
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::revision::{RevisionReply, RollbackMode};
use futures_util::future::OptionFuture;
use humantime::format_duration;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::core::{
    Action, Answer, Core, CoreOptions, Event, Failure, Follow, Job, JobId, Judged, Now, SendError,
    Updated,
};
use super::handle::{Command, MAX_COMMANDS, Revisions, RevisionsStatus, failed};
use super::item::{desired_state, to_value};
use super::marker::{self, Marker};
use super::metrics::RevisionMetrics;
use super::records::StoredRecords;
use super::store::{Contents, OpenError, Store, StoreError};
use super::trust_files::StoredTrustFiles;
use super::worker::{DISK_TIMEOUT, REOPEN, StoreWorker};
use crate::errors::request_failed;
use crate::guard::{Guard, RequiredState};
use crate::streams::{ChangedInstances, FollowedUpdate, KeptRecords, RolloutEnded, Rollouts};
use crate::trust::TrustStore;

/// Room in a request to Ankaios beside the update itself, in bytes.
const ENVELOPE: usize = 4096;

/// Size of the pipe to Ankaios: the largest request, in bytes.
const PIPE: usize = 1024 * 1024;

/// How long to wait for the lock of the store, and how often to look.
const LOCK_WAIT: Duration = Duration::from_secs(2);
const LOCK_POLL: Duration = Duration::from_millis(50);

/// The settings of revisions.
#[derive(Debug, Clone)]
pub(crate) struct RevisionOptions {
    /// The folder of the store.
    pub(crate) state_dir: PathBuf,
    /// Maximum number of revisions that are kept.
    pub(crate) history: usize,
}

/// The parts that the keeper uses.
#[derive(Debug)]
pub(crate) struct KeeperParts {
    pub(crate) ankaios: Client,
    pub(crate) link: watch::Receiver<LinkStatus>,
    pub(crate) guard: Guard,
    /// `None` if rollouts are not followed.
    pub(crate) rollouts: Option<Rollouts>,
    /// The ends of the rollouts that are followed.
    pub(crate) ended: mpsc::Receiver<RolloutEnded>,
    /// How long a request may wait before it starts.
    pub(crate) request_timeout: Duration,
    /// How long a change waits for its confirmation.
    pub(crate) confirm_timeout: Option<Duration>,
    /// Whether other replicas change the vehicle, so their markers must be followed.
    pub(crate) has_replicas: bool,
    pub(crate) metrics: RevisionMetrics,
}

/// What the keeper gives to others.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) revisions: Revisions,
    /// The records of subscriptions in the store.
    pub(crate) records: KeptRecords,
    /// What is kept about signed requests.
    pub(crate) trust: Arc<dyn TrustStore>,
}

/// Opens the store, and creates a handle and the task. A store that cannot be used at the moment,
/// for example because the disk is not there, is opened later; until then changes are refused.
///
/// # Errors
/// Another connector uses the store, or a newer version has written it.
pub(crate) async fn open(
    options: RevisionOptions,
    parts: KeeperParts,
) -> Result<(Kept, impl Future<Output = ()> + Send + 'static), OpenError> {
    let start = |(store, contents)| match StoreWorker::start(store, parts.metrics.clone()) {
        Ok(worker) => Ok((worker, contents)),
        Err(error) => Err(format!("its thread cannot be started: {error}")),
    };
    let begin = Instant::now();
    let store = loop {
        match Store::open(&options.state_dir) {
            // The former connector may be about to end.
            Err(OpenError::Locked(_)) if begin.elapsed() < LOCK_WAIT => sleep(LOCK_POLL).await,
            opened => break opened,
        }
    };
    let opened = match store {
        Ok(opened) => start(opened),
        Err(error @ OpenError::Io { .. }) => Err(error.to_string()),
        Err(error) => return Err(error),
    };
    let worker = opened.as_ref().ok().map(|(worker, _)| worker.clone());
    let (worker, worker_receiver) = watch::channel(worker);
    let trust = Arc::new(StoredTrustFiles::new(worker_receiver.clone()));
    let records = KeptRecords::new(Arc::new(StoredRecords::new(worker_receiver)));
    let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
    let (status, status_receiver) = watch::channel(RevisionsStatus::Unusable("not open".into()));
    let revisions = Revisions::new(commands, status_receiver);
    let task = run(options, parts, opened, worker, receiver, status);
    Ok((Kept { revisions, records, trust }, task))
}

type Opened = Result<(StoreWorker, Contents), String>;

async fn run(
    options: RevisionOptions,
    parts: KeeperParts,
    opened: Opened,
    worker: watch::Sender<Option<StoreWorker>>,
    mut commands: mpsc::Receiver<Command>,
    status: watch::Sender<RevisionsStatus>,
) {
    let mut opened = opened;
    loop {
        let reason = match opened {
            Ok((store, contents)) => {
                worker.send_replace(Some(store.clone()));
                let keeper = Keeper::new(&options, parts, store, contents, status);
                return keeper.run(commands).await;
            }
            Err(reason) => reason,
        };
        tracing::error!(reason, "revisions cannot be kept: changes are refused");
        status.send_replace(RevisionsStatus::Unusable(reason.as_str().into()));
        let refused = async {
            while let Some(command) = commands.recv().await {
                refuse(command, &reason);
            }
        };
        tokio::select! {
            () = refused => return,
            () = sleep(REOPEN) => {}
        }
        let (state_dir, metrics) = (options.state_dir.clone(), parts.metrics.clone());
        let open = move || {
            let (store, contents) = Store::open(&state_dir).map_err(|error| error.to_string())?;
            let worker = StoreWorker::start(store, metrics).map_err(|error| error.to_string())?;
            Ok((worker, contents))
        };
        opened = tokio::task::spawn_blocking(open).await.unwrap_or_else(|e| Err(e.to_string()));
    }
}

/// Answers a request while the store cannot be used.
fn refuse(command: Command, reason: &str) {
    let error = StoreError::Io { file: "STATE_DIR".into(), reason: reason.to_owned() };
    command.refuse(failed(Failure::Store(error)));
}

/// A request in progress.
#[derive(Debug)]
struct Requester {
    answer: AnswerSender,
    /// What the guard has to judge before anything is written; `None` for a rollback, whose update
    /// is not known yet.
    update: Option<UpdateStateRequest>,
    force: bool,
}

#[derive(Debug)]
enum AnswerSender {
    Updated(oneshot::Sender<Result<Updated, ErrorReply>>),
    Confirmed(oneshot::Sender<Result<u64, ErrorReply>>),
}

type InProgress = Pin<Box<dyn Future<Output = Event> + Send>>;

/// A signed request whose serial is being written. Later requests wait for it.
type Admitting = Pin<Box<dyn Future<Output = Result<Command, (Command, ErrorReply)>> + Send>>;

struct Keeper {
    core: Core,
    parts: KeeperParts,
    worker: StoreWorker,
    status: watch::Sender<RevisionsStatus>,
    requesters: BTreeMap<JobId, Requester>,
    last_id: JobId,
    in_progress: Option<InProgress>,
    admitting: Option<Admitting>,
    /// What other replicas change. Only with replicas: as long as somebody is subscribed to events,
    /// Ankaios compares the whole states at each update, which then takes a third longer.
    marker_events: Option<EventStream>,
}

fn now() -> Now {
    Now { monotonic: Instant::now(), wall: SystemTime::now() }
}

impl Keeper {
    fn new(
        options: &RevisionOptions,
        parts: KeeperParts,
        worker: StoreWorker,
        contents: Contents,
        status: watch::Sender<RevisionsStatus>,
    ) -> Self {
        let core_options = CoreOptions {
            history: options.history,
            confirm_timeout: parts.confirm_timeout,
            max_update: PIPE - ENVELOPE,
        };
        let core = Core::new(core_options, contents, now());
        let marker_events = parts.has_replicas.then(|| {
            let fields = marker::EVENT_FIELDS.map(str::to_owned);
            parts.ankaios.events(fields.to_vec())
        });
        Self {
            core,
            parts,
            worker,
            status,
            requesters: BTreeMap::new(),
            last_id: 0,
            in_progress: None,
            admitting: None,
            marker_events,
        }
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        tracing::info!(revision = self.core.current(), "revisions are kept");
        self.publish_status();
        let mut link = self.parts.link.clone();
        link.mark_changed();
        let mut interruptions = self.parts.ankaios.interruptions();
        loop {
            let deadline = self.core.deadline();
            let event = tokio::select! {
                biased;
                event = OptionFuture::from(self.in_progress.as_mut()), if self.in_progress.is_some() => {
                    self.in_progress = None;
                    event
                }
                Ok(()) = link.changed() => match link.borrow_and_update().state() {
                    LinkState::Connected => Some(Event::LinkUp),
                    LinkState::Disconnected | LinkState::Closed => Some(Event::LinkDown),
                },
                Ok(()) = interruptions.changed() => Some(Event::Interrupted),
                Some(event) = OptionFuture::from(self.marker_events.as_mut().map(EventStream::next)) => match event {
                    Ok(event) => {
                        let state = event.response.complete_state.unwrap_or_default();
                        Some(Event::Marker(Marker::hint(&to_value(&state))))
                    }
                    Err(error) => {
                        tracing::debug!(%error, "the marker of the revision is not followed");
                        None
                    }
                },
                Some(RolloutEnded { revision, status, is_stable }) = self.parts.ended.recv() => {
                    Some(Event::RolloutEnded { revision, status, is_stable })
                }
                admitted = OptionFuture::from(self.admitting.as_mut()), if self.admitting.is_some() => {
                    self.admitting = None;
                    match admitted {
                        Some(Ok(command)) => self.start(command),
                        Some(Err((command, refusal))) => {
                            command.refuse(refusal);
                            None
                        }
                        None => None,
                    }
                }
                command = commands.recv(), if self.admitting.is_none() => match command {
                    Some(command) => self.admit(command),
                    None => return,
                },
                Some(()) = OptionFuture::from(deadline.map(sleep_until)) => Some(Event::Tick),
            };
            if let Some(event) = event {
                self.handle(event).await;
            }
        }
    }

    async fn handle(&mut self, event: Event) {
        for action in self.core.handle(event, now()) {
            self.perform(action).await;
        }
        self.publish_status();
    }

    /// Waits until a signed request is admitted; starts to serve any other one.
    fn admit(&mut self, mut command: Command) -> Option<Event> {
        let Some(admission) = command.take_admission() else { return self.start(command) };
        self.admitting = Some(Box::pin(async {
            match admission.granted().await {
                Ok(()) => Ok(command),
                Err(refusal) => Err((command, refusal)),
            }
        }));
        None
    }

    /// Starts to serve a request. Returns its event, if the core has to know about it.
    fn start(&mut self, command: Command) -> Option<Event> {
        let (requester, job) = match command {
            Command::Change { request, answer } => {
                let job = Job::Change {
                    origin: request.origin,
                    update: request.update.clone(),
                    named: request.named,
                    is_published: request.is_published,
                };
                let update = Some(request.update);
                let answer = AnswerSender::Updated(answer);
                (Requester { answer, update, force: request.force }, job)
            }
            Command::Rollback { origin, target, force, answer, admission: _ } => {
                let answer = AnswerSender::Updated(answer);
                let job = Job::Rollback { origin, target };
                (Requester { answer, update: None, force }, job)
            }
            Command::Confirm { revision, answer } => {
                let answer = AnswerSender::Confirmed(answer);
                let job = Job::Confirm { revision };
                (Requester { answer, update: None, force: false }, job)
            }
            Command::History { answer } => {
                let _ = answer.send(Ok(self.core.history()));
                return None;
            }
            Command::Revision { revision, answer } => {
                self.read_revision(revision, answer);
                return None;
            }
        };
        self.last_id += 1;
        let id = self.last_id;
        self.requesters.insert(id, requester);
        let deadline = Instant::now() + self.parts.request_timeout;
        Some(Event::Requested { id, job, deadline })
    }

    /// Reads a revision for the history, beside what the core does.
    fn read_revision(
        &self,
        number: u64,
        answer: oneshot::Sender<Result<RevisionReply, ErrorReply>>,
    ) {
        let summary = match self.core.revision(number) {
            Ok(revision) => revision.summary(),
            Err(failure) => {
                let _ = answer.send(Err(failed(failure)));
                return;
            }
        };
        let loading = self.worker.load(number);
        tokio::spawn(async move {
            let reply = match loading.await {
                Ok(items) => Ok(RevisionReply { summary, manifest: desired_state(&items) }),
                Err(error) => Err(ErrorReply::new(ErrorCode::Internal, error.to_string())),
            };
            let _ = answer.send(reply);
        });
    }

    async fn perform(&mut self, action: Action) {
        match action {
            Action::Read { masks, id } => self.in_progress = Some(self.read(masks, id)),
            Action::Load(revision) => {
                let loading = timeout(DISK_TIMEOUT, self.worker.load(revision));
                self.in_progress =
                    Some(Box::pin(async { Event::Loaded(loading.await.unwrap_or_else(hung)) }));
            }
            Action::Save { changes, judge } => {
                let judging = judge.map(|judged| self.judge(judged));
                let saving = self.worker.save(changes);
                self.in_progress = Some(Box::pin(async {
                    match OptionFuture::from(judging).await {
                        Some(Err(SendError::Refused(reply))) => return Event::Refused(reply),
                        Some(Err(SendError::Request(error))) => {
                            return Event::Refused(request_failed(error));
                        }
                        Some(Ok(())) | None => {}
                    }
                    Event::Saved(timeout(DISK_TIMEOUT, saving).await.unwrap_or_else(hung))
                }));
            }
            Action::Send { update, judge } => self.in_progress = Some(self.send(update, judge)),
            Action::Answer { id, result } => {
                if let Some(follow) = self.answer(id, result) {
                    self.follow(follow).await;
                }
            }
            Action::Follow(follow) => self.follow(follow).await,
            Action::RolloutEnded { revision, status } => {
                if let Some(rollouts) = &self.parts.rollouts {
                    rollouts.ended(revision, status).await;
                }
            }
            Action::RollingBack { revision, request_id } => {
                tracing::warn!(revision, request_id, "a revision is rolled back");
                if let Some(rollouts) = &self.parts.rollouts {
                    rollouts.rolling_back(revision, request_id).await;
                }
            }
            Action::RolledBack { revision, request_id, result } => {
                if let Some(rollouts) = &self.parts.rollouts {
                    rollouts.rolled_back(revision, request_id, result).await;
                }
            }
            Action::CountRestoration { outcome } => self.parts.metrics.restored(outcome),
            Action::CountRollback { outcome } => self.parts.metrics.rolled_back(outcome),
        }
    }

    /// Reads a part of the state. For a change, the guard judges it by that state.
    fn read(&self, masks: Vec<String>, id: Option<JobId>) -> InProgress {
        let (ankaios, guard) = (self.parts.ankaios.clone(), self.parts.guard.clone());
        let judged = id.and_then(|id| {
            let requester = self.requesters.get(&id)?;
            Some((requester.update.clone()?, requester.force))
        });
        let required = judged.as_ref().map_or(RequiredState::Nothing, |(update, force)| {
            // What is refused without the state was refused before it was handed over.
            guard.required_to_send(update, *force).unwrap_or(RequiredState::Nothing)
        });
        Box::pin(async move {
            let (required, state) = match guard.read(&ankaios, required, masks).await {
                Ok((required, state)) => (required, Arc::new(to_value(&state))),
                Err(error) => return Event::Read(Err(error)),
            };
            if let Some((update, force)) = judged
                && let Err(refusal) =
                    judge(guard, update, force, required, Some(Arc::clone(&state))).await
            {
                return Event::Refused(refusal);
            }
            Event::Read(Ok(Arc::unwrap_or_clone(state)))
        })
    }

    /// Sends an update, once the guard has judged it.
    fn send(&self, update: UpdateStateRequest, judge: Option<Judged>) -> InProgress {
        let ankaios = self.parts.ankaios.clone();
        let judging = judge.map(|judged| self.judge(judged));
        Box::pin(async move {
            let sending = async {
                if let Some(judging) = judging {
                    judging.await?;
                }
                Ok(ankaios.update(update).await?.answer().await?)
            };
            Event::Sent(sending.await)
        })
    }

    /// Lets the guard judge an update: that of a request, or one of the core itself.
    fn judge(&self, judged: Judged) -> impl Future<Output = Result<(), SendError>> + Send + use<> {
        let (ankaios, guard) = (self.parts.ankaios.clone(), self.parts.guard.clone());
        let Judged { update, id } = judged;
        let requester = id.and_then(|id| self.requesters.get(&id));
        let force = requester.map(|requester| requester.force);
        async move {
            let required = match force {
                Some(force) => guard
                    .required_to_send(&update, force)
                    .map_err(|refusal| SendError::Refused(refusal.into()))?,
                None => guard.required_for_own(&update),
            };
            let known = match required {
                RequiredState::Nothing | RequiredState::Fresh | RequiredState::Whole => None,
                // If it is not known, it is read.
                RequiredState::LastKnown => guard.last_known_state().ok(),
            };
            let (required, state) = if required == RequiredState::Nothing || known.is_some() {
                (required, known)
            } else {
                let (required, state) = guard.read(&ankaios, required, Vec::new()).await?;
                (required, Some(Arc::new(to_value(&state))))
            };
            let judging = judge(guard, update, force.unwrap_or(true), required, state);
            judging.await.map_err(SendError::Refused)
        }
    }

    /// Answers a request. Returns the rollout to follow if nobody waits for the answer any more.
    fn answer(&mut self, id: JobId, result: Result<Answer, Failure>) -> Option<Follow> {
        let requester = self.requesters.remove(&id)?;
        match (requester.answer, result) {
            (AnswerSender::Updated(sender), Ok(Answer::Updated(updated))) => {
                sender.send(Ok(*updated)).err().and_then(Result::ok).map(|updated| updated.follow)
            }
            (AnswerSender::Confirmed(sender), Ok(Answer::Confirmed { revision })) => {
                let _ = sender.send(Ok(revision));
                None
            }
            (AnswerSender::Updated(sender), Err(failure)) => {
                let _ = sender.send(Err(failed(failure)));
                None
            }
            (AnswerSender::Confirmed(sender), Err(failure)) => {
                let _ = sender.send(Err(failed(failure)));
                None
            }
            // The core answers each job with what belongs to it.
            (AnswerSender::Updated(_), Ok(Answer::Confirmed { .. }))
            | (AnswerSender::Confirmed(_), Ok(Answer::Updated(_))) => None,
        }
    }

    async fn follow(&mut self, follow: Follow) {
        if let Some(rollouts) = &self.parts.rollouts {
            rollouts.follow(follow.into()).await;
        }
    }

    fn publish_status(&self) {
        self.parts.metrics.set_revision(self.core.current());
        let report = RevisionsStatus::Open(self.core.report());
        self.status.send_if_modified(|status| {
            let changed = *status != report;
            if changed {
                *status = report;
            }
            changed
        });
    }
}

/// The error of a disk that does not answer.
fn hung<T>(_: Elapsed) -> Result<T, StoreError> {
    let reason = format!("the disk has not answered within {}", format_duration(DISK_TIMEOUT));
    Err(StoreError::Io { file: "STATE_DIR".into(), reason })
}

/// Lets the guard judge an update by the state before it.
async fn judge(
    guard: Guard,
    update: UpdateStateRequest,
    force: bool,
    required: RequiredState,
    state: Option<Arc<Value>>,
) -> Result<(), ErrorReply> {
    let is_slow = guard.has_policy() || required == RequiredState::Whole;
    let judge = move || guard.check_to_send(&update, force, required, state.as_deref());
    let judged = if is_slow {
        tokio::task::spawn_blocking(judge).await.map_err(|error| {
            ErrorReply::new(ErrorCode::Internal, format!("the connector has failed: {error}"))
        })?
    } else {
        judge()
    };
    Ok(judged?)
}

impl From<Follow> for FollowedUpdate {
    fn from(follow: Follow) -> Self {
        let Follow {
            revision,
            request_id,
            is_published,
            named,
            success,
            rollback,
            must_be_stable,
            restarted,
        } = follow;
        Self {
            request_id,
            is_published,
            named,
            changes: ChangedInstances::new(&success),
            revision,
            is_trial: rollback != RollbackMode::Off,
            must_be_stable,
            restarted,
        }
    }
}
