//! Restoration: what is put back after Ankaios has started anew.

use super::*;

#[test]
fn a_change_outlives_a_restart_of_the_server_and_of_the_connector() {
    let mut world = World::new(&[("base", "1")]);
    let updated = world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    assert_eq!(updated.revision, 1);
    assert_eq!(world.apply(&[("base", None)], RollbackMode::Off).unwrap().revision, 2);
    assert_eq!(summary(&world), (2, values(&[("a", "1")]), Some(2)));
    world.restart_server();
    assert_eq!(summary(&world), (2, values(&[("a", "1")]), Some(2)));
    world.crash();
    world.restart_server();
    assert_eq!(summary(&world), (2, values(&[("a", "1")]), Some(2)));
    assert_eq!(world.core().report().restore, None);
    let follows: Vec<_> = world.follows.iter().map(|follow| follow.request_id.as_str()).collect();
    // The revisions are in progress: after each restart their rollouts are followed again.
    let restores = follows.iter().filter(|id| **id == "restore-2").count();
    assert_eq!((restores, follows.len()), (2, 8));
}

#[test]
fn a_revision_that_never_succeeded_is_tried_three_times() {
    let mut world = World::new(&[("base", "1")]);
    world.apply(&[("good", Some("1"))], RollbackMode::Off).unwrap();
    world.end_rollouts(RolloutStatus::Succeeded);
    world.apply(&[("bad", Some("1")), ("base", None)], RollbackMode::Off).unwrap();
    for _ in 0..MAX_TRIES {
        world.crash_off();
        world.restart_server();
        assert_eq!(summary(&world), (2, values(&[("bad", "1"), ("good", "1")]), Some(2)));
    }
    world.crash_off();
    world.restart_server();
    assert_eq!(summary(&world), (3, values(&[("base", "1"), ("good", "1")]), Some(3)));
    let report = world.core().report();
    assert_eq!(report.restore, Some(RestoreState::GivenUp));
    assert!(report.restore_reason.unwrap().contains("revision 2 was put back 3 times"));
    assert_eq!(world.core().history().revisions[0].reverts, Some(2));
    assert_eq!(world.core().history().revisions[1].status, RevisionStatus::RolledBack);
    // The next change ends it.
    world.apply(&[("x", Some("1"))], RollbackMode::Off).unwrap();
    assert_eq!(world.core().report().restore, None);
}

#[test]
fn a_revision_that_has_once_succeeded_is_always_put_back() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    world.end_rollouts(RolloutStatus::Succeeded);
    world.pass(SAVE_DELAY);
    for _ in 0..3 * MAX_TRIES {
        world.crash_off();
        world.restart_server();
        world.end_rollouts(RolloutStatus::Failed);
        assert_eq!(summary(&world), (1, values(&[("a", "1")]), Some(1)));
    }
}

#[test]
fn what_ankaios_refuses_stays_as_it_started_until_the_next_change() {
    let mut world = World::new(&[("base", "1")]);
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    world.fault = Fault::Rejects;
    world.restart_server();
    let report = world.core().report();
    assert_eq!(report.restore, Some(RestoreState::Refused));
    assert_eq!(report.restore_reason.as_deref(), Some("rejected"));
    assert_eq!(summary(&world), (1, values(&[("base", "1")]), None));
    // A change brings the whole overlay.
    world.fault = Fault::None;
    assert_eq!(world.apply(&[("b", Some("1"))], RollbackMode::Off).unwrap().revision, 2);
    assert_eq!(summary(&world), (2, values(&[("a", "1"), ("b", "1"), ("base", "1")]), Some(2)));
    assert_eq!(world.core().report().restore, None);
}

