//! A record of the messages on the status topic.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::support::connector::BASE;
use crate::support::scene::payload;
use crate::support::{Client, DEADLINE};

/// All statuses so far.
pub(crate) struct Statuses {
    seen: watch::Receiver<Vec<Value>>,
    _task: AbortOnDropHandle<()>,
}

impl Statuses {
    pub(crate) async fn watch(broker: u16) -> Self {
        let mut client = Client::connect(broker, &format!("{BASE}/connector/status")).await;
        let (sender, seen) = watch::channel(Vec::new());
        let task = tokio::spawn(async move {
            while let Some(message) = client.next_within(Duration::MAX).await {
                // The payload is empty if the test has removed the retained message.
                if !message.payload.is_empty() {
                    sender.send_modify(|all| all.push(payload(&message)));
                }
            }
        });
        Self { seen, _task: AbortOnDropHandle::new(task) }
    }

    /// The number of statuses.
    pub(crate) fn count(&self) -> usize {
        self.seen.borrow().len()
    }

    /// Waits until one of these replicas is online.
    pub(crate) async fn online(&self, from: usize, names: &[&str]) -> &'static str {
        let find = |all: &[Value]| {
            let mut new =
                all.iter().skip(from).filter(|status| status["status"] == json!("online"));
            new.find(|status| names.iter().any(|name| status["replica"] == json!(name))).cloned()
        };
        let mut seen = self.seen.clone();
        let found = timeout(DEADLINE, seen.wait_for(|all| find(all).is_some())).await;
        let found = found.ok().and_then(|all| find(&all.unwrap()));
        let found =
            found.unwrap_or_else(|| panic!("none of {names:?} becomes online: {:?}", self.all()));
        ["a", "b", "c"].into_iter().find(|name| found["replica"] == json!(name)).unwrap()
    }

    /// All statuses.
    pub(crate) fn all(&self) -> Vec<Value> {
        self.seen.borrow().clone()
    }

    /// The replicas that have been online, in order, without consecutive repetitions.
    pub(crate) fn actives(&self) -> Vec<String> {
        let all = self.all();
        let online = all.iter().filter(|status| status["status"] == json!("online"));
        let mut names: Vec<_> =
            online.map(|status| status["replica"].as_str().unwrap().to_owned()).collect();
        names.dedup();
        names
    }
}
