//! Random trials: changes that fail, are not confirmed, are taken back by an operator, or that
//! another connector replaces, with faults and crashes. Whatever has happened, what goes back by
//! itself has the values that have succeeded before, and in the end no trial is open.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Fault, World};
use super::*;
use crate::revisions::item::{Item, Items};
use crate::revisions::store::StoreChange;

const SEEDS: u64 = 200;
const EVENTS: usize = 80;

#[test]
fn what_goes_back_by_itself_has_the_values_that_have_succeeded() {
    let mut checked = 0;
    for seed in 0..SEEDS {
        let result = std::panic::catch_unwind(|| run(seed));
        assert!(result.is_ok(), "seed {seed}");
        checked += result.unwrap_or_default();
    }
    assert!(checked > SEEDS, "only {checked} rollbacks");
}

/// All that was ever known about revisions, as nothing is forgotten here.
#[derive(Default)]
struct Log {
    revisions: BTreeMap<u64, Revision>,
    overlays: BTreeMap<u64, Items>,
    /// The revisions whose rollouts have succeeded, and whose workloads have stayed up.
    succeeded: BTreeSet<u64>,
    /// Whether so many revisions were on trial that some had to be forgotten.
    was_full: bool,
    /// The number of rollbacks that were compared.
    checked: u64,
}

impl Log {
    fn note(&mut self, world: &World) {
        let book = &world.core().book;
        self.was_full |= book.revisions.len() >= 2 * book.history;
        // One that was in doubt was lost.
        self.revisions.split_off(&(book.current() + 1));
        for (number, revision) in &book.revisions {
            self.revisions.insert(*number, revision.clone());
            if let Some(overlay) = world.disk.overlays.get(number) {
                self.overlays.insert(*number, overlay.clone());
            }
            let is_own = revision.reverts.is_none() && revision.has_succeeded;
            assert!(!is_own || self.succeeded.contains(number), "{revision:?}");
        }
    }

    /// Whether a value has succeeded that a revision has set, and that others after it have kept.
    fn is_good(&self, setter: u64, next_setter: u64) -> bool {
        let one = &self.revisions[&setter];
        let mut kept_by = self.revisions.range(setter..next_setter).map(|(_, one)| one);
        match one.status {
            RevisionStatus::RolledBack | RevisionStatus::Unconfirmed => false,
            RevisionStatus::Superseded => kept_by.any(Revision::rollout_has_succeeded),
            _ => one.rollout_has_succeeded(),
        }
    }

    /// The overlay after a revision was taken back.
    fn expected(&self, world: &World, trial: u64) -> Items {
        let mut overlay = world.core().book.overlay.clone();
        for item in self.revisions[&trial].changed.keys() {
            let sets = |(_, one): &(&u64, &Revision)| one.changed.contains_key(item);
            if self.revisions.range(trial + 1..).any(|one| sets(&one)) {
                continue;
            }
            let setters = self.revisions.range(..trial).filter(sets).map(|(number, _)| *number);
            let setters: Vec<u64> = setters.chain([trial]).collect();
            let pairs = setters.windows(2).rev();
            let mut good = pairs.filter(|pair| self.is_good(pair[0], pair[1]));
            // An item that the overlay does not have is that of the startup manifest.
            match good.next().and_then(|pair| self.overlays[&pair[0]].get(item)) {
                Some(value) => overlay.insert(item.clone(), value.clone()),
                None => overlay.remove(item),
            };
        }
        overlay
    }

    /// Compares the rollback that is about to be written.
    fn check(&mut self, world: &World) {
        let Some(Action::Save { changes, .. }) = &world.asked else { return };
        for change in changes {
            let StoreChange::Status(revision) = change else { continue };
            let Some(trial) = revision.reverts.filter(|_| revision.is_automatic()) else {
                continue;
            };
            let overlay = changes.iter().find_map(|change| match change {
                StoreChange::Overlay(number, overlay) if *number == revision.revision => {
                    Some(overlay)
                }
                _ => None,
            });
            if let Some(overlay) = overlay.filter(|_| revision.given_up.is_none() && !self.was_full)
            {
                assert_eq!(*overlay, self.expected(world, trial), "of {trial}");
                self.checked += 1;
            }
        }
    }
}

