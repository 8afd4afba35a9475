//! Tests of the core: a model of a vehicle and of a disk, with random events, faults and crashes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod doubt;
mod model;
mod random;
mod random_trials;
mod restarts;
mod trials;

use ankaios_model::proto::ank_base::UpdateStateSuccess;
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::status::RestoreState;
use model::{Fault, World};
use serde_json::json;

use std::time::Duration;

use ankaios_control::RequestError;
use fleet_contract::revision::{RevisionStatus, RollbackMode};
use fleet_contract::rollout::RolloutStatus;

use super::state::{RETRY, SAVE_DELAY, STORE_RETRY};
use super::*;
use crate::revisions::marker::{self, Marker};
use crate::revisions::revision::{MAX_TRIES, Origin};

fn origin(mode: RollbackMode) -> Origin {
    Origin {
        operation: "manifest/apply".into(),
        request_id: "7f3a/1".into(),
        release: Some("1.0".into()),
        rollback: mode,
    }
}

/// The number of the current revision, the values in the vehicle, and the marker's revision.
fn summary(world: &World) -> (u64, Vec<(String, String)>, Option<u64>) {
    let values = world.vehicle.values();
    (world.core().current(), values, world.vehicle.marker().map(|marker| marker.revision))
}

fn values(values: &[(&str, &str)]) -> Vec<(String, String)> {
    values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

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
fn an_update_that_leaves_the_overlay_as_it_is_makes_no_revision() {
    let mut world = World::new(&[]);
    assert_eq!(world.apply(&[("none", None)], RollbackMode::Off).unwrap().revision, 0);
    assert_eq!(world.vehicle.marker(), None);
    assert_eq!(world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap().revision, 1);
    assert_eq!(world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap().revision, 1);
    // It is sent nevertheless: somebody on the vehicle may have changed the item.
    world.vehicle.change("a", Some("2"));
    assert_eq!(world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap().revision, 1);
    assert_eq!(summary(&world), (1, values(&[("a", "1")]), Some(1)));
}

#[test]
fn a_local_change_is_left_alone_as_long_as_the_marker_is_there() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    world.vehicle.change("a", Some("local"));
    world.crash();
    assert_eq!(summary(&world), (1, values(&[("a", "local")]), Some(1)));
}

