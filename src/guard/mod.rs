//! Guard rails: limits what requests from outside may do to the vehicle.
//!
//! - Protected workloads are not deleted or changed without `force`.
//! - A policy limits the content of workloads, with or without `force`.
//! - A rate limit bounds the requests of each operation.
//! - No update brings the vehicle over what Ankaios can carry.
//!
//! ```text
//!  mod                    the interface for operations: admit, required_to_send, check
//!  ├ rate_limit           a token bucket for each operation
//!  ├ protection           masks that touch a protected workload or its configs
//!  │ └ own_workload       the name of the connector's own workload
//!  ├ policy_file          loads the policy, again after changes
//!  │ └ policy             the rules
//!  │   └ option_pattern   patterns of options of Podman
//!  ├ check                the state after an update against the policy
//!  │ ├ template           renders fields
//!  │ └ podman             a `runtimeConfig`
//!  │   └ podman_options   the options of a command line
//!  │     └ option_value   what Podman may read in a value
//!  ├ tally                when the size of the state has to be read
//!  │ └ capacity           the size of the state after an update
//!  │   ├ delivery         the workloads that agents get; uses template
//!  │   └ size             the limits
//!  ├ touched              the workloads and configs that an update touches
//!  ├ view                 the vehicle's state, by one subscription
//!  └ refusal, violation   why a request is refused
//! ```
//!
//! The task of [`Guard::watch`] owns the view; operations read it. The policy and the buckets of
//! the rate limit are behind a lock each, because any request may change them.
//!
//! Some decisions depend on the state of the vehicle. The protection uses the view. The view may
//! lag, which is acceptable: a change of the list of configs that a protected workload uses has
//! passed the guard, too. The policy must not use the view: before the event of a first request
//! arrives, a second request could complete a change that would be refused in one request. So
//! for the policy an operation reads the state after all earlier updates.

mod capacity;
mod check;
mod option_pattern;
mod option_value;
mod own_workload;
mod podman;
mod podman_options;
mod policy;
mod policy_file;
mod protection;
mod rate_limit;
mod refusal;
mod tally;
mod template;
mod touched;
mod view;
mod violation;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ankaios_control::{Client, RequestError};
use ankaios_model::proto::ank_base::{CompleteState, UpdateStateRequest};
use ankaios_model::update_mask::{parts, touches};
use fleet_contract::error::ErrorReply;
use protection::Protection;
use rate_limit::Limiter;
use serde_json::Value;
use tally::{Growth, Tally};
use tokio::sync::watch;
use view::View;

pub(crate) use own_workload::own_workload;
pub(crate) use policy_file::PolicyFile;
pub(crate) use rate_limit::RateLimit;
pub(crate) use refusal::Refusal;

/// The config of the connector itself that is part of its updates, if it keeps revisions.
pub(crate) const MARKER_CONFIG: &str = "fleetconnector_revision";

/// The settings of the guard.
#[derive(Debug, Clone, Default)]
pub(crate) struct GuardOptions {
    /// The workloads that are not deleted or changed without `force`.
    pub protected_workloads: Vec<String>,
    /// Limits the content of workloads.
    pub policy: Option<Arc<PolicyFile>>,
    /// Limits the requests of each operation.
    pub rate_limit: Option<RateLimit>,
}

impl GuardOptions {
    /// Also protects the workload of the connector itself, unless nothing is to be protected.
    pub(crate) fn protect_own(&mut self, name: String) {
        if !self.protected_workloads.is_empty() && !self.protected_workloads.contains(&name) {
            tracing::info!(workload = name, "the connector's own workload is protected, too");
            self.protected_workloads.push(name);
        }
    }
}

/// Decides which requests are allowed. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Guard(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    protection: Protection,
    policy: Option<Arc<PolicyFile>>,
    limiter: Option<Limiter>,
    view: View,
    /// What is wrong with the protection, for the status of the connector.
    warning: watch::Sender<Option<String>>,
    /// A lock, because any update may change it.
    tally: Mutex<Tally>,
}

/// The state of the vehicle that [`Guard::check_to_send`] requires for an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequiredState {
    /// None: the update is sufficient.
    Nothing,
    /// The state of [`Guard::last_known_state`].
    LastKnown,
    /// The state after all updates before this one, read for this update.
    Fresh,
    /// The same, with all parts that its size depends on.
    Whole,
}

