//! The options of a roll-out, one by one.

use std::time::Duration;

use ank_fleet::rollout::{Code, Stage, Transition};

use super::*;

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn vehicles_that_have_the_change_already_get_nothing_and_take_no_room() {
    let mut plan = plan(20, "1,50%,100%", options());
    plan.unchanged = plan.vehicles.iter().take(3).cloned().collect();
    let mut world = World::new(plan, |_| Behaviour::Good);
    world.begin();
    world.run();
    assert_eq!(world.count(OutcomeKind::Unchanged), 3);
    assert_eq!((world.starts.len(), world.rollout.exit_code()), (17, ExitCode::Success));
    assert_eq!(world.rollout.state().tally(1).succeeded, 1);
}

#[test]
fn vehicles_that_are_offline_are_pending_until_they_come_online() {
    let offline = |index| if index < 5 { Behaviour::Offline } else { Behaviour::Good };
    let mut world = World::new(plan(20, "1,50%,100%", options()), offline);
    world.begin();
    let first = world.plan.vehicles[0].clone();
    world.run_for(secs(3));
    world.set_online(&first, true);
    world.run();
    assert_eq!(world.count(OutcomeKind::Succeeded), 16);
    assert_eq!((world.count(OutcomeKind::Pending), world.rollout.exit_code()), (4, ExitCode::Left));
}

#[test]
fn without_a_vehicle_that_is_online_nothing_is_sent() {
    let mut world = World::new(plan(20, "1,100%", options()), |_| Behaviour::Offline);
    world.begin();
    assert_eq!(world.verdict, Some(Verdict::Halted(Halt::NoneOnline)));
    assert_eq!((world.starts.len(), world.rollout.exit_code()), (0, ExitCode::Left));
}

#[test]
fn with_queue_the_broker_keeps_requests_for_vehicles_that_are_offline() {
    let queue = Options { queue: Some(secs(86_400)), ..options() };
    let offline = |index| if index == 2 { Behaviour::Offline } else { Behaviour::Good };
    let mut world = World::new(plan(5, "100%", queue), offline);
    world.begin();
    world.run();
    assert_eq!((world.count(OutcomeKind::Succeeded), world.count(OutcomeKind::Pending)), (4, 1));
    let queued = world
        .journal
        .iter()
        .filter(|line| matches!(&line.transition, Transition::Sent { queued: true, .. }));
    assert_eq!(queued.count(), 1);
}

#[test]
fn a_rate_spreads_the_starts() {
    let slow = Options { rate: "60/m".parse().ok(), ..options() };
    let mut world = World::new(plan(10, "100%", slow), |_| Behaviour::Good);
    world.begin();
    world.run();
    assert!(world.starts.windows(2).all(|pair| pair[1].since(pair[0]) >= secs(1)));
    assert_eq!(world.count(OutcomeKind::Succeeded), 10);
}

#[test]
fn the_soak_time_finds_what_fails_later() {
    let soak = Options { soak: Some(secs(60)), max_failures: Limit::DEFAULT, ..options() };
    let later = |index| if index == 0 { Behaviour::FailsLater } else { Behaviour::Good };
    let mut world = World::new(plan(20, "1,100%", soak), later);
    world.begin();
    world.run();
    assert_eq!(world.verdict, Some(Verdict::Halted(Halt::Failures { wave: 1 })));
    let first = world.rollout.state().vehicle(&world.plan.vehicles[0]).unwrap();
    assert_eq!(first.cause().unwrap().code, Code::Soak);
    assert_eq!(world.starts.len(), 1);
}

#[test]
fn a_gate_that_fails_stops_and_is_run_again() {
    let gate = Options { gate: Some("true".into()), ..options() };
    let mut world = World::new(plan(20, "1,100%", gate), |_| Behaviour::Good);
    world.failing_gates.insert(1);
    world.begin();
    world.run();
    let halt = Halt::Gate { wave: 1, message: "exit 1".into() };
    assert_eq!(world.verdict, Some(Verdict::Halted(halt)));
    assert_eq!((world.starts.len(), world.rollout.exit_code()), (1, ExitCode::Stopped));
    world.event(Event::Resume { until: None });
    world.run();
    assert_eq!((world.starts.len(), world.rollout.exit_code()), (20, ExitCode::Success));
}

