//! Two replicas, each with its own agent, store and trust file.

use super::*;
use crate::support::connector::start_connector;
use crate::support::scene::find;
use crate::support::vehicle::Vehicle;
use crate::support::{Broker, Process, Scene};

const APPLY: &str = "manifest/apply";

fn start(broker: &Broker, vehicle: &Vehicle, trusting: &Trusting, name: &str) -> Process {
    let settings = trusting.settings();
    let more = [("REPLICA_ID", name), ("MQTT_KEEP_ALIVE", "5s")];
    let settings = [&borrowed(&settings)[..], &more].concat();
    start_connector(broker, vehicle.control_interface(), &settings)
}

#[tokio::test]
async fn each_replica_verifies_with_its_own_trust_file_and_serials() {
    let (first, second) = (Trusting::new(), Trusting::new());
    second.mount(&first.file());
    let broker = Broker::with(&["persistence false", "max_queued_messages 0"]).await;
    let vehicle = Vehicle::start().await;
    let connector = start(&broker, &vehicle, &first, "a");
    connector.line("this replica becomes active").await;
    let mut scene = Scene { broker, vehicle, connector };
    let mut status = scene.client("connector/status").await;
    find(&mut status, |status| status["ankaios"] == "connected" && status["replica"] == "a").await;
    let other = Vehicle::start().await;
    let standby = start(&scene.broker, &other, &second, "b");
    standby.line("standby: another connector is active").await;

    let request = |serial, value| first.sign(&statement(APPLY, serial), &config("door", value));
    let reply = scene.request(APPLY, request(5, "open")).await;
    assert!(reply["revision"].is_u64(), "{reply}");
    let reply = scene.request(APPLY, request(4, "closed")).await;
    assert_eq!(refusal(&reply), untrusted("replayed"), "{reply}");
    scene.connector.kill().await;
    find(&mut status, |status| status["ankaios"] == "connected" && status["replica"] == "b").await;
    // It is as strict, and has only the serials that it has accepted itself.
    let (mut scene, former) =
        (Scene { vehicle: other, connector: standby, ..scene }, scene.vehicle);
    let reply = scene.request(APPLY, config("door", "closed")).await;
    assert_eq!(refusal(&reply), untrusted("unsigned"), "{reply}");
    let reply = scene.request(APPLY, request(6, "closed")).await;
    assert!(reply["revision"].is_u64(), "{reply}");
    let reply = scene.request(APPLY, request(5, "open")).await;
    assert_eq!(refusal(&reply), untrusted("replayed"), "{reply}");
    assert!(value_of(&scene, "door").unwrap().contains("closed"));
    // The other replica does not get a new trust file, and the operator is told so.
    let next = first.file().replace("version: 1", "version: 2");
    let update = bundle(&statement("trust/update", 1), next.as_bytes(), &first.root.each_ref());
    let reply = scene.request("trust/update", update).await;
    assert_eq!(reply["version"], 2, "{reply}");
    let warning = reply["warning"].as_str().unwrap();
    assert!(warning.contains("only the replica \"b\" has it"), "{warning}");
    assert!(warning.contains("mount version 2 on the hosts of all replicas"), "{warning}");
    let line = scene.connector.line("trust/update: only the replica").await;
    assert!(line.contains("WARN"), "{line}");
    scene.connector.kill().await;
    drop(former);
}
