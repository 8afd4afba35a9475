//! When the size of the state has to be read before an update. Pure: no I/O and no clock.
//!
//! To read the state for each update would make a small one several times slower, and the state is
//! read with up to 4 MiB. So the tally adds up what updates of this connector can have added since
//! the state was last read. As long as that is little, and the state is not large, an update is sent
//! at once. What others add in the meantime is covered by the margin, and by reading again after
//! a while. An update with templates always needs the state, because its result may have any size.

use std::time::{Duration, Instant};

use ankaios_model::proto::ank_base::{UpdateStateRequest, WorkloadMap};
use ankaios_model::update_mask::parts;
use prost::Message;

use super::capacity::{EXECUTION_STATE, MAX_SIZE, MAX_WORKLOADS, StateSize};
use super::touched::Touched;

/// How much updates may add before the state is read again, in bytes.
const MAX_ADDED: usize = 64 * 1024;

/// How long the size of a state counts.
const MAX_AGE: Duration = Duration::from_secs(60);

/// What an update can add to the state at most.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Growth {
    bytes: usize,
    workloads: usize,
    /// The update only removes fields.
    is_removal: bool,
}

impl Growth {
    /// `own_config` is a small config of the connector itself, which is part of each update.
    pub(super) fn of(update: &UpdateStateRequest, own_config: &str) -> Self {
        let Some(new) = &update.new_state else {
            return Self { is_removal: true, ..Self::default() };
        };
        let desired = new.desired_state.as_ref();
        let named = desired.and_then(|state| state.workloads.as_ref());
        let workloads = named.map_or(0, |map| map.workloads.len());
        let configs = desired.and_then(|state| state.configs.as_ref());
        let mut configs = configs.iter().flat_map(|map| map.configs.keys());
        let masks = update.update_mask.iter().map(String::len).sum::<usize>();
        Self {
            // An error that an agent reports may contain what it complains about, quoted.
            bytes: new.encoded_len()
                + 2 * named.map_or(0, WorkloadMap::encoded_len)
                + masks
                + workloads * EXECUTION_STATE,
            workloads,
            is_removal: workloads == 0
                && configs.all(|name| name == own_config)
                && new.agents.is_none(),
        }
    }
}

/// What is known about the size of the state.
#[derive(Debug, Default)]
pub(super) struct Tally {
    known: Option<Known>,
    /// The access rights of the connector do not allow to read the state.
    is_denied: bool,
}

#[derive(Debug)]
struct Known {
    at: Instant,
    size: StateSize,
    /// What updates can have added since.
    added: Growth,
}

impl Tally {
    /// Whether the state has to be read before this update.
    pub(super) fn needs_state(
        &self,
        update: &UpdateStateRequest,
        growth: &Growth,
        now: Instant,
    ) -> bool {
        if growth.is_removal || self.is_denied {
            return false;
        }
        let Some(Known { at, size, added }) = &self.known else { return true };
        let bytes = added.bytes + growth.bytes;
        bytes > MAX_ADDED
            || size.reply + bytes > MAX_SIZE / 2
            || size.workloads + added.workloads + growth.workloads > MAX_WORKLOADS / 2
            || now.saturating_duration_since(*at) > MAX_AGE
            || changes_templates(update, size)
    }

    /// Records the size of the state after an update.
    pub(super) fn measured(&mut self, size: StateSize, now: Instant) {
        self.known = Some(Known { at: now, size, added: Growth::default() });
    }

    /// Records an update whose state was not read.
    pub(super) fn grown(&mut self, growth: &Growth) {
        if let Some(known) = &mut self.known {
            known.added.bytes += growth.bytes;
            known.added.workloads += growth.workloads;
        }
    }

    /// Records that the state must not be read. Returns whether that is new.
    pub(super) fn denied(&mut self) -> bool {
        !std::mem::replace(&mut self.is_denied, true)
    }
}

