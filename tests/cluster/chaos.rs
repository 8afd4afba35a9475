//! Nodes are killed, stopped, cut off and suspended, and connectors are killed, under a load of
//! requests of all kinds to several vehicles and while `ank-fleet` rolls out manifests. At the end
//! each request that the broker has accepted has its reply, no reply is wrong, the vehicles have
//! what the last requests have set, and each stream still shows what happens.
//!
//! `CHAOS_SEED` repeats a run, as far as the timing of the machine allows. `CHAOS_SECONDS` is the
//! duration of the faults.

#[path = "../chaos/ask.rs"]
mod ask;
#[allow(dead_code, reason = "here Ankaios has no outages, and the broker loses nothing")]
#[path = "../chaos/journal.rs"]
mod journal;
#[path = "../chaos/load.rs"]
mod load;
#[path = "../chaos/request.rs"]
mod request;
#[path = "../chaos/slots.rs"]
mod slots;
#[path = "../chaos/stream.rs"]
mod stream;

use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::future::join_all;
use tokio::time::sleep;
use vehicle_simulator::execution;

use self::ask::ask;
use self::journal::Journal;
use self::load::Load;
use self::request::{Kind, TALKER};
use super::ank_fleet::AnkFleet;
use super::cluster::{LOST_WITH_NODE, NODES, Own, is_beyond_rmqtt, own};
use super::support::{self, DEADLINE, Requester, eventually, say};
use super::vehicle::{PATIENCE, Role, Vehicle};

/// The duration of the faults in seconds without `CHAOS_SECONDS`.
const SHORT: u64 = 25;

const VEHICLES: usize = 3;

/// How long a node may hang, in milliseconds. From about 10 s on the others count it as down.
const HANGS: std::ops::Range<u64> = 500..14_000;

/// The workload that `ank-fleet` rolls out.
const ROLLED_OUT: &str = "rolled-out";

/// How long a vehicle has for a roll-out: nodes may be down for most of it.
const DEADLINE_OF_VEHICLES: &str = "60s";

