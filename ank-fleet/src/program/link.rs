//! The connection to the broker: a task that connects again whenever the connection ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use mqtt_session::{
    ConnectionError, NetworkError, ReconnectWaits, RefusedSubscription, Request, Requester,
    RequesterEvent, SessionMetrics, SessionOptions, Subscription,
};
use service_kit::random;
use tokio::sync::{Notify, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::text;

/// Requests that wait for the connection. Commands have fewer without an answer.
const MAX_REQUESTS: usize = 4096;

/// Events that wait for the command, before nothing more is read from the broker.
const MAX_EVENTS: usize = 1024;

/// Their size in bytes. One of them may exceed it.
const MAX_EVENT_BYTES: usize = 32 * 1024 * 1024;

/// Events that are on their way to the command. Few, because their size does not count.
const MAX_ON_THE_WAY: usize = 2;

/// What happens on the connection.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// There is a connection, and the broker has answered the subscriptions.
    Connected(Vec<RefusedSubscription>),
    /// The connection has ended, or none could be made. What was sent may have arrived or not.
    Down(Down),
    /// Anything else.
    Broker(RequesterEvent),
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) struct Down {
    /// For people.
    pub(crate) reason: String,
    /// Whether trying again does not help: the login is refused.
    pub(crate) is_final: bool,
}

/// The handle of the task.
#[derive(Debug)]
pub(crate) struct Link {
    requests: mpsc::Sender<(u64, Request)>,
    events: mpsc::Receiver<(u64, LinkEvent)>,
    /// The number of the connection that the command knows of.
    connection: u64,
    reconnect: Arc<Notify>,
    task: AbortOnDropHandle<()>,
}

impl Link {
    /// Starts the task.
    pub(crate) fn start(options: SessionOptions, subscriptions: Vec<Subscription>) -> Self {
        let (requests, request_receiver) = mpsc::channel(MAX_REQUESTS);
        let (event_sender, events) = mpsc::channel(MAX_ON_THE_WAY);
        let reconnect = Arc::new(Notify::new());
        let task = Task {
            options,
            subscriptions,
            requests: request_receiver,
            events: event_sender,
            connection: 0,
            reconnect: Arc::clone(&reconnect),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(task.run()));
        Self { requests, events, connection: 0, reconnect, task }
    }

    /// Gives the connection up, and makes a new one.
    pub(crate) fn reconnect(&self) {
        self.reconnect.notify_one();
    }

    /// Publishes a request on the connection that the command knows of. Returns whether there was
    /// room for it.
    pub(crate) fn send(&self, request: Request) -> bool {
        self.requests.try_send((self.connection, request)).is_ok()
    }

    /// Waits for the next event. Cancel safe.
    pub(crate) async fn next(&mut self) -> LinkEvent {
        match self.events.recv().await {
            Some((connection, event)) => {
                self.connection = connection;
                event
            }
            // The task ends only with this handle.
            None => std::future::pending().await,
        }
    }

    /// Ends the connection, after what was sent.
    pub(crate) async fn close(self) {
        let Self { requests, mut events, task, .. } = self;
        drop(requests);
        events.close();
        let _ = task.await;
    }
}

struct Task {
    options: SessionOptions,
    subscriptions: Vec<Subscription>,
    requests: mpsc::Receiver<(u64, Request)>,
    events: mpsc::Sender<(u64, LinkEvent)>,
    /// Requests for an earlier connection are dropped: their sender learns that it has ended.
    connection: u64,
    /// The connection is to be given up.
    reconnect: Arc<Notify>,
}

/// Why a connection has ended.
#[derive(Debug)]
enum End {
    /// By an error, and whether the subscriptions were not answered yet.
    Error(ConnectionError, bool),
    /// The command has given it up.
    GivenUp,
}

impl Task {
    async fn run(mut self) {
        let mut waits = ReconnectWaits::new(self.options.reconnect_spread);
        loop {
            self.connection += 1;
            let start = Instant::now();
            let Err(end) = self.connect().await else { return };
            let down = match end {
                End::Error(error, early) => describe(&error, &self.options, early),
                End::GivenUp => Down {
                    reason: "the command has not run for a while".to_owned(),
                    is_final: false,
                },
            };
            if self.events.send((self.connection, LinkEvent::Down(down))).await.is_err() {
                return;
            }
            self.options.brokers.advance();
            tokio::time::sleep(waits.next_wait(Some(start.elapsed()))).await;
        }
    }

