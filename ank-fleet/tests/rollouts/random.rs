//! Whatever happens, the invariants of [`World`](crate::fleet::World) hold.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn behaviour() -> impl Strategy<Value = Behaviour> {
    prop_oneof![
        8 => Just(Behaviour::Good),
        1 => Just(Behaviour::Fails),
        1 => Just(Behaviour::Refuses),
        1 => Just(Behaviour::NeverSettles),
        1 => Just(Behaviour::Silent),
        1 => Just(Behaviour::Offline),
    ]
}

#[derive(Debug, Clone)]
enum Trouble {
    Kill,
    Disconnect(u64),
    Flip(usize),
    Pause,
    Resume,
}

fn trouble() -> impl Strategy<Value = (u64, Trouble)> {
    let kind = prop_oneof![
        3 => Just(Trouble::Kill),
        3 => (1..2000_u64).prop_map(Trouble::Disconnect),
        2 => any::<usize>().prop_map(Trouble::Flip),
        1 => Just(Trouble::Pause),
        3 => Just(Trouble::Resume),
    ];
    (1..20_000_u64, kind)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn limits_hold_and_nothing_is_sent_twice(
        fleet in prop::collection::vec(behaviour(), 1..120),
        troubles in prop::collection::vec(trouble(), 0..12),
        failures in 0..100_u32,
        parallel in 1..20_usize,
    ) {
        let limit: Limit = format!("{failures}%").parse().unwrap();
        let options = Options { max_failures: limit, parallel, ..options() };
        let mut world = World::new(plan(fleet.len(), "1,10%,50%,100%", options), |it| fleet[it]);
        world.begin();
        for (millis, trouble) in troubles {
            world.run_for(Duration::from_millis(millis));
            match trouble {
                Trouble::Kill => world.kill(),
                Trouble::Disconnect(millis) => {
                    world.disconnect();
                    world.now = world.now.after(Duration::from_millis(millis));
                    world.connect();
                }
                Trouble::Flip(index) => {
                    let vin = world.plan.vehicles[index % fleet.len()].clone();
                    let is_online = world.vehicles[&vin].is_online;
                    world.set_online(&vin, !is_online);
                }
                Trouble::Pause => world.event(Event::Pause),
                Trouble::Resume => world.event(Event::Resume { until: None }),
            }
        }
        world.run_for(Duration::from_secs(1_000_000));
        for vehicle in world.vehicles.values() {
            prop_assert!(vehicle.changes <= 3);
        }
        prop_assert_eq!(world.rollout.state().in_flight(), 0);
    }

    #[test]
    fn a_killed_rollout_ends_as_one_that_was_never_killed(
        fleet in prop::collection::vec(behaviour(), 1..60),
        kills in prop::collection::vec(1..30_000_u64, 0..2),
    ) {
        let run = |kills: &[u64]| {
            let mut world = World::new(plan(fleet.len(), "1,10%,100%", options()), |it| fleet[it]);
            world.begin();
            for millis in kills {
                world.run_for(Duration::from_millis(*millis));
                world.kill();
            }
            if world.verdict.is_none() {
                world.run_for(Duration::from_secs(1_000_000));
            }
            // A wave may have no success.
            for _ in 0..4 {
                world.event(Event::Resume { until: None });
                world.run_for(Duration::from_secs(1_000_000));
            }
            world.outcomes()
        };
        prop_assert_eq!(run(&[]), run(&kills));
    }
}
