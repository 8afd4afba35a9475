//! The guard rails: what requests from outside may do to the vehicle.
//!
//! - Protected workloads are not deleted or changed without `force`.
//! - A policy limits what workloads may look like, with or without `force`.
//! - A rate limit bounds how many requests of an operation are taken.
//!
//! ```text
//!  mod            what an operation asks: admit, need, check
//!  ├ rate_limit   a bucket of tokens for each operation
//!  ├ protection   masks that touch a protected workload or its configs
//!  ├ policy_file  reads the policy again when it has changed
//!  │ └ policy     the rules
//!  ├ check        the state after an update against the policy
//!  │ ├ mask, template, podman, podman_options, option_pattern, option_value
//!  └ view         what is known of the vehicle, by one subscription
//! ```
//!
//! Some verdicts depend on the state of the vehicle. Those of the protection use
//! the view: nobody can change which configs a protected workload
//! uses without having passed the guard. Those of the policy must not: two requests
//! right after each other could make together what is refused in one, before the
//! event of the first has come. So the operation reads the state between the
//! updates before it and its own.

mod check;
mod mask;
mod option_pattern;
mod option_value;
mod podman;
mod podman_options;
mod policy;
mod policy_file;
mod protection;
mod rate_limit;
mod refusal;
mod template;
mod view;
mod violation;

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

pub use policy_file::{PolicyError, PolicyFile};
pub use rate_limit::RateLimit;
pub(crate) use refusal::Refusal;

use crate::ankaios::Client;
use crate::error::ErrorReply;
use crate::proto::ank_base::{CompleteState, UpdateStateRequest};
use mask::{parts, touches};
use protection::Protection;
use rate_limit::Limiter;
use view::View;

/// What the guard is told at the start.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Names of workloads that are not deleted or changed without `force`.
    pub protected_workloads: Vec<String>,
    /// Limits what workloads may look like.
    pub policy: Option<Arc<PolicyFile>>,
    /// Limits how many requests of an operation are taken.
    pub rate_limit: Option<RateLimit>,
}

/// Judges requests. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Guard(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    protection: Protection,
    policy: Option<Arc<PolicyFile>>,
    limiter: Option<Limiter>,
    view: View,
}

/// What has to be known of the vehicle to judge an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: the update says it all.
    Nothing,
    /// What [`Guard::known`] gives.
    Known,
    /// The state after all updates before this one, read for it.
    Fresh,
}

impl Guard {
    /// A guard with these rules.
    #[must_use]
    pub fn new(options: Options) -> Self {
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
        }))
    }

    /// Whether [`Guard::watch`] is needed.
    pub(crate) fn needs_the_vehicle(&self) -> bool {
        !self.0.view.field_masks().is_empty()
    }

    /// Keeps up to date what is known of the vehicle. Never returns.
    pub(crate) async fn watch(self, client: Client) {
        self.0.view.run(client).await;
    }

    /// Takes one request of an operation.
    ///
    /// # Errors
    /// There are too many; says when to try again.
    pub(crate) fn admit(&self, operation: &'static str) -> Result<(), ErrorReply> {
        match &self.0.limiter {
            Some(limiter) => limiter.admit(operation, Instant::now()),
            None => Ok(()),
        }
    }

    /// Whether [`Guard::check`] may take long.
    pub(crate) fn has_policy(&self) -> bool {
        self.0.policy.is_some()
    }

    /// What has to be known for [`Guard::check`].
    ///
    /// # Errors
    /// The update touches a protected workload.
    pub(crate) fn need(&self, update: &UpdateStateRequest, force: bool) -> Result<Need, Refusal> {
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
        Ok(if self.has_policy() && depends_on_the_vehicle(update) {
            Need::Fresh
        } else if !force && touches_configs && !self.0.protection.is_empty() {
            Need::Known
        } else {
            Need::Nothing
        })
    }

    /// The part of the state that [`Guard::check`] looks at.
    pub(crate) fn field_masks(&self) -> Vec<String> {
        self.0.view.field_masks().to_vec()
    }

    /// What the guard knows of the vehicle.
    ///
    /// # Errors
    /// Why it knows nothing.
    pub(crate) fn known(&self) -> Result<Arc<Value>, String> {
        self.0.view.state()
    }

    /// Judges an update. `state` is what [`Guard::need`] asks for. With a policy it
    /// may take some tenths of a second.
    ///
    /// # Errors
    /// The rule that forbids it.
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

/// The state in the format that [`Guard::check`] takes.
pub(crate) fn to_value(state: &CompleteState) -> Value {
    view::to_value(state)
}

/// Whether more than the update decides what the workloads look like after it: it
/// replaces a part of a workload, it touches configs, or it uses some.
fn depends_on_the_vehicle(update: &UpdateStateRequest) -> bool {
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