#[test]
fn with_unless_confirmed_vehicles_are_confirmed_after_the_gate() {
    let confirm = Options { rollback: RollbackMode::UnlessConfirmed, ..options() };
    let mut world = World::new(plan(20, "1,100%", confirm), |_| Behaviour::Good);
    world.begin();
    world.run();
    assert_eq!(world.verdict, Some(Verdict::Finished));
    assert!(world.vehicles.values().all(|vehicle| vehicle.is_confirmed));
    assert!(world.rollout.state().vehicles().iter().all(|vehicle| vehicle.is_confirmed));
}

#[test]
fn a_roll_out_pauses_after_a_wave_and_stops_at_a_time() {
    let pause = Options { pause_after: Some(1), ..options() };
    let mut world = World::new(plan(20, "1,100%", pause), |_| Behaviour::Good);
    world.begin();
    world.run();
    assert_eq!(world.verdict, Some(Verdict::Halted(Halt::Paused)));
    assert_eq!(world.starts.len(), 1);
    assert_eq!(verdict_lines(world.rollout.state())[0], "paused after wave 1");
    let until = Some(world.now.after(secs(3)));
    world.plan.options.parallel = 50;
    world.event(Event::Resume { until });
    world.run();
    assert_eq!(world.count(OutcomeKind::Succeeded), 20);

    let slow = Options { rate: "1/s".parse().ok(), ..options() };
    let mut plan = plan(20, "100%", slow);
    plan.options.until = Some(Time::from_millis(1_003_500));
    let mut world = World::new(plan, |_| Behaviour::Good);
    world.begin();
    world.run();
    assert_eq!(world.verdict, Some(Verdict::Halted(Halt::Until)));
    assert_eq!((world.starts.len(), world.rollout.exit_code()), (4, ExitCode::Left));
}

#[test]
fn an_interrupt_sends_nothing_more() {
    let mut world = World::new(plan(20, "1,100%", options()), |_| Behaviour::Good);
    world.begin();
    world.event(Event::Interrupt);
    assert_eq!(world.verdict, Some(Verdict::Interrupted));
    world.run_for(secs(600));
    assert_eq!(world.starts.len(), 1);
    world.kill();
    world.run();
    assert_eq!(world.count(OutcomeKind::Succeeded), 20);
}

/// A run that is killed at a step, if that is not 0; and the number of its steps.
pub(crate) fn killed_at(
    step: usize,
    options: &Options,
    behaviour: fn(usize) -> Behaviour,
) -> (World, usize) {
    let mut world = World::new(plan(16, "2,50%,100%", options.clone()), behaviour);
    world.kill_at = Some((step, step.is_multiple_of(2)));
    world.begin();
    if world.verdict.is_none() {
        world.run();
    }
    let steps = world.steps;
    (world, steps)
}

#[test]
fn soak_gate_and_confirmations_survive_a_kill_at_every_step() {
    let options = Options {
        soak: Some(secs(30)),
        gate: Some("true".into()),
        rollback: RollbackMode::UnlessConfirmed,
        parallel: 4,
        ..options()
    };
    let later = |index| if index == 5 { Behaviour::FailsLater } else { Behaviour::Good };
    let (whole, steps) = killed_at(0, &options, later);
    assert_eq!(whole.count(OutcomeKind::Succeeded), 15);
    for step in 1..=steps {
        let (world, _) = killed_at(step, &options, later);
        assert_eq!(world.outcomes(), whole.outcomes(), "killed at step {step}");
        let confirmed = world.vehicles.values().filter(|vehicle| vehicle.is_confirmed).count();
        assert_eq!(confirmed, 15, "killed at step {step}");
    }
}

#[test]
fn a_rate_is_kept_by_a_command_that_goes_on() {
    let slow = Options { rate: "1/s".parse().ok(), ..options() };
    let mut world = World::new(plan(10, "100%", slow), |_| Behaviour::Good);
    world.begin();
    for _ in 0..20 {
        world.run_for(Duration::from_millis(100));
        world.kill();
    }
    assert_eq!(world.starts.len(), 3);
    world.run();
    assert!(world.starts.windows(2).all(|pair| pair[1].since(pair[0]) >= secs(1)));
}