impl Guard {
    /// A guard with these settings.
    #[must_use]
    pub(crate) fn new(options: GuardOptions) -> Self {
        let protection = Protection::new(options.protected_workloads);
        let field_masks = match options.policy {
            Some(_) => vec!["desiredState".into()],
            None => protection.field_masks(),
        };
        if let Some(policy) = &options.policy {
            policy.warn();
        }
        Self(Arc::new(Inner {
            protection,
            policy: options.policy,
            limiter: options.rate_limit.map(Limiter::new),
            view: View::new(field_masks),
            warning: watch::Sender::new(None),
            tally: Mutex::default(),
        }))
    }

    /// Whether the guard requires the state of the vehicle, so that [`Guard::watch`] has to run.
    pub(crate) fn needs_state(&self) -> bool {
        !self.0.view.field_masks().is_empty()
    }

    /// Keeps [`Guard::last_known_state`] and [`Guard::warning`] up to date. Never returns.
    pub(crate) async fn watch(self, client: Client) {
        tokio::join!(self.0.view.run(client), self.watch_protection());
    }

    /// Checks after each change of the state whether there is a protected workload.
    async fn watch_protection(&self) {
        let mut changes = self.0.view.changes();
        while changes.changed().await.is_ok() {
            // While the state is not known, the last warning stays.
            let Ok(state) = self.0.view.state() else { continue };
            let warning = self.0.protection.warning(&state);
            let warn = |known: &mut Option<String>| {
                let is_new = *known != warning;
                if let Some(reason) = warning.as_ref().filter(|_| is_new) {
                    tracing::warn!(reason, "the connector's own workload is not protected");
                }
                *known = warning;
                is_new
            };
            self.0.warning.send_if_modified(warn);
        }
    }

    /// What is wrong with the protection of workloads, and its changes.
    pub(crate) fn warning(&self) -> watch::Receiver<Option<String>> {
        self.0.warning.subscribe()
    }

    /// Admits a request of an operation, unless the rate limit is exceeded.
    ///
    /// # Errors
    /// The rate limit is exceeded; says when to try again.
    pub(crate) fn admit(&self, operation: &'static str) -> Result<(), ErrorReply> {
        match &self.0.limiter {
            Some(limiter) => limiter.admit(operation, Instant::now()),
            None => Ok(()),
        }
    }

    /// Whether [`Guard::check_to_send`] may take long.
    pub(crate) fn has_policy(&self) -> bool {
        self.0.policy.is_some()
    }

    /// Which state [`Guard::check_to_send`] requires for an update.
    ///
    /// # Errors
    /// The update touches a protected workload, without `force`.
    pub(crate) fn required_to_send(
        &self,
        update: &UpdateStateRequest,
        force: bool,
    ) -> Result<RequiredState, Refusal> {
        Ok(self.with_size(update, self.required_state(update, force)?))
    }

    /// Which state [`Guard::check`] requires for an update.
    ///
    /// # Errors
    /// The update touches a protected workload, without `force`.
    pub(crate) fn required_state(
        &self,
        update: &UpdateStateRequest,
        force: bool,
    ) -> Result<RequiredState, Refusal> {
        let masks = &update.update_mask;
        if let Err(refusal) = self.0.protection.check_workloads(masks) {
            if !force {
                return Err(refusal);
            }
            let Refusal { field, workload, .. } = refusal;
            tracing::warn!(mask = field, workload, "force lifts the protection of a workload");
        }
        let configs = ["desiredState", "configs", "*"];
        let touches_configs = masks.iter().any(|mask| touches(mask, &configs));
        let by_policy = self.required_for_policy(update);
        Ok(if by_policy != RequiredState::Nothing {
            by_policy
        } else if !force && touches_configs && !self.0.protection.is_empty() {
            RequiredState::LastKnown
        } else {
            RequiredState::Nothing
        })
    }

    /// Which state [`Guard::check_to_send`] requires for an update that the connector makes without a
    /// request. Such an update brings back what was there, so workloads are not protected from it.
    pub(crate) fn required_for_own(&self, update: &UpdateStateRequest) -> RequiredState {
        self.with_size(update, self.required_for_policy(update))
    }

    fn required_for_policy(&self, update: &UpdateStateRequest) -> RequiredState {
        if self.has_policy() && depends_on_state(update) {
            RequiredState::Fresh
        } else {
            RequiredState::Nothing
        }
    }

