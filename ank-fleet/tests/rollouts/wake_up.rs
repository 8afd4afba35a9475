//! The machine of the operator sleeps, and wakes up with a connection that looks alive.

use super::options::secs;
use super::*;

const NIGHT: u64 = 8 * 3600;

fn unlucky(world: &World) -> usize {
    world.count(OutcomeKind::Unreachable) + world.count(OutcomeKind::TimedOut)
}

#[test]
fn states_are_read_before_deadlines_are_judged() {
    for time in [1, 595, 605, 615, 700, NIGHT] {
        let mut world = World::new(plan(30, "100%", options()), |_| Behaviour::Good);
        world.begin();
        world.run_for(secs(1));
        world.sleep(secs(time));
        assert_eq!(unlucky(&world), 0, "slept for {time} s");
        world.wake_up();
        assert_eq!(unlucky(&world), 0, "slept for {time} s");
        if world.verdict.is_none() {
            world.run();
        }
        assert_eq!(world.count(OutcomeKind::Succeeded), 30, "slept for {time} s");
        assert_eq!(world.starts.len(), 30);
    }
}

#[test]
fn the_connection_may_be_known_to_be_lost() {
    let mut world = World::new(plan(30, "100%", options()), |_| Behaviour::Good);
    world.begin();
    world.run_for(secs(1));
    world.disconnect();
    world.run_for(secs(10));
    world.sleep(secs(NIGHT));
    assert_eq!(unlucky(&world), 0);
    world.connect();
    world.run();
    assert_eq!(world.count(OutcomeKind::Succeeded), 30);
}

#[test]
fn a_vehicle_that_was_offline_before_may_be_back() {
    let mut world = World::new(plan(3, "100%", options()), |_| Behaviour::Good);
    world.begin();
    world.run_for(secs(1));
    let vin = world.plan.vehicles[0].clone();
    world.set_online(&vin, false);
    world.run_for(secs(60));
    world.sleep(secs(NIGHT));
    // The status that the broker has retained says so, and nobody has heard it.
    world.set_online(&vin, true);
    world.wake_up();
    if world.verdict.is_none() {
        world.run();
    }
    assert_eq!((world.count(OutcomeKind::Succeeded), unlucky(&world)), (3, 0));
}

#[test]
fn what_was_sent_into_the_lost_connection_is_sent_again() {
    let mut world = World::new(plan(3, "100%", options()), |_| Behaviour::Good);
    world.begin_deaf();
    world.sleep(secs(NIGHT));
    world.wake_up();
    if world.verdict.is_none() {
        world.run();
    }
    assert_eq!((world.count(OutcomeKind::Succeeded), world.starts.len()), (3, 3));
}

#[test]
fn what_has_failed_in_the_soak_time_meanwhile_is_found() {
    let soak = Options { soak: Some(secs(60)), ..options() };
    let later = |index| if index == 1 { Behaviour::FailsLater } else { Behaviour::Good };
    let mut world = World::new(plan(3, "100%", soak), later);
    world.begin();
    world.run_for(secs(10));
    world.sleep(secs(NIGHT));
    world.wake_up();
    if world.verdict.is_none() {
        world.run();
    }
    assert_eq!((world.count(OutcomeKind::Failed), world.count(OutcomeKind::Succeeded)), (1, 2));
}

#[test]
fn a_command_that_goes_on_the_next_day_sends_again_what_has_not_arrived() {
    let mut world = World::new(plan(3, "100%", options()), |_| Behaviour::Good);
    world.begin_deaf();
    world.now = world.now.after(secs(NIGHT));
    world.kill();
    world.run();
    assert_eq!((world.count(OutcomeKind::Succeeded), world.starts.len()), (3, 3));
}