    /// Connects, and serves the connection until it ends. `Ok`: the handle is gone.
    async fn connect(&mut self) -> Result<(), End> {
        let client_id = self.options.client_id.clone();
        let metrics = SessionMetrics::default();
        let opened =
            Requester::open(&self.options, client_id, self.subscriptions.clone(), &metrics).await;
        let mut requester = opened.map_err(|error| End::Error(error, true))?;
        let mut is_subscribed = false;
        let mut pending = Pending::default();
        loop {
            tokio::select! {
                permit = self.events.reserve(), if !pending.is_empty() => match permit {
                    Ok(permit) => {
                        if let Some(event) = pending.pop() {
                            permit.send((self.connection, event));
                        }
                    }
                    // The command takes no more events, but its last requests are still sent.
                    Err(_) => pending = Pending::default(),
                },
                request = self.requests.recv(), if requester.has_room() => match request {
                    Some((connection, request)) if connection == self.connection => {
                        requester
                            .request(request)
                            .map_err(|error| End::Error(error, !is_subscribed))?;
                    }
                    Some(_) => {}
                    None => break,
                },
                () = self.reconnect.notified() => return Err(End::GivenUp),
                event = requester.next(), if pending.has_room() => {
                    let event = event.map_err(|error| End::Error(error, !is_subscribed))?;
                    pending.push(match event {
                        RequesterEvent::Subscribed(refused) => {
                            is_subscribed = true;
                            LinkEvent::Connected(refused)
                        }
                        event => LinkEvent::Broker(event),
                    });
                }
            }
        }
        requester.close().await;
        Ok(())
    }
}

/// Events that wait for the command, in order.
#[derive(Debug, Default)]
struct Pending {
    events: VecDeque<LinkEvent>,
    bytes: usize,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether another one is read.
    fn has_room(&self) -> bool {
        self.events.len() < MAX_EVENTS && self.bytes < MAX_EVENT_BYTES
    }

    fn push(&mut self, event: LinkEvent) {
        self.bytes += size(&event);
        self.events.push_back(event);
    }

    fn pop(&mut self) -> Option<LinkEvent> {
        let event = self.events.pop_front()?;
        self.bytes -= size(&event);
        Some(event)
    }
}

/// The size of what a vehicle decides in an event.
fn size(event: &LinkEvent) -> usize {
    let LinkEvent::Broker(RequesterEvent::Message(message)) = event else { return 0 };
    let properties = message.user_properties.iter().map(|(name, value)| name.len() + value.len());
    message.topic.len() + message.payload.len() + properties.sum::<usize>()
}

fn describe(error: &ConnectionError, options: &SessionOptions, early: bool) -> Down {
    // Bad user name or password, not authorized, and bad authentication method, of MQTT 5.
    let code = match error {
        ConnectionError::Network(NetworkError::Refused(reason)) => reason.code.0,
        _ => 0,
    };
    let help = match code {
        0x86 | 0x87 => Some(login_help(options)),
        _ => error.help(options, early),
    };
    let help = help.map(|help| format!("; {help}")).unwrap_or_default();
    let is_final =
        matches!(code, 0x86 | 0x87 | 0x8c) || matches!(error, ConnectionError::Password(_));
    Down { reason: format!("{}{help}", text::message(&error.to_string())), is_final }
}

/// What to do if the login is refused. Not to set a client identifier: that of a command is its own.
fn login_help(options: &SessionOptions) -> String {
    let login = match &options.login {
        Some(login) => format!(
            "it refuses {:?} with this password; check MQTT_USERNAME and MQTT_PASSWORD_FILE",
            login.username
        ),
        None => "it requires a login; set MQTT_USERNAME and MQTT_PASSWORD_FILE, or MQTT_CERT_FILE \
                 and MQTT_KEY_FILE"
            .to_owned(),
    };
    format!("{login}; the broker must allow client identifiers that begin with ank-fleet-")
}

/// An id for a session of the command: part of its client identifier and its topics.
pub(crate) fn session_id() -> String {
    random::hex()
}

#[cfg(test)]
mod tests {
    use mqtt_session::Delivered;

    use super::*;

    fn message(size: usize) -> LinkEvent {
        LinkEvent::Broker(RequesterEvent::Message(Delivered {
            topic: String::new(),
            payload: vec![0; size].into(),
            retained: false,
            correlation_data: None,
            user_properties: vec![("a".to_owned(), "b".to_owned())],
        }))
    }

    #[test]
    fn so_many_events_wait_as_there_is_room_for() {
        let mut pending = Pending::default();
        while pending.has_room() {
            pending.push(message(1024 * 1024));
        }
        assert_eq!(pending.events.len(), 32);
        while pending.pop().is_some() {}
        assert_eq!(pending.bytes, 0);
        while pending.has_room() {
            pending.push(message(0));
        }
        assert_eq!(pending.events.len(), MAX_EVENTS);
        pending.pop();
        assert!(pending.has_room());
    }
}