fn run(seed: u64) -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::new(&[("base", "0"), ("c0", "0")]);
    let mut log = Log::default();
    for number in 0..EVENTS {
        let current = world.core().current();
        match random.u8(..24) {
            0..=8 => {
                let mode =
                    [RollbackMode::Off, RollbackMode::OnFailure, RollbackMode::UnlessConfirmed]
                        [random.usize(..3)];
                let names: BTreeSet<u8> = (0..random.u8(1..4)).map(|_| random.u8(..4)).collect();
                let items: Vec<_> = names
                    .iter()
                    .map(|name| {
                        (format!("c{name}"), random.u8(..4).gt(&0).then(|| number.to_string()))
                    })
                    .collect();
                world.queue_items(&items, mode);
            }
            9 => {
                let revision = random.bool().then(|| current.saturating_sub(random.u64(..4)));
                let target = RollbackTarget { revision, ..RollbackTarget::default() };
                let request_id = format!("7f3a/{number}");
                let origin = Origin { request_id, ..origin(RollbackMode::Off) };
                world.queue_job(Job::Rollback { origin, target });
            }
            10 => {
                let revision = current.saturating_sub(random.u64(..3));
                world.queue_job(Job::Confirm { revision });
            }
            11..=15 => {
                let rollouts: Vec<u64> = world.rollouts.iter().copied().collect();
                if rollouts.is_empty() {
                    continue;
                }
                let revision = rollouts[random.usize(..rollouts.len())];
                let (status, is_stable) = [
                    (RolloutStatus::Succeeded, true),
                    (RolloutStatus::Succeeded, false),
                    (RolloutStatus::Failed, false),
                    (RolloutStatus::TimedOut, false),
                    (RolloutStatus::Superseded, false),
                ][random.usize(..5)];
                world.rollouts.remove(&revision);
                if is_stable {
                    log.succeeded.insert(revision);
                }
                world.step(Event::RolloutEnded { revision, status, is_stable });
            }
            16 => {
                world.crash_off();
                world.step(Event::LinkUp);
            }
            17 => {
                world.vehicle.state = world.vehicle.startup.clone();
                world.step(Event::LinkUp);
            }
            18 => {
                world.fault =
                    [Fault::Disk, Fault::NotSent, Fault::AnswerLost, Fault::Rejects, Fault::Unread]
                        [random.usize(..5)];
            }
            19..=20 => world.fault = Fault::None,
            21 => {
                let now = world.now.monotonic;
                world.advance(now + World::CONFIRM_TIMEOUT.mul_f64(random.f64()));
                world.step(Event::Tick);
            }
            _ => {
                let now = world.now.monotonic;
                world.advance(now + Duration::from_millis(random.u64(..2000)));
                world.step(Event::Tick);
            }
        }
        log.note(&world);
        log.check(&world);
        for _ in 0..random.u8(..8) {
            answer_next(&mut world, &mut log);
        }
    }
    world.fault = Fault::None;
    while world.asked.is_some() {
        answer_next(&mut world, &mut log);
    }
    world.handle(Event::LinkUp);
    // All rollouts that are still followed succeed, and nobody confirms any.
    for _ in 0..10 {
        world.pass(World::CONFIRM_TIMEOUT);
        world.end_rollouts(RolloutStatus::Succeeded);
    }
    let core = world.core();
    for revision in core.book.revisions.values() {
        let number = revision.revision;
        assert_ne!(revision.status, RevisionStatus::InProgress, "{number}");
        assert!(!revision.is_on_trial(), "{revision:?}: {:#?}", core.history());
    }
    assert_eq!(world.vehicle.marker().map_or(0, |marker| marker.revision), core.current());
    let vehicle: BTreeMap<String, String> = world.vehicle.values().into_iter().collect();
    for (item, value) in &core.book.overlay {
        let value = value.as_ref().and_then(|value| value.as_str());
        assert_eq!(vehicle.get(&item.name).map(String::as_str), value, "{item:?}");
    }
    for name in ["base", "c0"] {
        if !core.book.overlay.contains_key(&Item::config(name)) {
            assert_eq!(vehicle.get(name).map(String::as_str), Some("0"), "{name}");
        }
    }
    log.checked
}

fn answer_next(world: &mut World, log: &mut Log) {
    let Some(asked) = world.asked.take() else { return };
    let answer = world.answer(asked);
    world.step(answer);
    log.note(world);
    log.check(world);
}
