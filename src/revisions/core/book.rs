//! What is known about revisions: those that are kept, and what they mean. Pure data.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use ankaios_model::proto::ank_base::UpdateStateSuccess;
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::revision::{HistoryReply, RevisionStatus, RollbackMode};
use serde_json::Value;
use service_kit::random;

use super::job::{Failure, Follow};
use super::overlay;
use crate::revisions::item::{Item, ItemKind, Items};
use crate::revisions::marker::{MAX_ADOPTED, Marker};
use crate::revisions::revision::{Change, Origin, Revision};
use crate::revisions::serial::{OriginSignature, RequestSerial};
use crate::revisions::store::Contents;

/// What the marker says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Ankaios has the current revision.
    InPlace,
    /// Ankaios has the revision that was in doubt.
    Decided,
    /// Ankaios has started anew.
    Lost,
    /// Ankaios has a revision of another connector.
    Foreign(Marker),
}

/// The revisions that are kept. The current one is the newest.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Maximum number of revisions.
    pub(super) history: usize,
    /// The revisions, without the one in doubt.
    pub(super) revisions: BTreeMap<u64, Revision>,
    /// The overlay of the current revision.
    pub(super) overlay: Items,
    /// What the startup manifest has for the items of the overlay, and for some others.
    pub(super) startup: Items,
    /// A revision that was sent and has no answer.
    pub(super) doubt: Option<Doubt>,
}

/// A revision in doubt: Ankaios may have it. What is known if it has.
#[derive(Debug)]
pub(super) struct Doubt {
    pub(super) revision: Revision,
    pub(super) overlay: Items,
    pub(super) startup: Items,
}

impl Book {
    /// The book of a store with these contents.
    pub(super) fn new(history: usize, contents: Contents) -> Self {
        let Contents { mut revisions, overlay, in_doubt, startup } = contents;
        let doubt = in_doubt.and_then(|overlay| {
            let (_, revision) = revisions.pop_last()?;
            Some(Doubt { revision, overlay, startup: startup.clone() })
        });
        Self { history, revisions, overlay, startup, doubt }
    }

    /// The current revision; `None` means the startup manifest alone.
    pub(super) fn newest(&self) -> Option<&Revision> {
        self.revisions.values().next_back()
    }

    /// The number of the current revision; 0 is the startup manifest alone.
    pub(super) fn current(&self) -> u64 {
        self.revisions.last_key_value().map_or(0, |(number, _)| *number)
    }

    /// A revision that is kept.
    ///
    /// # Errors
    /// [`Failure::NotFound`], with the revisions that are kept.
    pub(super) fn revision(&self, number: u64) -> Result<&Revision, Failure> {
        self.revisions.get(&number).ok_or_else(|| self.unknown(number))
    }

    /// The reply to `manifest/history`.
    pub(super) fn history(&self) -> HistoryReply {
        let revisions = self.revisions.values().rev().map(Revision::summary).collect();
        HistoryReply { current: self.current(), revisions }
    }

    /// Whether this is the marker of the current revision, or of the one in doubt.
    pub(super) fn is_known(&self, seen: Option<&Marker>) -> bool {
        match seen {
            None => self.revisions.is_empty(),
            Some(marker) => {
                let doubtful = self.doubt.as_ref().map(|doubt| &doubt.revision);
                self.newest().into_iter().chain(doubtful).any(|revision| revision.is(marker))
            }
        }
    }

    /// Compares a marker with the store.
    pub(super) fn find(&self, seen: Option<&Marker>) -> Finding {
        let current = self.newest();
        match (seen, current) {
            (Some(marker), _)
                if self.doubt.as_ref().is_some_and(|doubt| doubt.revision.is(marker)) =>
            {
                Finding::Decided
            }
            (Some(marker), Some(current)) if current.is(marker) => Finding::InPlace,
            (None, None) => Finding::InPlace,
            // Nobody counts that far: somebody else has written it.
            (Some(marker), None) if marker.revision > MAX_ADOPTED => Finding::InPlace,
            (Some(marker), _) if (self.current()..=MAX_ADOPTED).contains(&marker.revision) => {
                Finding::Foreign(marker.clone())
            }
            (Some(_) | None, _) => Finding::Lost,
        }
    }

    /// Whether a later revision than this one has changed an item.
    pub(super) fn is_changed_after(&self, revision: u64, item: &Item) -> bool {
        let is_noted = |one: &Revision| one.changed_since.contains_key(item);
        self.revisions.get(&revision).is_some_and(is_noted)
            || self
                .revisions
                .range(revision + 1..)
                .any(|(_, later)| later.changed.contains_key(item))
    }

