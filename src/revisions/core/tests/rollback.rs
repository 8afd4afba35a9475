//! Rollbacks that operators request.

use super::*;

#[test]
fn a_rollback_goes_back_to_a_revision_or_to_the_startup_manifest() {
    let mut world = World::new(&[("base", "1")]);
    world.apply(&[("a", Some("1")), ("base", Some("2"))], RollbackMode::Off).unwrap();
    world.apply(&[("a", Some("2")), ("b", Some("1"))], RollbackMode::Off).unwrap();
    let updated = world.roll_back(RollbackTarget::default()).unwrap();
    assert_eq!(updated.revision, 3);
    assert_eq!(summary(&world), (3, values(&[("a", "1"), ("base", "2")]), Some(3)));
    let to = |revision| RollbackTarget { revision: Some(revision), ..RollbackTarget::default() };
    world.roll_back(to(2)).unwrap();
    assert_eq!(summary(&world), (4, values(&[("a", "2"), ("b", "1"), ("base", "2")]), Some(4)));
    world.roll_back(to(0)).unwrap();
    assert_eq!(summary(&world), (5, values(&[("base", "1")]), Some(5)));
    // The startup manifest of an update of the vehicle's own software.
    world.vehicle.startup = World::new(&[("base", "7"), ("more", "1")]).vehicle.startup;
    world.roll_back(to(2)).unwrap();
    world.restart_server();
    world.roll_back(to(0)).unwrap();
    assert_eq!(summary(&world), (7, values(&[("base", "7"), ("more", "1")]), Some(7)));
    let history = world.core().history();
    let reverts: Vec<_> = history.revisions.iter().map(|one| one.reverts).collect();
    assert_eq!(reverts, [Some(6), Some(5), Some(4), Some(3), Some(2), None, None]);
}

#[test]
fn a_rollback_says_why_it_cannot_be_made() {
    let mut world = World::new(&[]);
    let not_found = |failure: Failure| match failure {
        Failure::NotFound(reason) => reason,
        other => panic!("{other:?}"),
    };
    let reason = not_found(world.roll_back(RollbackTarget::default()).unwrap_err());
    assert!(reason.contains("operators have changed nothing"), "{reason}");
    for number in 1..=12 {
        world.apply(&[("a", Some(&number.to_string()))], RollbackMode::Off).unwrap();
        world.end_rollouts(RolloutStatus::Succeeded);
    }
    let target = RollbackTarget { revision: Some(1), ..RollbackTarget::default() };
    let reason = not_found(world.roll_back(target).unwrap_err());
    assert!(reason.starts_with("there is no revision 1; those that are kept: 3, 4,"), "{reason}");
    let target = RollbackTarget { if_current: Some(11), ..RollbackTarget::default() };
    assert!(matches!(world.roll_back(target), Err(Failure::Rejected(_))));
    let target = RollbackTarget { rollout: Some("7f3".into()), ..RollbackTarget::default() };
    assert!(matches!(world.roll_back(target), Err(Failure::Rejected(_))));
    let target = RollbackTarget { rollout: Some("7f3a".into()), ..RollbackTarget::default() };
    assert_eq!(world.roll_back(target).unwrap().revision, 13);
}

#[test]
fn a_rollback_without_a_link_is_made_later() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::OnFailure).unwrap();
    world.fault = Fault::NotSent;
    world.end_rollouts(RolloutStatus::Failed);
    assert_eq!(world.core().current(), 1);
    world.fault = Fault::None;
    world.pass(2 * RETRY);
    assert_eq!(summary(&world), (2, values(&[]), Some(2)));
}

#[test]
fn there_is_nothing_to_go_back_from_without_a_change() {
    let mut world = World::new(&[]);
    let target = RollbackTarget { revision: Some(0), ..RollbackTarget::default() };
    assert!(matches!(world.roll_back(target), Err(Failure::NotFound(_))));
}

#[test]
fn a_rollback_that_is_delivered_again_is_not_made_twice() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("good"))], RollbackMode::Off).unwrap();
    world.apply(&[("a", Some("bad"))], RollbackMode::Off).unwrap();
    for _ in 0..2 {
        let updated = world.roll_back_as("r", RollbackTarget::default()).unwrap();
        assert_eq!(updated.revision, 3);
    }
    assert_eq!(summary(&world), (3, values(&[("a", "good")]), Some(3)));
}

/// Requests a rollback that is signed, delivered with this request id.
fn roll_back_signed(world: &mut World, request_id: &str, serial: u64) -> Updated {
    let signed = signed_origin(serial, &format!("digest of {serial}"));
    let origin = Origin { request_id: request_id.into(), ..signed };
    world.change(Job::Rollback { origin, target: RollbackTarget::default() }).unwrap()
}

/// The id is not signed. If it decided, then whoever delivers the rollback again could undo it.
#[test]
fn a_signed_rollback_is_made_once_whatever_its_request_id_is() {
    let mut world = World::new(&[]);
    for value in ["older", "good", "bad"] {
        world.apply(&[("a", Some(value))], RollbackMode::Off).unwrap();
    }
    for request_id in ["r", "r", "s", "rollback-4"] {
        assert_eq!(roll_back_signed(&mut world, request_id, 7).revision, 4, "{request_id}");
    }
    assert_eq!(summary(&world), (4, values(&[("a", "good")]), Some(4)));
    world.crash();
    assert_eq!(roll_back_signed(&mut world, "t", 7).revision, 4);
    // Another connector takes it over.
    let mut other = World::new(&[]);
    other.vehicle = world.vehicle.clone();
    other.crash();
    assert_eq!(roll_back_signed(&mut other, "u", 7).revision, 4);
    assert_eq!(other.vehicle.values(), values(&[("a", "good")]));
    // The next one is another one, whatever its id is.
    assert_eq!(roll_back_signed(&mut world, "r", 8).revision, 5);
}

/// Its id is that of a rollback that the connector makes itself.
#[test]
fn a_signed_rollback_is_not_taken_for_an_automatic_one() {
    let mut world = World::new(&[]);
    for value in ["older", "good", "bad"] {
        world.apply(&[("a", Some(value))], RollbackMode::Off).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(roll_back_signed(&mut world, "rollback-3", 7).revision, 4);
    }
    assert!(!world.core().revision(4).unwrap().is_automatic());
}

#[test]
fn a_rollback_brings_the_release_back() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    world.apply(&[("a", Some("2"))], RollbackMode::Off).unwrap();
    let target = RollbackTarget { revision: Some(1), ..RollbackTarget::default() };
    world.roll_back(target).unwrap();
    assert_eq!(world.core().report().release.as_deref(), Some("1.0"));
}
