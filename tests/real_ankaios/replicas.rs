//! Tests the shipped manifest of replicas with a real Ankaios: when Podman kills the active
//! replica, the standby takes over, and the restarted one becomes the standby.

use std::time::{Duration, Instant};

use serde_json::json;

use super::support::ankaios::Ankaios;
use super::support::connector::BASE;
use super::support::{Broker, Subscription, eventually, say};
use super::vehicle::{PATIENCE, VOLUME, Volume, adapt, connector_image, needs};

const REPLICAS: &str = include_str!("../../manifests/replicas.yaml");

/// Begins the second replica in the manifest.
const SECOND: &str = "\n  fleetconnector_standby:";

#[tokio::test(flavor = "multi_thread")]
async fn replicas_take_over_from_each_other() {
    let Some((programs, podman)) = needs("replicas_take_over_from_each_other") else { return };
    let image = connector_image(&podman);
    let volumes = [Volume::new(&podman), Volume::new(&podman)];
    let broker = Broker::start().await;
    let mut status = broker.subscribe(&format!("{BASE}/connector/status"), &[]).await;
    let port = broker.port().to_string();
    // Each replica has a volume on the host of its own agent; here both are on one host.
    let (first, second) = REPLICAS.split_once(SECOND).unwrap();
    let [first, second] = [(first, &volumes[0]), (second, &volumes[1])]
        .map(|(replica, volume)| adapt(replica, &[(VOLUME, &format!("{}:", volume.name()))]));
    let replicas = first + SECOND + &second;
    let ankaios = Ankaios::start(programs, &podman, |agent| {
        adapt(
            &replicas,
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

    let mut active = online(&mut status, "").await;
    for round in 1..=2 {
        // The other one has this revision, too.
        let manifest = format!("apiVersion: v1\nconfigs:\n  round: '{round}'\n");
        let apply = format!("{BASE}/manifest/apply");
        let reply = broker.request(&apply, &manifest, &[]).await.json();
        assert_eq!(reply["revision"], json!(round), "{reply}");
        for replica in ["a", "b"] {
            eventually("both containers run", PATIENCE, async || {
                ankaios.container(workload(replica)).map(drop)
            })
            .await;
        }
        podman.run(["kill", &ankaios.container(workload(&active)).unwrap()]);
        let begin = Instant::now();
        let next = online(&mut status, &active).await;
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
        let base = format!("{BASE}/state");
        let reply = broker.request(&base, r#"["workloadStates"]"#, &[]).await.json();
        assert!(reply["workload_states"].is_object(), "{reply}");
        let history = broker.request(&format!("{BASE}/manifest/history"), "", &[]).await.json();
        assert_eq!(history["current"], json!(round), "{history}");
        say(&format!("real Ankaios: {active} -> {next}: {:.1?}\n", begin.elapsed()));
        active = next;
    }
}

/// The next replica, other than `former`, that announces that it is online and connected to
/// Ankaios.
async fn online(status: &mut Subscription, former: &str) -> String {
    loop {
        let message = status.next().await.json();
        let replica = message["replica"].as_str().unwrap();
        let is_ready = message["status"] == "online" && message["ankaios"] == "connected";
        if is_ready && replica != former {
            return replica.to_owned();
        }
    }
}
