//! Follows the events or the logs of vehicles: subscribes, renews, and ends the subscriptions.

use std::collections::BTreeSet;

use bytes::Bytes;
use fleet_contract::operation::Operation;
use fleet_contract::topics::StreamKind;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::answers::Missing;
use super::arguments::AskingArgs;
use super::call::{Answer, Call};
use super::context::Context;
use super::failure::Failure;
use super::following::{Following, Why};
use super::progress::{self, StatusLine};
use super::session::SessionEvent;
use super::silence::Silence;
use crate::Vin;
use crate::presence::vehicle_of;
use crate::report::thousands;
use crate::rollout::ExitCode;
use crate::selection::Selection;

/// With more vehicles, it is shown how many have answered.
const MANY: usize = 100;

/// Whether a stream goes on after a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goes {
    On,
    ToAnEnd,
}

/// What a command does with a stream of each vehicle.
pub(crate) trait FollowedStream {
    /// What it subscribes to.
    const KIND: StreamKind;

    /// The request for a subscription with the id of the session.
    fn request(&self, vin: &Vin, why: Why) -> String;

    /// Handles the reply to it.
    ///
    /// # Errors
    /// Standard output is closed.
    fn reply(&mut self, vin: &Vin, why: Why, payload: &[u8]) -> Result<(), Failure>;

    /// Handles a message of the stream.
    ///
    /// # Errors
    /// Standard output is closed.
    fn message(&mut self, vin: &Vin, payload: &[u8]) -> Result<Goes, Failure>;

    /// There is a connection again.
    fn connected(&self) {}

    /// Whether it ends by itself, so that a subscription that cannot be made again has ended.
    fn is_finite(&self) -> bool {
        false
    }
}

/// Follows the vehicles that are online until their streams have ended. With `more`, also vehicles
/// that come online later and are selected; then it ends only by an interrupt.
///
/// # Errors
/// Ctrl-C, or standard output is closed.
pub(crate) async fn follow<S: FollowedStream>(
    context: &mut Context,
    stream: &mut S,
    vins: &[Vin],
    more: Option<&Selection>,
    asking: &AskingArgs,
) -> Result<ExitCode, Failure> {
    let mut following = Following::new(S::KIND);
    let result = run(context, stream, &mut following, vins, more, asking).await;
    let id = context.session.id();
    let ends = following.subscribed().map(|vin| unsubscription(vin, S::KIND, id, asking)).collect();
    context.session.send_all(ends, asking.parallel()).await;
    result
}

/// The request that ends a subscription.
fn unsubscription(vin: &Vin, kind: StreamKind, id: &str, asking: &AskingArgs) -> Call {
    let operation = match kind {
        StreamKind::Events => Operation::EventsUnsubscribe,
        StreamKind::Logs => Operation::LogsUnsubscribe,
    };
    Call::new(vin, operation, json!({"id": id}).to_string(), asking.timeout)
}