/// Whether an update changes what a template results in.
fn changes_templates(update: &UpdateStateRequest, size: &StateSize) -> bool {
    let desired = update.new_state.as_ref().and_then(|state| state.desired_state.as_ref());
    let mut workloads = desired.iter().flat_map(|state| &state.workloads);
    let uses_configs = workloads.any(|map| {
        let mut configs = map.workloads.values().flat_map(|workload| &workload.configs);
        configs.any(|map| !map.configs.is_empty())
    });
    let touched = Touched::of(&update.update_mask);
    uses_configs
        || size.used_configs.iter().any(|config| touched.config(config))
        || update.update_mask.iter().any(|mask| {
            matches!(parts(mask)[..], ["desiredState", "workloads", name, _, ..] if size.templated.contains(name))
        })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use ankaios_model::json::ankaios::parse_complete_state;
    use serde_json::{Value, json};

    use super::*;

    const OWN: &str = "own";

    fn update(masks: &[&str], desired: Value) -> UpdateStateRequest {
        let state = json!({"desiredState": desired});
        UpdateStateRequest {
            new_state: Some(parse_complete_state(state).unwrap()),
            update_mask: masks.iter().map(|&mask| mask.to_owned()).collect(),
        }
    }

    fn config(size: usize) -> UpdateStateRequest {
        update(&["desiredState.configs.c"], json!({"configs": {"c": "x".repeat(size)}}))
    }

    fn needs(tally: &Tally, update: &UpdateStateRequest, now: Instant) -> bool {
        tally.needs_state(update, &Growth::of(update, OWN), now)
    }

    fn small() -> StateSize {
        StateSize { reply: 1000, workloads: 3, ..StateSize::default() }
    }

    #[test]
    fn small_updates_need_the_state_now_and_then() {
        let mut tally = Tally::default();
        let now = Instant::now();
        assert!(needs(&tally, &config(10), now));
        tally.measured(small(), now);
        let mut sent = 0;
        while !needs(&tally, &config(1000), now) {
            tally.grown(&Growth::of(&config(1000), OWN));
            sent += 1;
        }
        assert!((50..70).contains(&sent), "{sent}");
        tally.measured(small(), now);
        assert!(needs(&tally, &config(100_000), now));
        assert!(!needs(&tally, &config(10), now + MAX_AGE));
        assert!(needs(&tally, &config(10), now + 2 * MAX_AGE));
        tally.measured(StateSize { reply: MAX_SIZE / 2, ..small() }, now);
        assert!(needs(&tally, &config(10), now));
        tally.measured(StateSize { workloads: MAX_WORKLOADS / 2, ..small() }, now);
        let workload = json!({"workloads": {"w": {}}});
        assert!(needs(&tally, &update(&["desiredState.workloads.w"], workload), now));
    }

    #[test]
    fn what_only_removes_never_needs_the_state() {
        let tally = Tally::default();
        let nothing = update(&["desiredState.workloads"], json!({}));
        let marked = update(
            &["desiredState.workloads.w", "desiredState.configs.own"],
            json!({"configs": {OWN: "1"}}),
        );
        for update in [nothing, marked] {
            assert!(!needs(&tally, &update, Instant::now()));
        }
        let tags = json!({"agents": {"a": {"tags": {"t": "x"}}}});
        let tags = UpdateStateRequest {
            new_state: Some(parse_complete_state(tags).unwrap()),
            update_mask: vec!["agents.a.tags.t".into()],
        };
        assert!(needs(&tally, &tags, Instant::now()));
    }

    #[test]
    fn templates_always_need_the_state() {
        let mut tally = Tally::default();
        let now = Instant::now();
        let names = |name: &str| BTreeSet::from([name.to_owned()]);
        let size = StateSize { templated: names("w"), used_configs: names("used"), ..small() };
        tally.measured(size, now);
        let used = json!({"configs": {"used": "x"}});
        let runtime = json!({"workloads": {"w": {"runtimeConfig": "{{c}}"}}});
        let uses = json!({"workloads": {"v": {"configs": {"c": "c"}}}});
        for (mask, desired) in [
            ("desiredState.configs.used", &used),
            ("desiredState.configs.used.x", &used),
            ("desiredState.configs", &used),
            ("desiredState", &used),
            ("desiredState.workloads.w.runtimeConfig", &runtime),
            ("desiredState.workloads.v", &uses),
        ] {
            assert!(needs(&tally, &update(&[mask], desired.clone()), now), "{mask}");
        }
        assert!(!needs(&tally, &config(10), now));
        tally.denied();
        assert!(!needs(&tally, &update(&["desiredState"], used), now));
    }
}
