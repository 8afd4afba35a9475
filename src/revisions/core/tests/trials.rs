//! Trials: confirmations, and what a revision goes back to.

use std::time::{Duration, SystemTime};

use super::*;

/// Its rollout has succeeded, and its workloads have not stayed up for `STABLE_TIME` yet.
#[test]
fn what_has_just_succeeded_is_what_a_trial_goes_back_to() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    world.rollouts.clear();
    let (revision, status) = (1, RolloutStatus::Succeeded);
    world.handle(Event::RolloutEnded { revision, status, is_stable: false });
    world.apply(&[("a", Some("2"))], RollbackMode::OnFailure).unwrap();
    world.end_rollouts(RolloutStatus::Failed);
    assert_eq!(summary(&world).1, values(&[("a", "1")]));
}

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

/// The rollback may wait for Ankaios longer than an operator waits for the reply.
#[test]
fn a_confirmation_that_is_too_late_is_refused_at_once() {
    let mut world = unconfirmed();
    world.queue("b", Some("1"), RollbackMode::Off);
    let now = world.now.monotonic;
    world.advance(now + World::CONFIRM_TIMEOUT);
    world.step(Event::Tick);
    let id = world.queue_job(Job::Confirm { revision: 1 });
    assert!(matches!(world.answers.remove(&id), Some(Err(Failure::Rejected(_)))));
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

#[test]
fn a_change_that_fails_goes_back_by_itself() {
    let mut world = World::new(&[("base", "1")]);
    world.apply(&[("a", Some("1"))], RollbackMode::OnFailure).unwrap();
    world.end_rollouts(RolloutStatus::Succeeded);
    assert_eq!(world.core().history().revisions[0].status, RevisionStatus::Succeeded);
    world
        .apply(&[("a", Some("2")), ("base", None), ("c", Some("1"))], RollbackMode::OnFailure)
        .unwrap();
    world.end_rollouts(RolloutStatus::Failed);
    assert_eq!(summary(&world), (3, values(&[("a", "1"), ("base", "1")]), Some(3)));
    assert_eq!(world.rolled_back, []);
    world.end_rollouts(RolloutStatus::Succeeded);
    assert_eq!(world.rolled_back, [(2, Ok(()))]);
    let statuses: Vec<_> =
        world.core().history().revisions.iter().map(|one| (one.status, one.reverts)).collect();
    assert_eq!(
        statuses,
        [
            (RevisionStatus::Succeeded, Some(2)),
            (RevisionStatus::RolledBack, None),
            (RevisionStatus::Succeeded, None)
        ]
    );
}

#[test]
fn what_a_later_change_has_touched_does_not_go_back() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1")), ("b", Some("1"))], RollbackMode::OnFailure).unwrap();
    world.apply(&[("a", Some("2"))], RollbackMode::Off).unwrap();
    world.end_rollout(1, RolloutStatus::TimedOut);
    assert_eq!(summary(&world), (3, values(&[("a", "2")]), Some(3)));
}

#[test]
fn a_rollback_that_fails_says_so() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::OnFailure).unwrap();
    world.fault = Fault::Rejects;
    world.end_rollouts(RolloutStatus::Failed);
    assert_eq!(world.rolled_back, [(1, Err("rejected".to_owned()))]);
    assert_eq!(world.core().history().revisions[0].status, RevisionStatus::Failed);
    world.fault = Fault::None;
    world.pass(Duration::from_secs(3600));
    assert_eq!(world.rolled_back.len(), 1, "it is not tried again");
    // One whose workloads do not come up either.
    world.apply(&[("a", Some("2"))], RollbackMode::OnFailure).unwrap();
    world.end_rollouts(RolloutStatus::Failed);
    world.end_rollouts(RolloutStatus::TimedOut);
    assert!(world.rolled_back[1].1.as_ref().unwrap_err().contains("which takes it back"));
}

#[test]
fn a_change_that_nobody_confirms_goes_back() {
    for (confirms, crashes) in [(true, false), (false, false), (false, true), (true, true)] {
        let mut world = World::new(&[]);
        world.apply(&[("a", Some("1"))], RollbackMode::UnlessConfirmed).unwrap();
        world.end_rollouts(RolloutStatus::Succeeded);
        assert_eq!(world.core().history().revisions[0].status, RevisionStatus::Unconfirmed);
        world.pass(World::CONFIRM_TIMEOUT / 2);
        if crashes {
            world.crash();
        }
        if confirms {
            world.confirm(1).unwrap();
        }
        world.pass(World::CONFIRM_TIMEOUT);
        let expected =
            if confirms { (1, values(&[("a", "1")]), Some(1)) } else { (2, values(&[]), Some(2)) };
        assert_eq!(summary(&world), expected, "{confirms} {crashes}");
    }
}

