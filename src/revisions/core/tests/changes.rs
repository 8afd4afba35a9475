//! Changes that operators request: what becomes a revision, and what is refused.

use super::*;

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
