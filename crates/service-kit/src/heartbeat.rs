//! Liveness checks of tasks.
//!
//! A task that ends or panics is noticed by whoever has spawned it. One that hangs is not:
//! so its loop answers questions. That costs nothing while nobody asks.
//!
//! The loop answers between two steps. A step that may wait without a limit has to
//! go through [`Heartbeat::while_waiting`].

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// A question, and where its answer goes.
type Question = oneshot::Sender<()>;

/// Asks one task, and the tasks that replace it later. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Monitor {
    task: &'static str,
    /// A lock, because the task that answers is replaced while others ask. It is held for
    /// an assignment or a clone.
    questions: Arc<Mutex<Option<mpsc::Sender<Question>>>>,
}

impl Monitor {
    /// A monitor of a task that has not started; `task` names it in messages.
    #[must_use]
    pub fn new(task: &'static str) -> Self {
        Self { task, questions: Arc::default() }
    }

    /// The name of the task.
    #[must_use]
    pub fn task(&self) -> &'static str {
        self.task
    }

    /// The heartbeat for a task that starts. An earlier heartbeat is not asked any more.
    #[must_use]
    pub fn start(&self) -> Heartbeat {
        let (sender, questions) = mpsc::channel(1);
        *self.questions.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        Heartbeat { questions }
    }

    /// Whether the task answers within `limit`. A task that does not run counts as alive.
    pub async fn is_alive(&self, limit: Duration) -> bool {
        let questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(questions) = questions else { return true };
        let answered = async {
            let (question, answer) = oneshot::channel();
            if questions.send(question).await.is_ok() {
                // Without an answer, the task has ended in the meantime.
                let _ = answer.await;
            }
        };
        timeout(limit, answered).await.is_ok()
    }
}

/// Answers liveness checks for one task.
#[derive(Debug)]
pub struct Heartbeat {
    questions: mpsc::Receiver<Question>,
}

impl Heartbeat {
    /// The heartbeat of a task that is not monitored.
    #[must_use]
    pub fn unmonitored() -> Self {
        Self { questions: mpsc::channel(1).1 }
    }

    /// Waits for the next question and answers it; for the loop of the task. Cancel safe.
    pub async fn answer(&mut self) {
        match self.questions.recv().await {
            // Whoever asked may have given up in the meantime.
            Some(question) => drop(question.send(())),
            None => std::future::pending().await,
        }
    }

    /// Waits for `wait`, however long that takes, and answers questions meanwhile.
    pub async fn while_waiting<T>(&mut self, wait: impl Future<Output = T>) -> T {
        let mut wait = pin!(wait);
        loop {
            tokio::select! {
                biased;
                done = &mut wait => return done,
                () = self.answer() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio_util::task::AbortOnDropHandle;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_running_loop_answers_and_a_hanging_one_does_not() {
        let monitor = Monitor::new("a task");
        assert!(monitor.is_alive(LIMIT).await, "it has not started");
        let mut heartbeat = monitor.start();
        let (hang, hangs) = oneshot::channel::<()>();
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut hangs = pin!(hangs);
            loop {
                tokio::select! {
                    biased;
                    _ = &mut hangs => pending().await,
                    () = heartbeat.answer() => {}
                }
            }
        }));
        assert!(monitor.is_alive(LIMIT).await);
        assert!(monitor.is_alive(LIMIT).await);
        drop(hang);
        assert!(!monitor.is_alive(LIMIT).await);
        // Nor to a second question.
        assert!(!monitor.is_alive(LIMIT).await);
        task.abort();
        let _ = task.await;
        assert!(monitor.is_alive(LIMIT).await, "it does not run");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_replaces_another_is_asked_in_its_place() {
        let monitor = Monitor::new("a task");
        let _hanging = monitor.start();
        assert!(!monitor.is_alive(LIMIT).await);
        let mut heartbeat = monitor.start();
        let _task = AbortOnDropHandle::new(tokio::spawn(async move {
            heartbeat.while_waiting(pending::<()>()).await;
        }));
        assert!(monitor.is_alive(LIMIT).await);
    }

    #[tokio::test]
    async fn a_wait_ends_with_what_it_waits_for() {
        assert_eq!(Heartbeat::unmonitored().while_waiting(async { 7 }).await, 7);
    }
}
