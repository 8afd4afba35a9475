//! Commands that go on with changes.

use serde_json::{Value, json};

use crate::support::{Broker, Process, TestFleet, eventually, manifest, vin};

/// How many lines of a command contain this.
fn count(process: &Process, part: &str) -> usize {
    process.output().iter().filter(|line| line.contains(part)).count()
}

/// The subscriptions of the fleet.
async fn subscriptions(fleet: &TestFleet) -> Vec<Value> {
    fleet.run(&["get", "subscriptions", "--all", "-o", "jsonl"]).await.json_lines()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_a_vehicle_has_lost_is_made_again() {
    let mut fleet = TestFleet::start(1).await;
    fleet.write("a.yaml", &manifest("nginx", "1"));
    assert_eq!(fleet.run(&["apply", "a.yaml", "V01"]).await.code, 0);
    let events = fleet.spawn(&["get", "events", "--all"]);
    let mut logs = fleet.spawn(&["logs", "nginx", "--all", "-f"]);
    events.line("V01   nginx   agent_A   Running(Ok)").await;
    fleet.vehicles[&vin(1)].ankaios.log("nginx", ["one"]).await.unwrap();
    logs.line("V01 nginx | one").await;

    // Nobody knows of the subscriptions any more.
    let lost = subscriptions(&fleet).await;
    assert_eq!(lost.len(), 2, "{lost:?}");
    fleet.disconnect(1).await;
    fleet.forget(1);
    for subscription in lost {
        let [kind, id] = ["kind", "id"].map(|field| subscription[field].as_str().unwrap());
        fleet.broker.publish(&format!("vehicle/V01/{kind}/{id}/subscription"), "", &["-r"]).await;
    }
    fleet.connect(1);
    logs.line("V01: subscribed again; lines may be missing").await;
    fleet.vehicles[&vin(1)].ankaios.log("nginx", ["two"]).await.unwrap();
    logs.line("V01 nginx | two").await;
    assert_eq!(count(&logs, "| one"), 1, "{:?}", logs.output());
    while subscriptions(&fleet).await.len() < 2 {}
    fleet.vehicles[&vin(1)].ankaios.crash("nginx").unwrap();
    events.line("V01   nginx   agent_A   Failed(").await;
    // What has not changed is not printed again.
    assert_eq!(count(&events, "V01   fleetconnector"), 1, "{:?}", events.output());
    logs.signal(rustix::process::Signal::INT);
    assert_eq!(logs.wait().await.code(), Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_configs_states_and_subscriptions_are_followed() {
    let fleet = TestFleet::start(2).await;
    let subscriptions = fleet.spawn(&["get", "subscriptions", "V01", "-w"]);
    let ended = fleet.spawn(&["get", "subscriptions", "-w", "-o", "jsonl"]);
    let mut configs = fleet.spawn(&["get", "configs", "V01", "-w"]);
    subscriptions.line("V01   events   ").await;
    let state = fleet.spawn(&["get", "state", "V01", "-w", "-o", "jsonl"]);
    let yaml = fleet.spawn(&["get", "state", "V02", "-w"]);
    let rows = fleet.spawn(&["get", "workloads", "-w", "-o", "json"]);
    let names = fleet.spawn(&["get", "workloads", "-w", "-o", "name"]);
    yaml.line("vin: V02").await;
    yaml.line("---").await;
    for process in [&state, &rows, &names] {
        process.line("V01").await;
    }
    fleet.write("a.yaml", "apiVersion: v1\nconfigs:\n  door: 'open'\n");
    fleet.write("b.yaml", &manifest("nginx", "1"));
    assert_eq!(fleet.run(&["apply", "a.yaml", "b.yaml", "V01"]).await.code, 0);
    configs.line("V01   door   open").await;
    names.line("V01/nginx").await;
    let row: Value = serde_json::from_str(&rows.line("nginx").await).unwrap();
    assert_eq!((&row["vin"], &row["agent"]), (&json!("V01"), &json!("agent_A")));
    let change: Value = serde_json::from_str(&state.line("\"door\"").await).unwrap();
    assert_eq!(change["state"]["desired_state"]["configs"]["door"], json!("open"), "{change}");
    assert_eq!(fleet.run(&["apply", "-d", "a.yaml", "b.yaml", "V01"]).await.code, 0);
    configs.line("V01   desiredState.configs.door removed").await;
    rows.line("\"removed\":\"workloadStates.agent_A.nginx").await;
    state.line("\"removed_fields\":[").await;
    assert!(configs.output().iter().all(|line| !line.contains("V02")), "{:?}", configs.output());

    configs.signal(rustix::process::Signal::INT);
    assert_eq!(configs.wait().await.code(), Some(130));
    eventually("its end is shown", || count(&subscriptions, "   ended") == 1).await;
    let end: Value = serde_json::from_str(&ended.line("\"ended\":true").await).unwrap();
    assert_eq!((&end["vin"], &end["kind"]), (&json!("V01"), &json!("events")), "{end}");
    assert_eq!(end["record"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_form_of_output_is_printed_or_refused() {
    let fleet = TestFleet::start(1).await;
    let wide = fleet.run(&["get", "workloads", "-o", "wide"]).await;
    assert!(wide.stdout.lines().next().unwrap().contains("   ID   "), "{wide:?}");
    let _events = fleet.spawn(&["get", "events"]);
    while subscriptions(&fleet).await.is_empty() {}
    let names = fleet.run(&["get", "subscriptions", "-o", "name"]).await;
    assert!(names.stdout.starts_with("V01/events/"), "{names:?}");
    let refused = fleet.run(&["get", "state", "-o", "wide"]).await;
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("a state is not a table"), "{refused:?}");
    let vehicles = fleet.spawn(&["get", "vehicles", "-w", "-o", "yaml"]);
    vehicles.line("vin: V01").await;
    vehicles.line("---").await;
}

/// More than the broker takes at once.
#[tokio::test(flavor = "multi_thread")]
async fn all_subscriptions_are_ended_by_ctrl_c() {
    let broker = Broker::with(&["persistence false", "max_inflight_messages 2"]).await;
    let fleet = TestFleet::with(broker, 6, &[]).await;
    let mut events = fleet.spawn(&["get", "events", "--all"]);
    let records = fleet.spawn(&["get", "subscriptions", "--all", "-w"]);
    eventually("all are followed", || count(&records, "Z") == 6).await;
    events.signal(rustix::process::Signal::INT);
    assert_eq!(events.wait().await.code(), Some(130));
    eventually("all have ended", || count(&records, "   ended") == 6).await;
}
