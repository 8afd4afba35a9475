//! Whatever happens, the invariants of [`World`](crate::fleet::World) and the
//! [`Rules`](crate::rules::Rules) hold.

use std::collections::BTreeSet;
use std::time::Duration;

use ank_fleet::rollout::OnFailure;
use proptest::prelude::*;

use super::*;

const LONG: Duration = Duration::from_secs(1_000_000);

fn behaviour() -> impl Strategy<Value = Behaviour> {
    prop_oneof![
        8 => Just(Behaviour::Good),
        1 => Just(Behaviour::Fails),
        1 => Just(Behaviour::FailsLater),
        1 => Just(Behaviour::Refuses),
        1 => Just(Behaviour::NeverSettles),
        1 => Just(Behaviour::Silent),
        1 => Just(Behaviour::Offline),
    ]
}

/// A plan without its vehicles.
#[derive(Debug, Clone)]
struct Setup {
    options: Options,
    /// Waves whose gate fails the first time.
    failing_gates: BTreeSet<usize>,
}

fn setup() -> impl Strategy<Value = Setup> {
    let secs = Duration::from_secs;
    let seconds = move |range| prop::option::of(range).prop_map(move |it| it.map(secs));
    let waits = (seconds(25..90_u64), seconds(60..4000_u64), prop::option::of(1..120_u64));
    let rate = prop::option::of(prop::sample::select(vec!["1/s", "5/s", "20/m"]));
    let gates = (any::<bool>(), prop::collection::btree_set(1..5_usize, 0..2));
    let modes = (any::<bool>(), any::<bool>(), prop::option::of(1..4_usize));
    let limits = (1..20_usize, prop_oneof![Just(100), 0..100_u32]);
    (waits, rate, gates, modes, limits).prop_map(
        move |((soak, queue, until), rate, (gate, failing), (confirms, undoes, pause), limits)| {
            let (parallel, failures) = limits;
            let options = Options {
                soak,
                queue,
                until: until.map(|seconds| Time::from_millis(1_000_000 + 1000 * seconds)),
                rate: rate.map(|rate| rate.parse().unwrap()),
                gate: gate.then(|| "true".to_owned()),
                pause_after: pause,
                rollback: if confirms { RollbackMode::UnlessConfirmed } else { RollbackMode::Off },
                on_failure: if undoes { OnFailure::Undo } else { OnFailure::Stop },
                max_failures: format!("{failures}%").parse().unwrap(),
                parallel,
                ..Options::default()
            };
            Setup { options, failing_gates: failing }
        },
    )
}

impl Setup {
    fn world(&self, fleet: &[Behaviour], waves: &str) -> World {
        let plan = plan(fleet.len(), waves, self.options.clone());
        let mut world = World::new(plan, |index| fleet[index]);
        world.failing_gates.clone_from(&self.failing_gates);
        world
    }

    /// The outcome must not depend on the moment at which a limit stops the roll-out.
    fn without_limits(mut self) -> Self {
        self.options.max_failures = Limit::NONE;
        self
    }
}

#[derive(Debug, Clone)]
enum Trouble {
    Kill,
    Disconnect(u64),
    Sleep(u64),
    Flip(usize),
    Pause,
    Resume(Option<u64>),
    Retry,
    Abort,
    Undo,
}

fn trouble() -> impl Strategy<Value = (u64, Trouble)> {
    let kind = prop_oneof![
        6 => Just(Trouble::Kill),
        6 => (1..2000_u64).prop_map(Trouble::Disconnect),
        4 => (1..40_000_000_u64).prop_map(Trouble::Sleep),
        6 => any::<usize>().prop_map(Trouble::Flip),
        2 => Just(Trouble::Pause),
        8 => prop::option::of(1..100_000_u64).prop_map(Trouble::Resume),
        2 => Just(Trouble::Retry),
        1 => Just(Trouble::Abort),
        1 => Just(Trouble::Undo),
    ];
    (1..40_000_u64, kind)
}

impl World {
    fn suffer(&mut self, trouble: &Trouble) {
        match trouble {
            Trouble::Kill => self.kill(),
            Trouble::Disconnect(millis) => {
                self.disconnect();
                self.now = self.now.after(Duration::from_millis(*millis));
                self.connect();
            }
            Trouble::Sleep(millis) => {
                self.sleep(Duration::from_millis(*millis));
                self.wake_up();
            }
            Trouble::Flip(index) => {
                let vin = self.plan.vehicles[index % self.plan.vehicles.len()].clone();
                let is_online = self.vehicles[&vin].is_online;
                self.set_online(&vin, !is_online);
            }
            Trouble::Pause => self.event(Event::Pause),
            Trouble::Resume(until) => {
                let until = until.map(|millis| self.now.after(Duration::from_millis(millis)));
                self.event(Event::Resume { until });
            }
            Trouble::Retry => self.event(Event::RetryFailed),
            Trouble::Abort => self.event(Event::Abort),
            Trouble::Undo => self.event(Event::Undo),
        }
    }

    /// Goes on until it is over.
    fn finish(&mut self) {
        if self.verdict.is_none() {
            self.run_for(LONG);
        }
        // A wave may have no success, a gate fail, and so on.
        for _ in 0..16 {
            self.event(Event::Resume { until: None });
            self.run_for(LONG);
        }
    }