/// The documented access rule for updates of the connector through itself denies masks that include
/// `controlInterfaceAccess`.
#[test]
fn only_the_fields_that_differ_are_put_back() {
    let mut world = World::new(&[]);
    let workload = |runtime_config: &str| {
        json!({"desiredState": {"workloads": {"fleetconnector": {
            "agent": "a", "runtime": "podman", "runtimeConfig": runtime_config,
            "controlInterfaceAccess": {"allowRules": [
                {"type": "StateRule", "operation": "Read", "filterMasks": ["*"]}]},
        }}}})
    };
    world.vehicle.startup = workload("image: old");
    world.restart_server();
    let mask = "desiredState.workloads.fleetconnector.runtimeConfig";
    world.update(&[mask], &workload("image: new")).unwrap();
    world.restart_server();
    assert_eq!(world.last_masks, [mask, marker::MASK]);
    world.roll_back(RollbackTarget::default()).unwrap();
    assert_eq!(world.last_masks[1..], [mask, marker::MASK]);
    assert_eq!(
        world.vehicle.state["desiredState"]["workloads"],
        workload("image: old")["desiredState"]["workloads"]
    );
}

#[test]
fn the_rest_of_an_overlay_that_was_refused_is_judged_with_the_next_change() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    assert!(!world.last_is_judged, "it was judged when the state was read");
    world.apply(&[("a", Some("2"))], RollbackMode::Off).unwrap();
    assert!(world.last_is_judged, "no state was read");
    world.fault = Fault::Rejects;
    world.restart_server();
    assert!(world.last_is_judged);
    world.fault = Fault::None;
    world.apply(&[("b", Some("1"))], RollbackMode::Off).unwrap();
    assert!(world.last_is_judged);
    assert_eq!(world.vehicle.values().len(), 2);
}

#[test]
fn what_was_refused_is_not_another_try() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    world.fault = Fault::Rejects;
    for _ in 0..3 * MAX_TRIES {
        world.restart_server();
        // The event about the marker, which is gone.
        let sent = world.sent;
        world.handle(Event::Marker(None));
        world.handle(Event::Interrupted);
        assert_eq!(world.sent, sent, "it is not sent twice");
        assert_eq!(world.core().report().restore, Some(RestoreState::Refused));
    }
    world.fault = Fault::None;
    world.restart_server();
    assert_eq!(summary(&world), (1, values(&[("a", "1")]), Some(1)));
}

#[test]
fn a_server_that_restarts_while_the_link_stays_gets_it_back() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    let sent = world.sent;
    world.handle(Event::Interrupted);
    assert_eq!(world.sent, sent, "nothing was lost");
    world.vehicle.state = world.vehicle.startup.clone();
    world.handle(Event::Interrupted);
    assert_eq!(summary(&world), (1, values(&[("a", "1")]), Some(1)));
}

#[test]
fn a_revision_whose_workloads_have_not_stayed_up_is_not_put_back_for_ever() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    let succeeded =
        Event::RolloutEnded { revision: 1, status: RolloutStatus::Succeeded, is_stable: false };
    world.handle(succeeded);
    assert_eq!(world.core().report().rollout, Some(RevisionStatus::Succeeded));
    for attempt in 0..3 {
        world.crash_off();
        world.restart_server();
        assert_eq!(summary(&world).0, 1, "{attempt}");
    }
    world.crash_off();
    world.restart_server();
    assert!(world.given_up);
    assert_eq!(summary(&world), (2, values(&[]), Some(2)));
}

#[test]
fn the_next_change_after_a_refused_restoration_follows_what_it_brings() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::OnFailure).unwrap();
    world.fault = Fault::Rejects;
    world.crash_off();
    world.restart_server();
    world.fault = Fault::None;
    world.follows.clear();
    world.apply(&[("b", Some("1"))], RollbackMode::Off).unwrap();
    assert!(world.follows.iter().any(|follow| follow.revision == Some(1)), "{:?}", world.follows);
    world.end_rollout(1, RolloutStatus::Failed);
    assert_eq!(summary(&world).1, values(&[("b", "1")]));
}

#[test]
fn a_revision_whose_items_a_later_one_has_changed_is_superseded() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    world.fault = Fault::Rejects;
    world.restart_server();
    world.fault = Fault::None;
    world.apply(&[("a", None)], RollbackMode::Off).unwrap();
    assert_eq!(world.core().revision(1).unwrap().status, RevisionStatus::Superseded);
}
