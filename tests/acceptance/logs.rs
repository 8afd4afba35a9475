//! Log subscriptions across interruptions of all kinds: real Mosquitto, real binary, simulated
//! Ankaios.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::sleep;
use vehicle_simulator::Problem;

use crate::support::connector::{BASE, start_connector_at};
use crate::support::proxy::Line;
use crate::support::scene::{find, payload, workload};
use crate::support::vehicle::Vehicle;
use crate::support::{Broker, Client, DEADLINE, Proxy, Scene, eventually};

const SECOND: Duration = Duration::from_secs(1);

/// Adds a workload to the vehicle and waits until it runs.
async fn run(scene: &Scene, name: &str) -> Value {
    scene.request("manifest/apply", workload(name, &format!("localhost/{name}"))).await;
    let wait = json!({"workload_name": name, "state": "RUNNING"}).to_string();
    let running = scene.request("workload/wait", wait).await;
    json!({
        "agent_name": running["agent_name"],
        "workload_name": name,
        "workload_id": running["workload_id"],
    })
}

/// Reads messages up to the line `last`; returns all lines.
async fn lines_until(logs: &mut Client, last: &str) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let message = payload(&logs.next().await);
        for entry in message["entries"].as_array().into_iter().flatten() {
            lines.push(entry["message"].as_str().unwrap().to_owned());
        }
        if lines.iter().any(|line| line == last) {
            return lines;
        }
    }
}

#[tokio::test]
async fn no_line_is_lost_across_restarts_of_agent_server_and_connector() {
    let broker = Broker::persistent().await;
    let mut scene = Scene::with_broker(broker, &[]).await;
    run(&scene, "talker").await;
    // Otherwise a restart of the server removes the workload.
    scene.vehicle.set_startup_manifest(scene.vehicle.desired_state()).unwrap();
    let mut logs = scene.client("logs/l").await;
    let request = r#"{"id": "l", "workloads": ["talker"], "follow": true, "ttl": "0s"}"#;
    scene.request("logs/subscribe", request).await;
    let mut seen = BTreeSet::new();
    for fault in ["agent", "server", "connector"] {
        let line = |part: &str| format!("{part} {fault}");
        scene.vehicle.log("talker", [line("before")]).await.unwrap();
        seen.extend(lines_until(&mut logs, &line("before")).await);
        match fault {
            "agent" => {
                scene.vehicle.kill_agent().await.unwrap();
                scene.connector.line("no link to Ankaios").await;
            }
            "server" => scene.vehicle.restart_server().await.unwrap(),
            _ => scene.connector.kill().await,
        }
        scene.vehicle.log("talker", (0..10).map(|n| line(&n.to_string()))).await.unwrap();
        match fault {
            "agent" => scene.vehicle.start_agent().await.unwrap(),
            "server" => {}
            _ => {
                scene.vehicle.start_agent().await.unwrap();
                scene.restart_connector(&[]).await;
            }
        }
        scene.vehicle.log("talker", [line("after")]).await.unwrap();
        while !seen.contains(&line("after")) || !seen.contains(&line("9")) {
            seen.extend(lines_until(&mut logs, &line("after")).await);
        }
        for number in 0..10 {
            assert!(seen.contains(&line(&number.to_string())), "{number} {fault}: {seen:?}");
        }
    }
}

#[tokio::test]
async fn a_long_log_continues_after_a_restart_in_the_middle() {
    const LINES: usize = 500;
    let broker = Broker::persistent().await;
    let mut scene = Scene::with_broker(broker, &[]).await;
    run(&scene, "talker").await;
    let padding = "x".repeat(2000);
    let lines: Vec<_> = (0..LINES).map(|number| format!("{number} {padding}")).collect();
    let long_ago = SystemTime::now() - 300 * SECOND;
    scene.vehicle.log_at("talker", lines.clone(), long_ago).await.unwrap();

    // The uplink is so slow that most of the log is still in the connector.
    let proxy = Proxy::start(scene.broker.port()).await;
    scene.connector.terminate().await;
    let start =
        |vehicle: &Vehicle| start_connector_at(proxy.port(), vehicle.control_interface(), &[]);
    scene.connector = start(&scene.vehicle);
    scene.connector.line("ready for requests").await;
    scene.connector.line("the link to Ankaios is up").await;
    let mut logs = scene.client("logs/l").await;
    proxy.set(Line::Slow(100_000));
    let request = r#"{"id": "l", "workloads": ["talker"], "follow": true, "ttl": "0s"}"#;
    // A request that is not redelivered.
    scene.reply("logs/subscribe", request, &["-q", "0"]).await;
    let mut seen: BTreeSet<_> = lines_until(&mut logs, &lines[0]).await.into_iter().collect();
    scene.connector.kill().await;
    assert!(seen.len() < LINES);
    proxy.set(Line::Open);
    scene.connector = start(&scene.vehicle);
    seen.extend(lines_until(&mut logs, &lines[LINES - 1]).await);
    assert_eq!(seen.len(), LINES);
}

