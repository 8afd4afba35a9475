//! Roll-outs of `ank-fleet` while a node dies.

use tokio::time::timeout;

use super::ank_fleet::AnkFleet;
use super::cluster::{NODES, own};
use super::support::{DEADLINE, eventually};
use super::vehicle::{PATIENCE, Role, Vehicle};

/// Far more than a roll-out takes that reads what it has missed.
const DEADLINE_OF_VEHICLES: &str = "10m";

/// The workload that is rolled out.
const WORKLOAD: &str = "app";

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_out_ends_long_before_its_deadline_if_a_node_dies() {
    let test = "a_roll_out_ends_long_before_its_deadline_if_a_node_dies";
    let Some(cluster) = own(test).await else { return };
    let settings = [("STABLE_TIME", "2s")];
    let vehicle = Vehicle::start_with(&cluster, Role::Keeping, &NODES, &settings).await;
    let vins = [vehicle.vin.clone()];
    // The vehicle is on this node or another one, and `ank-fleet` as well.
    for (version, node) in (1..).zip(NODES) {
        let fleet = AnkFleet::new(&cluster, &NODES).await;
        let roll_out = fleet.roll_out(&vins, WORKLOAD, version, DEADLINE_OF_VEHICLES);
        let kill = async {
            eventually("the vehicle has the change", DEADLINE, async || {
                let workloads = vehicle.ankaios.desired_state().workloads.unwrap_or_default();
                let workload = workloads.workloads.get(WORKLOAD)?.runtime_config().to_owned();
                (workload == AnkFleet::image(WORKLOAD, version)).then_some(())
            })
            .await;
            cluster.kill(node).await;
        };
        let (ended, ()) = tokio::join!(timeout(PATIENCE, roll_out), kill);
        let ended = ended.unwrap_or_else(|_| panic!("the roll-out goes on without node {node}"));
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        cluster.start(node).await;
    }
}
