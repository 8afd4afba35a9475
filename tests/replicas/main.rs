//! Several connectors for one vehicle: exactly one is active, and another one takes
//! over with everything that is under way when it is gone.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::connector::{BASE, start_connector_at};
use support::proxy::Line;
use support::scene::payload;
use support::vehicle::Vehicle;
use support::{Broker, Client, DEADLINE, Process, Proxy, Requester};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// The shortest that is allowed.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// From the end of the active replica to the first reply of the next one.
const SWITCH_OVER: Duration = Duration::from_secs(3);

/// A request for a small part of the state.
const SMALL: &str = r#"["desiredState.apiVersion"]"#;

/// A connector on an agent of its own, with an uplink of its own.
struct Replica {
    name: &'static str,
    proxy: Proxy,
    vehicle: Vehicle,
    connector: Process,
}

impl Replica {
    async fn start(broker: u16, name: &'static str) -> Self {
        let proxy = Proxy::start(broker).await;
        let vehicle = Vehicle::start().await;
        let connector = start(&proxy, &vehicle, name);
        connector.line("the link to Ankaios is up").await;
        Self { name, proxy, vehicle, connector }
    }

    /// A new process in the place of one that has ended.
    fn start_again(&mut self) {
        self.connector = start(&self.proxy, &self.vehicle, self.name);
    }

    /// How often its log has a line with this part.
    fn count(&self, part: &str) -> usize {
        self.connector.output().iter().filter(|line| line.contains(part)).count()
    }
}

fn start(proxy: &Proxy, vehicle: &Vehicle, name: &str) -> Process {
    let settings = [("REPLICA_ID", name), ("MQTT_KEEP_ALIVE", "5s")];
    start_connector_at(proxy.port(), vehicle.control_interface(), &settings)
}

/// All statuses since the beginning, with the time at which they came.
struct Statuses {
    seen: watch::Receiver<Vec<(Instant, Value)>>,
    _task: AbortOnDropHandle<()>,
}

impl Statuses {
    async fn watch(broker: u16) -> Self {
        let mut client = Client::connect(broker, &format!("{BASE}/connector/status")).await;
        let (sender, seen) = watch::channel(Vec::new());
        let task = tokio::spawn(async move {
            while let Some(message) = client.next_within(Duration::MAX).await {
                sender.send_modify(|all| all.push((Instant::now(), payload(&message))));
            }
        });
        Self { seen, _task: AbortOnDropHandle::new(task) }
    }

    /// How many there were.
    fn count(&self) -> usize {
        self.seen.borrow().len()
    }

    /// The first from this index on that matches.
    async fn find(
        &self,
        from: usize,
        limit: Duration,
        matches: impl Fn(&Value) -> bool,
    ) -> Option<Value> {
        let mut seen = self.seen.clone();
        let find = |all: &Vec<(Instant, Value)>| {
            all.iter().skip(from).map(|(_, status)| status).find(|status| matches(status)).cloned()
        };
        let found = timeout(limit, seen.wait_for(|all| find(all).is_some())).await.ok()?.ok()?;
        find(&found)
    }

    /// Waits until one of these replicas is online.
    async fn online(&self, from: usize, names: &[&str]) -> &'static str {
        let matches = |status: &Value| {
            status["status"] == json!("online")
                && names.iter().any(|name| status["replica"] == json!(name))
        };
        let found = self.find(from, DEADLINE, matches).await;
        let found =
            found.unwrap_or_else(|| panic!("none of {names:?} gets online: {:?}", self.all()));
        ["a", "b", "c"].into_iter().find(|name| found["replica"] == json!(name)).unwrap()
    }

    fn all(&self) -> Vec<Value> {
        self.seen.borrow().iter().map(|(_, status)| status.clone()).collect()
    }

    /// The replicas that have been online, in order, without those that only said so again.
    fn actives(&self) -> Vec<String> {
        let all = self.all();
        let online = all.iter().filter(|status| status["status"] == json!("online"));
        let mut names: Vec<_> =
            online.map(|status| status["replica"].as_str().unwrap().to_owned()).collect();
        names.dedup();
        names
    }
}

/// A broker, replicas, and an operator who asks all the time.
struct Fleet {
    broker: Broker,
    replicas: Vec<Replica>,
    statuses: Statuses,
    operator: Arc<Requester>,
}

