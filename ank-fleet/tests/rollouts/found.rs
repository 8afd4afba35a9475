//! A roll-out that is started again on a machine without its journal.

use std::collections::BTreeSet;

use ank_fleet::Vin;

use super::options::secs;
use super::*;

/// The same roll-out from the beginning, with what can be read from the vehicles that are online.
fn start_again(mut former: World) -> World {
    let mut world = World::new(former.plan.clone(), |_| Behaviour::Good);
    world.now = former.now;
    world.vehicles = std::mem::take(&mut former.vehicles);
    world.find();
    world.begin();
    world
}

fn changed(world: &World) -> BTreeSet<Vin> {
    let vehicles = world.vehicles.iter().filter(|(_, vehicle)| vehicle.has_own());
    vehicles.map(|(vin, _)| vin.clone()).collect()
}

fn killed_in_wave_2(options: Options) -> World {
    let soak = options.soak.unwrap_or_default();
    let mut world = World::new(plan(20, "2,50%,100%", options), |_| Behaviour::Good);
    world.begin();
    world.run_for(secs(6) + soak);
    assert_eq!(world.rollout.state().wave(), 2);
    world
}

#[test]
fn vehicles_that_it_has_changed_are_not_changed_again() {
    let former = killed_in_wave_2(Options { parallel: 5, ..options() });
    assert_eq!(changed(&former).len(), 7);
    let mut world = start_again(former);
    // It goes on in the wave in which it was.
    assert_eq!(world.rollout.state().wave(), 2);
    world.run();
    assert_eq!(world.count(OutcomeKind::Succeeded), 20);
    assert_eq!(world.starts.len(), 13);
    assert!(world.vehicles.values().all(|vehicle| vehicle.changes == 1));
}

#[test]
fn they_are_confirmed_and_taken_back_as_the_others() {
    let confirm =
        Options { rollback: RollbackMode::UnlessConfirmed, soak: Some(secs(30)), ..options() };
    let mut world = start_again(killed_in_wave_2(confirm));
    world.run();
    assert!(world.vehicles.values().all(|vehicle| vehicle.is_confirmed));
    world.event(Event::Undo);
    world.run();
    assert_eq!((world.count(OutcomeKind::Undone), changed(&world).len()), (20, 0));
}

#[test]
fn those_that_have_failed_count_for_the_limit() {
    let strict = Options { max_failures: Limit::DEFAULT, parallel: 5, ..options() };
    let fails = |index| if index == 3 { Behaviour::Fails } else { Behaviour::Good };
    let mut former = World::new(plan(20, "5,100%", strict), fails);
    former.begin();
    former.run();
    assert_eq!(former.verdict, Some(Verdict::Halted(Halt::Failures { wave: 1 })));
    let mut world = start_again(former);
    if world.verdict.is_none() {
        world.run();
    }
    assert_eq!(world.verdict, Some(Verdict::Halted(Halt::Failures { wave: 1 })));
    assert_eq!(world.starts.len(), 0);
}

#[test]
fn what_was_taken_back_or_replaced_is_so() {
    let mut former = killed_in_wave_2(Options { parallel: 5, ..options() });
    let vins: Vec<Vin> = changed(&former).into_iter().collect();
    former.now = former.now.after(secs(60));
    former.vehicles.get_mut(&vins[0]).unwrap().is_taken = true;
    former.vehicles.get_mut(&vins[1]).unwrap().is_undone = true;
    let mut world = start_again(former);
    world.run();
    let outcomes = world.outcomes();
    assert_eq!(outcomes[&vins[0]], Some(OutcomeKind::Superseded));
    assert_eq!(outcomes[&vins[1]], Some(OutcomeKind::Undone));
    assert_eq!(world.count(OutcomeKind::Succeeded), 18);
}

/// Or the vehicle was changed locally: its state is what counts.
#[test]
fn an_id_that_was_used_for_another_change_is_no_reason_to_leave_a_vehicle_out() {
    let mut former = killed_in_wave_2(Options { parallel: 5, ..options() });
    former.now = former.now.after(secs(60));
    for vehicle in former.vehicles.values_mut() {
        vehicle.is_other = vehicle.changed.is_some();
    }
    let mut world = start_again(former);
    world.run();
    assert_eq!((world.count(OutcomeKind::Succeeded), world.starts.len()), (20, 20));
}
