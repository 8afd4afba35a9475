//! Plans: an update that is about to be sent, and what the core knows once Ankaios has taken it.

use std::collections::{BTreeMap, BTreeSet};

use ankaios_model::proto::ank_base::{UpdateStateRequest, UpdateStateSuccess};
use serde_json::Value;

use super::event::Judged;
use super::job::{JobId, Queued};
use crate::revisions::item::{Item, Items, items_of};
use crate::revisions::revision::Revision;

/// What a plan is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Goal {
    /// A request changes something, or leaves it as it is.
    Change,
    /// A request goes back.
    Rollback,
    /// This revision is taken back because it has failed or was not confirmed.
    TakeBack(u64),
    /// The overlay is put back.
    Restore,
    /// An earlier overlay is put back instead.
    GiveUp,
}

/// An update, and what the core knows once Ankaios has taken it.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) goal: Goal,
    /// The request or the decision; `None` for what follows from a check.
    pub(super) queued: Option<Queued>,
    /// The current revision afterwards; `None` if there is none before and afterwards.
    pub(super) revision: Option<Revision>,
    /// Whether the update makes this revision.
    pub(super) is_new: bool,
    /// Whether the update has put the overlay back, alone or with a change.
    pub(super) brings_all: bool,
    /// The overlay of the revision.
    pub(super) overlay: Items,
    /// The values of the startup manifest that are known afterwards.
    pub(super) startup: Items,
    pub(super) update: UpdateStateRequest,
    /// The items whose values are those that Ankaios has afterwards.
    pub(super) read_back: BTreeSet<Item>,
    /// The workloads that the request names.
    pub(super) named: BTreeSet<String>,
    /// Whether the progress of its rollout is published.
    pub(super) is_published: bool,
    /// Whether the guard still has to judge the update.
    pub(super) must_be_judged: bool,
    /// Whether Ankaios had another value than what was read back.
    pub(super) was_corrected: bool,
    /// The request id in messages about the rollout.
    pub(super) request_id: String,
}

impl Plan {
    /// The request that waits for the answer.
    pub(super) fn id(&self) -> Option<JobId> {
        self.queued.as_ref().and_then(|queued| queued.id)
    }

    /// Its update, for the guard.
    pub(super) fn judged(&self) -> Judged {
        Judged { update: self.update.clone(), id: self.id() }
    }

    /// Whether it has no rollout to wait for: Ankaios starts no workload because of it.
    pub(super) fn succeeds_at_once(&self, success: &UpdateStateSuccess) -> bool {
        let changes_something =
            !success.added_workloads.is_empty() || !success.deleted_workloads.is_empty();
        let starts_none = success.added_workloads.is_empty();
        let is_on_trial = self.revision.as_ref().is_some_and(Revision::is_on_trial);
        let is_requested = matches!(self.goal, Goal::Change | Goal::Rollback);
        // One that changes nothing may be a redelivery: what it names is followed.
        is_requested && !is_on_trial && starts_none && (changes_something || self.named.is_empty())
    }

    /// Whether it puts back a revision that has succeeded before.
    pub(super) fn restores_what_has_succeeded(&self) -> bool {
        let has_succeeded = self.revision.as_ref().is_some_and(|revision| revision.has_succeeded);
        self.goal == Goal::Restore && has_succeeded
    }

    /// Takes over the values that Ankaios has.
    pub(super) fn correct(&mut self, state: &Value) {
        let actual = items_of(state);
        for item in &self.read_back {
            let value = actual.get(item).cloned();
            if let Some(planned) = self.overlay.get_mut(item)
                && *planned != value
            {
                *planned = value;
                self.was_corrected = true;
            }
        }
    }
}

/// How the plan of a job begins.
#[derive(Debug)]
pub(super) enum Draft {
    /// The update is that of the request.
    Change,
    /// Go back to this overlay. `has_succeeded` says that all of it has succeeded before.
    Rollback { overlay: Items, has_succeeded: bool },
}

/// What is loaded to take a revision back.
#[derive(Debug)]
pub(super) struct Gathering {
    /// The revision that is taken back.
    pub(super) revision: u64,
    /// The items that are still looked up, by the revision that has their values.
    pub(super) wanted: BTreeMap<u64, BTreeSet<Item>>,
    /// The values that were found. The other items go back to the startup manifest's.
    pub(super) found: Items,
}