#[test]
fn what_was_lost_is_not_sent_again_after_until_and_is_pending() {
    let mut plan = plan(5, "100%", options());
    plan.options.until = Some(Time::from_millis(1_000_000 + 10_000));
    let mut world = World::new(plan, |_| Behaviour::Good);
    // Nothing of what is sent arrives.
    world.begin_deaf();
    world.run_for(secs(5));
    world.disconnect();
    world.now = world.now.after(secs(20));
    world.connect();
    world.run();
    assert_eq!(world.verdict, Some(Verdict::Halted(Halt::Until)));
    assert_eq!((world.starts.len(), world.count(OutcomeKind::Pending)), (0, 5));
    world.event(Event::Resume { until: None });
    world.run();
    assert_eq!(world.count(OutcomeKind::Succeeded), 5);
}

#[test]
fn the_broker_keeps_no_request_longer_than_until() {
    let mut plan = plan(5, "100%", Options { queue: Some(secs(86_400)), ..options() });
    plan.options.until = Some(Time::from_millis(1_000_000 + 60_000));
    let offline = |index| if index == 2 { Behaviour::Offline } else { Behaviour::Good };
    let mut world = World::new(plan, offline);
    world.begin();
    world.run();
    assert_eq!(world.count(OutcomeKind::Succeeded), 4);
    world.now = world.now.after(secs(120));
    let late = world.plan.vehicles.iter().find(|vin| !world.vehicles[*vin].is_online).unwrap();
    world.set_online(&late.clone(), true);
    world.run_for(secs(60));
    assert_eq!((world.starts.len(), world.count(OutcomeKind::Pending)), (4, 1));
    // It is known not to have it, so it gets it when the operator goes on.
    world.event(Event::Resume { until: None });
    world.run();
    assert_eq!((world.starts.len(), world.count(OutcomeKind::Succeeded)), (5, 5));
}

/// It was offline when its wave was changed, so the soak time of its wave says nothing about it.
#[test]
fn a_vehicle_that_comes_late_is_soaked_before_it_is_confirmed() {
    let options = Options {
        queue: Some(secs(86_400)),
        soak: Some(secs(60)),
        rollback: RollbackMode::UnlessConfirmed,
        ..options()
    };
    for behaviour in [Behaviour::Good, Behaviour::FailsLater] {
        let offline = |index| if index == 2 { Behaviour::Offline } else { Behaviour::Good };
        let mut world = World::new(plan(5, "100%", options.clone()), offline);
        world.begin();
        world.run_for(secs(30));
        assert!(matches!(world.rollout.state().stage(), Stage::Soaking { .. }));
        let late = world.plan.vehicles.iter().find(|vin| !world.vehicles[*vin].is_online).unwrap();
        let late = late.clone();
        world.vehicles.get_mut(&late).unwrap().behaviour = behaviour;
        world.set_online(&late, true);
        world.run();
        let is_good = behaviour == Behaviour::Good;
        assert_eq!(world.vehicles[&late].is_confirmed, is_good);
        assert_eq!(world.count(OutcomeKind::Failed), usize::from(!is_good));
        assert_eq!(world.verdict, Some(Verdict::Finished));
    }
}

#[test]
fn a_vehicle_of_an_earlier_wave_is_soaked_after_it_is_attempted_again() {
    let soak = Options { soak: Some(secs(60)), ..options() };
    let fails = |index| if index == 1 { Behaviour::Fails } else { Behaviour::Good };
    let mut world = World::new(plan(20, "5,50%,100%", soak), fails);
    world.begin();
    world.run();
    assert_eq!(world.count(OutcomeKind::Failed), 1);
    let failed = world.vehicles.values_mut().find(|it| it.behaviour == Behaviour::Fails).unwrap();
    *failed = crate::vehicle::ModelVehicle::new(Behaviour::FailsLater);
    world.event(Event::RetryFailed);
    world.run();
    let state = world.rollout.state();
    let failed = state.vehicles().iter().find(|it| it.outcome() == Some(OutcomeKind::Failed));
    assert_eq!(failed.unwrap().cause().unwrap().code, Code::Soak);
}
