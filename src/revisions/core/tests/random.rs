//! Random events, faults and crashes. Whatever has happened, in the end Ankaios has what the store
//! says, and the store what operators were told.

use std::collections::BTreeMap;

use super::model::{Fault, World};
use super::*;
use crate::revisions::item::Item;

const SEEDS: u64 = 500;
const EVENTS: usize = 60;

/// What is known about a config.
#[derive(Debug, Clone, PartialEq)]
enum Known {
    /// An operator was told that it has this value.
    Is(Option<String>),
    /// Not known: a request has no answer.
    Unknown,
}

#[test]
fn in_the_end_ankaios_has_what_operators_were_told() {
    for seed in 0..SEEDS {
        let result = std::panic::catch_unwind(|| run(seed));
        assert!(result.is_ok(), "seed {seed}");
    }
}

fn run(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::new(&[("base", "0"), ("c0", "0")]);
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    let mut waiting: BTreeMap<JobId, (String, Option<String>)> = BTreeMap::new();
    for number in 0..EVENTS {
        match random.u8(..20) {
            0..=7 => {
                let name = format!("c{}", random.u8(..4));
                let value = random.bool().then(|| number.to_string());
                known.insert(name.clone(), Known::Unknown);
                let id = world.queue(&name, value.as_deref(), RollbackMode::Off);
                waiting.insert(id, (name, value));
            }
            8 => {
                world.crash_off();
                waiting.clear();
                world.step(Event::LinkUp);
            }
            9 => {
                world.vehicle.state = world.vehicle.startup.clone();
                world.step(Event::LinkUp);
            }
            10 => {
                world.vehicle.state = world.vehicle.startup.clone();
                // With replicas; without them.
                let seen = Event::Marker(world.vehicle.marker());
                world.step(if random.bool() { seen } else { Event::Interrupted });
            }
            11 => {
                world.fault =
                    [Fault::Disk, Fault::NotSent, Fault::AnswerLost, Fault::Rejects, Fault::Unread]
                        [random.usize(..5)]
            }
            12..=14 => world.fault = Fault::None,
            15 => {
                if let Some(revision) = world.rollouts.pop_first() {
                    world.step(Event::RolloutEnded {
                        revision,
                        status: RolloutStatus::Succeeded,
                        is_stable: true,
                    });
                }
            }
            _ => {
                let now = world.now.monotonic;
                world.advance(now + Duration::from_millis(random.u64(..2000)));
                world.step(Event::Tick);
            }
        }
        // The answer to what the core has asked for may come later, or never.
        for _ in 0..random.u8(..6) {
            let Some(asked) = world.asked.take() else { break };
            let answer = world.answer(asked);
            world.step(answer);
        }
        // In the order of the requests: a later one says what is known.
        for (id, result) in std::mem::take(&mut world.answers) {
            let Some((name, value)) = waiting.remove(&id) else { continue };
            let later = waiting.values().any(|(other, _)| *other == name);
            let is = match result {
                Ok(_) if !later => Known::Is(value),
                _ => continue,
            };
            known.insert(name, is);
        }
    }
    world.fault = Fault::None;
    while let Some(asked) = world.asked.take() {
        let answer = world.answer(asked);
        world.step(answer);
    }
    world.pass(Duration::from_secs(60));
    world.handle(Event::LinkUp);
    let vehicle: BTreeMap<String, String> = world.vehicle.values().into_iter().collect();
    let core = world.core();
    if core.current() > 0 {
        assert_eq!(world.vehicle.marker().unwrap().revision, core.current());
    }
    assert_eq!(core.report().restore.filter(|one| *one != RestoreState::GivenUp), None);
    for (item, value) in &core.book.overlay {
        let value = value.as_ref().and_then(|value| value.as_str());
        assert_eq!(vehicle.get(&item.name).map(String::as_str), value, "{item:?}");
    }
    for name in ["base", "c0"] {
        if !core.book.overlay.contains_key(&Item::config(name)) {
            assert_eq!(vehicle.get(name).map(String::as_str), Some("0"), "{name}");
        }
    }
    for (name, known) in &known {
        if let Known::Is(value) = known
            && !world.given_up
        {
            assert_eq!(vehicle.get(name), value.as_ref(), "{name}");
        }
    }
    // A store that is opened again says the same.
    let current = core.current();
    world.crash();
    assert_eq!(world.core().current(), current);
}
