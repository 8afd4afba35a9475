//! A revision: what is known about one accepted change, apart from the values of its overlay.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use fleet_contract::revision::{ChangedItems, RevisionStatus, RevisionSummary, RollbackMode};
use fleet_contract::rfc3339;
use fleet_contract::rollout::RolloutStatus;
use serde::{Deserialize, Serialize};

use super::item::{Item, ItemKind, ItemValue, Items};
use super::marker::Marker;
use super::serial::{OriginSignature, RequestSerial};

/// How often a revision that never succeeded is put back.
pub(super) const MAX_TRIES: u32 = 3;

/// A change that operators have made, or that a rollback has made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Revision {
    pub(super) revision: u64,
    /// Distinguishes revisions that two connectors have given the same number.
    pub(super) id: String,
    /// Whether it was sent to Ankaios, but no answer is known.
    pub(super) in_doubt: bool,
    /// When it was made, RFC 3339.
    pub(super) at: String,
    /// The operation that made it.
    pub(super) operation: String,
    /// The request that made it.
    pub(super) request_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) release: Option<String>,
    /// The keys that have signed the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) signed_by: Vec<String>,
    /// The highest serial of the signed requests until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) highest_serial: Option<RequestSerial>,
    /// What another connector had accepted: this one has the serials of single items only for
    /// requests that it has got itself, so older ones are replays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) serial_floor: Option<RequestSerial>,
    pub(super) status: RevisionStatus,
    /// The revision that a rollback has taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reverts: Option<u64>,
    /// The items that it has changed, and whether it has deleted them.
    pub(super) changed: BTreeMap<Item, Change>,
    /// The items that later revisions have changed that are no longer kept, with the number of the
    /// first one of these.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) changed_since: BTreeMap<Item, u64>,
    /// The other items of its overlay whose values have not succeeded, if the revisions that have set
    /// them are no longer kept.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) unproven: BTreeSet<Item>,
    /// When it is taken back by itself.
    pub(super) rollback: RollbackMode,
    /// Whether its rollout has succeeded. Its status may say something else since.
    #[serde(default)]
    pub(super) rollout_succeeded: bool,
    /// Whether its workloads have also stayed up for `STABLE_TIME`, or it goes back to a revision
    /// whose have.
    #[serde(default)]
    pub(super) has_succeeded: bool,
    /// When its confirmation is due, RFC 3339. Set once its rollout has succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) confirm_by: Option<String>,
    /// How often it was put back since it last succeeded.
    #[serde(default)]
    pub(super) tries: u32,
    /// Why an earlier revision was taken instead: it was put back too often and never succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) given_up: Option<String>,
}

/// What has happened to an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    /// It was added or changed.
    Set,
    Deleted,
}

/// Who made a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The name of the operation.
    pub operation: String,
    pub request_id: String,
    pub release: Option<String>,
    /// The signatures of the request, if it is signed.
    pub signed: Option<OriginSignature>,
    /// What the request or the settings say.
    pub rollback: RollbackMode,
}

impl Revision {
    /// A revision that is about to be sent.
    pub(super) fn new(
        revision: u64,
        id: String,
        origin: Origin,
        changed: BTreeMap<Item, Change>,
        now: SystemTime,
    ) -> Self {
        Self {
            revision,
            id,
            in_doubt: true,
            at: rfc3339::format_seconds(now),
            operation: origin.operation,
            request_id: origin.request_id,
            release: origin.release,
            highest_serial: origin.signed.as_ref().map(|signed| signed.serial.clone()),
            signed_by: origin.signed.map(|signed| signed.signed_by).unwrap_or_default(),
            serial_floor: None,
            status: RevisionStatus::InProgress,
            reverts: None,
            changed,
            changed_since: BTreeMap::new(),
            unproven: BTreeSet::new(),
            rollback: origin.rollback,
            rollout_succeeded: false,
            has_succeeded: false,
            confirm_by: None,
            tries: 0,
            given_up: None,
        }
    }

    /// A revision of another connector, found in Ankaios.
    pub(super) fn adopted(
        marker: &Marker,
        changed: BTreeMap<Item, Change>,
        now: SystemTime,
    ) -> Self {
        let origin = Origin {
            operation: marker.operation.clone(),
            request_id: marker.request_id.clone(),
            release: marker.release.clone(),
            // The marker does not say who has signed.
            signed: None,
            rollback: RollbackMode::Off,
        };
        let revision = Self::new(marker.revision, marker.id.clone(), origin, changed, now);
        let serial = marker.serial.clone();
        Self { in_doubt: false, highest_serial: serial.clone(), serial_floor: serial, ..revision }
    }

