//! Revisions of other connectors.

use ankaios_model::json::ankaios::parse_complete_state;
use ankaios_model::proto::ank_base::UpdateStateRequest;
use fleet_contract::error::ErrorCode;

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

/// A request for one config that is signed with this serial.
fn signed(world: &mut World, name: &str, serial: u64, digest: &str) -> Result<Updated, Failure> {
    let origin = signed_origin(serial, digest);
    let value = json!({"desiredState": {"configs": {name: digest}}});
    let update = UpdateStateRequest {
        new_state: Some(parse_complete_state(value).unwrap()),
        update_mask: vec![format!("desiredState.configs.{name}")],
    };
    world.change(Job::Change { origin, update, named: [].into(), is_published: true })
}

/// A request for the tags of an agent that is signed with this serial.
fn signed_tags(world: &mut World, serial: u64, digest: &str) -> Result<Updated, Failure> {
    let origin = signed_origin(serial, digest);
    let update = UpdateStateRequest {
        new_state: Some(parse_complete_state(json!({})).unwrap()),
        update_mask: vec!["agents.agent_A.tags".into()],
    };
    world.change(Job::Change { origin, update, named: [].into(), is_published: false })
}

/// Otherwise, whoever makes another replica the active one could replay what the former one has
/// replaced.
#[test]
fn what_another_connector_has_accepted_makes_older_requests_replays() {
    let mut other = World::new(&[]);
    signed(&mut other, "a", 7, "seven").unwrap();
    signed(&mut other, "b", 5, "five").unwrap();
    let mut world = World::new(&[]);
    world.vehicle = other.vehicle.clone();
    let seen = Marker::hint(&world.vehicle.state);
    world.handle(Event::Marker(seen));
    for crashes in [false, true] {
        if crashes {
            world.crash();
        }
        for (serial, digest) in [(6, "six"), (7, "other"), (1, "one")] {
            let refused = signed(&mut world, "a", serial, digest);
            let Err(Failure::Refused(reply)) = refused else { panic!("{refused:?}") };
            assert_eq!(reply.code, ErrorCode::Untrusted);
            assert_eq!(reply.details["reason"], "replayed");
        }
        // It is delivered again.
        signed(&mut world, "a", 7, "seven").unwrap();
        // Nor is what revisions do not contain changed by an older one.
        assert!(matches!(signed_tags(&mut world, 6, "six"), Err(Failure::Refused(_))));
        // The model has no agents.
        assert!(matches!(signed_tags(&mut world, 8, "tags"), Err(Failure::Request(_))));
    }
    signed(&mut world, "a", 8, "eight").unwrap();
    let newest = world.core().revision(world.core().current()).unwrap();
    assert_eq!(newest.highest_serial.as_ref().map(|highest| highest.serial), Some(8));
    assert!(matches!(signed(&mut world, "c", 6, "six"), Err(Failure::Refused(_))));
    // A connector that keeps its own revisions knows the serials of single items.
    signed(&mut other, "a", 8, "eight").unwrap();
    signed(&mut other, "c", 6, "six").unwrap();
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