#[tokio::test]
async fn lines_written_while_the_connector_is_suspended_arrive_afterwards() {
    let scene = Scene::start().await;
    run(&scene, "talker").await;
    let mut logs = scene.client("logs/l").await;
    // Without older lines, so that the whole log is not requested again.
    let request = r#"{"id": "l", "workloads": ["talker"], "follow": true, "tail": 0}"#;
    scene.request("logs/subscribe", request).await;
    scene.vehicle.log("talker", ["before"]).await.unwrap();
    lines_until(&mut logs, "before").await;
    scene.connector.signal(Signal::STOP);
    let delivered = scene.vehicle.counters().delivered;
    scene.vehicle.log("talker", ["on its way"]).await.unwrap();
    eventually("it is in the pipe", 5 * SECOND, async || {
        (scene.vehicle.counters().delivered > delivered).then_some(())
    })
    .await;
    scene.vehicle.kill_agent().await.unwrap();
    scene.vehicle.log("talker", ["without an agent"]).await.unwrap();
    // Longer than lines usually take, so that the arrival of the last line says nothing about
    // when it was written.
    sleep(2 * SECOND).await;
    scene.connector.signal(Signal::CONT);
    scene.connector.line("no link to Ankaios").await;
    scene.vehicle.start_agent().await.unwrap();
    scene.vehicle.log("talker", ["after"]).await.unwrap();
    let lines = lines_until(&mut logs, "after").await;
    assert!(lines.iter().any(|line| line == "without an agent"), "{lines:?}");
}

#[tokio::test]
async fn a_restored_subscription_waits_for_its_workload_or_ends() {
    let broker = Broker::persistent().await;
    let gone = json!({"agent_name": "agent_A", "workload_name": "talker", "workload_id": "1a"});
    for (id, workload, follow) in [
        ("name", json!("talker"), true),
        ("instance", gone.clone(), true),
        ("once", json!("talker"), false),
    ] {
        let record = json!({"id": id, "workloads": [workload], "follow": follow, "ttl": "0s", "expires_at": null});
        let topic = format!("{BASE}/logs/{id}/subscription");
        broker.publish(&topic, &record.to_string(), &["-r"]).await;
    }
    let mut ends = Client::connect(broker.port(), &format!("{BASE}/logs/+")).await;
    let scene = Scene::with_broker(broker, &[]).await;
    let mut ended = BTreeSet::new();
    while ended.len() < 2 {
        let message = ends.next().await;
        assert_eq!(payload(&message), json!({"ended": true}), "{:?}", message.topic);
        ended.insert(String::from_utf8(message.topic.to_vec()).unwrap());
    }
    assert_eq!(ended, [format!("{BASE}/logs/instance"), format!("{BASE}/logs/once")].into());

    run(&scene, "talker").await;
    scene.vehicle.log("talker", ["here I am"]).await.unwrap();
    lines_until(&mut ends, "here I am").await;
    assert_eq!(scene.vehicle.streams()["logs"].len(), 1);
}

#[tokio::test]
async fn a_followed_instance_that_is_removed_ends() {
    let scene = Scene::start().await;
    let instance = run(&scene, "talker").await;
    let mut logs = scene.client("logs/l").await;
    let request = json!({"id": "l", "workloads": [instance], "follow": true});
    scene.request("logs/subscribe", request.to_string()).await;
    scene.request("manifest/delete", workload("talker", "localhost/talker")).await;
    find(&mut logs, |message| message["stopped"] == instance).await;
    find(&mut logs, |message| *message == json!({"ended": true})).await;
}

#[tokio::test]
async fn since_and_until_limit_the_lines() {
    let scene = Scene::start().await;
    run(&scene, "talker").await;
    let now = SystemTime::now();
    for (age, line) in [(300, "old"), (200, "between"), (100, "new")] {
        let written = now - age * SECOND;
        scene.vehicle.log_at("talker", [line], written).await.unwrap();
    }
    let time = |age: u32| humantime::format_rfc3339_millis(now - age * SECOND).to_string();
    let mut logs = scene.client("logs/+").await;
    for (options, expected) in [
        (json!({"since": time(250)}), vec!["between", "new"]),
        (json!({"until": time(150)}), vec!["old", "between"]),
        (json!({"since": time(250), "until": time(150)}), vec!["between"]),
        (json!({"since": time(250), "until": time(150), "follow": true}), vec!["between"]),
    ] {
        let mut request = options.clone();
        request["workloads"] = json!(["talker"]);
        scene.request("logs/subscribe", request.to_string()).await;
        let mut lines = Vec::new();
        loop {
            let message = payload(&logs.next().await);
            if message == json!({"ended": true}) {
                break;
            }
            let entries = message["entries"].as_array().cloned().unwrap_or_default();
            lines.extend(entries.iter().map(|entry| entry["message"].as_str().unwrap().to_owned()));
        }
        assert_eq!(lines, expected, "{options}");
    }
}