/// What the requests of the load expect.
const SETTINGS: [(&str, &str); 2] = [("MAX_PAYLOAD_SIZE", "256KiB"), ("STABLE_TIME", "100ms")];

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_is_answered_whatever_happens_to_nodes() {
    let test = "every_request_is_answered_whatever_happens_to_nodes";
    if is_beyond_rmqtt(test, LOST_WITH_NODE) {
        return;
    }
    let Some(cluster) = own(test).await else { return };
    let seed = number("CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let seconds = number("CHAOS_SECONDS").unwrap_or(SHORT);
    say(&format!("CHAOS_SEED={seed} CHAOS_SECONDS={seconds}\n"));
    let mut random = Rng::with_seed(seed);
    let journal = Journal::new();
    let mut vehicles = Vec::new();
    let mut operators = Vec::new();
    for _ in 0..VEHICLES {
        let vehicle = Vehicle::start_with(&cluster, Role::Keeping, &NODES, &SETTINGS).await;
        slots::add_configs(&vehicle.ankaios);
        operators.push(vehicle.operator(&cluster).await);
        vehicles.push(vehicle);
    }
    let mut loads: Vec<_> =
        operators.iter().map(|operator| Load::new(operator, &journal, false)).collect();
    for ((load, operator), vehicle) in loads.iter_mut().zip(&operators).zip(&vehicles) {
        start_talker(load, operator, vehicle).await;
    }
    let fleet = AnkFleet::new(&cluster, &NODES).await;
    let vins: Vec<String> = vehicles.iter().map(|vehicle| vehicle.vin.clone()).collect();

    let end = Instant::now() + Duration::from_secs(seconds);
    let flows = loads.iter_mut().map(|load| load.flow(random.fork(), end));
    let flows: Vec<_> = flows.collect();
    let (mut logs, rollouts, _) = tokio::join!(
        disturb(&cluster, &mut vehicles, random, end, &journal),
        roll_out(&fleet, &vins, end, &journal),
        join_all(flows),
    );
    journal.note("all faults have ended");

    let mut failures = Vec::new();
    for ((load, operator), vehicle) in loads.iter_mut().zip(&operators).zip(&vehicles) {
        let outcome = settle(load, operator, vehicle, &journal).await;
        let wrong = slots::wrong_slots(load, &vehicle.ankaios);
        let own = outcome.err().into_iter().chain(load.failures()).chain(wrong);
        failures.extend(own.map(|failure| format!("{}: {failure}", vehicle.vin)));
        say(&format!("cluster: chaos: {}\n", load.summary()));
    }
    // After the faults, a rollout reaches all.
    let last = fleet.roll_out(&vins, ROLLED_OUT, rollouts, DEADLINE_OF_VEHICLES).await;
    if last.code != Some(0) {
        failures.push(format!("the last rollout: {}{}", last.stdout, last.stderr));
    }
    for vehicle in &vehicles {
        let workloads = vehicle.ankaios.desired_state().workloads.unwrap_or_default().workloads;
        let image = workloads.get(ROLLED_OUT).map(|workload| workload.runtime_config().to_owned());
        if image != Some(AnkFleet::image(ROLLED_OUT, rollouts)) {
            failures.push(format!("{}: {image:?} instead of version {rollouts}", vehicle.vin));
        }
    }
    say(&format!("cluster: chaos: {rollouts} rollouts of ank-fleet\n"));
    if !failures.is_empty() {
        logs.extend(vehicles.iter().flat_map(|vehicle| vehicle.connector.output()));
        let file = format!("{}/chaos-cluster-{seed}.log", env!("CARGO_TARGET_TMPDIR"));
        let all = [journal.text(), failures.join("\n"), logs.join("\n")].join("\n\n");
        std::fs::write(&file, all).unwrap();
        failures.truncate(20);
        panic!(
            "CHAOS_SEED={seed} CHAOS_SECONDS={seconds}; all in {file}\n{}\n{}",
            journal.text(),
            failures.join("\n")
        );
    }
}

/// Applies the manifest of a workload, and subscribes to its log and to the slots.
async fn start_talker(load: &mut Load<'_>, operator: &Requester, vehicle: &Vehicle) {
    ask(load, operator, Kind::Talk, DEADLINE).await.unwrap();
    eventually("the talker runs", DEADLINE, async || {
        let instance = vehicle.ankaios.instance(TALKER)?;
        let state = vehicle.ankaios.execution_state(&instance)?;
        (state == execution::running()).then_some(())
    })
    .await;
    load.ensure_subscribed().await;
}

/// Disturbs one node after the other: with two of them, no request could be served. Returns the
/// logs of the connectors that were killed.
async fn disturb(
    cluster: &Own,
    vehicles: &mut [Vehicle],
    mut random: Rng,
    end: Instant,
    journal: &Journal,
) -> Vec<String> {
    let mut logs = Vec::new();
    while Instant::now() < end {
        sleep(Duration::from_millis(random.u64(200..3000))).await;
        let node = NODES[random.usize(..NODES.len())];
        let pause = Duration::from_millis(random.u64(0..3000));
        match random.u32(0..10) {
            0..3 => {
                journal.note(format!("node {node} is killed for {pause:?}"));
                cluster.kill(node).await;
                sleep(pause).await;
                cluster.start(node).await;
            }
            3 => {
                journal.note(format!("node {node} is stopped for {pause:?}"));
                cluster.stop(node).await;
                sleep(pause).await;
                cluster.start(node).await;
            }
            4..6 => {
                journal.note(format!("node {node} is cut off for {pause:?}"));
                cluster.isolate(node).await;
                sleep(pause).await;
                cluster.rejoin(node).await;
            }
            6..8 => {
                let pause = Duration::from_millis(random.u64(HANGS));
                journal.note(format!("node {node} hangs for {pause:?}"));
                cluster.suspend(node).await;
                sleep(pause).await;
                cluster.resume(node).await;
            }
            _ => {
                let vehicle = random.usize(..vehicles.len());
                let vehicle = &mut vehicles[vehicle];
                journal.note(format!("the connector of {} is killed", vehicle.vin));
                vehicle.connector.kill().await;
                logs.extend(vehicle.connector.output());
                vehicle.launch_again(cluster, &NODES);
            }
        }
        journal.note("over");
    }
    logs
}

/// Rolls a workload out, one version after the other. Returns the next version.
async fn roll_out(fleet: &AnkFleet, vins: &[String], end: Instant, journal: &Journal) -> u32 {
    let mut version = 0;
    while Instant::now() < end {
        let ended = fleet.roll_out(vins, ROLLED_OUT, version, DEADLINE_OF_VEHICLES).await;
        // A vehicle may have been out of reach for longer than the rollout waits.
        journal.note(format!("rollout {version}: exit code {:?}", ended.code));
        version += 1;
    }
    version
}

/// Waits until every request has its reply, and the events show the state.
async fn settle(
    load: &mut Load<'_>,
    operator: &Requester,
    vehicle: &Vehicle,
    journal: &Journal,
) -> Result<(), String> {
    let begin = Instant::now();
    while let Some(number) = load.unanswered() {
        if begin.elapsed() > PATIENCE {
            return Err(format!("{number} and possibly others have no reply in {PATIENCE:?}"));
        }
        sleep(Duration::from_millis(20)).await;
    }
    journal.note(format!("{}: caught up within {:?}", vehicle.vin, begin.elapsed()));
    ask(load, operator, Kind::Nothing, PATIENCE).await?;
    stream::settle(load, operator, &vehicle.ankaios, journal).await
}