#[test]
fn what_cannot_be_kept_is_not_made() {
    let mut world = World::new(&[]);
    world.fault = Fault::Disk;
    let failure = world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap_err();
    assert!(matches!(failure, Failure::Store(_)), "{failure:?}");
    assert_eq!(summary(&world), (0, values(&[]), None));
    assert_eq!(world.sent, 0);
    world.fault = Fault::None;
    assert_eq!(world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap().revision, 1);
    // A revision that has succeeded is put back even then.
    world.end_rollouts(RolloutStatus::Succeeded);
    world.fault = Fault::Disk;
    world.restart_server();
    assert_eq!(summary(&world), (1, values(&[("a", "1")]), Some(1)));
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
fn a_rejected_change_leaves_no_revision() {
    let mut world = World::new(&[]);
    world.fault = Fault::Rejects;
    let failure = world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap_err();
    assert!(matches!(failure, Failure::Request(RequestError::Rejected(_))), "{failure:?}");
    world.fault = Fault::None;
    world.crash();
    assert_eq!(summary(&world), (0, values(&[]), None));
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
fn a_revision_of_another_connector_is_taken_over() {
    let mut other = World::new(&[]);
    other.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    other.apply(&[("b", Some("1"))], RollbackMode::Off).unwrap();
    let mut world = World::new(&[]);
    world.apply(&[("c", Some("1"))], RollbackMode::Off).unwrap();
    world.vehicle = other.vehicle.clone();
    let seen = Marker::hint(&world.vehicle.state);
    world.handle(Event::Marker(seen));
    assert_eq!(world.core().current(), 2);
    world.crash_off();
    world.restart_server();
    assert_eq!(summary(&world), (2, values(&[("a", "1"), ("b", "1")]), Some(2)));
    let newest = &world.core().history().revisions[0];
    assert_eq!(
        (newest.operation.as_str(), newest.request_id.as_str()),
        ("manifest/apply", "7f3a/1")
    );
    let changed = &newest.changed;
    assert_eq!(
        (&*changed.configs, &*changed.deleted),
        (&["a".into(), "b".into()][..], &["c".into()][..])
    );
    // A new disk.
    world.lose_disk();
    assert_eq!(world.core().current(), 2);
}

/// A standby replica of a vehicle that nobody has changed yet.
#[test]
fn the_first_revision_of_another_connector_is_taken_over_by_its_event() {
    let mut other = World::new(&[]);
    other.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    let mut world = World::new(&[]);
    world.vehicle = other.vehicle.clone();
    let id = world.vehicle.marker().unwrap().id;
    let event = json!({"desiredState": {"configs": {marker::NAME: {"revision": "1", "id": id}}}});
    world.handle(Event::Marker(Marker::hint(&event)));
    assert_eq!(world.core().current(), 1);
}

#[test]
fn a_request_that_cannot_start_in_time_is_given_up() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    world.fault = Fault::NotSent;
    world.restart_server();
    // The restoration is tried again and again; a request waits for it.
    let id = world.request(&[("b", Some("1"))], RollbackMode::Off);
    world.pass(World::REQUEST_TIMEOUT);
    let failure = world.answers.remove(&id).unwrap().unwrap_err();
    assert!(matches!(failure, Failure::Request(RequestError::Timeout(_))), "{failure:?}");
    world.fault = Fault::None;
    world.pass(RETRY);
    assert_eq!(summary(&world), (1, values(&[("a", "1")]), Some(1)));
}

#[test]
fn masks_above_and_below_an_item_count_as_changes_of_the_items() {
    let mut world = World::new(&[("base", "1")]);
    let state = json!({"desiredState": {"configs": {"a": {"x": "1"}}}});
    world.update(&["desiredState.configs"], &state).unwrap();
    let changed = world.core().history().revisions[0].changed.clone();
    assert_eq!((changed.configs, changed.deleted), (vec!["a".to_owned()], vec!["base".to_owned()]));
    assert!(world.vehicle.marker().is_some(), "the mask covers the marker");
    let part = json!({"desiredState": {"configs": {"a": {"y": "2"}}}});
    world.update(&["desiredState.configs.a.y"], &part).unwrap();
    world.restart_server();
    assert_eq!(world.vehicle.state["desiredState"]["configs"]["a"], json!({"x": "1", "y": "2"}));
    assert_eq!(world.vehicle.state["desiredState"]["configs"].get("base"), None);
    // Tags of agents are no items.
    let tags = json!({"agents": {"agent_A": {"tags": {"a": "b"}}}});
    assert_eq!(world.update(&["agents.agent_A.tags"], &tags).unwrap().revision, 2);
}

#[test]
fn more_than_can_be_put_back_is_refused() {
    let mut world = World::new(&[]);
    let large = "x".repeat(World::MAX_UPDATE / 2);
    world.apply(&[("a", Some(&large))], RollbackMode::Off).unwrap();
    let failure = world.apply(&[("b", Some(&large))], RollbackMode::Off).unwrap_err();
    assert!(matches!(failure, Failure::TooLarge { .. }), "{failure:?}");
    world.apply(&[("a", None), ("b", Some(&large))], RollbackMode::Off).unwrap();
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
        assert_eq!(world.sent, sent, "it is not sent twice");
        assert_eq!(world.core().report().restore, Some(RestoreState::Refused));
    }
    world.fault = Fault::None;
    world.restart_server();
    assert_eq!(summary(&world), (1, values(&[("a", "1")]), Some(1)));
}

#[test]
fn statuses_that_a_full_disk_has_refused_are_written_later() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    world.end_rollouts(RolloutStatus::Succeeded);
    world.fault = Fault::Disk;
    world.pass(SAVE_DELAY);
    world.apply(&[("b", Some("1"))], RollbackMode::Off).unwrap_err();
    world.fault = Fault::None;
    world.pass(STORE_RETRY);
    world.crash_off();
    let history = world.core().history();
    assert_eq!((history.current, history.revisions[0].status), (1, RevisionStatus::Succeeded));
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

