//! Restarts: what is counted, and what is followed again.

use super::*;

#[test]
fn refused_attempts_do_not_count_after_a_restart_of_the_connector_either() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    world.fault = Fault::Rejects;
    for _ in 0..2 * MAX_TRIES {
        world.crash_off();
        world.restart_server();
        assert_eq!(world.core().report().restore, Some(RestoreState::Refused));
    }
    world.fault = Fault::None;
    world.restart_server();
    assert_eq!(summary(&world), (1, values(&[("a", "1")]), Some(1)));
}

/// The server starts anew twice: the second time while the guard reads the state.
#[test]
fn what_could_not_be_judged_because_of_a_restart_is_put_back_later() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    world.fault = Fault::Unread;
    world.restart_server();
    world.pass(2 * MAX_TRIES * UNREAD_RETRY);
    assert_eq!(world.core().report().restore, Some(RestoreState::Pending));
    assert_eq!(summary(&world), (1, values(&[]), None));
    world.fault = Fault::None;
    world.pass(UNREAD_RETRY);
    assert_eq!(summary(&world), (1, values(&[("a", "1")]), Some(1)));
}

#[test]
fn what_was_put_back_must_stay_up_after_a_restart_of_the_connector_too() {
    for ends in [None, Some(RolloutStatus::Superseded)] {
        let mut world = World::new(&[]);
        world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
        ends.into_iter().for_each(|end| world.end_rollouts(end));
        world.restart_server();
        world.crash();
        assert!(world.rollouts.contains(&1), "{ends:?}");
        assert!(world.follows.last().unwrap().must_be_stable, "{ends:?}");
    }
}

/// By the names of its workloads, it would succeed with the values of the later one.
#[test]
fn a_revision_whose_items_have_changed_since_is_not_followed_again() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("bad"))], RollbackMode::Off).unwrap();
    world.apply(&[("a", Some("good"))], RollbackMode::Off).unwrap();
    world.crash();
    assert_eq!(world.rollouts, [2].into());
    assert_eq!(world.core().history().revisions[1].status, RevisionStatus::Superseded);
}

#[test]
fn what_was_given_up_with_the_current_revision_does_not_succeed_later() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("good"))], RollbackMode::Off).unwrap();
    world.end_rollouts(RolloutStatus::Succeeded);
    world.pass(SAVE_DELAY);
    world.apply(&[("a", Some("bad"))], RollbackMode::Off).unwrap();
    world.apply(&[("b", Some("1"))], RollbackMode::Off).unwrap();
    for _ in 0..=MAX_TRIES {
        world.crash_off();
        world.restart_server();
    }
    assert_eq!(summary(&world), (4, values(&[("a", "good")]), Some(4)));
    world.end_rollouts(RolloutStatus::Succeeded);
    assert_eq!(world.core().history().revisions[2].status, RevisionStatus::Superseded);
}

#[test]
fn workloads_that_have_not_stayed_up_are_watched_again_after_a_restart() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    world.handle(Event::RolloutEnded {
        revision: 1,
        status: RolloutStatus::Succeeded,
        is_stable: false,
    });
    world.pass(SAVE_DELAY);
    world.follows.clear();
    world.crash();
    let [follow] = &world.follows[..] else { panic!("{:?}", world.follows) };
    assert!(follow.must_be_stable && !follow.is_published);
    world.end_rollouts(RolloutStatus::Succeeded);
    assert!(world.core().revision(1).unwrap().has_succeeded);
}

#[test]
fn ends_of_rollouts_in_an_earlier_process_are_reported() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    world.end_rollouts(RolloutStatus::TimedOut);
    world.apply(&[("b", Some("1"))], RollbackMode::Off).unwrap();
    world.crash();
    assert_eq!(world.ended, [(1, RolloutStatus::TimedOut)]);
}
