//! Listeners: callbacks for changes of the state.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ankaios_model::InstanceName;
use ankaios_model::proto::ank_base::AlteredFields;
use async_trait::async_trait;
use futures_util::FutureExt;
use tokio_util::task::AbortOnDropHandle;

use super::error::RequestError;
use super::events::{Event, EventStream};
use super::stream_health::{StreamHealth, StreamHealthHandle};

/// The error of a listener, of any type.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One changed field of an [`Event`].
#[derive(Debug, Clone)]
pub struct Change<'a> {
    /// The event, which contains the new values of all changed fields.
    pub event: &'a Event,
    /// Path of the field, such as `desiredState.configs.web` or
    /// `workloadStates.agent_A.nginx.<id>.state`.
    pub field: &'a str,
    /// The workload instance, if the field is a part of the state of one.
    pub instance: Option<InstanceName>,
}

/// An error that is reported to a listener.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListenerError {
    /// The subscription was lost, and an attempt to subscribe again has failed. There will be
    /// further attempts.
    #[error("the subscription cannot be restored: {0}")]
    Subscription(#[from] RequestError),
    /// A listener has returned an error.
    #[error("a listener has failed: {0}")]
    Failed(String),
    /// A listener has panicked.
    #[error("a listener has panicked: {0}")]
    Panicked(String),
}

/// Callbacks for the changes of the state. Each method does nothing by default.
///
/// When a method returns an error or panics, that is logged and reported to
/// [`error`](EventListener::error) of the same listener, which is then called as before.
/// Other listeners are not affected.
///
/// Listeners are called one after the other, so a slow one delays the others. If it is slower
/// than events arrive, events are dropped, and the next one is marked as
/// [`resynced`](Event::resynced).
#[async_trait]
pub trait EventListener: Send {
    /// Called for each event, before the methods for its fields. An event that is marked as
    /// `resynced` has no changed fields.
    async fn event(&mut self, _event: &Event) -> Result<(), Failure> {
        Ok(())
    }

    /// Called for each field that was added.
    async fn added(&mut self, _change: &Change<'_>) -> Result<(), Failure> {
        Ok(())
    }

    /// Called for each field that has changed.
    async fn updated(&mut self, _change: &Change<'_>) -> Result<(), Failure> {
        Ok(())
    }

    /// Called for each field that was removed.
    async fn removed(&mut self, _change: &Change<'_>) -> Result<(), Failure> {
        Ok(())
    }

    /// Called when the subscription or another method of this listener has failed.
    async fn error(&mut self, _error: &ListenerError) {}
}

type Factory = Box<dyn FnMut() -> Box<dyn EventListener> + Send>;

enum ListenerSource {
    Instance(Box<dyn EventListener>),
    Factory(Factory),
}

/// A list of listeners for one subscription.
///
/// ```no_run
/// use ankaios_control::{Change, Client, EventListener, Failure, Listeners};
/// use async_trait::async_trait;
///
/// struct Printer;
///
/// #[async_trait]
/// impl EventListener for Printer {
///     async fn updated(&mut self, change: &Change<'_>) -> Result<(), Failure> {
///         if let Some(instance) = &change.instance {
///             println!("{} on {}", instance.workload_name, instance.agent_name);
///         }
///         Ok(())
///     }
/// }
///
/// # async fn example(client: Client) -> Result<(), ankaios_control::RequestError> {
/// let (state, events) = client.subscribe(vec!["workloadStates".into()]).await?.answer().await?;
/// println!("at the beginning: {state:?}");
/// let task = Listeners::new().with(Printer).listen(events);
/// println!("{:?}", task.health());
/// task.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Listeners {
    registered: Vec<ListenerSource>,
}

impl fmt::Debug for Listeners {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Listeners").field("registered", &self.registered.len()).finish()
    }
}

impl Listeners {
    /// No listeners yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a listener for all events.
    #[must_use]
    pub fn with(mut self, listener: impl EventListener + 'static) -> Self {
        self.registered.push(ListenerSource::Instance(Box::new(listener)));
        self
    }

