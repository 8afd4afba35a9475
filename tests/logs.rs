//! Log subscriptions over interruptions of all kinds, from outside: real
//! Mosquitto, real binary, simulated Ankaios.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use support::connector::BASE;
use support::scene::{find, payload, workload};
use support::{Broker, Client, Scene, eventually};

const SECOND: Duration = Duration::from_secs(1);

/// Brings a workload onto the vehicle and waits until it runs.
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

/// Reads messages until a line has come; gives all lines until then.
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
async fn no_line_is_lost_over_restarts_of_agent_server_and_connector() {
    let broker = Broker::persistent().await;
    let mut scene = Scene::around(broker, &[]).await;
    run(&scene, "talker").await;
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
    let scene = Scene::around(broker, &[]).await;
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
async fn since_and_until_bound_what_comes() {
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
async fn what_is_followed_until_a_time_ends_then() {
    // The guard has no subscription then.
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
    eventually("Ankaios is told", 5 * SECOND, async || {
        scene.vehicle.streams().values().all(Vec::is_empty).then_some(())
    })
    .await;
}
