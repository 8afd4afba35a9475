//! Commands that read.

use std::collections::BTreeMap;

use serde_json::json;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Broker, TestFleet, manifest, vin};

#[tokio::test(flavor = "multi_thread")]
async fn vehicles_are_shown_and_selected_by_labels() {
    let mut fleet = TestFleet::start(4).await;
    fleet.disconnect(4).await;
    let all = fleet.run(&["get", "vehicles"]).await;
    assert_eq!(all.code, 0, "{all:?}");
    let lines: Vec<&str> = all.stdout.lines().collect();
    assert_eq!(lines.len(), 5, "{all:?}");
    assert!(lines[0].starts_with("VIN   STATUS    ANKAIOS     VERSION"), "{}", lines[0]);
    assert!(lines[1].starts_with("V01   online    connected"), "{}", lines[1]);
    assert!(lines[4].starts_with("V04   offline   <none>"), "{}", lines[4]);
    assert!(all.stderr.contains("4 of 4 seen (retained statuses)"), "{}", all.stderr);

    // An offline vehicle keeps its labels.
    let us = fleet.run(&["get", "vehicles", "-l", "region=us", "-o", "name"]).await;
    assert_eq!(us.stdout, "V02\nV04\n");
    fleet.write("fleet.csv", "vin,region\nV01,cn\nV09,cn\n");
    let listed = ["get", "vehicles", "--inventory", "fleet.csv", "-l", "region=cn", "-o", "jsonl"];
    let listed = fleet.run(&listed).await;
    let seen: Vec<_> = listed.json_lines().iter().map(|it| it["seen"].clone()).collect();
    assert_eq!(seen, [json!(true), json!(false)]);
    assert!(listed.stderr.contains("1 of 2 seen"), "{}", listed.stderr);
}

