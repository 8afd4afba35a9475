//! The broker loses messages, and the connections stay.

use super::options::secs;
use super::*;

/// The outcomes are known long before the deadline, which is 10 minutes.
fn run_for_two_minutes(world: &mut World) {
    world.begin();
    world.run_for(secs(120));
}

#[test]
fn a_vehicle_of_which_nothing_is_heard_is_read() {
    let mut world = World::new(plan(30, "100%", options()), mixed);
    world.loses_statuses = true;
    run_for_two_minutes(&mut world);
    world.run();
    check_outcomes(&world);
    let mut world = World::new(plan(30, "100%", options()), |_| Behaviour::Good);
    world.loses_statuses = true;
    run_for_two_minutes(&mut world);
    assert_eq!((world.count(OutcomeKind::Succeeded), world.starts.len()), (30, 30));
    assert_eq!(world.verdict, Some(Verdict::Finished));
}

#[test]
fn a_request_that_is_lost_is_sent_again() {
    let mut world = World::new(plan(3, "100%", options()), |_| Behaviour::Good);
    world.lost = [0, 2].into();
    run_for_two_minutes(&mut world);
    assert_eq!((world.count(OutcomeKind::Succeeded), world.starts.len()), (3, 3));
}

#[test]
fn a_vehicle_that_is_back_without_anybody_knowing_is_read() {
    let mut world = World::new(plan(1, "100%", options()), |_| Behaviour::Good);
    world.begin();
    world.run_for(secs(1));
    let vin = world.plan.vehicles[0].clone();
    world.set_online(&vin, false);
    world.run_for(secs(20));
    // Its status is lost.
    world.vehicles.get_mut(&vin).unwrap().is_online = true;
    world.run_for(secs(100));
    assert_eq!(world.count(OutcomeKind::Succeeded), 1);
}

#[test]
fn what_was_just_started_has_not_stayed_up() {
    let mut world = World::new(plan(1, "100%", options()), |_| Behaviour::Good);
    world.vehicles.values_mut().for_each(|vehicle| vehicle.keeps_revisions = false);
    world.loses_statuses = true;
    world.begin();
    world.run_for(secs(60));
    assert_eq!(world.count(OutcomeKind::Succeeded), 0);
    world.run_for(secs(60));
    assert_eq!(world.count(OutcomeKind::Succeeded), 1);
}
