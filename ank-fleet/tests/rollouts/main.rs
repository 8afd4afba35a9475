//! Roll-outs to model fleets on virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod fleet;
mod found;
mod lost_messages;
mod options;
mod random;
mod rules;
mod undo;
mod vehicle;
mod wake_up;

use ank_fleet::Time;
use ank_fleet::report::verdict_lines;
use ank_fleet::rollout::{
    Change, Event, ExitCode, Halt, Options, OutcomeKind, Plan, RolloutId, Verdict,
};
use ank_fleet::waves::{Limit, Waves};
use fleet::{Behaviour, World};
use fleet_contract::revision::RollbackMode;

fn options() -> Options {
    Options { max_failures: Limit::NONE, rollback: RollbackMode::Off, ..Options::default() }
}

fn plan(vehicles: usize, waves: &str, options: Options) -> Plan {
    let vins = (0..vehicles).map(|number| format!("WDB{number:05}").parse().unwrap());
    let waves: Waves = waves.parse().unwrap();
    let id: RolloutId = "7f3a".parse().unwrap();
    let change = (Change::Apply, "apiVersion: v1".to_owned());
    Plan::new(id, Time::from_millis(0), change, vins, Some(&waves), options).unwrap()
}

/// One of these in turn; most are good.
fn mixed(index: usize) -> Behaviour {
    match index % 23 {
        3 => Behaviour::Fails,
        7 => Behaviour::Refuses,
        11 => Behaviour::NeverSettles,
        13 => Behaviour::Silent,
        17 => Behaviour::Offline,
        _ => Behaviour::Good,
    }
}

fn check_outcomes(world: &World) {
    let outcomes = world.outcomes();
    for (vin, vehicle) in &world.vehicles {
        assert_eq!(outcomes[vin], Some(vehicle.behaviour.outcome()), "{vin} {vehicle:?}");
    }
}

#[test]
fn thousands_of_vehicles_get_the_outcome_of_what_they_do() {
    let mut world = World::new(plan(5000, "1,5%,25%,100%", options()), mixed);
    world.begin();
    world.run();
    check_outcomes(&world);
    assert_eq!(world.verdict, Some(Verdict::Finished));
    assert_eq!(world.rollout.exit_code(), ExitCode::SomeFailed);
    let most = world.vehicles.values().map(|vehicle| vehicle.changes).max();
    assert_eq!(most, Some(1));
    let lines = verdict_lines(world.rollout.state());
    assert!(lines[0].starts_with("finished: 3,9"), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("rejected: no   WDB")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("× timed out after 10m   WDB")), "{lines:?}");
}

#[test]
fn a_change_that_fails_everywhere_reaches_only_the_first_wave() {
    let strict = Options { max_failures: Limit::DEFAULT, ..options() };
    let mut world = World::new(plan(5000, "1,5%,25%,100%", strict), |_| Behaviour::Fails);
    world.begin();
    world.run();
    assert_eq!(world.verdict, Some(Verdict::Halted(Halt::Failures { wave: 1 })));
    assert_eq!((world.starts.len(), world.rollout.exit_code()), (1, ExitCode::Stopped));
    assert_eq!(
        verdict_lines(world.rollout.state())[0],
        "stopped in wave 1: 1 of 1 failed, limit 0"
    );
}

#[test]
fn a_limit_stops_a_wave_when_it_is_exceeded_and_an_operator_can_go_on() {
    let strict = Options { max_failures: Limit::DEFAULT, parallel: 10, ..options() };
    let fails =
        |index| if (100..130).contains(&index) { Behaviour::Fails } else { Behaviour::Good };
    let mut world = World::new(plan(1000, "1,50%,100%", strict), fails);
    world.begin();
    world.run();
    assert_eq!(world.verdict, Some(Verdict::Halted(Halt::Failures { wave: 2 })));
    let failed = world.count(OutcomeKind::Failed);
    assert!((10..=9 + 10).contains(&failed), "{failed}");
    while world.verdict != Some(Verdict::Finished) {
        world.event(Event::Resume { until: None });
        world.run();
    }
    check_outcomes(&world);
}

#[test]
fn a_killed_command_goes_on_at_every_step_and_ends_the_same() {
    let plan = || plan(40, "1,25%,100%", Options { parallel: 5, ..options() });
    let mut whole = World::new(plan(), mixed);
    whole.begin();
    whole.run();
    check_outcomes(&whole);
    for step in 1..=whole.steps {
        for acts in [true, false] {
            let mut world = World::new(plan(), mixed);
            world.kill_at = Some((step, acts));
            world.begin();
            if world.verdict.is_none() {
                world.run();
            }
            assert_eq!(world.outcomes(), whole.outcomes(), "killed at step {step}, {acts}");
        }
    }
}

#[test]
fn a_lost_connection_loses_nothing() {
    let mut world = World::new(plan(300, "1,10%,100%", options()), mixed);
    world.begin();
    for _ in 0..12 {
        world.run_for(std::time::Duration::from_secs(7));
        world.disconnect();
        world.run_for(std::time::Duration::from_secs(20));
        world.now = world.now.after(std::time::Duration::from_secs(20));
        world.connect();
        if world.verdict.is_some() {
            break;
        }
    }
    if world.verdict.is_none() {
        world.run();
    }
    let succeeded = world.count(OutcomeKind::Succeeded);
    let good = world.vehicles.values().filter(|it| it.behaviour == Behaviour::Good).count();
    assert_eq!(succeeded, good);
    assert_eq!(world.vehicles.values().map(|vehicle| vehicle.changes).max(), Some(1));
}
