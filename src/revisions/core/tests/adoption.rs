//! Revisions of other connectors.

use super::*;

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
