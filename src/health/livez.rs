//! `/livez`: whether the tasks make progress.
//!
//! A task that ends or panics ends the process. A task that hangs does not, so each one is asked
//! and must answer.

use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use service_kit::heartbeat::Monitor;

/// How long a task may take to answer. A step of its loop takes microseconds.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The check of `/livez`: the monitors of the tasks.
#[derive(Debug)]
pub(crate) struct Liveness {
    tasks: Vec<Monitor>,
}

/// The response body of `/livez`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct LivezBody {
    pub(super) alive: bool,
    /// The tasks that do not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hanging: Vec<&'static str>,
}

impl Liveness {
    /// A check of these tasks.
    #[must_use]
    pub(crate) fn new(tasks: Vec<Monitor>) -> Self {
        Self { tasks }
    }

    pub(super) async fn check(&self) -> LivezBody {
        let asked = self.tasks.iter().map(|task| async {
            let alive = task.is_alive(TIMEOUT).await;
            (!alive).then(|| task.task())
        });
        let hanging: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
        LivezBody { alive: hanging.is_empty(), hanging }
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
        let alive = serde_json::to_value(liveness.check().await).unwrap();
        assert_eq!(alive, json!({"alive": true}));
        let mut heartbeats = monitors.map(|monitor| monitor.start()).into_iter();
        // The first one answers; the others never read their questions.
        let mut first = heartbeats.next().unwrap();
        let _task = AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                first.answer().await;
            }
        }));
        let start = Instant::now();
        let alive = serde_json::to_value(liveness.check().await).unwrap();
        assert_eq!(
            alive,
            json!({"alive": false, "hanging": ["the link to Ankaios", "the MQTT session"]})
        );
        assert_eq!(start.elapsed(), TIMEOUT, "they are asked at the same time");
        drop(heartbeats);
        assert!(liveness.check().await.alive, "those that have ended are not asked");
    }
}