#[test]
fn a_hostile_marker_is_replaced() {
    for (revision, id, is) in [
        (u64::MAX.to_string(), "ab", json!({"ab": {}})),
        ((1_u64 << 53).to_string(), "ab", json!({"ab": {}})),
        ("99".into(), "ab", json!({})),
        ("99".into(), "a.b", json!({"a.b": {}})),
    ] {
        let mut world = World::new(&[]);
        let marker = json!({"revision": revision, "id": id, "is": is,
                            "workloads": [], "configs": ["fleetconnector_revision"]});
        world.vehicle.state["desiredState"]["configs"][marker::NAME] = marker;
        let seen = world.vehicle.marker();
        world.handle(Event::Marker(seen));
        assert_eq!(world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap().revision, 1);
        assert_eq!(world.apply(&[("a", Some("2"))], RollbackMode::Off).unwrap().revision, 2);
        assert_eq!(summary(&world), (2, values(&[("a", "2")]), Some(2)));
    }
}

#[test]
fn a_value_that_cannot_be_sent_deletes_nothing() {
    let mut world = World::new(&[("base", "1")]);
    world.vehicle.startup["desiredState"]["configs"]["net"] = json!({"eth0.100": "x"});
    world.restart_server();
    world.apply(&[("net", Some("1")), ("base", Some("2"))], RollbackMode::Off).unwrap();
    let target = RollbackTarget { revision: Some(0), ..RollbackTarget::default() };
    let failure = world.roll_back(target).unwrap_err();
    assert!(matches!(failure, Failure::Invalid(_)), "{failure:?}");
    assert_eq!(summary(&world), (1, values(&[("base", "2"), ("net", "1")]), Some(1)));
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
fn nothing_is_due_while_a_step_waits() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    world.end_rollouts(RolloutStatus::Succeeded);
    world.queue("b", Some("1"), RollbackMode::Off);
    assert!(world.asked.is_some());
    let now = world.now.monotonic;
    world.advance(now + SAVE_DELAY + Duration::from_secs(1));
    world.step(Event::Tick);
    assert_eq!(world.core().deadline(), None);
}

#[test]
fn the_reason_of_a_failed_check_is_told() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    world.fault = Fault::NotSent;
    world.restart_server();
    let report = world.core().report();
    assert_eq!(report.restore, None, "it was in place before");
    world.crash();
    let report = world.core().report();
    assert_eq!(report.restore, Some(RestoreState::Pending));
    assert!(report.restore_reason.unwrap().contains("has not answered"));
}

#[test]
fn a_change_that_starts_no_workload_succeeds_at_once() {
    let mut world = World::new(&[]);
    world.success = UpdateStateSuccess::default();
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    let newest = |world: &World| world.core().revision(world.core().current()).unwrap().clone();
    assert_eq!(
        (newest(&world).status, newest(&world).has_succeeded),
        (RevisionStatus::Succeeded, true)
    );
    // It is on the disk already.
    world.crash();
    assert_eq!(newest(&world).status, RevisionStatus::Succeeded);
    world.apply(&[("a", Some("2"))], RollbackMode::UnlessConfirmed).unwrap();
    assert_eq!(newest(&world).status, RevisionStatus::InProgress);
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

#[test]
fn what_later_revisions_have_replaced_cannot_be_confirmed() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::UnlessConfirmed).unwrap();
    world.end_rollouts(RolloutStatus::Succeeded);
    world.apply(&[("a", Some("2"))], RollbackMode::Off).unwrap();
    assert!(matches!(world.confirm(1), Err(Failure::Rejected(_))));
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

#[test]
fn ends_of_rollouts_in_an_earlier_process_are_reported() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    world.end_rollouts(RolloutStatus::TimedOut);
    world.apply(&[("b", Some("1"))], RollbackMode::Off).unwrap();
    world.crash();
    assert_eq!(world.ended, [(1, RolloutStatus::TimedOut)]);
}

/// The guard has refused it when it was about to be written.
#[test]
fn a_change_that_is_refused_is_not_written() {
    let mut world = World::new(&[]);
    world.apply(&[("a", Some("1"))], RollbackMode::Off).unwrap();
    let id = world.queue("a", Some("2"), RollbackMode::Off);
    let reply = ErrorReply::new(ErrorCode::Forbidden, "no");
    let Some(Action::Save { judge: Some(_), .. }) = world.asked.take() else { panic!() };
    world.step(Event::Refused(reply));
    world.handle(Event::Tick);
    assert!(matches!(world.answers.remove(&id), Some(Err(Failure::Refused(_)))));
    assert_eq!(summary(&world), (1, values(&[("a", "1")]), Some(1)));
}
