//! Trials: confirmations, and what a revision goes back to.

use super::*;

/// A revision that waits for its confirmation.
fn unconfirmed() -> World {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::UnlessConfirmed).unwrap();
    world.end_rollouts(RolloutStatus::Succeeded);
    world
}

#[test]
fn a_confirmation_that_arrives_in_time_counts_even_if_it_has_to_wait() {
    let mut world = unconfirmed();
    world.pass(World::CONFIRM_TIMEOUT - Duration::from_secs(1));
    world.queue("b", Some("1"), RollbackMode::Off);
    let id = world.queue_job(Job::Confirm { revision: 1 });
    let now = world.now.monotonic;
    world.advance(now + Duration::from_secs(2));
    world.step(Event::Tick);
    world.settle();
    assert!(matches!(world.answers.remove(&id), Some(Ok(_))));
    world.pass(World::CONFIRM_TIMEOUT);
    assert_eq!(summary(&world), (2, values(&[("a", "1"), ("b", "1")]), Some(2)));
}

#[test]
fn a_confirmation_that_arrives_at_the_deadline_is_too_late() {
    let mut world = unconfirmed();
    let now = world.now.monotonic;
    world.advance(now + World::CONFIRM_TIMEOUT);
    assert!(matches!(world.confirm(1), Err(Failure::Rejected(_))));
    assert_eq!(summary(&world), (2, values(&[]), Some(2)));
}

#[test]
fn a_confirmation_that_cannot_be_kept_does_not_count() {
    let mut world = unconfirmed();
    world.fault = Fault::Disk;
    assert!(matches!(world.confirm(1), Err(Failure::Store(_))));
    assert_eq!(world.core().history().revisions[0].status, RevisionStatus::Unconfirmed);
    world.fault = Fault::None;
    world.pass(World::CONFIRM_TIMEOUT);
    assert_eq!(summary(&world), (2, values(&[]), Some(2)));
}

#[test]
fn a_revision_that_could_not_be_taken_back_stays_after_a_restart() {
    let mut world = unconfirmed();
    world.fault = Fault::Rejects;
    world.pass(World::CONFIRM_TIMEOUT);
    assert_eq!(world.rolled_back, [(1, Err("rejected".to_owned()))]);
    world.fault = Fault::None;
    world.crash();
    world.pass(World::CONFIRM_TIMEOUT);
    assert_eq!(summary(&world), (1, values(&[("a", "1")]), Some(1)));
}

#[test]
fn an_unconfirmed_revision_is_taken_back_after_an_attempt_that_was_lost() {
    let mut world = unconfirmed();
    world.pass(World::CONFIRM_TIMEOUT - Duration::from_secs(1));
    world.advance(world.now.monotonic + Duration::from_secs(2));
    world.step(Event::Tick);
    while !matches!(world.asked, Some(Action::Send { .. })) {
        let asked = world.asked.take().unwrap();
        let answer = world.answer(asked);
        world.step(answer);
    }
    // It is on the disk, in doubt, and was not sent.
    world.crash();
    world.pass(Duration::from_secs(1));
    assert_eq!(summary(&world).1, values(&[]));
}
