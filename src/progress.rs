//! Whether the loop of a task still goes round: it is asked when somebody wants to
//! know, and costs nothing otherwise.
//!
//! A loop answers between two steps. So it must not wait in a step for what may
//! take as long as it likes, or say so by [`Progress::during`].

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// A question, and where its answer goes.
type Question = oneshot::Sender<()>;

/// Asks one task, and those that take its place later. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Monitor {
    task: &'static str,
    questions: Arc<Mutex<Option<mpsc::Sender<Question>>>>,
}

impl Monitor {
    /// Asks a task that has yet to begin; `task` names it in messages.
    #[must_use]
    pub fn new(task: &'static str) -> Self {
        Self { task, questions: Arc::default() }
    }

    /// The name of the task.
    #[must_use]
    pub fn task(&self) -> &'static str {
        self.task
    }

    /// What the task answers by. Who has had it before is not asked any more.
    #[must_use]
    pub fn begin(&self) -> Progress {
        let (sender, questions) = mpsc::channel(1);
        *self.questions.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        Progress { questions }
    }

    /// Whether the task answers within `limit`. One that does not run has nothing
    /// to get on with.
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

/// Answers for one task.
#[derive(Debug)]
pub struct Progress {
    questions: mpsc::Receiver<Question>,
}

impl Progress {
    /// For a task that nobody asks.
    #[must_use]
    pub fn unasked() -> Self {
        Self { questions: mpsc::channel(1).1 }
    }

    /// Answers the next question; for the loop of the task. Cancelling the future
    /// loses none.
    pub async fn asked(&mut self) {
        match self.questions.recv().await {
            // Who has asked may have gone in the meantime.
            Some(question) => drop(question.send(())),
            None => std::future::pending().await,
        }
    }

    /// Waits for what may take as long as it likes, and answers in the meantime.
    pub async fn during<T>(&mut self, wait: impl Future<Output = T>) -> T {
        let mut wait = pin!(wait);
        loop {
            tokio::select! {
                biased;
                done = &mut wait => return done,
                () = self.asked() => {}
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
    async fn a_loop_that_goes_round_answers_and_one_that_hangs_does_not() {
        let monitor = Monitor::new("a task");
        assert!(monitor.is_alive(LIMIT).await, "it has not begun");
        let mut progress = monitor.begin();
        let (hang, hangs) = oneshot::channel::<()>();
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut hangs = pin!(hangs);
            loop {
                tokio::select! {
                    biased;
                    _ = &mut hangs => pending().await,
                    () = progress.asked() => {}
                }
            }
        }));
        assert!(monitor.is_alive(LIMIT).await);
        assert!(monitor.is_alive(LIMIT).await);
        drop(hang);
        assert!(!monitor.is_alive(LIMIT).await);
        // Also not to those who ask when there is a question already.
        assert!(!monitor.is_alive(LIMIT).await);
        task.abort();
        let _ = task.await;
        assert!(monitor.is_alive(LIMIT).await, "it does not run");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_takes_the_place_of_another_is_asked_in_its_stead() {
        let monitor = Monitor::new("a task");
        let _hanging = monitor.begin();
        assert!(!monitor.is_alive(LIMIT).await);
        let mut progress = monitor.begin();
        let _task = AbortOnDropHandle::new(tokio::spawn(async move {
            progress.during(pending::<()>()).await;
        }));
        assert!(monitor.is_alive(LIMIT).await);
    }

    #[tokio::test]
    async fn what_is_waited_for_ends_the_wait() {
        assert_eq!(Progress::unasked().during(async { 7 }).await, 7);
    }
}
