//! The session of a command with the broker: who is there, requests, and their replies.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use fleet_contract::fleet::{FleetName, WhoRequest};
use fleet_contract::operation::Operation;
use mqtt_session::{Delivered, Qos, Request, RequesterEvent, SessionOptions, Subscription};
use service_kit::clock::Deadline;
use tokio::time::{Instant, sleep_until};

use super::call::{Answer, Call};
use super::failure::Failure;
use super::interrupt::Interrupt;
use super::link::{Down, Link, LinkEvent, session_id};
use super::pending_calls::PendingCalls;
use super::progress;
use super::retained::{Arrival, Kept};
use super::who::Answers;
use crate::Vin;
use crate::presence::{Presence, vehicle_of};

/// How long the last calls of a command take at most.
const LAST_CALLS: Duration = Duration::from_secs(5);

/// How many messages that are too large are mentioned.
const MAX_MENTIONED: usize = 10;

/// The first that is not.
const MORE: usize = MAX_MENTIONED + 1;

/// What happens in a session, apart from answers to calls.
#[derive(Debug)]
pub(crate) enum SessionEvent {
    /// There is a connection again, and the presence may have changed.
    Connected,
    /// The connection is lost.
    Disconnected,
    /// A vehicle has come online or gone offline.
    Presence(Vin, bool),
    /// The broker has a call.
    Accepted(u64),
    /// A call has ended.
    Answered(u64, Answer),
    /// The broker does not take a request that is not a call.
    Refused(u64, String),
    /// Any other message.
    Message(Delivered),
    /// Nothing that concerns the command.
    Nothing,
}

/// A question to the fleet who is there.
#[derive(Debug)]
struct Question {
    token: u64,
    /// Its number among the questions of [`Presence`].
    number: u64,
    answers: Answers,
}

/// The session of a command with the broker.
#[derive(Debug)]
pub(crate) struct Session {
    link: Link,
    id: String,
    presence: Presence,
    calls: PendingCalls,
    next_token: u64,
    is_connected: bool,
    /// The fleet that is asked who is there, and over which time it spreads its answers.
    who: Option<(FleetName, Duration)>,
    /// The last of these questions.
    question: Option<Question>,
    /// Retained messages other than statuses that came while vehicles were looked for.
    pub(crate) early: Kept,
    /// How many messages were too large.
    too_large: usize,
}

impl Session {
    /// Connects. `more` are topic filters of messages that the command needs besides statuses and
    /// replies.
    ///
    /// # Errors
    /// There is no connection within `patience`.
    pub(crate) async fn open(
        mut options: SessionOptions,
        more: impl FnOnce(&str) -> Vec<Subscription>,
        patience: Duration,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let id = session_id();
        options.client_id = format!("ank-fleet-{id}");
        let address = options.brokers.to_string();
        let mut subscriptions = vec![
            subscription("vehicle/+/connector/status", Qos::AtLeastOnce, true),
            subscription(&format!("vehicle/+/reply/{id}/resp"), Qos::AtLeastOnce, false),
        ];
        subscriptions.extend(more(&id));
        let link = Link::start(options, subscriptions);
        let mut session = Self {
            link,
            id,
            presence: Presence::default(),
            calls: PendingCalls::default(),
            next_token: 0,
            is_connected: false,
            who: None,
            question: None,
            early: Kept::default(),
            too_large: 0,
        };
        let give_up = Instant::now() + patience;
        let mut last = "it does not answer".to_owned();
        loop {
            tokio::select! {
                event = session.link.next() => match event {
                    LinkEvent::Connected(refused) => {
                        for one in &refused {
                            let (filter, code) = (&one.subscription.filter, one.code);
                            if filter.ends_with("/resp") || filter.ends_with("/status") {
                                return Err(Failure::NoBroker(format!(
                                    "the broker {address} refuses the subscription to {filter}: \
                                     {code}; docs/mosquitto.acl has the rights of operators"
                                )));
                            }
                            progress::note(&format!(
                                "the broker refuses the subscription to {filter}: {code}"
                            ));
                        }
                        session.is_connected = true;
                        return Ok(session);
                    }
                    LinkEvent::Down(Down { reason, is_final }) => {
                        last = reason;
                        if is_final {
                            return Err(Failure::NoBroker(format!(
                                "no connection to the broker {address}: {last}"
                            )));
                        }
                    }
                    // Some brokers send retained messages before they answer.
                    LinkEvent::Broker(event) => {
                        session.broker_event(event);
                    }
                },
                () = sleep_until(give_up) => {
                    return Err(Failure::NoBroker(format!(
                        "no connection to the broker {address}: {last}"
                    )));
                }
                () = interrupt.wait() => return Err(Failure::Interrupted),
            }
        }
    }

    /// The id of the session: part of the topics of its replies and streams.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Who is there, as far as it is known.
    pub(crate) fn presence(&self) -> &Presence {
        &self.presence
    }

