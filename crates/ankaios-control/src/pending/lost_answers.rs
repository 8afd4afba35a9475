//! Parts of the state whose answers were lost, and what is known about the sizes of others.
//!
//! Ankaios' agent and server exchange messages of at most 4 MiB. An answer that is larger breaks
//! their connection. The agent connects again after a second, as after a restart of the server: it
//! replaces the session and removes the FIFOs, so the next time breaks them for good. So a request
//! that may have been the reason must not be repeated. But a restart of the server loses answers,
//! too, and small ones are requested again.

use std::time::Duration;

use tokio::time::Instant;

/// After this time, an answer is lost if a later request is answered, or the connection is
/// established again. Ankaios answers in the order of the requests, apart from those that the agent
/// refuses itself, and the agent waits for a second before it connects again.
pub(super) const ANSWER_LOST: Duration = Duration::from_millis(900);

/// Maximum number of times that an answer is lost, if it is small as far as is known.
pub(super) const MAX_LOSSES: u8 = 2;

/// Up to this size, an answer that has arrived shows that the same would not break the connection
/// the next time, in bytes. Newer versions of Ankaios have an effective state, which may double it.
const SMALL: usize = 1024 * 1024;

/// After a loss, the connection of the agent is established again within this time.
const RECOVERY: Duration = Duration::from_secs(10);

/// All parts of the state.
const EVERYTHING: [&str; 3] = ["desiredState", "workloadStates", "agents"];

/// How long a part of the state is not requested after its answers were lost. Something else than
/// this process may make the state smaller, and restarts of Ankaios may have been the reason.
const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// After each further loss the pause is twice as long, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(960);

/// Maximum number of parts that are remembered.
const MAX_REMEMBERED: usize = 64;

/// The parts of the state whose answers were lost, and those that have arrived.
#[derive(Debug, Default)]
pub(super) struct LostAnswers {
    lost: Vec<Lost>,
    /// The field masks of small answers that have arrived, the latest last.
    small: Vec<Vec<String>>,
}

#[derive(Debug)]
struct Lost {
    field_masks: Vec<String>,
    /// Until then it is not requested.
    until: Instant,
    pause: Duration,
}

impl LostAnswers {
    /// Remembers that answers for these field masks are lost.
    pub(super) fn remember(&mut self, field_masks: Vec<String>, now: Instant) {
        let known = self.lost.iter().position(|lost| lost.field_masks == field_masks);
        let pause = match known.map(|known| self.lost.remove(known)) {
            Some(Lost { pause, .. }) => LONGEST_PAUSE.min(2 * pause),
            None => FIRST_PAUSE,
        };
        if self.lost.len() == MAX_REMEMBERED {
            self.lost.remove(0);
        }
        self.lost.push(Lost { field_masks, until: now + pause, pause });
    }

    /// Whether answers for these field masks were lost before.
    pub(super) fn has(&self, field_masks: &[String]) -> bool {
        self.lost.iter().any(|lost| lost.field_masks == field_masks)
    }

    /// Whether an answer for these field masks would be lost, because it contains one that was.
    pub(super) fn would_lose(&self, field_masks: &[String], now: Instant) -> bool {
        self.lost.iter().any(|lost| now < lost.until && contains(field_masks, &lost.field_masks))
    }

    /// Records that an answer of `size` bytes for these field masks has arrived.
    pub(super) fn arrived(&mut self, field_masks: &[String], size: usize) {
        self.lost.retain(|lost| !contains(field_masks, &lost.field_masks));
        self.small.retain(|small| small != field_masks);
        if size <= SMALL {
            if self.small.len() == MAX_REMEMBERED {
                self.small.remove(0);
            }
            self.small.push(field_masks.to_vec());
        } else {
            self.small.retain(|small| !contains(small, field_masks));
        }
    }

    /// Whether an answer for these field masks may be as large as the state: it contains several
    /// workloads or configs, and nothing shows that these are small.
    pub(super) fn may_be_large(&self, field_masks: &[String]) -> bool {
        let has_several = |mask: &String| {
            let mut parts = mask.split('.');
            let (root, map, name) = (parts.next(), parts.next(), parts.next());
            matches!(root, Some("desiredState" | "effectiveState" | "*"))
                && map != Some("apiVersion")
                && matches!(name, None | Some("*"))
        };
        let everything = EVERYTHING.map(str::to_owned);
        let wanted = if field_masks.is_empty() { &everything } else { field_masks };
        wanted.iter().any(has_several) && !self.small.iter().any(|small| contains(small, wanted))
    }

    /// Forgets all of them: the state may have become smaller.
    pub(super) fn forget(&mut self) {
        self.lost.clear();
    }

    /// Forgets all but the latest: the connection was lost for another reason, after which the
    /// state may be smaller.
    pub(super) fn forget_older(&mut self, now: Instant) {
        self.lost.retain(|lost| now + lost.pause < lost.until + RECOVERY);
    }
}

