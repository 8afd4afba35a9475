//! How replicas start and stop, and how they are distinguished.

use std::time::{Duration, Instant};

use ankaios_model::manifest::Manifest;
use ankaios_model::proto::ank_base::Workload;
use ankaios_model::proto::ank_base::access_rights_rule::AccessRightsRuleEnum;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::fleet::Fleet;
use super::replica::{BECOMES_ACTIVE, Replica, start};
use crate::support::proxy::Line;
use crate::support::vehicle::Vehicle;
use crate::support::{Broker, Proxy};

#[tokio::test]
async fn of_three_replicas_that_start_together_one_becomes_active() {
    let fleet = Fleet::with(Broker::start().await, &["a", "b", "c"]).await;
    fleet.statuses.online(0, &["a", "b", "c"]).await;
    fleet.has_one_active(1).await;
}

#[tokio::test]
async fn a_standby_that_is_stopped_ends_at_once_and_publishes_nothing() {
    let (mut fleet, active) = Fleet::start(&["a", "b"]).await;
    let standby = &mut fleet.replicas[1 - active];
    let begin = Instant::now();
    assert_eq!(standby.connector.terminate().await.code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    // The same without a broker.
    standby.proxy.set(Line::Refused);
    standby.start_again();
    standby.connector.line("a standby replica cannot see which replica is active").await;
    let begin = Instant::now();
    assert_eq!(standby.connector.terminate().await.code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    fleet.time_to_reply(1).await;
    let all = fleet.statuses.all();
    let own = |status: &Value| status["replica"] == json!(fleet.replicas[active].name);
    assert!(all.iter().all(|status| own(status) && status["status"] == json!("online")), "{all:?}");
}

#[tokio::test]
async fn a_replica_without_a_link_to_ankaios_lets_others_become_active() {
    let (mut fleet, active) = Fleet::start(&["a", "b", "c"]).await;
    let flow = fleet.flow(1000);
    let [lame, well] = [1, 2].map(|step| (active + step) % 3);
    let from = fleet.statuses.count();
    fleet.replicas[lame].vehicle.kill_agent().await.unwrap();
    fleet.replicas[lame].connector.line("no link to Ankaios").await;
    fleet.replicas[active].connector.kill().await;
    fleet.statuses.online(from, &[fleet.replicas[well].name]).await;
    // It becomes active only because there is no other replica.
    let from = fleet.statuses.count();
    fleet.replicas[well].connector.kill().await;
    fleet.statuses.online(from, &[fleet.replicas[lame].name]).await;
    let order = [active, well, lame].map(|index| fleet.replicas[index].name);
    assert_eq!(fleet.statuses.actives(), order);
    // Its requests are answered, although with errors.
    fleet.all_answered(flow).await;
}

#[tokio::test]
async fn a_new_process_takes_over_from_its_former_process_at_once() {
    let (mut fleet, active) = Fleet::start(&["a", "b"]).await;
    // Bytes still in flight to it would reset the connection.
    fleet.time_to_reply(1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let own = &mut fleet.replicas[active];
    // The broker does not notice that the former process has ended.
    own.proxy.set(Line::Silent);
    own.connector.kill().await;
    let way_around = Proxy::start(fleet.broker.port()).await;
    own.connector = start(&way_around, &own.vehicle, own.name);
    let took = fleet.time_to_reply(2).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(fleet.statuses.actives(), [fleet.replicas[active].name]);
}

#[tokio::test]
async fn two_replicas_of_the_same_name_are_reported() {
    let (fleet, _) = Fleet::start(&["a"]).await;
    let vehicle = Vehicle::start().await;
    let first = &fleet.replicas[0];
    // The second one treats the first as its own former process, unless the first answers in
    // time.
    first.connector.signal(Signal::STOP);
    let second = start(&first.proxy, &vehicle, "a");
    second.line("ready for requests").await;
    first.connector.signal(Signal::CONT);
    first.connector.line("a replica of the same name is active").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(first.count(BECOMES_ACTIVE), 1);
    fleet.time_to_reply(1).await;
    // Two standby replicas of the same name take over each other's connection.
    let third = Replica::start(fleet.broker.port(), "b").await;
    third.connector.line("another connector is active").await;
    let fourth = start(&third.proxy, &third.vehicle, "b");
    fourth.line("another connector is active").await;
    third.connector.line("another connector has the same REPLICA_ID").await;
    fleet.time_to_reply(2).await;
}

#[test]
fn the_shipped_replicas_differ_only_in_agent_and_name() {
    let parse = |manifest: &[u8]| {
        Manifest::parse(manifest).unwrap().desired_state().workloads.clone().unwrap().workloads
    };
    let replicas = parse(include_bytes!("../../../manifests/replicas.yaml"));
    let [first, second] = ["fleetconnector", "fleetconnector_standby"].map(|name| &replicas[name]);
    let alone = &parse(include_bytes!("../../../manifests/state.yaml"))["fleetconnector"];
    assert_eq!(replicas.len(), 2);
    assert_ne!(first.agent, second.agent);
    // Each one denies changes of itself.
    for (name, replica) in [("fleetconnector", first), ("fleetconnector_standby", second)] {
        let mut expected = alone.control_interface_access.clone().unwrap();
        let [deny] = &mut expected.deny_rules[..] else { panic!("one deny rule: {expected:?}") };
        let Some(AccessRightsRuleEnum::StateRule(rule)) = &mut deny.access_rights_rule_enum else {
            panic!("a rule for parts of the state: {deny:?}");
        };
        assert_eq!(rule.filter_masks, ["desiredState.workloads.fleetconnector"]);
        rule.filter_masks = vec![format!("desiredState.workloads.{name}")];
        assert_eq!(replica.control_interface_access, Some(expected));
    }
    let lines = |workload: &Workload| -> Vec<String> {
        let config = workload.runtime_config.clone().unwrap();
        let lines = config.lines().filter(|line| !line.trim_start().starts_with('#'));
        lines.map(|line| line.replace("REPLICA_ID=a", "REPLICA_ID=b")).collect()
    };
    assert_eq!(lines(first), lines(second));
    let protected = "PROTECTED_WORKLOADS=fleetconnector,fleetconnector_standby";
    assert!(lines(first).iter().any(|line| line.contains(protected)));
}