/// Some brokers give no retained messages to subscriptions with wildcards.
#[tokio::test(flavor = "multi_thread")]
async fn without_retained_statuses_the_vehicles_are_asked() {
    let broker = Broker::with(&["persistence false", "retain_available false"]).await;
    let fleet = TestFleet::with(broker, 0, &[]).await;
    let none = fleet.run(&["get", "vehicles"]).await;
    assert!(none.stderr.contains("set --fleet to ask the vehicles"), "{}", none.stderr);
    let mut fleet = fleet;
    fleet.add_and_wait(3).await;
    let asked = fleet.run(&["get", "vehicles", "--fleet", "test", "-o", "name"]).await;
    assert_eq!(asked.stdout, "V01\nV02\nV03\n", "{asked:?}");
    assert!(asked.stderr.contains("3 answers of fleet test"), "{}", asked.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_states_logs_and_history_are_read() {
    let fleet = TestFleet::start(2).await;
    fleet.write("a.yaml", &manifest("nginx", "1"));
    let applied = fleet.run(&["apply", "a.yaml", "--all", "--yes"]).await;
    assert_eq!(applied.code, 0, "{applied:?}");

    let workloads = fleet.run(&["get", "workloads", "V01"]).await;
    let nginx = workloads.stdout.lines().find(|line| line.contains("nginx")).unwrap();
    assert_eq!(nginx, "V01   nginx            agent_A   podman    Running(Ok)   <none>");
    let state = fleet.run(&["get", "state", "V01", "-o", "json"]).await;
    let state: serde_json::Value = serde_json::from_str(&state.stdout).unwrap();
    let config = &state["V01"]["desiredState"]["workloads"]["nginx"]["runtimeConfig"];
    assert_eq!(*config, json!("image: docker.io/nginx:1"));

    let history = fleet.run(&["history", "--all", "-o", "jsonl"]).await;
    let revisions: Vec<_> =
        history.json_lines().iter().map(|it| it["history"]["current"].clone()).collect();
    assert_eq!(revisions, [json!(1), json!(1)]);

    let waited = fleet.run(&["wait", "nginx", "--all"]).await;
    assert_eq!((waited.code, waited.stdout.as_str()), (0, "2 of 2 workloads RUNNING\n"));
    let waited = fleet.run(&["wait", "nope", "--all", "--timeout", "1s"]).await;
    let counted = (waited.code, waited.stdout.as_str());
    assert_eq!(counted, (1, "0 of 2 workloads RUNNING\n"), "{waited:?}");

    fleet.vehicles[&vin(1)].ankaios.log("nginx", ["one", "two\u{1b}[31m"]).await.unwrap();
    let logs = fleet.run(&["logs", "nginx", "--vehicle", "V01", "-n", "5"]).await;
    assert_eq!(logs.stdout, "V01 nginx | one\nV01 nginx | two [31m\n", "{logs:?}");

    let reply = fleet.run(&["request", "manifest/history", "--vehicle", "V02"]).await;
    assert!(reply.stdout.contains("\"current\": 1"), "{reply:?}");
    let refused = fleet.run(&["request", "state/update", "[]", "--vehicle", "V02"]).await;
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("1× invalid_payload: "), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diff_groups_vehicles_with_the_same_answer() {
    let fleet = TestFleet::start(3).await;
    fleet.write("1.yaml", &manifest("nginx", "1.28"));
    fleet.write("2.yaml", &manifest("nginx", "1.29"));
    assert_eq!(fleet.run(&["apply", "1.yaml", "V01", "V02", "--yes"]).await.code, 0);
    let diff = fleet.run(&["diff", "2.yaml", "--all"]).await;
    assert_eq!(diff.stdout, "2× nginx 1.28 → 1.29   V0[1-2]\n1× nginx new   V03\n");
    assert_eq!(diff.code, 1);
    let same = fleet.run(&["diff", "1.yaml", "V01", "V02"]).await;
    assert_eq!((same.code, same.stdout.as_str()), (0, "2× unchanged   V0[1-2]\n"));
    let again = fleet.run(&["apply", "1.yaml", "V01", "V02"]).await;
    assert_eq!((again.code, again.stdout.as_str()), (0, "2 unchanged\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_logs_are_followed_until_an_interrupt() {
    let fleet = TestFleet::start(2).await;
    let mut events = fleet.spawn(&["get", "events", "--all"]);
    events.line("V02   fleetconnector").await;
    fleet.write("a.yaml", &manifest("nginx", "1"));
    assert_eq!(fleet.run(&["apply", "a.yaml", "V02", "--yes"]).await.code, 0);
    events.line("V02   nginx   agent_A   Running(Ok)").await;
    let mut logs = fleet.spawn(&["logs", "nginx", "--vehicle", "V02", "-f"]);
    crate::support::eventually("the log is followed", || {
        !fleet.vehicles[&vin(2)].ankaios.streams()["logs"].is_empty()
    })
    .await;
    fleet.vehicles[&vin(2)].ankaios.log("nginx", ["hello"]).await.unwrap();
    logs.line("V02 nginx | hello").await;
    let subscriptions = fleet.run(&["get", "subscriptions"]).await;
    assert_eq!(subscriptions.stdout.lines().count(), 4, "{subscriptions:?}");
    for command in [&mut events, &mut logs] {
        command.signal(rustix::process::Signal::INT);
        assert_eq!(command.wait().await.code(), Some(130));
    }
    // They have ended their subscriptions.
    crate::support::eventually("no log is followed", || {
        fleet.vehicles[&vin(2)].ankaios.streams()["logs"].is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vehicles_that_appear_later_are_followed_if_they_are_selected() {
    let mut fleet = TestFleet::start(1).await;
    let all = fleet.spawn(&["get", "vehicles", "--all", "-w"]);
    let mut events = fleet.spawn(&["get", "events", "-l", "region=eu"]);
    all.line("V01").await;
    events.line("V01   fleetconnector").await;
    for number in [2, 3] {
        fleet.add(number, &[]).await;
    }
    // The region of V02 is another one.
    all.line("V02").await;
    all.line("V03").await;
    let headers = all.output().iter().filter(|line| line.starts_with("VIN")).count();
    assert_eq!(headers, 1, "{:?}", all.output());
    events.line("V03   fleetconnector").await;
    fleet.all_online().await;
    fleet.write("a.yaml", &manifest("nginx", "1"));
    assert_eq!(fleet.run(&["apply", "a.yaml", "--all", "--yes"]).await.code, 0);
    events.line("V03   nginx   agent_A   Running(Ok)").await;
    events.signal(rustix::process::Signal::INT);
    assert_eq!(events.wait().await.code(), Some(130));
    assert!(!events.output().iter().any(|line| line.contains("V02")), "{:?}", events.output());
    let subscriptions = fleet.run(&["get", "subscriptions", "-o", "jsonl"]).await;
    assert_eq!(subscriptions.stdout, "", "{subscriptions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_as_it_comes_is_one_document() {
    let fleet = TestFleet::start(3).await;
    for (kind, form) in [("state", "yaml"), ("state", "json")] {
        let shown = fleet.run(&["get", kind, "-o", form]).await;
        let all: BTreeMap<String, serde_json::Value> = serde_yaml::from_str(&shown.stdout).unwrap();
        assert_eq!(all.into_keys().collect::<Vec<_>>(), ["V01", "V02", "V03"], "{kind} {form}");
    }
    for form in ["yaml", "json"] {
        let shown = fleet.run(&["get", "workloads", "-o", form]).await;
        let all: Vec<BTreeMap<String, serde_json::Value>> =
            serde_yaml::from_str(&shown.stdout).unwrap();
        assert_eq!(all.len(), 3, "{form}: {all:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_the_fleet_are_served() {
    let mut fleet = TestFleet::start(3).await;
    let mut exporter =
        fleet.spawn(&["exporter", "--listen", "127.0.0.1:0", "--group-by", "region"]);
    let line = exporter.line("metrics are served on").await;
    let address = line.split(['/', ' ']).find(|part| part.starts_with("127.0.0.1:")).unwrap();
    fleet.disconnect(3).await;
    let mut page = String::new();
    let end = std::time::Instant::now() + crate::support::DEADLINE;
    while !page.contains("ank_fleet_vehicles{status=\"offline\",region=\"eu\"} 1") {
        assert!(std::time::Instant::now() < end, "{page}");
        page.clear();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
        stream.read_to_string(&mut page).await.unwrap();
    }
    assert!(page.starts_with("HTTP/1.0 200 OK\r\n"), "{page}");
    assert!(page.contains("ank_fleet_vehicles{status=\"online\",region=\"us\"} 1"), "{page}");
    exporter.signal(rustix::process::Signal::INT);
    assert_eq!(exporter.wait().await.code(), Some(130));
}