/// Whether the answer for the field masks `outer` contains that for `inner`.
fn contains(outer: &[String], inner: &[String]) -> bool {
    let is_within = |mask: &String| outer.iter().any(|outer| is_parent(outer, mask));
    outer.is_empty() || (!inner.is_empty() && inner.iter().all(is_within))
}

/// Whether the mask `outer` selects all that `mask` selects.
fn is_parent(outer: &str, mask: &str) -> bool {
    let mut names = mask.split('.');
    outer.split('.').all(|part| names.next().is_some_and(|name| part == "*" || part == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks(masks: &[&str]) -> Vec<String> {
        masks.iter().map(|&mask| mask.to_owned()).collect()
    }

    #[test]
    fn what_contains_a_lost_part_is_lost_as_well() {
        let now = Instant::now();
        let mut lost = LostAnswers::default();
        lost.remember(masks(&["desiredState.workloads"]), now);
        for wider in [
            &[][..],
            &["desiredState"],
            &["agents", "desiredState.workloads"],
            &["desiredState.*"],
            &["*"],
        ] {
            assert!(lost.would_lose(&masks(wider), now), "{wider:?}");
        }
        for narrower in ["agents", "desiredState.configs", "desiredState.workloads.nginx"] {
            assert!(!lost.would_lose(&masks(&[narrower]), now), "{narrower}");
        }
        assert!(!lost.would_lose(&[], now + FIRST_PAUSE));
    }

    #[test]
    fn an_answer_to_the_same_or_more_ends_it() {
        let now = Instant::now();
        let mut lost = LostAnswers::default();
        lost.remember(masks(&["agents", "workloadStates"]), now);
        lost.arrived(&masks(&["agents"]), 0);
        assert!(lost.would_lose(&masks(&["workloadStates", "agents"]), now));
        lost.arrived(&masks(&["workloadStates", "agents", "desiredState"]), 0);
        assert!(!lost.would_lose(&masks(&["workloadStates", "agents"]), now));
        lost.remember(Vec::new(), now);
        assert!(!lost.would_lose(&masks(&["desiredState"]), now));
        assert!(lost.would_lose(&[], now));
        lost.forget();
        assert!(!lost.would_lose(&[], now));
    }

    #[test]
    fn each_further_loss_makes_the_pause_longer() {
        let mut now = Instant::now();
        let mut lost = LostAnswers::default();
        let part = masks(&["desiredState"]);
        assert!(!lost.has(&part));
        for seconds in [60, 120, 240, 480, 960, 960] {
            lost.remember(part.clone(), now);
            now += Duration::from_secs(seconds) - Duration::from_millis(1);
            assert!(lost.would_lose(&part, now), "{seconds}");
            now += Duration::from_millis(1);
            assert!(!lost.would_lose(&part, now), "{seconds}");
            assert!(lost.has(&part));
        }
        lost.arrived(&part, 0);
        assert!(!lost.has(&part));
    }

    #[test]
    fn what_contains_several_items_may_be_large_unless_it_was_small() {
        let mut lost = LostAnswers::default();
        for large in [
            &[][..],
            &["*"],
            &["desiredState"],
            &["desiredState.workloads"],
            &["agents", "desiredState.configs.*"],
            &["desiredState.workloads.*.files"],
            &["effectiveState.workloads"],
            &["*.*"],
        ] {
            assert!(lost.may_be_large(&masks(large)), "{large:?}");
        }
        for small in
            ["agents", "workloadStates", "desiredState.apiVersion", "desiredState.configs.a"]
        {
            assert!(!lost.may_be_large(&masks(&[small])), "{small}");
        }
        lost.arrived(&masks(&["desiredState", "workloadStates", "agents"]), SMALL);
        assert!(!lost.may_be_large(&[]));
        assert!(!lost.may_be_large(&masks(&["desiredState.workloads"])));
        lost.arrived(&masks(&["desiredState.workloads"]), SMALL + 1);
        assert!(lost.may_be_large(&masks(&["desiredState.workloads"])));
        assert!(lost.may_be_large(&[]));
    }

    #[test]
    fn only_old_losses_are_forgotten_after_another_one() {
        let now = Instant::now();
        let mut lost = LostAnswers::default();
        lost.remember(Vec::new(), now);
        lost.forget_older(now + RECOVERY / 2);
        assert!(lost.would_lose(&[], now + RECOVERY));
        lost.forget_older(now + RECOVERY);
        assert!(!lost.would_lose(&[], now + RECOVERY));
    }

    #[test]
    fn only_some_are_remembered() {
        let mut lost = LostAnswers::default();
        for number in 0..=MAX_REMEMBERED {
            lost.remember(masks(&[&format!("desiredState.workloads.w{number}")]), Instant::now());
        }
        assert_eq!(lost.lost.len(), MAX_REMEMBERED);
        for number in 0..=MAX_REMEMBERED {
            lost.arrived(&masks(&[&format!("desiredState.workloads.v{number}")]), 0);
        }
        assert_eq!(lost.small.len(), MAX_REMEMBERED);
    }
}