impl Fleet {
    /// Starts `names` at about the same time; the first one that is active is returned
    /// as its index.
    async fn start(names: &[&'static str]) -> (Self, usize) {
        Self::around(Broker::start().await, names).await
    }

    async fn around(broker: Broker, names: &[&'static str]) -> (Self, usize) {
        let statuses = Statuses::watch(broker.port()).await;
        let mut replicas = Vec::new();
        for name in names {
            replicas.push(Replica::start(broker.port(), name).await);
        }
        let active = statuses.online(0, names).await;
        let operator = Arc::new(Requester::connect(broker.port()).await);
        let fleet = Self { broker, replicas, statuses, operator };
        fleet.settled(active).await;
        let index = fleet.index(active);
        (fleet, index)
    }

    fn index(&self, name: &str) -> usize {
        self.replicas.iter().position(|replica| replica.name == name).unwrap()
    }

    /// Waits until all others have seen that this one is active.
    async fn settled(&self, active: &str) {
        let line = "another connector is active";
        for replica in self.replicas.iter().filter(|replica| replica.name != active) {
            let named = |text: &str| text.contains(line) && text.contains(&format!("\"{active}\""));
            let seen = replica.connector.line_from(0, DEADLINE, named).await;
            assert!(seen.is_some(), "{} does not see {active}", replica.name);
        }
    }

    /// The names of all but one.
    fn others(&self, index: usize) -> Vec<&'static str> {
        let others = self.replicas.iter().enumerate().filter(|(other, _)| *other != index);
        others.map(|(_, replica)| replica.name).collect()
    }

    /// Begins to ask all the time.
    fn flow(&self, first: u32) -> Flow {
        let (operator, stop) = (Arc::clone(&self.operator), CancellationToken::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut number = first;
            while !stopped.is_cancelled() {
                operator.request(number, "state", SMALL).await;
                number += 1;
                // Mosquitto keeps 1,000 for one that is away.
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            number - first
        });
        Flow { task, stop }
    }

    /// The status that the broker keeps.
    async fn kept(&self) -> Value {
        let topic = format!("{BASE}/connector/status");
        let mut subscription = self.broker.subscribe(&topic, &[]).await;
        subscription.next().await.json()
    }

    /// How long it takes until a request is answered that is published now.
    async fn time_to_reply(&self, number: u32) -> Duration {
        let begin = Instant::now();
        self.operator.request(number, "state", SMALL).await;
        let answer = self.operator.reply(number, DEADLINE).await;
        answer.unwrap_or_else(|| panic!("no reply to {number}: {:?}", self.statuses.all()));
        begin.elapsed()
    }

    async fn all_answered(&self, flow: Flow) {
        let count = flow.end().await;
        assert!(count > 0);
        let missing = self.operator.all_replied(DEADLINE).await;
        assert_eq!(missing, Ok(()), "of {count}; {:?}", self.statuses.all());
    }
}

/// Requests that are published one after the other.
struct Flow {
    task: tokio::task::JoinHandle<u32>,
    stop: CancellationToken,
}

impl Flow {
    /// Stops; gives how many there were.
    async fn end(self) -> u32 {
        self.stop.cancel();
        self.task.await.unwrap()
    }
}

fn report(what: &str, took: Duration) {
    support::say(&format!("{what}: the next replica has answered after {took:?}\n"));
}

#[tokio::test]
async fn a_standby_takes_over_from_one_that_is_killed() {
    let (mut fleet, active) = Fleet::start(&["a", "b"]).await;
    let flow = fleet.flow(1000);
    let from = fleet.statuses.count();
    fleet.replicas[active].connector.kill().await;
    let took = fleet.time_to_reply(1).await;
    report("killed", took);
    assert!(took < SWITCH_OVER, "{took:?}");
    let next = fleet.statuses.online(from, &fleet.others(active)).await;
    assert_eq!(fleet.kept().await["replica"], json!(next));
    // The former one comes back, and is the standby now.
    fleet.replicas[active].start_again();
    fleet.settled(next).await;
    fleet.all_answered(flow).await;
    assert_eq!(fleet.statuses.actives().len(), 2);
}

#[tokio::test]
async fn a_standby_takes_over_from_one_that_is_stopped() {
    let (mut fleet, active) = Fleet::start(&["a", "b"]).await;
    let flow = fleet.flow(1000);
    let from = fleet.statuses.count();
    let begin = Instant::now();
    assert_eq!(fleet.replicas[active].connector.terminate().await.code(), Some(0));
    fleet.time_to_reply(1).await;
    let took = begin.elapsed();
    report("stopped", took);
    assert!(took < SWITCH_OVER, "{took:?}");
    fleet.statuses.online(from, &fleet.others(active)).await;
    fleet.all_answered(flow).await;
    let all = fleet.statuses.all();
    assert!(all.iter().all(|status| status["replica"].is_string()), "{all:?}");
}

#[tokio::test]
async fn of_three_replicas_exactly_one_takes_over() {
    let (mut fleet, mut active) = Fleet::start(&["a", "b", "c"]).await;
    let flow = fleet.flow(1000);
    for (number, stop) in (1..).zip([false, true, false, true]) {
        let from = fleet.statuses.count();
        let begin = Instant::now();
        if stop {
            fleet.replicas[active].connector.terminate().await;
        } else {
            fleet.replicas[active].connector.kill().await;
        }
        fleet.time_to_reply(number).await;
        let took = begin.elapsed();
        report(if stop { "three, stopped" } else { "three, killed" }, took);
        assert!(took < SWITCH_OVER, "{took:?}");
        let next = fleet.statuses.online(from, &fleet.others(active)).await;
        fleet.replicas[active].start_again();
        // If two have come at the same time, the second one stays.
        let line = "another connector is active";
        let index = fleet.index(next);
        for other in (0..3).filter(|other| *other != index) {
            fleet.replicas[other].connector.line(line).await;
        }
        let kept = fleet.kept().await;
        assert_eq!(kept["status"], json!("online"));
        active = ["a", "b", "c"].iter().position(|name| kept["replica"] == json!(name)).unwrap();
    }
    fleet.all_answered(flow).await;
}

#[tokio::test]
async fn a_short_break_of_the_line_disturbs_nothing() {
    let (fleet, active) = Fleet::start(&["a", "b"]).await;
    let flow = fleet.flow(1000);
    let from = fleet.statuses.count();
    fleet.replicas[active].proxy.cut();
    let name = fleet.replicas[active].name;
    fleet.statuses.online(from, &[name]).await;
    fleet.time_to_reply(1).await;
    // The standby has seen both, and its longest wait is over.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(fleet.statuses.actives(), [name]);
    assert_eq!(fleet.replicas[active].count("this replica becomes active"), 1);
    fleet.all_answered(flow).await;
    // What was under way was not even served twice.
    let fates = fleet.operator.fates();
    let replies: usize = fates.values().map(|fate| fate.replies.len()).sum();
    assert!(replies <= fates.len() + 64, "{replies} replies to {} requests", fates.len());
}

#[tokio::test]
async fn one_that_is_cut_off_never_takes_the_session_back() {
    let (fleet, active) = Fleet::start(&["a", "b"]).await;
    let former = &fleet.replicas[active];
    let flow = fleet.flow(1000);
    let from = fleet.statuses.count();
    former.proxy.set(Line::Refused);
    former.proxy.cut();
    let took = fleet.time_to_reply(1).await;
    report("cut off", took);
    assert!(took < SWITCH_OVER, "{took:?}");
    let next = fleet.statuses.online(from, &fleet.others(active)).await;
    former.proxy.set(Line::Open);
    former.connector.line("another replica has taken over").await;
    former.connector.line("another connector is active").await;
    fleet.all_answered(flow).await;
    let requests = former.vehicle.request_count();
    fleet.time_to_reply(2).await;
    assert_eq!(former.vehicle.request_count(), requests, "it serves requests");
    assert_eq!(fleet.statuses.actives(), [former.name, next]);
}

#[tokio::test]
async fn one_whose_line_falls_silent_is_replaced_and_notices_before() {
    let (fleet, active) = Fleet::start(&["a", "b"]).await;
    let former = &fleet.replicas[active];
    let flow = fleet.flow(1000);
    let from = fleet.statuses.count();
    former.proxy.set(Line::Silent);
    let silent = Instant::now();
    // Of its own accord, before the broker gives it up after 1.5 keep-alive times.
    former.connector.line("another replica may have taken over").await;
    let noticed = silent.elapsed();
    assert!(noticed < KEEP_ALIVE + Duration::from_secs(1), "{noticed:?}");
    assert_eq!(fleet.statuses.count(), from, "somebody was faster: {:?}", fleet.statuses.all());
    let next = fleet.statuses.online(from, &fleet.others(active)).await;
    // What it has sent into the old connection comes too late.
    former.proxy.set(Line::Open);
    former.connector.line("another connector is active").await;
    fleet.time_to_reply(1).await;
    fleet.all_answered(flow).await;
    assert_eq!(fleet.statuses.actives(), [former.name, next]);
    assert_eq!(fleet.kept().await["replica"], json!(next));
}

#[tokio::test]
async fn a_line_that_breaks_again_and_again_is_left_for_a_better_one() {
    let (fleet, active) = Fleet::start(&["a", "b", "c"]).await;
    let former = &fleet.replicas[active];
    let flow = fleet.flow(1000);
    let from = fleet.statuses.count();
    let others = fleet.others(active);
    let next = async { fleet.statuses.online(from, &others).await };
    let cuts = async {
        loop {
            former.proxy.cut();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let next = tokio::select! {
        next = next => next,
        () = cuts => unreachable!(),
    };
    // And goes on breaking.
    for _ in 0..20 {
        former.proxy.cut();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    fleet.time_to_reply(1).await;
    fleet.all_answered(flow).await;
    let actives = fleet.statuses.actives();
    assert!(actives.len() <= 3, "a ping-pong: {actives:?}");
    assert_eq!(fleet.kept().await["status"], json!("online"));
    assert_ne!(fleet.kept().await["replica"], json!(former.name), "{next}");
}