    /// Whether later revisions have changed everything that this one has.
    pub(super) fn is_superseded(&self, revision: &Revision) -> bool {
        let changed = &revision.changed;
        !changed.is_empty()
            && changed.keys().all(|item| self.is_changed_after(revision.revision, item))
    }

    /// The rollout of a revision, to be followed by the names of its workloads, without those that
    /// a later revision has changed.
    pub(super) fn resumed_rollout(&self, revision: &Revision) -> Follow {
        let set = revision.changed.iter().filter(|(item, change)| {
            **change == Change::Set && !self.is_changed_after(revision.revision, item)
        });
        let set: BTreeSet<&Item> = set.map(|(item, _)| item).collect();
        // Workloads that use a changed config were started again, too.
        let uses_changed = |value: &Value| {
            let configs = value.get("configs").and_then(Value::as_object).into_iter().flatten();
            let mut names = configs.filter_map(|(_, name)| name.as_str());
            names.any(|name| set.contains(&Item::config(name)))
        };
        let workloads = self.overlay.iter().filter(|(item, value)| {
            let uses = || value.as_ref().is_some_and(|value| uses_changed(value));
            item.kind == ItemKind::Workload && (set.contains(item) || uses())
        });
        let named = workloads.map(|(item, _)| item.name.clone());
        let in_progress = revision.status == RevisionStatus::InProgress;
        Follow {
            revision: Some(revision.revision),
            request_id: revision.request_id.clone(),
            // The end of one that has succeeded was published.
            is_published: in_progress && !revision.is_automatic(),
            named: named.collect(),
            success: UpdateStateSuccess::default(),
            rollback: revision.rollback,
            must_be_stable: !in_progress
                || revision.rollback != RollbackMode::Off
                // It was put back.
                || revision.tries > 0,
            restarted: overlay::restarted(&self.overlay),
        }
    }

    pub(super) fn new_revision(
        &self,
        origin: Origin,
        changed: BTreeMap<Item, Change>,
        now: SystemTime,
    ) -> Revision {
        let newest = self.newest();
        let former = newest.and_then(|newest| newest.highest_serial.clone());
        let revision = Revision::new(self.current() + 1, random::hex(), origin, changed, now);
        Revision {
            highest_serial: RequestSerial::higher(former, revision.highest_serial.clone()),
            serial_floor: newest.and_then(|newest| newest.serial_floor.clone()),
            ..revision
        }
    }

    /// Refuses a signed request that another connector would refuse as a replay.
    pub(super) fn check_serial(&self, origin: &Origin) -> Result<(), Failure> {
        let floor = self.newest().and_then(|newest| newest.serial_floor.as_ref());
        let (Some(signed), Some(floor)) = (&origin.signed, floor) else { return Ok(()) };
        let OriginSignature { serial, signed_by } = signed;
        if !serial.is_before(floor) {
            return Ok(());
        }
        let message = format!(
            "Ankaios has a change with the serial {} that is not in STATE_DIR: another connector \
             has made it, or STATE_DIR is a new one; this request has {}; sign with a higher serial",
            floor.serial, serial.serial
        );
        let Origin { operation, request_id, .. } = origin;
        let (reason, keys) = ("replayed", signed_by.join(" "));
        tracing::warn!(
            operation,
            request_id,
            reason,
            keys,
            "an untrusted request is refused: {message}"
        );
        let reply = ErrorReply::new(ErrorCode::Untrusted, message).with("reason", reason);
        Err(Failure::Refused(reply))
    }

    /// The number of a revision that is kept, or 0.
    pub(super) fn kept(&self, revision: u64) -> Result<u64, Failure> {
        if revision == 0 || self.revisions.contains_key(&revision) {
            return Ok(revision);
        }
        Err(self.unknown(revision))
    }

    /// The failure for a revision that is not kept.
    pub(super) fn unknown(&self, revision: u64) -> Failure {
        let kept: Vec<String> = self.revisions.keys().map(u64::to_string).collect();
        let kept = if kept.is_empty() { "none".to_owned() } else { kept.join(", ") };
        Failure::NotFound(format!(
            "there is no revision {revision}; those that are kept: {kept}; 0 is the startup manifest"
        ))
    }

    /// The release of a revision that is kept.
    pub(super) fn release_of(&self, revision: u64) -> Option<String> {
        self.revisions.get(&revision).and_then(|one| one.release.clone())
    }

    /// The revision that takes this one back.
    pub(super) fn reverting(&self, number: u64) -> Option<&Revision> {
        self.revisions.values().rev().find(|one| one.reverts == Some(number))
    }

    /// Whether a revision was taken back, or is being taken back, by a later one.
    pub(super) fn is_reverted(&self, number: u64) -> bool {
        let doubtful = self.doubt.as_ref().map(|doubt| &doubt.revision);
        self.revisions.values().chain(doubtful).any(|one| one.reverts == Some(number))
    }
}