#[test]
fn a_clock_that_is_not_set_takes_nothing_back() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::UnlessConfirmed).unwrap();
    world.end_rollouts(RolloutStatus::Succeeded);
    let year = Duration::from_secs(365 * 24 * 3600);
    // After a start in 1970 the whole time is left, whatever the store says.
    world.now.wall = SystemTime::UNIX_EPOCH + year;
    world.crash();
    world.pass(World::CONFIRM_TIMEOUT / 2);
    assert_eq!(summary(&world), (1, values(&[("a", "1")]), Some(1)));
    // A clock that is set while the process runs changes nothing.
    world.now.wall += 100 * year;
    world.pass(World::CONFIRM_TIMEOUT / 4);
    world.confirm(1).unwrap();
    world.pass(2 * World::CONFIRM_TIMEOUT);
    assert_eq!(summary(&world), (1, values(&[("a", "1")]), Some(1)));
}

#[test]
fn a_confirmation_is_checked() {
    let mut world = World::new(&[]);
    assert!(matches!(world.confirm(3), Err(Failure::NotFound(_))));
    assert!(matches!(world.confirm(0), Err(Failure::Rejected(_))));
    world.apply(&[("a", Some("1"))], RollbackMode::OnFailure).unwrap();
    world.end_rollouts(RolloutStatus::Failed);
    assert!(matches!(world.confirm(1), Err(Failure::Rejected(_))));
    // One in progress may still fail.
    world.apply(&[("a", Some("2"))], RollbackMode::UnlessConfirmed).unwrap();
    world.confirm(3).unwrap();
    world.end_rollouts(RolloutStatus::Succeeded);
    assert_eq!(world.core().history().revisions[0].status, RevisionStatus::Succeeded);
}

#[test]
fn a_failed_trial_is_taken_back_after_a_restart_of_everything() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("good"))], RollbackMode::Off).unwrap();
    world.end_rollouts(RolloutStatus::Succeeded);
    world.apply(&[("a", Some("bad"))], RollbackMode::OnFailure).unwrap();
    world.fault = Fault::NotSent;
    world.end_rollouts(RolloutStatus::Failed);
    world.fault = Fault::None;
    world.crash_off();
    world.restart_server();
    world.pass(2 * RETRY);
    assert_eq!(summary(&world), (3, values(&[("a", "good")]), Some(3)));
}

#[test]
fn what_is_being_taken_back_cannot_be_confirmed() {
    for fault in [Fault::None, Fault::NotSent] {
        let mut world = World::new(&[]);
        world.apply(&[("a", Some("1"))], RollbackMode::UnlessConfirmed).unwrap();
        world.end_rollouts(RolloutStatus::Succeeded);
        world.fault = fault;
        world.pass(World::CONFIRM_TIMEOUT);
        assert!(matches!(world.confirm(1), Err(Failure::Rejected(_))), "{fault:?}");
    }
}

#[test]
fn trials_are_followed_again_whatever_the_first_check_finds() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::OnFailure).unwrap();
    world.fault = Fault::AnswerLost;
    world.apply(&[("b", Some("1"))], RollbackMode::Off).unwrap_err();
    world.fault = Fault::None;
    world.crash();
    assert!(world.rollouts.contains(&1) && world.rollouts.contains(&2), "{:?}", world.rollouts);
}

#[test]
fn trials_and_what_they_go_back_to_are_kept() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("good"))], RollbackMode::Off).unwrap();
    world.end_rollouts(RolloutStatus::Succeeded);
    world.apply(&[("a", Some("bad"))], RollbackMode::OnFailure).unwrap();
    for number in 0..15 {
        world.apply(&[("b", Some(&number.to_string()))], RollbackMode::Off).unwrap();
    }
    world.end_rollout(2, RolloutStatus::Failed);
    assert_eq!(world.vehicle.values(), values(&[("a", "good"), ("b", "14")]));
}

#[test]
fn an_unconfirmed_revision_has_not_succeeded() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("4"))], RollbackMode::Off).unwrap();
    world.end_rollouts(RolloutStatus::Succeeded);
    world.apply(&[("a", Some("5"))], RollbackMode::UnlessConfirmed).unwrap();
    world.end_rollouts(RolloutStatus::Succeeded);
    world.apply(&[("a", Some("6"))], RollbackMode::OnFailure).unwrap();
    world.end_rollouts(RolloutStatus::Failed);
    assert_eq!(world.vehicle.values(), values(&[("a", "4")]));
}

#[test]
fn what_later_revisions_have_replaced_cannot_be_confirmed() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::UnlessConfirmed).unwrap();
    world.end_rollouts(RolloutStatus::Succeeded);
    world.apply(&[("a", Some("2"))], RollbackMode::Off).unwrap();
    assert!(matches!(world.confirm(1), Err(Failure::Rejected(_))));
}
