//! Taking a roll-out back.

use std::time::Duration;

use ank_fleet::rollout::OnFailure;

use super::options::{killed_at, secs};
use super::*;

#[test]
fn undo_takes_back_what_was_changed_and_leaves_others_alone() {
    let undo = Options { on_failure: OnFailure::Undo, max_failures: Limit::DEFAULT, ..options() };
    let fails = |index| if index >= 10 { Behaviour::Fails } else { Behaviour::Good };
    let mut world = World::new(plan(40, "5,100%", undo), fails);
    world.begin();
    world.run_for(secs(6));
    let taken = world.plan.vehicles[2].clone();
    world.vehicles.get_mut(&taken).unwrap().is_taken = true;
    world.run();
    assert_eq!(world.verdict, Some(Verdict::Finished));
    assert_eq!(world.rollout.exit_code(), ExitCode::Stopped);
    assert_eq!(world.outcomes()[&taken], Some(OutcomeKind::Superseded));
    let changed = world.vehicles.values().filter(|vehicle| vehicle.changes > 0).count();
    assert_eq!(world.count(OutcomeKind::Undone), changed - 1);
}

/// The answer about a vehicle counted as its undo.
#[test]
fn an_undo_while_states_are_read_after_the_soak_time_reaches_all() {
    let options = Options { soak: Some(secs(42)), parallel: 1, ..options() };
    let mut world = World::new(plan(3, "100%", options), |_| Behaviour::Good);
    world.begin();
    // The soak time is over; the state of the first is known, that of the second is being read.
    world.run_for(secs(57) + Duration::from_millis(60));
    assert_eq!(world.count(OutcomeKind::Succeeded), 3);
    world.event(Event::Undo);
    world.run();
    assert_eq!(world.count(OutcomeKind::Undone), 3);
}

#[test]
fn the_operator_can_retry_and_undo_afterwards() {
    let mut world = World::new(plan(20, "1,100%", options()), mixed);
    world.begin();
    world.run();
    for vehicle in world.vehicles.values_mut() {
        vehicle.behaviour = Behaviour::Good;
    }
    let rejected = world.count(OutcomeKind::Rejected);
    world.event(Event::RetryFailed);
    world.run();
    assert_eq!(world.count(OutcomeKind::Rejected), rejected);
    assert_eq!(world.count(OutcomeKind::Pending), 1);
    assert_eq!(world.count(OutcomeKind::Succeeded), 19 - rejected);
    world.event(Event::Undo);
    if world.verdict != Some(Verdict::Finished) || world.count(OutcomeKind::Undone) == 0 {
        world.run();
    }
    assert_eq!(world.count(OutcomeKind::Undone), 19 - rejected);
}

#[test]
fn an_undo_survives_a_kill_at_every_step() {
    let options = Options {
        on_failure: OnFailure::Undo,
        max_failures: Limit::DEFAULT,
        parallel: 1,
        ..options()
    };
    let fails = |index| if index == 9 { Behaviour::Fails } else { Behaviour::Good };
    let (whole, steps) = killed_at(0, &options, fails);
    assert_eq!(whole.count(OutcomeKind::Undone), 10);
    for step in 1..=steps {
        let (world, _) = killed_at(step, &options, fails);
        assert_eq!(world.outcomes(), whole.outcomes(), "killed at step {step}");
        let undone = world.vehicles.values().filter(|vehicle| vehicle.is_undone).count();
        assert_eq!(undone, 10, "killed at step {step}");
    }
}

/// Otherwise it would get the change after everything was taken back.
#[test]
fn an_undo_follows_the_change_that_the_broker_keeps() {
    let queue = Options { queue: Some(secs(86_400)), ..options() };
    let offline = |index| if index == 2 { Behaviour::Offline } else { Behaviour::Good };
    let mut world = World::new(plan(5, "100%", queue), offline);
    world.begin();
    world.run();
    world.event(Event::Undo);
    world.run();
    assert_eq!((world.count(OutcomeKind::Undone), world.count(OutcomeKind::Pending)), (4, 1));
    assert_eq!(world.rollout.exit_code(), ExitCode::Left);
    let late = world.plan.vehicles.iter().find(|vin| !world.vehicles[*vin].is_online).unwrap();
    let late = late.clone();
    world.set_online(&late, true);
    world.run_for(secs(60));
    let vehicle = &world.vehicles[&late];
    assert_eq!((vehicle.changes, vehicle.has_own()), (1, false));
    assert_eq!(world.count(OutcomeKind::Undone), 5);
    assert_eq!(world.rollout.exit_code(), ExitCode::Success);
}

#[test]
fn a_roll_out_that_was_taken_back_does_not_go_on() {
    let undo = Options { on_failure: OnFailure::Undo, gate: Some("false".into()), ..options() };
    let mut world = World::new(plan(20, "5,100%", undo), |_| Behaviour::Good);
    world.failing_gates.insert(1);
    world.begin();
    world.run();
    assert_eq!((world.count(OutcomeKind::Undone), world.starts.len()), (5, 5));
    for event in [Event::Resume { until: None }, Event::RetryFailed] {
        world.event(event);
        world.run_for(secs(600));
        assert_eq!((world.count(OutcomeKind::Undone), world.starts.len()), (5, 5));
    }
}

#[test]
fn another_undo_reaches_those_that_were_offline() {
    let mut world = World::new(plan(5, "100%", options()), |_| Behaviour::Good);
    world.begin();
    world.run();
    let vins: Vec<_> = world.plan.vehicles.iter().take(2).cloned().collect();
    world.set_online(&vins[0], false);
    world.vehicles.get_mut(&vins[1]).unwrap().behaviour = Behaviour::Silent;
    world.event(Event::Undo);
    world.run();
    assert_eq!(world.count(OutcomeKind::Undone), 3);
    assert_eq!(world.rollout.exit_code(), ExitCode::SomeFailed);
    world.set_online(&vins[0], true);
    world.vehicles.get_mut(&vins[1]).unwrap().behaviour = Behaviour::Good;
    world.event(Event::Undo);
    world.run();
    assert_eq!(world.count(OutcomeKind::Undone), 5);
    assert_eq!(world.rollout.exit_code(), ExitCode::Success);
}