    /// Notes that a later revision, which is no longer kept, has changed an item.
    pub(super) fn note_change(&mut self, item: &Item, later: u64) {
        let first = self.changed_since.entry(item.clone()).or_insert(later);
        *first = later.min(*first);
    }

    /// The marker that says that Ankaios has this revision with these items.
    pub(super) fn marker(&self, overlay: &Items) -> Marker {
        Marker {
            revision: self.revision,
            id: self.id.clone(),
            operation: self.operation.clone(),
            request_id: self.request_id.clone(),
            release: self.release.clone(),
            serial: self.highest_serial.clone(),
            items: overlay.keys().cloned().collect(),
        }
    }

    /// Whether this is the revision of the marker.
    pub(super) fn is(&self, marker: &Marker) -> bool {
        self.revision == marker.revision && self.id == marker.id
    }

    /// Whether it may still be taken back without a request.
    pub(super) fn is_on_trial(&self) -> bool {
        let is_over = matches!(
            self.status,
            RevisionStatus::Succeeded | RevisionStatus::Superseded | RevisionStatus::RolledBack
        );
        !is_over && self.rollback != RollbackMode::Off
    }

    /// Whether its rollout has to be followed: it is in progress, or it has succeeded and its
    /// workloads have not stayed up for `STABLE_TIME` yet.
    pub(super) fn is_open(&self) -> bool {
        let has_succeeded = self.status == RevisionStatus::Succeeded;
        self.status == RevisionStatus::InProgress || (has_succeeded && !self.has_succeeded)
    }

    /// Whether its rollout has succeeded. Its workloads may not have stayed up yet.
    pub(super) fn rollout_has_succeeded(&self) -> bool {
        let is_succeeded = self.status == RevisionStatus::Succeeded;
        self.rollout_succeeded || self.has_succeeded || is_succeeded
    }

    /// How its rollout has ended. `None` while it has not, or while it is about to be taken back.
    pub(super) fn rollout_end(&self) -> Option<RolloutStatus> {
        match self.status {
            RevisionStatus::InProgress => None,
            RevisionStatus::Failed | RevisionStatus::TimedOut if self.has_failed_trial() => None,
            RevisionStatus::Succeeded | RevisionStatus::Unconfirmed => {
                Some(RolloutStatus::Succeeded)
            }
            RevisionStatus::Failed => Some(RolloutStatus::Failed),
            RevisionStatus::TimedOut => Some(RolloutStatus::TimedOut),
            RevisionStatus::Superseded => Some(RolloutStatus::Superseded),
            RevisionStatus::RolledBack => Some(RolloutStatus::RolledBack),
        }
    }

    /// Whether it has to be taken back.
    pub(super) fn has_failed_trial(&self) -> bool {
        let failed = matches!(self.status, RevisionStatus::Failed | RevisionStatus::TimedOut);
        failed && self.rollback != RollbackMode::Off
    }

    /// Whether the connector has made it to take another one back, without a request.
    pub(super) fn is_automatic(&self) -> bool {
        // Nobody has signed these; the id of a request may be any.
        self.signed_by.is_empty()
            && self.reverts.is_some_and(|reverted| self.request_id == rollback_id(reverted))
    }

    /// Its entry in the history.
    pub(super) fn summary(&self) -> RevisionSummary {
        RevisionSummary {
            revision: self.revision,
            at: self.at.clone(),
            operation: self.operation.clone(),
            request_id: self.request_id.clone(),
            release: self.release.clone(),
            signed_by: self.signed_by.clone(),
            status: self.status,
            reverts: self.reverts,
            changed: self.changed_items(),
        }
    }

    /// The names of the items that it has changed.
    fn changed_items(&self) -> ChangedItems {
        let mut names = ChangedItems::default();
        for (Item { kind, name }, change) in &self.changed {
            let list = match (change, kind) {
                (Change::Deleted, _) => &mut names.deleted,
                (Change::Set, ItemKind::Workload) => &mut names.workloads,
                (Change::Set, ItemKind::Config) => &mut names.configs,
            };
            list.push(name.clone());
        }
        names
    }
}

/// What a change does to these items, which have these values afterwards.
pub(super) fn changes(items: &Items) -> BTreeMap<Item, Change> {
    let change = |value: &ItemValue| if value.is_some() { Change::Set } else { Change::Deleted };
    items.iter().map(|(item, value)| (item.clone(), change(value))).collect()
}

/// The request id of the revision that takes this one back without a request.
pub(super) fn rollback_id(revision: u64) -> String {
    format!("rollback-{revision}")
}