#[tokio::test]
async fn a_log_followed_until_a_time_ends_at_that_time() {
    // The guard has no subscription in this configuration.
    let scene = Scene::with(&[("PROTECTED_WORKLOADS", "")]).await;
    run(&scene, "talker").await;
    let mut logs = scene.client("logs/l").await;
    let until = humantime::format_rfc3339_millis(SystemTime::now() + 2 * SECOND).to_string();
    let request = json!({"id": "l", "workloads": ["talker"], "follow": true, "until": until});
    scene.request("logs/subscribe", request.to_string()).await;
    scene.vehicle.log("talker", ["in time"]).await.unwrap();
    lines_until(&mut logs, "in time").await;
    find(&mut logs, |message| message["stopped"].is_object()).await;
    find(&mut logs, |message| *message == json!({"ended": true})).await;
    eventually("Ankaios has received the end", 5 * SECOND, async || {
        scene.vehicle.streams().values().all(Vec::is_empty).then_some(())
    })
    .await;
}

#[tokio::test]
async fn instances_that_vanish_without_a_link_are_reported_and_their_logs_end() {
    let scene = Scene::start().await;
    let (one, two) = (run(&scene, "one").await, run(&scene, "two").await);
    let mut names = scene.client("logs/names").await;
    let mut instances = scene.client("logs/instances").await;
    let request = json!({"id": "names", "workloads": ["one", "two"], "follow": true});
    scene.request("logs/subscribe", request.to_string()).await;
    let request = json!({"id": "instances", "workloads": [one, two], "follow": true});
    scene.request("logs/subscribe", request.to_string()).await;
    for (gone, instance) in [("one", one), ("two", two)] {
        scene.vehicle.kill_agent().await.unwrap();
        scene.connector.line("no link to Ankaios").await;
        forget(&scene, gone);
        scene.vehicle.start_agent().await.unwrap();
        for logs in [&mut names, &mut instances] {
            assert_eq!(payload(&logs.next().await), json!({"stopped": instance}));
        }
        if gone == "one" {
            scene.vehicle.log("two", ["still here"]).await.unwrap();
            for logs in [&mut names, &mut instances] {
                assert_eq!(lines_until(logs, "still here").await, ["still here"]);
            }
        }
    }
    // A workload may be added again, but a removed instance does not return.
    assert_eq!(payload(&instances.next().await), json!({"ended": true}));
    run(&scene, "one").await;
    scene.vehicle.log("one", ["back again"]).await.unwrap();
    assert_eq!(lines_until(&mut names, "back again").await, ["back again"]);
}

/// Removes a workload without an event, as if it vanished during an outage.
fn forget(scene: &Scene, name: &str) {
    let mut state = scene.vehicle.state();
    let agents = &mut state.workload_states.as_mut().unwrap().agent_state_map;
    agents.get_mut("agent_A").unwrap().wl_name_state_map.remove(name).unwrap();
    state.desired_state.as_mut().unwrap().workloads.as_mut().unwrap().workloads.remove(name);
    scene.vehicle.set_state(state);
}

/// The pipe is full from the end of a frame on, so nothing shows the connector that frames are
/// missing.
#[tokio::test]
async fn what_the_agent_has_given_up_without_a_trace_arrives_nevertheless() {
    // A pipe of 1 MiB has room for 64 of them, with four pages each.
    const FITTING: usize = 64;
    let scene = Scene::start().await;
    let talker = run(&scene, "talker").await;
    let (mut logs, mut events) = (scene.client("logs/l").await, scene.client("events/e").await);
    let request = r#"{"id": "l", "workloads": ["talker"], "follow": true}"#;
    scene.request("logs/subscribe", request).await;
    let request = r#"{"id": "e", "field_masks": ["workloadStates.*.talker"]}"#;
    scene.request("events/subscribe", request).await;
    scene.vehicle.log("talker", ["first"]).await.unwrap();
    lines_until(&mut logs, "first").await;

    scene.connector.suspend().await;
    // The rest of the fourth page has no room for the beginning of the next frame.
    let filling = "x".repeat(15_500);
    for number in 0..FITTING {
        scene.vehicle.log("talker", [format!("{number} {filling}")]).await.unwrap();
    }
    let instance = scene.vehicle.instance("talker").unwrap();
    let mut state = vehicle_simulator::execution::running();
    state.additional_info = Some(filling.clone());
    scene.vehicle.set_execution_state(&instance, state);
    let last = format!("last {filling}");
    scene.vehicle.log("talker", [last.clone()]).await.unwrap();
    eventually("the agent gives up", DEADLINE, async || {
        scene.vehicle.streams()["logs"].is_empty().then_some(())
    })
    .await;
    let nothing = |problem| matches!(problem, Problem::SlowReader { written: 0, .. });
    assert!(scene.vehicle.problems().into_iter().all(nothing), "{:?}", scene.vehicle.problems());
    scene.connector.signal(Signal::CONT);
    lines_until(&mut logs, &last).await;
    let id = talker["workload_id"].as_str().unwrap();
    find(&mut events, |event| {
        let states = &event["complete_state"]["workload_states"]["agent_A"]["talker"];
        event["resynced"] == json!(true) && states[id]["additional_info"] == json!(filling)
    })
    .await;
}