    /// Collects the retained statuses, and asks the fleet who is there.
    ///
    /// # Errors
    /// The operator has pressed Ctrl-C.
    pub(crate) async fn find_vehicles(
        &mut self,
        fleet: Option<&FleetName>,
        spread: Duration,
        interrupt: &Interrupt,
    ) -> Result<(), Failure> {
        let start = Instant::now();
        self.who = fleet.map(|fleet| (fleet.clone(), spread));
        self.ask_who();
        let mut retained = Arrival::new(start);
        let mut has_room = true;
        loop {
            let answered = self.question.as_ref().map_or(start, |it| it.answers.until());
            let until = retained.until().max(answered);
            if until <= Instant::now() {
                break;
            }
            let before = self.presence.sources();
            tokio::select! {
                event = self.next() => {
                    match event {
                        SessionEvent::Message(message) if !message.topic.ends_with("/status") => {
                            has_room &= self.early.keep(message);
                        }
                        SessionEvent::Accepted(token) if self.is_question(token) => {
                            retained = Arrival::new(Instant::now());
                        }
                        SessionEvent::Refused(token, reason) if self.is_question(token) => {
                            progress::note(&format!("{reason}: the fleet is not asked"));
                        }
                        _ => {}
                    }
                    if self.presence.sources() != before {
                        retained.message(Instant::now());
                    }
                }
                () = sleep_until(until) => {}
                () = interrupt.wait() => return Err(Failure::Interrupted),
            }
        }
        if self.question.is_some() && !self.close_question() {
            progress::note("the broker has not accepted the question who is there");
        }
        if !has_room {
            progress::note("the broker has too many retained messages: some are left out");
        }
        Ok(())
    }

    /// Asks the fleet again who is there, unless the answers to the last question are still arriving.
    pub(crate) fn ask_who_again(&mut self) {
        let is_open = self.question.as_ref().is_some_and(|it| it.answers.until() > Instant::now());
        if self.is_connected && !is_open {
            self.close_question();
            self.ask_who();
        }
    }

    /// Whether the request is the last question who is there.
    fn is_question(&self, token: u64) -> bool {
        self.question.as_ref().is_some_and(|question| question.token == token)
    }

    /// Ends the last question who is there. Returns whether its answers are complete.
    fn close_question(&mut self) -> bool {
        let Some(Question { number, answers, .. }) = self.question.take() else { return false };
        let is_complete = answers.are_complete(Instant::now());
        if is_complete {
            self.presence.complete(number);
        }
        is_complete
    }

    /// Asks the fleet who is there, if its name is known. The answers are spread over a time.
    pub(crate) fn ask_who(&mut self) {
        let Some((fleet, spread)) = &self.who else { return };
        let (topic, spread) = (fleet.who_topic(), *spread);
        let number = self.presence.asked(fleet);
        let token = self.token();
        let answers = Answers::new(Instant::now(), spread);
        self.question = Some(Question { token, number, answers });
        self.link.send(Request {
            token,
            topic,
            payload: WhoRequest { spread }.to_payload(),
            response_topic: None,
            correlation_data: None,
            expiry: Some(Deadline::after(Answers::expiry(spread))),
            user_properties: Vec::new(),
            patience: Answers::expiry(spread),
        });
    }

    /// Sends a request whose reply is a [`SessionEvent::Message`]; for those that keep track of
    /// their requests themselves.
    pub(crate) fn send(
        &mut self,
        vin: &Vin,
        operation: Operation,
        payload: Bytes,
        user_properties: Vec<(String, String)>,
        expires_in: Duration,
    ) -> u64 {
        let token = self.token();
        self.request(token, vin, operation, payload, user_properties, expires_in);
        token
    }

    /// Starts a call. It ends with [`SessionEvent::Answered`], whatever happens.
    pub(crate) fn call(&mut self, call: Call) -> u64 {
        let token = self.token();
        if self.is_connected {
            self.send_call(token, &call, call.timeout);
        }
        self.calls.add(token, call, Instant::now());
        token
    }

    /// Sends the last calls of a command, and waits until the broker has them: it may not read what was
    /// sent just before the connection was closed. At most `parallel` are sent at once.
    pub(crate) async fn send_all(&mut self, calls: Vec<Call>, parallel: usize) {
        let until = Instant::now() + LAST_CALLS;
        let mut waiting = VecDeque::from(calls);
        let mut sent = BTreeSet::new();
        while self.is_connected && !(waiting.is_empty() && sent.is_empty()) {
            if sent.len() < parallel
                && let Some(call) = waiting.pop_front()
            {
                sent.insert(self.call(call));
                continue;
            }
            tokio::select! {
                event = self.next() => {
                    if let SessionEvent::Accepted(token) | SessionEvent::Answered(token, _) = event {
                        sent.remove(&token);
                    }
                }
                () = sleep_until(until) => return,
            }
        }
    }

    /// The number of calls without an answer.
    pub(crate) fn pending(&self) -> usize {
        self.calls.len()
    }

