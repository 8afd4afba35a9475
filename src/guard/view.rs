//! The part of the vehicle's state that the guard needs, kept up to date by one subscription.

use std::sync::Arc;

use ankaios_control::{Client, RequestError};
use ankaios_control::{Event, StreamHealthHandle};
use ankaios_model::json::{self, StateFormat};
use ankaios_model::proto::ank_base::CompleteState;
use ankaios_model::update_mask::merge;
use serde_json::Value;
use tokio::sync::watch;

/// The part of the vehicle's state that the guard needs.
#[derive(Debug)]
pub(super) struct View {
    field_masks: Vec<String>,
    known: watch::Sender<ViewState>,
}

/// What is known about the state.
#[derive(Debug, Clone)]
pub(super) enum ViewState {
    /// The state as of the last event. It counts while the subscription is healthy.
    Known(Arc<Value>, StreamHealthHandle),
    /// The reason why it is not known.
    Unknown(String),
}

impl View {
    /// A view of the fields of `field_masks`. The state is unknown until [`View::run`].
    pub(super) fn new(field_masks: Vec<String>) -> Self {
        let reason = "the state of the vehicle has not been read yet".into();
        Self { field_masks, known: watch::Sender::new(ViewState::Unknown(reason)) }
    }

    pub(super) fn field_masks(&self) -> &[String] {
        &self.field_masks
    }

    /// The state, in Ankaios' own format.
    ///
    /// # Errors
    /// The reason why it is not known.
    pub(super) fn state(&self) -> Result<Arc<Value>, String> {
        match &*self.known.borrow() {
            ViewState::Known(state, health) if health.get().subscribed => Ok(Arc::clone(state)),
            ViewState::Known(..) => {
                Err("the subscription to the state of the vehicle was lost".into())
            }
            ViewState::Unknown(reason) => Err(reason.clone()),
        }
    }

    /// Changes with the state.
    pub(super) fn changes(&self) -> watch::Receiver<ViewState> {
        self.known.subscribe()
    }

    /// Keeps the view up to date. Never returns.
    pub(super) async fn run(&self, client: Client) {
        let mut events = client.events(self.field_masks.clone());
        // The first event replaces it with the whole state.
        let mut state = Arc::default();
        let mut reported = None;
        loop {
            match events.next().await {
                Ok(event) => {
                    reported = None;
                    if apply(&mut state, event) {
                        let known = ViewState::Known(Arc::clone(&state), events.health());
                        self.known.send_replace(known);
                    } else {
                        tracing::warn!("an event does not match the state; reading it again");
                        self.forget("the state of the vehicle is being read again".into());
                        events = client.events(self.field_masks.clone());
                    }
                }
                Err(error) => self.failed(error, &mut reported),
            }
        }
    }

    /// Records an error of the stream, which subscribes again. The same error is logged only once
    /// in a row.
    fn failed(&self, error: RequestError, reported: &mut Option<RequestError>) {
        if matches!(&*self.known.borrow(), ViewState::Known(..)) {
            tracing::debug!(%error, "the guard has lost its subscription");
            return;
        }
        self.forget(format!("the state of the vehicle cannot be read: {error}"));
        if reported.as_ref() != Some(&error) {
            tracing::warn!(%error, "the guard cannot read the state of the vehicle");
            *reported = Some(error);
        }
    }

    fn forget(&self, reason: String) {
        self.known.send_replace(ViewState::Unknown(reason));
    }
}

/// Applies an event to the state. Returns whether it fits.
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
    // The event contains the new values of these fields.
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
    use ankaios_model::proto::ank_base::{AlteredFields, CompleteStateResponse};
    use serde_json::json;

    use super::*;

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
