//! Watches in the soak time whether what runs stays up.
//!
//! A subscription to the states of the workloads of each vehicle, instead of reading them at an
//! interval: a workload that fails and is started again within seconds would be missed, and 10,000
//! vehicles would answer all the time that nothing has happened. The subscriptions are made and ended
//! by so many requests at a time as the roll-out has vehicles in flight. Those of a command that was
//! killed end by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fleet_contract::operation::Operation;
use serde_json::{Map, Value, json};

use super::super::call::{Answer, Call};
use crate::rollout::{Event, READ_TIMEOUT, describe, has_failed};
use crate::{Time, Vin};

/// How long subscriptions outlive the soak time, in which they may still be being made.
const MARGIN: Duration = Duration::from_secs(60);

/// With more workloads, the states of all workloads of a vehicle are subscribed to.
const MAX_MASKS: usize = 32;

/// The subscriptions to the vehicles of a wave.
#[derive(Debug)]
pub(super) struct Watch {
    /// Ends the topics of the events.
    id: String,
    /// The end of the soak time that is watched.
    until: Option<Time>,
    workloads: BTreeSet<String>,
    request: String,
    /// Vehicles whose state is to be had, with a subscription.
    waiting: BTreeSet<Vin>,
    /// Vehicles that may have a subscription.
    asked: BTreeSet<Vin>,
    /// Vehicles whose subscription is to be ended.
    ending: BTreeSet<Vin>,
    /// Requests without an answer.
    calls: BTreeMap<u64, Vin>,
    /// The instances that ran at the beginning. Later ones are of other changes.
    instances: BTreeMap<Vin, BTreeSet<String>>,
}

impl Watch {
    /// Watches nothing. The topics of events end with `id`.
    pub(super) fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            until: None,
            workloads: BTreeSet::new(),
            request: String::new(),
            waiting: BTreeSet::new(),
            asked: BTreeSet::new(),
            ending: BTreeSet::new(),
            calls: BTreeMap::new(),
            instances: BTreeMap::new(),
        }
    }

    /// The end of the soak time that is watched.
    pub(super) fn until(&self) -> Option<Time> {
        self.until
    }

    /// Watches these workloads of these vehicles, for so long.
    pub(super) fn begin<'a>(
        &mut self,
        until: Time,
        workloads: impl IntoIterator<Item = &'a str>,
        vins: impl IntoIterator<Item = Vin>,
        duration: Duration,
    ) {
        self.end();
        self.until = Some(until);
        self.workloads = workloads.into_iter().map(str::to_owned).collect();
        if self.workloads.is_empty() {
            return;
        }
        let masks: Vec<String> = match self.workloads.len() {
            ..=MAX_MASKS => {
                self.workloads.iter().map(|name| format!("workloadStates.*.{name}")).collect()
            }
            _ => vec!["workloadStates".to_owned()],
        };
        let ttl = Duration::from_secs(duration.as_secs()).saturating_add(MARGIN);
        let ttl = humantime::format_duration(ttl).to_string();
        self.request = json!({"id": self.id, "field_masks": masks, "ttl": ttl}).to_string();
        self.waiting.extend(vins);
    }

    /// Watches nothing any more.
    pub(super) fn end(&mut self) {
        self.until = None;
        self.waiting.clear();
        self.instances.clear();
        self.ending.append(&mut self.asked);
    }

    /// Watches nothing any more. Returns the requests that end all subscriptions.
    pub(super) fn last(&mut self) -> Vec<Call> {
        self.end();
        self.due(usize::MAX)
    }

    /// The requests that are due if so many may be without an answer.
    pub(super) fn due(&mut self, parallel: usize) -> Vec<Call> {
        let room = parallel.saturating_sub(self.calls.len());
        let mut due = Vec::new();
        while due.len() < room {
            let call = if let Some(vin) = self.ending.pop_first() {
                let end = json!({"id": self.id}).to_string();
                Call::new(&vin, Operation::EventsUnsubscribe, end, READ_TIMEOUT)
            } else if let Some(vin) = self.waiting.pop_first() {
                self.asked.insert(vin.clone());
                Call::new(&vin, Operation::EventsSubscribe, self.request.clone(), READ_TIMEOUT)
            } else {
                break;
            };
            due.push(call);
        }
        due
    }

    /// Notes that a request of [`due`](Self::due) is sent.
    pub(super) fn started(&mut self, token: u64, vin: &Vin) {
        self.calls.insert(token, vin.clone());
    }

    /// Handles an answer; `None` if it is not to one of these requests. A vehicle that refuses the
    /// subscription is still read at the end of the soak time.
    pub(super) fn answered(&mut self, token: u64, answer: &Answer) -> Option<Vec<Event>> {
        let vin = self.calls.remove(&token)?;
        Some(match answer {
            Answer::Reply(payload) => self.states(&vin, payload),
            Answer::Error(_) | Answer::None(_) => Vec::new(),
        })
    }

    /// Handles a message on `events/<id>`.
    pub(super) fn message(&mut self, vin: &Vin, path: &str, payload: &[u8]) -> Vec<Event> {
        if path.strip_prefix("events/") == Some(&self.id) {
            self.states(vin, payload)
        } else {
            Vec::new()
        }
    }

    /// There is a connection again: events may have been missed, so the states are had anew.
    pub(super) fn connected(&mut self) {
        self.waiting.extend(self.asked.iter().cloned());
    }

    /// The same for a vehicle that is online again.
    pub(super) fn online(&mut self, vin: &Vin) {
        if self.asked.contains(vin) {
            self.waiting.insert(vin.clone());
        }
    }

    /// Whether subscriptions are being ended.
    pub(super) fn is_ending(&self) -> bool {
        !self.ending.is_empty() || (self.until.is_none() && !self.calls.is_empty())
    }

    /// The failures in the states of a reply or an event.
    fn states(&mut self, vin: &Vin, payload: &[u8]) -> Vec<Event> {
        if !self.asked.contains(vin) {
            return Vec::new();
        }
        let Ok(message) = serde_json::from_slice::<Value>(payload) else { return Vec::new() };
        let agents = message.pointer("/complete_state/workload_states");
        let found: Vec<(&String, &String, &Value)> = objects(agents)
            .flat_map(|(_, workloads)| objects(Some(workloads)))
            .filter(|(name, _)| self.workloads.contains(*name))
            .flat_map(|(name, instances)| {
                objects(Some(instances)).map(move |(id, state)| (name, id, state))
            })
            .collect();
        let known = self
            .instances
            .entry(vin.clone())
            .or_insert_with(|| found.iter().map(|(_, id, _)| (*id).clone()).collect());
        let mut failures = Vec::new();
        for (workload, id, state) in found {
            let text = |field: &str| state.get(field).and_then(Value::as_str).unwrap_or_default();
            let (name, substate) = (text("state"), text("substate"));
            if known.contains(id) && has_failed(name, substate) {
                failures.push(Event::WorkloadFailed {
                    vin: vin.clone(),
                    workload: workload.clone(),
                    message: describe(name, substate, text("additional_info")),
                });
            }
        }
        failures
    }
}

