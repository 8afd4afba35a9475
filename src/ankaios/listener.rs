//! Listeners: code that is called for each change on the vehicle.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio_util::task::AbortOnDropHandle;

use super::client::RequestError;
use super::events::{Event, EventStream, Health, HealthHandle};
use crate::json::InstanceName;
use crate::proto::ank_base::AlteredFields;

/// Why a listener has failed; anything.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One changed field of an [`Event`].
#[derive(Debug, Clone)]
pub struct Change<'a> {
    /// The event, with the state of all fields that have changed.
    pub event: &'a Event,
    /// Path of the field, such as `desiredState.configs.web` or
    /// `workloadStates.agent_A.nginx.<id>.state`.
    pub field: &'a str,
    /// The workload instance whose state it is, if it is one's.
    pub instance: Option<InstanceName>,
}

/// What went wrong while listening.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListenerError {
    /// The subscription was lost and cannot be made again at the moment.
    #[error("the subscription cannot be made again: {0}")]
    Subscription(#[from] RequestError),
    /// A listener has returned an error.
    #[error("a listener has failed: {0}")]
    Failed(String),
    /// A listener has panicked.
    #[error("a listener has panicked: {0}")]
    Panicked(String),
}

/// Is called for each change on the vehicle. All methods may be left out.
///
/// A listener that returns an error or panics is reported, to itself by
/// [`error`](EventListener::error) and in the log, and goes on being called; the
/// other listeners are not affected. They are called one after the other, so one
/// that takes long delays the others; if it takes too long, events are thrown
/// away and the next one is marked as `resynced`.
#[async_trait]
pub trait EventListener: Send {
    /// An event has come. Called before the methods for its fields, and also for
    /// those that are marked as `resynced`, which have no changed fields.
    async fn event(&mut self, _event: &Event) -> Result<(), Failure> {
        Ok(())
    }

    /// A field was added.
    async fn added(&mut self, _change: &Change<'_>) -> Result<(), Failure> {
        Ok(())
    }

    /// A field has changed.
    async fn updated(&mut self, _change: &Change<'_>) -> Result<(), Failure> {
        Ok(())
    }

    /// A field was removed.
    async fn removed(&mut self, _change: &Change<'_>) -> Result<(), Failure> {
        Ok(())
    }

    /// Something went wrong.
    async fn error(&mut self, _error: &ListenerError) {}
}

type Factory = Box<dyn FnMut() -> Box<dyn EventListener> + Send>;

enum Registered {
    Instance(Box<dyn EventListener>),
    Factory(Factory),
}

/// Listeners for one subscription.
///
/// ```no_run
/// use async_trait::async_trait;
/// use fleet_connector::ankaios::Client;
/// use fleet_connector::ankaios::events::{Change, EventListener, Failure, Listeners};
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
/// # async fn example(client: Client) -> Result<(), fleet_connector::ankaios::RequestError> {
/// let (state, events) = client.subscribe(vec!["workloadStates".into()]).await?.answer().await?;
/// println!("at the beginning: {state:?}");
/// let listening = Listeners::new().with(Printer).listen(events);
/// println!("{:?}", listening.health());
/// listening.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Listeners {
    registered: Vec<Registered>,
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

    /// Adds one listener for all events.
    #[must_use]
    pub fn with(mut self, listener: impl EventListener + 'static) -> Self {
        self.registered.push(Registered::Instance(Box::new(listener)));
        self
    }

    /// Adds a factory that makes a new listener for each event. If it panics, that
    /// goes to the log and counts as a failure; the next event tries it again.
    #[must_use]
    pub fn with_factory<L: EventListener + 'static>(
        mut self,
        mut factory: impl FnMut() -> L + Send + 'static,
    ) -> Self {
        self.registered.push(Registered::Factory(Box::new(move || Box::new(factory()))));
        self
    }

    /// Calls the listeners for each event of the stream, which restarts by
    /// itself, until [`Listening::stop`] or until the result is dropped.
    #[must_use]
    pub fn listen(self, events: EventStream) -> Listening {
        let health = events.health();
        Listening { health, task: AbortOnDropHandle::new(tokio::spawn(self.run(events))) }
    }

    /// As [`Listeners::listen`], in the calling task. Never returns.
    pub async fn run(mut self, mut events: EventStream) {
        let health = events.health();
        loop {
            let next = events.next().await;
            for registered in &mut self.registered {
                let mut fresh;
                let listener = match registered {
                    Registered::Instance(listener) => listener,
                    Registered::Factory(factory) => match catch_unwind(AssertUnwindSafe(factory)) {
                        Ok(listener) => {
                            fresh = listener;
                            &mut fresh
                        }
                        Err(panic) => {
                            // There is no listener to tell.
                            let error = panic_message(&*panic);
                            tracing::error!(error, "the factory of a listener has panicked");
                            health.change(|health| health.failures += 1);
                            continue;
                        }
                    },
                };
                match &next {
                    Ok(event) => call(listener.as_mut(), event, &health).await,
                    Err(error) => report(listener.as_mut(), error.clone().into()).await,
                }
            }
            if let Err(error) = next {
                tracing::warn!(%error, "a subscription cannot be made again");
            }
        }
    }
}

/// Listeners that are being called. Dropping it stops them.
#[derive(Debug)]
pub struct Listening {
    health: HealthHandle,
    task: AbortOnDropHandle<()>,
}

impl Listening {
    /// How the subscription and its listeners fare.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.get()
    }

    /// Ends the subscription; no listener is called any more on return.
    pub async fn stop(self) {
        self.task.abort();
        // It ends by being aborted, which is no error here.
        let _ = self.task.await;
    }
}

/// Calls one listener for an event and all its fields.
async fn call(listener: &mut dyn EventListener, event: &Event, health: &HealthHandle) {
    let failure = guard(listener.event(event)).await;
    settle(listener, failure, health).await;
    let nothing = AlteredFields::default();
    let altered = event.response.altered_fields.as_ref().unwrap_or(&nothing);
    for field in &altered.added_fields {
        let failure = guard(listener.added(&change(event, field))).await;
        settle(listener, failure, health).await;
    }
    for field in &altered.updated_fields {
        let failure = guard(listener.updated(&change(event, field))).await;
        settle(listener, failure, health).await;
    }
    for field in &altered.removed_fields {
        let failure = guard(listener.removed(&change(event, field))).await;
        settle(listener, failure, health).await;
    }
}

fn change<'a>(event: &'a Event, field: &'a str) -> Change<'a> {
    Change { event, field, instance: InstanceName::from_state_path(field) }
}

async fn settle(
    listener: &mut dyn EventListener,
    outcome: Result<(), ListenerError>,
    health: &HealthHandle,
) {
    if let Err(error) = outcome {
        tracing::error!(%error, "an event is not dealt with");
        health.change(|health| health.failures += 1);
        report(listener, error).await;
    }
}

/// A panic while reporting a failure has nobody left to go to but the log.
async fn report(listener: &mut dyn EventListener, error: ListenerError) {
    let reported = AssertUnwindSafe(listener.error(&error)).catch_unwind().await;
    if let Err(panic) = reported {
        tracing::error!(error = panic_message(&*panic), "a listener has panicked over an error");
    }
}

async fn guard(called: impl Future<Output = Result<(), Failure>>) -> Result<(), ListenerError> {
    match AssertUnwindSafe(called).catch_unwind().await {
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
