//! Changes without an answer: Ankaios may have taken them.

use super::*;

#[test]
fn a_rollback_in_doubt_takes_its_revision_back() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    world.apply(&[("a", Some("2"))], RollbackMode::Off).unwrap();
    world.end_rollouts(RolloutStatus::Succeeded);
    world.fault = Fault::AnswerLost;
    world.roll_back(RollbackTarget::default()).unwrap_err();
    world.fault = Fault::None;
    world.crash();
    let history = world.core().history();
    assert_eq!(history.current, 3);
    assert_eq!(history.revisions[1].status, RevisionStatus::RolledBack);
}

#[test]
fn what_the_startup_manifest_has_is_known_after_a_change_in_doubt() {
    let mut world = World::new(&[("base", "1")]);
    world.fault = Fault::AnswerLost;
    world.apply(&[("base", Some("2"))], RollbackMode::Off).unwrap_err();
    world.fault = Fault::None;
    world.pass(RETRY);
    assert_eq!(summary(&world), (1, values(&[("base", "2")]), Some(1)));
    world.roll_back(RollbackTarget::default()).unwrap();
    assert_eq!(summary(&world), (2, values(&[("base", "1")]), Some(2)));
}

#[test]
fn a_restoration_in_doubt_is_followed_once_it_is_found() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    world.end_rollouts(RolloutStatus::Superseded);
    world.fault = Fault::AnswerLost;
    world.restart_server();
    world.fault = Fault::None;
    world.pass(RETRY);
    assert_eq!(summary(&world), (1, values(&[("a", "1")]), Some(1)));
    assert_eq!(world.follows.last().unwrap().request_id, "restore-1");
    assert!(world.rollouts.contains(&1));
}

#[test]
fn without_rollouts_what_is_found_in_ankaios_is_always_put_back() {
    let mut other = World::new(&[]);
    other.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    for in_doubt in [false, true] {
        let mut world = World::new(&[]);
        world.options.confirm_timeout = None;
        world.crash();
        if in_doubt {
            world.fault = Fault::AnswerLost;
            world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap_err();
            world.fault = Fault::None;
        } else {
            world.vehicle = other.vehicle.clone();
        }
        world.handle(Event::LinkUp);
        for _ in 0..2 * MAX_TRIES {
            world.restart_server();
            assert_eq!(summary(&world), (1, values(&[("a", "1")]), Some(1)), "{in_doubt}");
        }
    }
}

#[test]
fn a_change_without_an_answer_is_decided_by_the_marker() {
    for (fault, decided) in [(Fault::NotSent, 0), (Fault::AnswerLost, 1)] {
        for crashes in [false, true] {
            let mut world = World::new(&[]);
            world.fault = fault;
            world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap_err();
            world.fault = Fault::None;
            if crashes {
                world.crash();
            } else {
                world.pass(RETRY);
            }
            assert_eq!(world.core().current(), decided, "{fault:?} {crashes}");
            assert_eq!(
                world.apply(&[("b", Some("1"))], RollbackMode::Off).unwrap().revision,
                decided + 1
            );
        }
    }
}

#[test]
fn a_change_in_doubt_is_decided_before_the_next_one() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    world.end_rollouts(RolloutStatus::Succeeded);
    world.fault = Fault::AnswerLost;
    world.apply(&[("a", Some("2"))], RollbackMode::UnlessConfirmed).unwrap_err();
    world.fault = Fault::None;
    let updated = world.apply(&[("a", Some("2"))], RollbackMode::UnlessConfirmed).unwrap();
    assert_eq!(updated.revision, 2, "it was made the first time");
    world.end_rollout(2, RolloutStatus::Succeeded);
    world.pass(World::CONFIRM_TIMEOUT);
    assert_eq!(summary(&world), (3, values(&[("a", "1")]), Some(3)));
}