fn objects(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn vin(number: usize) -> Vin {
        format!("V{number}").parse().unwrap()
    }

    /// The states of instances of `nginx`.
    fn states(instances: &[(&str, &str)]) -> Vec<u8> {
        let instances: Map<String, Value> = instances
            .iter()
            .map(|(id, substate)| {
                let state = substate.split('_').next();
                let state = json!({"state": state, "substate": substate, "additional_info": "x"});
                ((*id).to_owned(), state)
            })
            .collect();
        let workloads =
            json!({"agent_A": {"nginx": instances, "other": {"o": {"state": "FAILED"}}}});
        json!({"complete_state": {"workload_states": workloads}}).to_string().into_bytes()
    }

    fn watch(vehicles: usize) -> Watch {
        let mut watch = Watch::new("s");
        watch.begin(
            Time::from_millis(1),
            ["nginx"],
            (0..vehicles).map(vin),
            Duration::from_secs(120),
        );
        watch
    }

    #[test]
    fn so_many_requests_as_allowed_are_without_an_answer() {
        let mut watch = watch(5);
        let due = watch.due(2);
        assert_eq!(due.len(), 2);
        let request: Value = serde_json::from_slice(&due[0].payload).unwrap();
        let masks = json!(["workloadStates.*.nginx"]);
        assert_eq!(request, json!({"id": "s", "field_masks": masks, "ttl": "3m"}));
        watch.started(1, &due[0].vin);
        watch.started(2, &due[1].vin);
        assert_eq!(watch.due(2).len(), 0);
        assert_eq!(watch.answered(1, &Answer::None("late".to_owned())), Some(Vec::new()));
        assert_eq!(watch.answered(1, &Answer::None("late".to_owned())), None);
        assert_eq!(watch.due(2).len(), 1);
        // Three were asked, so three subscriptions are ended.
        watch.end();
        assert!(watch.is_ending());
        let ends = watch.due(10);
        assert!(ends.iter().all(|call| call.operation == Operation::EventsUnsubscribe));
        assert_eq!(ends.len(), 3);
    }

    #[test]
    fn an_instance_that_fails_is_a_failure_and_a_later_one_is_of_another_change() {
        let mut watch = watch(1);
        assert_eq!(watch.message(&vin(0), "events/s", &states(&[])), [], "it was not asked");
        watch.due(1);
        watch.started(1, &vin(0));
        let reply = Answer::Reply(states(&[("a", "RUNNING_OK")]).into());
        assert_eq!(watch.answered(1, &reply), Some(Vec::new()));
        assert_eq!(watch.message(&vin(0), "events/s", &states(&[("b", "FAILED_UNKNOWN")])), []);
        let failed = states(&[("a", "FAILED_EXEC_FAILED")]);
        assert_eq!(watch.message(&vin(0), "events/other", &failed), []);
        assert_eq!(watch.message(&vin(9), "events/s", &failed), []);
        assert_eq!(watch.message(&vin(0), "events/s", b"?"), []);
        let message = "Failed(ExecFailed): x".to_owned();
        let expected = Event::WorkloadFailed { vin: vin(0), workload: "nginx".to_owned(), message };
        assert_eq!(watch.message(&vin(0), "events/s", &failed), [expected]);
    }

    #[test]
    fn after_an_interruption_the_states_are_had_anew() {
        let mut watch = watch(2);
        watch.due(2);
        assert!(watch.due(2).is_empty());
        watch.online(&vin(1));
        watch.online(&vin(7));
        assert_eq!(watch.due(2).len(), 1);
        watch.connected();
        assert_eq!(watch.due(2).len(), 2);
        watch.end();
        watch.connected();
        assert!(watch.due(9).iter().all(|it| it.operation == Operation::EventsUnsubscribe));
    }

    #[test]
    fn without_workloads_there_is_nothing_to_watch() {
        let mut watch = Watch::new("s");
        watch.begin(Time::from_millis(1), [], [vin(1)], Duration::from_secs(1));
        assert!(watch.due(1).is_empty());
        assert_eq!(watch.until(), Some(Time::from_millis(1)));
    }
}