    /// Takes it back, and checks that nothing is left of it.
    fn undo(&mut self) {
        self.event(Event::Undo);
        self.run_for(LONG);
        assert_eq!(self.rollout.state().in_flight(), 0);
        let offline = self.vehicles.iter().filter(|(_, vehicle)| !vehicle.is_online);
        let offline: Vec<_> = offline.map(|(vin, _)| vin.clone()).collect();
        let outcomes = self.outcomes();
        for (vin, vehicle) in &self.vehicles {
            let may_stay = vehicle.behaviour == Behaviour::Silent || offline.contains(vin);
            assert!(!vehicle.has_own() || may_stay, "{vin}: {vehicle:?}, {:?}", outcomes[vin]);
        }
        // What the broker keeps for them does not bring the change back.
        let kept = |world: &Self, vin: &_| world.vehicles[vin].changed.is_some();
        let had: Vec<bool> = offline.iter().map(|vin| kept(self, vin)).collect();
        for (vin, had) in offline.iter().zip(had) {
            self.set_online(vin, true);
            assert!(had || !self.vehicles[vin].has_own(), "{vin} gets the change after the undo");
        }
        self.run_for(LONG);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_rules_hold_whatever_happens(
        fleet in prop::collection::vec(behaviour(), 1..100),
        setup in setup(),
        troubles in prop::collection::vec(trouble(), 0..14),
        lost in prop::collection::btree_set(0..500_usize, 0..50),
    ) {
        let mut world = setup.world(&fleet, "1,10%,50%,100%");
        world.lost = lost;
        world.begin();
        for (millis, trouble) in troubles {
            world.run_for(Duration::from_millis(millis));
            world.suffer(&trouble);
        }
        world.run_for(LONG);
        prop_assert_eq!(world.rollout.state().in_flight(), 0);
    }

    #[test]
    fn good_vehicles_succeed_whenever_the_command_sleeps_and_however_long(
        fleet in prop::collection::vec(behaviour(), 1..40),
        setup in setup(),
        sleeps in prop::collection::vec((1..30_000_u64, 1..40_000_000_u64), 1..4),
    ) {
        let setup = setup.without_limits();
        let run = |sleeps: &[(u64, u64)]| {
            let mut world = setup.world(&fleet, "1,20%,100%");
            world.begin();
            for (millis, sleep) in sleeps {
                world.run_for(Duration::from_millis(*millis));
                world.suffer(&Trouble::Sleep(*sleep));
            }
            world.finish();
            world.outcomes()
        };
        prop_assert_eq!(run(&[]), run(&sleeps));
    }

    #[test]
    fn vehicles_have_their_outcome_whichever_messages_are_lost(
        fleet in prop::collection::vec(behaviour(), 1..40),
        setup in setup(),
        lost in prop::collection::btree_set(0..200_usize, 0..3),
    ) {
        let setup = setup.without_limits();
        let run = |lost: &BTreeSet<usize>| {
            let mut world = setup.world(&fleet, "1,20%,100%");
            world.lost.clone_from(lost);
            world.begin();
            world.finish();
            world.outcomes()
        };
        prop_assert_eq!(run(&BTreeSet::new()), run(&lost));
    }

    #[test]
    fn an_undo_leaves_nothing(
        fleet in prop::collection::vec(behaviour(), 1..40),
        setup in setup(),
        troubles in prop::collection::vec(trouble(), 0..6),
    ) {
        let mut world = setup.world(&fleet, "1,20%,100%");
        world.begin();
        for (millis, trouble) in troubles {
            world.run_for(Duration::from_millis(millis));
            if !matches!(trouble, Trouble::Undo | Trouble::Retry) {
                world.suffer(&trouble);
            }
        }
        world.undo();
    }
}

/// Something at a step.
fn run_with(setup: &Setup, fleet: &[Behaviour], kill: Option<(usize, bool)>) -> World {
    let mut world = setup.world(fleet, "1,50%,100%");
    world.kill_at = kill;
    world.begin();
    world.finish();
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn killed_at_any_step_it_ends_as_one_that_was_never_killed(
        fleet in prop::collection::vec(behaviour(), 1..12),
        setup in setup(),
    ) {
        let setup = setup.without_limits();
        let whole = run_with(&setup, &fleet, None);
        let confirmed = |world: &World| {
            let vehicles = world.vehicles.iter().filter(|(_, vehicle)| vehicle.is_confirmed);
            vehicles.map(|(vin, _)| vin.clone()).collect::<Vec<_>>()
        };
        for step in 1..=whole.steps {
            for acts in [true, false] {
                let mut world = run_with(&setup, &fleet, Some((step, acts)));
                let case = format!("killed at step {step}, {acts}");
                prop_assert_eq!(world.outcomes(), whole.outcomes(), "{}", case);
                prop_assert_eq!(confirmed(&world), confirmed(&whole), "{}", case);
                let most = world.vehicles.values().map(|vehicle| vehicle.changes).max();
                prop_assert!(most <= Some(2), "{}: {:?} changes", case, most);
                if step % 8 == 0 {
                    world.undo();
                }
            }
        }
    }
}