    /// Waits for the next event. Cancel safe.
    pub(crate) async fn next(&mut self) -> SessionEvent {
        let deadline = self.calls.deadline();
        let event = tokio::select! {
            event = self.link.next() => event,
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                return match self.calls.expire(Instant::now()) {
                    Some((token, answer)) => SessionEvent::Answered(token, answer),
                    None => SessionEvent::Nothing,
                };
            }
        };
        match event {
            LinkEvent::Connected(_) => {
                self.is_connected = true;
                // Not all brokers have retained statuses of those that have gone or come meanwhile.
                self.ask_who();
                self.call_again();
                SessionEvent::Connected
            }
            LinkEvent::Down(Down { reason, .. }) => {
                if std::mem::take(&mut self.is_connected) {
                    progress::note(&format!("the connection to the broker is lost: {reason}"));
                    self.calls.give_up_writing(Instant::now());
                    return SessionEvent::Disconnected;
                }
                SessionEvent::Nothing
            }
            LinkEvent::Broker(event) => self.broker_event(event),
        }
    }

    /// Gives the connection up, which may be dead, and makes a new one.
    pub(crate) fn reconnect(&mut self) {
        self.link.reconnect();
    }

    /// Ends the connection, after what was sent.
    pub(crate) async fn close(self) {
        self.link.close().await;
    }

    fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    fn send_call(&mut self, token: u64, call: &Call, left: Duration) {
        let Call { vin, operation, payload, user_properties, .. } = call.clone();
        self.request(token, &vin, operation, payload, user_properties, left);
    }

    fn request(
        &mut self,
        token: u64,
        vin: &Vin,
        operation: Operation,
        payload: Bytes,
        user_properties: Vec<(String, String)>,
        expires_in: Duration,
    ) {
        self.link.send(Request {
            token,
            topic: format!("vehicle/{vin}/{operation}/req"),
            payload,
            response_topic: Some(format!("vehicle/{vin}/reply/{}/resp", self.id)),
            correlation_data: Some(token.to_string().into()),
            expiry: Some(Deadline::after(expires_in)),
            user_properties,
            patience: Duration::ZERO,
        });
    }

    fn broker_event(&mut self, event: RequesterEvent) -> SessionEvent {
        match event {
            RequesterEvent::Message(message) => self.message(message),
            RequesterEvent::Refused { token, reason } => {
                let reason = format!("the broker refuses the request: {reason}");
                if self.calls.remove(token) {
                    SessionEvent::Answered(token, Answer::None(reason))
                } else {
                    if let Some(question) = self.question.as_mut().filter(|it| it.token == token) {
                        question.answers.refused(Instant::now());
                    }
                    SessionEvent::Refused(token, reason)
                }
            }
            RequesterEvent::Accepted { token, has_subscribers: false }
                if self.calls.remove(token) =>
            {
                let reason = "it has no session at the broker".to_owned();
                SessionEvent::Answered(token, Answer::None(reason))
            }
            RequesterEvent::TooLarge { topic, size } => {
                self.too_large += 1;
                match self.too_large {
                    ..=MAX_MENTIONED => progress::note(&format!(
                        "a message of {size} bytes on {topic} is too large, and is left out"
                    )),
                    MORE => progress::note("more messages are too large, and are left out"),
                    _ => {}
                }
                SessionEvent::Nothing
            }
            RequesterEvent::Accepted { token, .. } => {
                if let Some(question) = self.question.as_mut().filter(|it| it.token == token) {
                    question.answers.accepted(Instant::now());
                }
                SessionEvent::Accepted(token)
            }
            RequesterEvent::Subscribed(_) => SessionEvent::Nothing,
        }
    }

    fn message(&mut self, message: Delivered) -> SessionEvent {
        let Some((vin, path)) = vehicle_of(&message.topic) else { return SessionEvent::Nothing };
        if path == "connector/status" {
            let changed = self.presence.status(&vin, &message.payload, message.retained);
            if let Some(question) = self.question.as_mut().filter(|_| !message.retained) {
                question.answers.answered(Instant::now());
            }
            return match changed {
                Some(changed) => SessionEvent::Presence(changed.vin, changed.is_online),
                None => SessionEvent::Message(message),
            };
        }
        let correlation = message.correlation_data.as_deref();
        let is_reply = path.starts_with("reply/");
        match self.calls.answered(&vin, correlation.filter(|_| is_reply)) {
            Some(token) => SessionEvent::Answered(token, Answer::of(message.payload)),
            None => SessionEvent::Message(message),
        }
    }

    /// Sends calls again whose replies may be lost.
    fn call_again(&mut self) {
        for (token, call, left) in self.calls.to_repeat(Instant::now()) {
            self.send_call(token, &call, left);
        }
    }
}

/// A subscription of a command.
pub(crate) fn subscription(filter: &str, qos: Qos, send_retained: bool) -> Subscription {
    Subscription {
        filter: filter.to_owned(),
        qos,
        send_retained,
        no_local: false,
        retain_as_published: false,
    }
}
