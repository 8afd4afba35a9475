//! The faults. Each kind happens in its own task, one fault after another: faults of Ankaios,
//! of the connector, of its uplink, and of the broker.

use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::process::Signal;
use tokio::net::unix::pipe;
use tokio::time::sleep;
use vehicle_simulator::{Fault, ReadPace};

use super::journal::Journal;
use super::request::TALKER;
use super::secrets::Secrets;
use super::site::Site;
use super::support::proxy::{Direction, Line};
use super::support::vehicle::Vehicle;
use super::support::{Broker, Process, Proxy};

fn millis(random: &mut Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(random.u64(range))
}

/// Injects faults of the agent, the server and the session.
pub(crate) async fn of_ankaios(site: &Site, mut random: Rng, end: Instant, journal: &Journal) {
    let vehicle = &site.vehicle;
    while Instant::now() < end {
        sleep(millis(&mut random, 0..1000)).await;
        let outage = journal.outage();
        let closed = vehicle.counters().closed_sessions;
        let restarted = ankaios_fault(site, &mut random, journal).await;
        // Some of these faults are only repaired by a restart of the agent.
        let folder_gone = !vehicle.control_interface().exists();
        if !restarted && (folder_gone || vehicle.counters().closed_sessions > closed) {
            sleep(millis(&mut random, 0..1500)).await;
            restart_agent(vehicle, &mut random, journal).await;
        }
        journal.over(outage);
    }
    vehicle.clear_faults();
    vehicle.set_read_pace(ReadPace::Full);
    vehicle.set_server_down(false);
}

/// Injects one fault. Returns whether its last step was a restart of the agent.
async fn ankaios_fault(site: &Site, random: &mut Rng, journal: &Journal) -> bool {
    let vehicle = &site.vehicle;
    match random.u32(0..13) {
        0 | 1 => {
            for _ in 0..random.u32(1..4) {
                restart_agent(vehicle, random, journal).await;
            }
            return true;
        }
        2 => {
            journal.note("ankaios: server restarts");
            vehicle.set_server_down(true);
            sleep(millis(random, 0..500)).await;
            restart_server(site).await;
            sleep(millis(random, 0..3000)).await;
            if random.bool() {
                journal.note("ankaios: server restarts again");
                restart_server(site).await;
            }
        }
        3 => {
            journal.note("ankaios: server down");
            vehicle.set_server_down(true);
            sleep(millis(random, 100..4000)).await;
            vehicle.set_server_down(false);
        }
        4 => {
            journal.note("ankaios: session closed");
            vehicle.close_session("of chaos").await.unwrap();
        }
        5 => {
            let speed = random.u32(20_000..2_000_000);
            journal.note(format!("ankaios: agent reads {speed} bytes/s"));
            vehicle.set_read_pace(ReadPace::BytesPerSecond(speed));
            sleep(millis(random, 200..3000)).await;
            vehicle.set_read_pace(ReadPace::Full);
        }
        6 => {
            journal.note("ankaios: agent does not read");
            vehicle.set_read_pace(ReadPace::Paused);
            sleep(millis(random, 200..4000)).await;
            vehicle.set_read_pace(ReadPace::Full);
        }
        7 => {
            let garbage = garbage(random);
            journal.note(format!("ankaios: {} bytes of garbage on input", garbage.len()));
            // The connector may not be running.
            let _ = vehicle.inject(&garbage).await;
            sleep(millis(random, 0..2000)).await;
        }
        8 => {
            let garbage = garbage(random);
            journal.note(format!("ankaios: {} bytes of garbage on output", garbage.len()));
            let output = vehicle.control_interface().join("output");
            if let Ok(output) = pipe::OpenOptions::new().open_sender(output) {
                let _ = output.try_write(&garbage);
            }
            sleep(millis(random, 0..3000)).await;
        }
        9 => {
            // Vehicles with replicas do not have this workload.
            if vehicle.crash(TALKER).is_ok() {
                journal.note(format!("ankaios: {TALKER} crashes and is restarted"));
            }
        }
        _ => {
            let times = random.usize(1..30);
            let delay = millis(random, 10..2500);
            let fault = match random.u32(0..5) {
                0 => Fault::LoseRequest,
                1 => Fault::LoseAnswer,
                2 => Fault::AnswerAs("of-chaos".into()),
                3 => Fault::RepeatAnswer(random.usize(1..4)),
                _ => Fault::DelayAnswer(delay),
            };
            journal.note(format!("ankaios: {times} times {fault:?}"));
            vehicle.inject_fault(times, fault, |_| true);
            sleep(millis(random, 100..2000)).await;
            vehicle.clear_faults();
            sleep(delay).await;
        }
    }
    false
}

/// Restarts the server with its startup manifest. The startup manifest of a connector that keeps
/// no revisions is what the server has: that connector does not put back what a server forgets.
async fn restart_server(site: &Site) {
    let vehicle = &site.vehicle;
    vehicle.set_server_down(true);
    if !site.keeps_revisions() {
        // No update is served in between.
        vehicle.set_startup_manifest(vehicle.desired_state()).unwrap();
    }
    // The FIFOs may be gone already.
    let _ = vehicle.restart_server().await;
}

async fn restart_agent(vehicle: &Vehicle, random: &mut Rng, journal: &Journal) {
    let pause = millis(random, 100..1000);
    journal.note(format!("ankaios: agent restarts after {pause:?}"));
    vehicle.restart_agent(pause).await.unwrap();
}

