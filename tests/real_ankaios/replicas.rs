//! Tests the shipped manifest of replicas with a real Ankaios: when Podman kills the active
//! replica, the standby takes over, and the restarted one becomes the standby.

use std::time::{Duration, Instant};

use serde_json::json;

use super::support::ankaios::Ankaios;
use super::support::connector::BASE;
use super::support::{Broker, Subscription, eventually, say};
use super::vehicle::{PATIENCE, adapt, needs};

const REPLICAS: &str = include_str!("../../manifests/replicas.yaml");

#[tokio::test(flavor = "multi_thread")]
async fn replicas_take_over_from_each_other() {
    let Some((programs, podman)) = needs("replicas_take_over_from_each_other") else { return };
    let image = podman.build_connector_image();
    let broker = Broker::start().await;
    let mut status = broker.subscribe(&format!("{BASE}/connector/status"), &[]).await;
    let port = broker.port().to_string();
    let ankaios = Ankaios::start(programs, &podman, |agent| {
        adapt(
            REPLICAS,
            &[
                // Two workloads on one agent differ from one on each of two agents only in the
                // directory of the FIFOs.
                ("agent: agent_A", &format!("agent: {agent}")),
                ("agent: agent_B", &format!("agent: {agent}")),
                ("localhost/fleet-connector:0.1.0", &image),
                ("MQTT_BROKER_PORT=1883", &format!("MQTT_BROKER_PORT={port}")),
            ],
        )
    })
    .await;
    let workload = |replica: &str| match replica {
        "a" => "fleetconnector",
        "b" => "fleetconnector_standby",
        other => panic!("a replica {other:?}"),
    };

    let mut active = online(&mut status).await;
    for _ in 0..2 {
        for replica in ["a", "b"] {
            eventually("both containers run", PATIENCE, async || {
                ankaios.container(workload(replica)).map(drop)
            })
            .await;
        }
        podman.run(["kill", &ankaios.container(workload(&active)).unwrap()]);
        let begin = Instant::now();
        let next = online(&mut status).await;
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
        let base = format!("{BASE}/state");
        let reply = broker.request(&base, r#"["workloadStates"]"#, &[]).await.json();
        assert!(reply["workload_states"].is_object(), "{reply}");
        say(&format!("real Ankaios: {active} -> {next}: {:.1?}\n", begin.elapsed()));
        active = next;
    }
}

/// The next replica that announces that it is online and connected to Ankaios.
async fn online(status: &mut Subscription) -> String {
    loop {
        let message = status.next().await.json();
        if message["status"] == json!("online") && message["ankaios"] == json!("connected") {
            return message["replica"].as_str().unwrap().to_owned();
        }
    }
}
