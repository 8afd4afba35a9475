//! Several connectors of one vehicle, and an operator.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::replica::{BECOMES_ACTIVE, IS_STANDBY, Replica};
use super::statuses::Statuses;
use crate::support;
use crate::support::connector::BASE;
use crate::support::{Broker, DEADLINE, Requester};

/// Field masks for a small part of the state.
const SMALL: &str = r#"["desiredState.apiVersion"]"#;

/// A broker, replicas, and an operator that can send requests all the time.
pub(crate) struct Fleet {
    pub(crate) broker: Broker,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) statuses: Statuses,
    pub(crate) operator: Arc<Requester>,
}

impl Fleet {
    /// Starts replicas with these names; also returns the index of the active one.
    pub(crate) async fn start(names: &[&'static str]) -> (Self, usize) {
        Self::with_broker(Broker::start().await, names).await
    }

    /// Like [`start`](Self::start), with an existing broker.
    pub(crate) async fn with_broker(broker: Broker, names: &[&'static str]) -> (Self, usize) {
        let mut fleet = Self::with(broker, &names[..1]).await;
        fleet.statuses.online(0, names).await;
        for name in &names[1..] {
            fleet.replicas.push(Replica::start(fleet.broker.port(), name).await);
        }
        fleet.settled(names[0]).await;
        (fleet, 0)
    }

    /// Starts replicas without waiting for one to become active.
    pub(crate) async fn with(broker: Broker, names: &[&'static str]) -> Self {
        let statuses = Statuses::watch(broker.port()).await;
        let operator = Arc::new(Requester::connect(broker.port()).await);
        let mut replicas = Vec::new();
        for name in names {
            replicas.push(Replica::start(broker.port(), name).await);
        }
        Self { broker, replicas, statuses, operator }
    }

    /// Waits until one replica is active and all others have seen it, and checks that this
    /// remains so. `number` is the number of a request that the active replica answers.
    pub(crate) async fn has_one_active(&self, number: u32) {
        self.time_to_reply(number).await;
        support::eventually("all others are standby", DEADLINE, async || {
            let active = self.replicas.iter().filter(|replica| !replica.is_standby());
            (active.count() == 1).then_some(())
        })
        .await;
        let activations =
            || -> usize { self.replicas.iter().map(|replica| replica.count(BECOMES_ACTIVE)).sum() };
        let before = activations();
        // Longer than any wait of a standby replica.
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(activations(), before, "the active replica must not change");
        let active = self.replicas.iter().find(|replica| !replica.is_standby()).unwrap();
        let retained = self.retained_status().await;
        assert_eq!(retained["status"], json!("online"));
        assert_eq!(retained["replica"], json!(active.name));
    }

    pub(crate) fn index(&self, name: &str) -> usize {
        self.replicas.iter().position(|replica| replica.name == name).unwrap()
    }

    /// Waits until all other replicas have seen that this one is active.
    pub(crate) async fn settled(&self, active: &str) {
        for replica in self.replicas.iter().filter(|replica| replica.name != active) {
            let named =
                |text: &str| text.contains(IS_STANDBY) && text.contains(&format!("\"{active}\""));
            let seen = replica.connector.line_from(0, DEADLINE, named).await;
            assert!(seen.is_some(), "{} does not see {active}", replica.name);
        }
    }

    /// The names of all replicas except one.
    pub(crate) fn others(&self, index: usize) -> Vec<&'static str> {
        let others = self.replicas.iter().enumerate().filter(|(other, _)| *other != index);
        others.map(|(_, replica)| replica.name).collect()
    }

    /// Starts to send requests all the time.
    pub(crate) fn flow(&self, first: u32) -> Flow {
        let (operator, stop) = (Arc::clone(&self.operator), CancellationToken::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut number = first;
            while !stopped.is_cancelled() {
                operator.request(number, "state", SMALL).await;
                number += 1;
                // Mosquitto queues at most 1,000 messages for a disconnected client.
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            number - first
        });
        Flow { task, stop }
    }

    /// The retained status.
    pub(crate) async fn retained_status(&self) -> Value {
        let topic = format!("{BASE}/connector/status");
        let mut subscription = self.broker.subscribe(&topic, &[]).await;
        subscription.next().await.json()
    }

    /// Publishes a request and returns the time until its reply.
    pub(crate) async fn time_to_reply(&self, number: u32) -> Duration {
        let begin = Instant::now();
        self.operator.request(number, "state", SMALL).await;
        let answer = self.operator.reply(number, DEADLINE).await;
        answer.unwrap_or_else(|| panic!("no reply to {number}: {:?}", self.statuses.all()));
        begin.elapsed()
    }

    pub(crate) async fn all_answered(&self, flow: Flow) {
        let count = flow.end().await;
        assert!(count > 0);
        let missing = self.operator.all_replied(DEADLINE).await;
        assert_eq!(missing, Ok(()), "of {count}; {:?}", self.statuses.all());
    }
}

/// A task that publishes requests one after the other.
pub(crate) struct Flow {
    task: tokio::task::JoinHandle<u32>,
    stop: CancellationToken,
}

impl Flow {
    /// Stops the task; returns the number of requests.
    pub(crate) async fn end(self) -> u32 {
        self.stop.cancel();
        self.task.await.unwrap()
    }
}

pub(crate) fn report(what: &str, took: Duration) {
    support::say(&format!("{what}: the next replica has answered after {took:?}\n"));
}
