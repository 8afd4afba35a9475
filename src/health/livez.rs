//! `/livez`: whether the tasks get on.
//!
//! A task that ends, or panics, ends the process. What is left is a task that
//! waits for something that does not come: so each is asked, and must answer.

use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;

use crate::progress::Monitor;

/// How long a task may take to answer. A step of its loop takes microseconds.
const LIMIT: Duration = Duration::from_secs(2);

/// The tasks that are asked.
#[derive(Debug)]
pub struct Liveness {
    tasks: Vec<Monitor>,
}

/// What `/livez` says.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Alive {
    pub(super) alive: bool,
    /// The tasks that do not get on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hanging: Vec<&'static str>,
}

impl Liveness {
    /// Asks these tasks.
    #[must_use]
    pub fn new(tasks: Vec<Monitor>) -> Self {
        Self { tasks }
    }

    pub(super) async fn ask(&self) -> Alive {
        let asked = self.tasks.iter().map(|task| async {
            let alive = task.is_alive(LIMIT).await;
            (!alive).then(|| task.task())
        });
        let hanging: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
        Alive { alive: hanging.is_empty(), hanging }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;
    use tokio::time::Instant;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_tasks_that_hang_are_named() {
        let names = ["the router", "the link to Ankaios", "the MQTT session"];
        let monitors = names.map(Monitor::new);
        let liveness = Liveness::new(monitors.to_vec());
        let alive = serde_json::to_value(liveness.ask().await).unwrap();
        assert_eq!(alive, json!({"alive": true}));
        let mut progress = monitors.map(|monitor| monitor.begin()).into_iter();
        // This one gets on, and the others never look at their questions.
        let mut gets_on = progress.next().unwrap();
        let _task = AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                gets_on.asked().await;
            }
        }));
        let start = Instant::now();
        let alive = serde_json::to_value(liveness.ask().await).unwrap();
        assert_eq!(
            alive,
            json!({"alive": false, "hanging": ["the link to Ankaios", "the MQTT session"]})
        );
        assert_eq!(start.elapsed(), LIMIT, "they are asked at the same time");
        drop(progress);
        assert!(liveness.ask().await.alive, "those that have ended are not asked");
    }
}
