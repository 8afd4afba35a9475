//! What the guard knows of the vehicle, kept up to date by one subscription.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;

use super::mask::merge;
use crate::ankaios::events::{Event, EventStream, HealthHandle};
use crate::ankaios::{Client, RequestError};
use crate::json::{self, StateFormat};
use crate::proto::ank_base::CompleteState;

/// The first and the longest wait before a subscription is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A part of the state of the vehicle, as far as it is known.
#[derive(Debug)]
pub(super) struct View {
    field_masks: Vec<String>,
    known: watch::Sender<Known>,
}

#[derive(Debug, Clone)]
enum Known {
    State(Arc<Value>, HealthHandle),
    Nothing(String),
}

impl View {
    /// Of what `field_masks` name. Nothing is known until [`View::run`].
    pub(super) fn new(field_masks: Vec<String>) -> Self {
        let reason = "the state of the vehicle has not been read yet".into();
        Self { field_masks, known: watch::Sender::new(Known::Nothing(reason)) }
    }

    pub(super) fn field_masks(&self) -> &[String] {
        &self.field_masks
    }

    /// The state, in Ankaios' own format.
    ///
    /// # Errors
    /// Why it is not known.
    pub(super) fn state(&self) -> Result<Arc<Value>, String> {
        match &*self.known.borrow() {
            Known::State(state, health) if health.get().subscribed => Ok(Arc::clone(state)),
            Known::State(..) => Err("the subscription to the state of the vehicle was lost".into()),
            Known::Nothing(reason) => Err(reason.clone()),
        }
    }

    /// Keeps the view up to date. Never returns.
    pub(super) async fn run(&self, client: Client) {
        let mut wait = RETRY.0;
        let mut reported = None;
        loop {
            match self.subscribe(&client).await {
                Ok((state, events)) => {
                    (wait, reported) = (RETRY.0, None);
                    self.follow(state, events).await;
                }
                Err(error) => {
                    self.forget(&error);
                    if reported.as_ref() != Some(&error) {
                        tracing::warn!(%error, "the guard can not read the state of the vehicle");
                        reported = Some(error);
                    }
                    sleep(wait).await;
                    wait = (wait * 2).min(RETRY.1);
                }
            }
        }
    }

    async fn subscribe(
        &self,
        client: &Client,
    ) -> Result<(CompleteState, EventStream), RequestError> {
        client.subscribe(self.field_masks.clone()).await?.answer().await
    }

    /// Returns when an event does not fit to what is known.
    async fn follow(&self, state: CompleteState, mut events: EventStream) {
        let health = events.health();
        let mut state = Arc::new(to_value(&state));
        loop {
            self.known.send_replace(Known::State(Arc::clone(&state), health.clone()));
            match events.next().await {
                Ok(event) => {
                    if !apply(&mut state, event) {
                        tracing::warn!("an event does not fit to the state; reading it anew");
                        let reason = "the state of the vehicle is being read anew".into();
                        self.known.send_replace(Known::Nothing(reason));
                        return;
                    }
                }
                // It tries again by itself; until then it is not subscribed.
                Err(error) => tracing::debug!(%error, "the guard has lost its subscription"),
            }
        }
    }

    fn forget(&self, error: &RequestError) {
        let reason = format!("the state of the vehicle can not be read: {error}");
        self.known.send_replace(Known::Nothing(reason));
    }
}

/// Whether it could be applied.
fn apply(state: &mut Arc<Value>, event: Event) -> bool {
    let new = to_value(&event.response.complete_state.unwrap_or_default());
    let Some(altered) = event.response.altered_fields.filter(|_| !event.resynced) else {
        *state = Arc::new(new);
        return true;
    };
    let state = Arc::make_mut(state);
    let nothing = Value::Object(serde_json::Map::new());
    let removed = altered.removed_fields.iter().all(|mask| merge(state, &nothing, mask).is_ok());
    let changed = altered.added_fields.iter().chain(&altered.updated_fields);
    // What was updated is in the event; without it nothing is known of it.
    removed && changed.into_iter().all(|mask| merge(state, &new, mask).is_ok())
}

/// The state in Ankaios' own format.
pub(super) fn to_value(state: &CompleteState) -> Value {
    serde_json::to_value(json::complete_state(state, StateFormat::Ankaios))
        .expect("a state is maps with names as keys, lists and texts")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::proto::ank_base::{AlteredFields, CompleteStateResponse};
    use serde_json::json;

    fn event(state: Value, altered: Option<[&[&str]; 3]>) -> Event {
        let fields = |fields: &[&str]| fields.iter().map(|&field| field.to_owned()).collect();
        let complete_state = Some(json::ankaios::parse_complete_state(state).unwrap());
        let altered_fields = altered.map(|[added, updated, removed]| AlteredFields {
            added_fields: fields(added),
            updated_fields: fields(updated),
            removed_fields: fields(removed),
        });
        let resynced = altered_fields.is_none();
        Event { response: CompleteStateResponse { complete_state, altered_fields }, resynced }
    }

    #[test]
    fn events_change_what_is_known() {
        let workloads = |workloads: Value| json!({"desiredState": {"workloads": workloads}});
        let mut state = Arc::new(workloads(json!({"a": {"configs": {"c": "x"}}})));
        let added = event(
            workloads(json!({"b": {"agent": "agent_A"}})),
            Some([&["desiredState.workloads.b"], &[], &["desiredState.workloads.a.configs.c"]]),
        );
        assert!(apply(&mut state, added));
        let expected = workloads(json!({"a": {"configs": {}}, "b": {"agent": "agent_A"}}));
        assert_eq!(*state, expected);
        let resynced = event(workloads(json!({"c": {"agent": "agent_B"}})), None);
        assert!(apply(&mut state, resynced));
        assert_eq!(state.pointer("/desiredState/workloads/c/agent"), Some(&json!("agent_B")));
        assert_eq!(state.pointer("/desiredState/workloads/b"), None);
        let odd = event(json!({}), Some([&["desiredState.workloads.c.agent.x"], &[], &[]]));
        assert!(!apply(&mut state, odd));
    }
}