    /// Which state is required if the size of the state has to be checked, too.
    fn with_size(&self, update: &UpdateStateRequest, required: RequiredState) -> RequiredState {
        let growth = Growth::of(update, MARKER_CONFIG);
        let needs_state = self.tally().needs_state(update, &growth, Instant::now());
        if needs_state { RequiredState::Whole } else { required }
    }

    /// Reads the state that an update requires, and what `masks` name. Returns what it can be
    /// used for, too: if the access rights of the connector do not allow to read the whole state,
    /// its size is not checked.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) async fn read(
        &self,
        ankaios: &Client,
        required: RequiredState,
        masks: Vec<String>,
    ) -> Result<(RequiredState, CompleteState), RequestError> {
        let view = self.0.view.field_masks();
        let with = |more: &[String]| [&masks, more].concat();
        if required == RequiredState::Whole {
            let whole = capacity::FIELD_MASKS.map(str::to_owned);
            match ankaios.state(with(&whole)).await?.answer().await {
                Err(RequestError::AccessDenied) => {
                    if self.tally().denied() {
                        tracing::warn!(
                            "the access rules of the connector's workload do not allow to read the \
                             whole state: it is not checked whether Ankaios can carry what is added"
                        );
                    }
                }
                state => return Ok((required, state?)),
            }
        }
        let wanted = match required {
            RequiredState::Nothing => masks,
            _ => with(view),
        };
        // No mask would mean everything.
        if wanted.is_empty() {
            return Ok((RequiredState::Nothing, CompleteState::default()));
        }
        let required =
            if required == RequiredState::Whole { RequiredState::Fresh } else { required };
        Ok((required, ankaios.state(wanted).await?.answer().await?))
    }

    /// The state of the vehicle as of the last event.
    ///
    /// # Errors
    /// The reason why it is not known.
    pub(crate) fn last_known_state(&self) -> Result<Arc<Value>, String> {
        self.0.view.state()
    }

    /// Checks an update that is about to be sent. `state` is the state that
    /// [`Guard::required_to_send`] requires. With a policy or the whole state, this may take some
    /// tenths of a second.
    ///
    /// # Errors
    /// The rule that the update breaks.
    pub(crate) fn check_to_send(
        &self,
        update: &UpdateStateRequest,
        force: bool,
        required: RequiredState,
        state: Option<&Value>,
    ) -> Result<(), Refusal> {
        self.check(update, force, state)?;
        let Some(state) = state.filter(|_| required == RequiredState::Whole) else {
            self.tally().grown(&Growth::of(update, MARKER_CONFIG));
            return Ok(());
        };
        let new = update.new_state.as_ref().map(to_value).unwrap_or_default();
        let size = capacity::check(state, &new, &update.update_mask)?;
        self.tally().measured(size, Instant::now());
        Ok(())
    }

    /// Checks an update without regard to its size, by what is known of the state.
    ///
    /// # Errors
    /// The rule that the update breaks.
    pub(crate) fn check(
        &self,
        update: &UpdateStateRequest,
        force: bool,
        state: Option<&Value>,
    ) -> Result<(), Refusal> {
        let masks = &update.update_mask;
        if let Some(state) = state.filter(|_| !force) {
            self.0.protection.check_configs(masks, state)?;
        }
        let Some(file) = &self.0.policy else { return Ok(()) };
        let policy = file.policy(Instant::now());
        let new = update.new_state.as_ref().map(to_value).unwrap_or_default();
        let state = state.cloned().unwrap_or_else(|| to_value(&CompleteState::default()));
        check::check(&policy, state, &new, masks)
    }
}

impl Guard {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        // No code that holds the lock can panic half-way through a change.
        self.0.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state in the format that [`Guard::check_to_send`] takes.
pub(crate) fn to_value(state: &CompleteState) -> Value {
    view::to_value(state)
}

/// Whether the workloads after the update depend on the state before it: the update
/// replaces a part of a workload, touches configs, or uses some.
fn depends_on_state(update: &UpdateStateRequest) -> bool {
    let desired = update.new_state.as_ref().and_then(|state| state.desired_state.as_ref());
    let workloads = desired.and_then(|state| state.workloads.as_ref());
    update.update_mask.iter().any(|mask| {
        if !touches(mask, &["desiredState"]) {
            return false;
        }
        match parts(mask)[..] {
            ["desiredState", "workloads", name] => {
                let workload = workloads.and_then(|map| map.workloads.get(name));
                let configs = workload.and_then(|workload| workload.configs.as_ref());
                configs.is_some_and(|configs| !configs.configs.is_empty())
            }
            _ => true,
        }
    })
}
