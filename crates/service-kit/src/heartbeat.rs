//! Liveness checks of tasks.
//!
//! If a task ends or panics, its `JoinHandle` reports it. If it hangs, nothing does. Therefore a
//! [`Monitor`] sends questions to the task, and the loop of the task answers them with its
//! [`Heartbeat`], as one branch of a `select!`. There is no cost without questions.
//!
//! The loop does not answer during a step. A step that may wait without a time limit must use
//! [`Heartbeat::while_waiting`].

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// A question: the sender of its answer.
type Question = oneshot::Sender<()>;

/// Checks whether a task is alive, and later the task that replaces it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Monitor {
    task: &'static str,
    /// The channel to the current task. A lock, because `start` replaces the channel while others
    /// use it. It is held only for an assignment or a clone.
    questions: Arc<Mutex<Option<mpsc::Sender<Question>>>>,
}

impl Monitor {
    /// A monitor for a task that has not started. `task` is its name in messages.
    #[must_use]
    pub fn new(task: &'static str) -> Self {
        Self { task, questions: Arc::default() }
    }

    /// The name of the task.
    #[must_use]
    pub fn task(&self) -> &'static str {
        self.task
    }

    /// Creates the heartbeat of a task that starts. Earlier heartbeats get no more questions.
    #[must_use]
    pub fn start(&self) -> Heartbeat {
        let (sender, questions) = mpsc::channel(1);
        *self.questions.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        Heartbeat { questions }
    }

    /// Whether the task answers within `limit`. A task that is not running counts as alive.
    pub async fn is_alive(&self, limit: Duration) -> bool {
        let questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(questions) = questions else { return true };
        let answered = async {
            let (question, answer) = oneshot::channel();
            if questions.send(question).await.is_ok() {
                // An error means that the task has ended in the meantime.
                let _ = answer.await;
            }
        };
        timeout(limit, answered).await.is_ok()
    }
}

/// Answers liveness checks of a task.
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

    /// Waits for the next question and answers it. For the loop of the task; cancel safe.
    pub async fn answer(&mut self) {
        match self.questions.recv().await {
            // An error means that the time limit of the question has passed.
            Some(question) => drop(question.send(())),
            None => std::future::pending().await,
        }
    }

    /// Waits for a future without a time limit, and answers questions meanwhile.
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
    async fn a_running_task_is_alive_and_a_hanging_one_is_not() {
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
        // The same for the next question.
        assert!(!monitor.is_alive(LIMIT).await);
        task.abort();
        let _ = task.await;
        assert!(monitor.is_alive(LIMIT).await, "it does not run");
    }

    #[tokio::test(start_paused = true)]
    async fn a_replaced_task_gets_no_questions() {
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
    async fn while_waiting_returns_the_output_of_the_future() {
        assert_eq!(Heartbeat::unmonitored().while_waiting(async { 7 }).await, 7);
    }
}