async fn run<S: FollowedStream>(
    context: &mut Context,
    stream: &mut S,
    following: &mut Following,
    vins: &[Vin],
    more: Option<&Selection>,
    asking: &AskingArgs,
) -> Result<ExitCode, Failure> {
    let id = context.session.id().to_owned();
    let subscribe = match S::KIND {
        StreamKind::Events => Operation::EventsSubscribe,
        StreamKind::Logs => Operation::LogsSubscribe,
    };
    let parallel = asking.parallel();
    let (online, offline) = context.online(vins);
    online.iter().for_each(|vin| following.add(vin, Instant::now()));
    let mut first = FirstRound::new(&online);
    let mut silence = Silence::new(asking.timeout);
    loop {
        if first.is_over() {
            first.report(&offline);
            if following.is_idle() && (more.is_none() || !online.is_empty()) {
                return Ok(first.missing.code());
            }
        }
        while let Some((vin, why)) = following.due(parallel, Instant::now()) {
            let request = stream.request(&vin, why);
            let call = Call::new(&vin, subscribe, request, asking.timeout);
            following.asked(context.session.call(call), vin, why);
        }
        while let Some(vin) = silence.next_silent(Instant::now()) {
            let limit = humantime::format_duration(asking.timeout);
            first.failed(&vin, format!("it has not sent all: nothing came within {limit}"));
            following.ended(&vin);
            context.session.call(unsubscription(&vin, S::KIND, &id, asking));
        }
        let due = [following.next_due(parallel), silence.deadline()].into_iter().flatten().min();
        let event = tokio::select! {
            event = context.session.next() => event,
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => continue,
            () = context.interrupt.wait() => return Err(Failure::Interrupted),
        };
        match event {
            SessionEvent::Answered(token, answer) => {
                let is_reply = matches!(answer, Answer::Reply(_));
                let answered = following.answered(token, is_reply, Instant::now());
                let Some((vin, why)) = answered else { continue };
                match first.answer(&vin, why, answer) {
                    Some(payload) => {
                        stream.reply(&vin, why, &payload)?;
                        if stream.is_finite() {
                            silence.heard(&vin, Instant::now());
                        }
                    }
                    None if stream.is_finite() => following.ended(&vin),
                    None => {}
                }
            }
            SessionEvent::Message(message) => {
                let Some((vin, path)) = vehicle_of(&message.topic) else { continue };
                let rest = path.strip_prefix(S::KIND.name()).and_then(|it| it.strip_prefix('/'));
                // Another vehicle cannot know the id, unless the broker lets it read requests.
                if rest != Some(&id) || !following.knows(&vin) {
                    continue;
                }
                following.message(&vin);
                if stream.is_finite() {
                    silence.heard(&vin, Instant::now());
                }
                if stream.message(&vin, &message.payload)? == Goes::ToAnEnd {
                    first.ended(&vin);
                    following.ended(&vin);
                    silence.forget(&vin);
                }
            }
            SessionEvent::Connected => {
                stream.connected();
                following.connected(Instant::now());
            }
            SessionEvent::Presence(vin, true) => {
                if following.knows(&vin) {
                    following.online(&vin, Instant::now());
                } else if more.is_some_and(|selection| context.is_selected(selection, &vin)) {
                    following.add(&vin, Instant::now());
                }
            }
            _ => {}
        }
    }
}

/// The first request to each vehicle, whose failures are reported together.
struct FirstRound {
    waiting: BTreeSet<Vin>,
    total: usize,
    missing: Missing,
    line: Option<StatusLine>,
    is_reported: bool,
}

impl FirstRound {
    fn new(vins: &[Vin]) -> Self {
        Self {
            waiting: vins.iter().cloned().collect(),
            total: vins.len(),
            missing: Missing::default(),
            line: (vins.len() > MANY).then(StatusLine::new),
            is_reported: false,
        }
    }

    fn is_over(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Notes the answer of a vehicle. Returns the reply, if it is one. Failures that come later are
    /// reported at once.
    fn answer(&mut self, vin: &Vin, why: Why, answer: Answer) -> Option<Bytes> {
        if self.waiting.remove(vin) {
            if let Some(line) = &self.line {
                let done = thousands(self.total - self.waiting.len());
                let total = thousands(self.total);
                line.show(&format!("{done} of {total} vehicles have answered"));
            }
            return self.missing.reply(vin, answer);
        }
        let cause = match answer {
            Answer::Reply(payload) => return Some(payload),
            Answer::Error(error) => format!("{}: {}", error.code, error.message),
            Answer::None(reason) => reason,
        };
        // A renewal is tried again in time.
        if why != Why::Renewal {
            progress::note(&format!("{vin} is not followed: {cause}"));
        }
        None
    }

    /// A vehicle has failed after its answer.
    fn failed(&mut self, vin: &Vin, cause: String) {
        if self.is_reported {
            progress::note(&format!("{vin}: {cause}"));
        }
        self.missing.failed(vin, cause);
    }

    /// The stream of a vehicle has ended, perhaps before the answer.
    fn ended(&mut self, vin: &Vin) {
        self.waiting.remove(vin);
    }

    /// Reports the failures, once.
    fn report(&mut self, offline: &[Vin]) {
        if !std::mem::replace(&mut self.is_reported, true) {
            self.line = None;
            self.missing.offline(offline);
            self.missing.report();
        }
    }
}