/// Bytes that are not a frame, or only the first half of one.
fn garbage(random: &mut Rng) -> Vec<u8> {
    let beginnings: [&[u8]; 5] =
        [&[], &[0x80], &[0x80, 0x10, 0x1a], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[0xff; 10]];
    let mut garbage = random.choice(beginnings).unwrap_or_default().to_vec();
    garbage.extend((0..random.usize(1..3000)).map(|_| random.u8(..)));
    garbage
}

/// Injects faults of the connector: it is killed, terminated or suspended.
pub(crate) async fn of_the_connector(
    site: &Site,
    connector: &mut Process,
    logs: &mut Vec<String>,
    mut random: Rng,
    end: Instant,
    journal: &Journal,
) {
    while Instant::now() < end {
        sleep(millis(&mut random, 0..3000)).await;
        let pause = millis(&mut random, 0..800);
        match random.u32(0..6) {
            5 => {
                let time = millis(&mut random, 100..3000);
                journal.note(format!("store: cannot be written for {time:?}"));
                let outage = journal.outage();
                site.set_store_writable(false);
                sleep(time).await;
                site.set_store_writable(true);
                journal.over(outage);
                continue;
            }
            0 | 1 => {
                journal.note(format!("connector: killed, started after {pause:?}"));
                site.endpoint.set_stopped();
                connector.kill().await;
            }
            2 => {
                journal.note(format!("connector: terminated, started after {pause:?}"));
                let begin = Instant::now();
                site.endpoint.set_stopped();
                assert_eq!(connector.terminate().await.code(), Some(0));
                journal.note(format!("connector: ended after {:?}", begin.elapsed()));
            }
            _ => {
                let time = millis(&mut random, 100..1500);
                journal.note(format!("connector: suspended for {time:?}"));
                let outage = journal.outage();
                let port = site.endpoint.set_stopped().unwrap();
                connector.signal(Signal::STOP);
                sleep(time).await;
                connector.signal(Signal::CONT);
                site.endpoint.set_running(port);
                journal.over(outage);
                continue;
            }
        }
        logs.extend(connector.output());
        sleep(pause).await;
        *connector = site.start();
    }
}

/// Injects faults of the uplink.
pub(crate) async fn of_the_uplink(proxy: &Proxy, mut random: Rng, end: Instant, journal: &Journal) {
    while Instant::now() < end {
        sleep(millis(&mut random, 0..2500)).await;
        match random.u32(0..6) {
            0 | 1 => {
                journal.note("uplink: cut");
                proxy.cut();
            }
            2 => {
                let direction =
                    *random.choice(&[Direction::ToBroker, Direction::ToConnector]).unwrap();
                let bytes = random.usize(1..50_000);
                journal.note(format!("uplink: cut after {bytes} bytes {direction:?}"));
                proxy.cut_after(direction, bytes);
            }
            3 => {
                let time = millis(&mut random, 100..8000);
                let cut = random.bool();
                journal.note(format!("uplink: silent for {time:?}, then cut: {cut}"));
                proxy.set(Line::Silent);
                sleep(time).await;
                if cut {
                    proxy.cut();
                }
            }
            4 => {
                let speed = random.usize(20_000..1_000_000);
                journal.note(format!("uplink: {speed} bytes/s"));
                proxy.set(Line::Slow(speed));
                sleep(millis(&mut random, 500..4000)).await;
            }
            _ => {
                journal.note("uplink: refused");
                proxy.set(Line::Refused);
                proxy.cut();
                sleep(millis(&mut random, 100..3000)).await;
            }
        }
        proxy.set(Line::Open);
    }
}

/// Injects faults of the broker, and replaces certificates and passwords.
pub(crate) async fn of_the_broker(
    broker: &mut Broker,
    secrets: Option<&Secrets>,
    mut random: Rng,
    end: Instant,
    journal: &Journal,
) {
    // After the broker has lost its store, many missing replies are excused. So only half of
    // the runs have this fault.
    let may_lose_data = random.bool();
    while Instant::now() < end {
        sleep(millis(&mut random, 0..6000)).await;
        match (random.u32(0..5), secrets) {
            (0, _) => {
                let pause = millis(&mut random, 0..2000);
                journal.note(format!("broker: restarts after {pause:?}"));
                broker.stop().await;
                sleep(pause).await;
                broker.start_again().await;
            }
            (1 | 2, Some(secrets)) => {
                let pauses = [0..3000, 0..1000].map(|range| millis(&mut random, range));
                journal.note(format!("broker: restarts with new secrets after {pauses:?}"));
                // The connector gets them before the broker.
                secrets.replace();
                sleep(pauses[0]).await;
                broker.stop().await;
                sleep(pauses[1]).await;
                broker.start_again().await;
            }
            (3, _) if may_lose_data => {
                journal.note("broker: restarts without its data");
                broker.stop().await;
                broker.forget();
                broker.start_again().await;
                journal.broker_lost_data();
            }
            _ => {
                let time = millis(&mut random, 100..7000);
                journal.note(format!("broker: suspended for {time:?}"));
                broker.process().signal(Signal::STOP);
                sleep(time).await;
                broker.process().signal(Signal::CONT);
            }
        }
    }
}