    /// Adds a factory, which makes a new listener for each event. If it panics, that is logged
    /// and counted as a failure, and it is called again for the next event.
    #[must_use]
    pub fn with_factory<L: EventListener + 'static>(
        mut self,
        mut factory: impl FnMut() -> L + Send + 'static,
    ) -> Self {
        self.registered.push(ListenerSource::Factory(Box::new(move || Box::new(factory()))));
        self
    }

    /// Spawns a task that calls the listeners for each event of the stream, until
    /// [`ListenerTask::stop`] or until the result is dropped.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn listen(self, events: EventStream) -> ListenerTask {
        let health = events.health();
        ListenerTask { health, task: AbortOnDropHandle::new(tokio::spawn(self.run(events))) }
    }

    /// Calls the listeners for each event of the stream. Never returns.
    pub async fn run(mut self, mut events: EventStream) {
        let health = events.health();
        loop {
            let next = events.next().await;
            for registered in &mut self.registered {
                let mut made;
                let listener = match registered {
                    ListenerSource::Instance(listener) => listener,
                    ListenerSource::Factory(factory) => {
                        match catch_unwind(AssertUnwindSafe(factory)) {
                            Ok(listener) => {
                                made = listener;
                                &mut made
                            }
                            Err(panic) => {
                                // There is no listener to report it to.
                                let error = panic_message(&*panic);
                                tracing::error!(error, "the factory of a listener has panicked");
                                health.update(|health| health.failures += 1);
                                continue;
                            }
                        }
                    }
                };
                match &next {
                    Ok(event) => call(listener.as_mut(), event, &health).await,
                    Err(error) => report(listener.as_mut(), error.clone().into()).await,
                }
            }
            if let Err(error) = next {
                tracing::warn!(%error, "a subscription cannot be restored");
            }
        }
    }
}

/// The task that calls listeners. Dropping it stops the task.
#[derive(Debug)]
pub struct ListenerTask {
    health: StreamHealthHandle,
    task: AbortOnDropHandle<()>,
}

impl ListenerTask {
    /// The health of the subscription and its listeners.
    #[must_use]
    pub fn health(&self) -> StreamHealth {
        self.health.get()
    }

    /// Stops the task and ends the subscription. After this returns, no listener is called.
    pub async fn stop(self) {
        self.task.abort();
        // The only possible error is that the task was aborted, as intended.
        let _ = self.task.await;
    }
}

/// Calls one listener for an event and for each of its fields.
async fn call(listener: &mut dyn EventListener, event: &Event, health: &StreamHealthHandle) {
    let result = catch(listener.event(event)).await;
    handle_result(listener, result, health).await;
    let none = AlteredFields::default();
    let altered = event.response.altered_fields.as_ref().unwrap_or(&none);
    for field in &altered.added_fields {
        let result = catch(listener.added(&change(event, field))).await;
        handle_result(listener, result, health).await;
    }
    for field in &altered.updated_fields {
        let result = catch(listener.updated(&change(event, field))).await;
        handle_result(listener, result, health).await;
    }
    for field in &altered.removed_fields {
        let result = catch(listener.removed(&change(event, field))).await;
        handle_result(listener, result, health).await;
    }
}

fn change<'a>(event: &'a Event, field: &'a str) -> Change<'a> {
    Change { event, field, instance: InstanceName::from_state_path(field) }
}

/// Logs, counts and reports the error of a listener.
async fn handle_result(
    listener: &mut dyn EventListener,
    result: Result<(), ListenerError>,
    health: &StreamHealthHandle,
) {
    if let Err(error) = result {
        tracing::error!(%error, "an event is not handled");
        health.update(|health| health.failures += 1);
        report(listener, error).await;
    }
}

/// Reports an error to a listener. If that panics, too, it is only logged.
async fn report(listener: &mut dyn EventListener, error: ListenerError) {
    let reported = AssertUnwindSafe(listener.error(&error)).catch_unwind().await;
    if let Err(panic) = reported {
        tracing::error!(
            error = panic_message(&*panic),
            "a listener has panicked while handling an error"
        );
    }
}

/// Turns the error or the panic of a callback into a [`ListenerError`].
async fn catch(callback: impl Future<Output = Result<(), Failure>>) -> Result<(), ListenerError> {
    match AssertUnwindSafe(callback).catch_unwind().await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(failure)) => Err(ListenerError::Failed(failure.to_string())),
        Err(panic) => Err(ListenerError::Panicked(panic_message(&*panic))),
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".into())
}
