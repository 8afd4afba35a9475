//! The events of the subscription: combined they result in the state, in order and without
//! unmarked gaps.

use std::collections::BTreeMap;
use std::time::Duration;

use ankaios_model::proto::ank_base::ConfigItem;
use ankaios_model::proto::ank_base::config_item::ConfigItemEnum;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::ask::ask;
use super::journal::Journal;
use super::load::Load;
use super::request::{Kind, SLOTS, slot_name, slot_path, slot_text};
use super::support::Requester;
use super::support::requester::Answer;
use super::support::vehicle::Vehicle;

/// How long renewing a subscription takes after the last fault: the longest wait between
/// attempts, and a timeout.
const RESUBSCRIBED: Duration = Duration::from_secs(10);

const REPLY_LIMIT: Duration = Duration::from_secs(2);

/// The texts of the slots, by name.
type Texts = BTreeMap<String, String>;

/// Waits until the events result in the state of the vehicle, then checks that each change
/// causes one event.
pub(crate) async fn settle(
    load: &mut Load<'_>,
    operator: &Requester,
    vehicle: &Vehicle,
    journal: &Journal,
) -> Result<(), String> {
    let begin = Instant::now();
    let actual = texts_of(vehicle);
    loop {
        load.ensure_subscribed().await;
        let shown = combine(operator, load)?;
        if shown.as_ref() == Some(&actual) {
            break;
        }
        if begin.elapsed() > RESUBSCRIBED {
            return Err(format!("the events give {shown:?}, but the vehicle has {actual:?}"));
        }
        sleep(Duration::from_millis(20)).await;
    }
    journal.note(format!("the events show the state after {:?}", begin.elapsed()));

    let before = operator.events().len();
    let slot = 0;
    for version in 1..4 {
        ask(load, operator, Kind::Apply { slot, version, padding: 0 }, REPLY_LIMIT).await?;
    }
    ask(load, operator, Kind::Delete { slot }, REPLY_LIMIT).await?;
    let expected: Vec<_> =
        (1..4).map(|version| Some(slot_text(slot, version))).chain([None]).collect();
    let begin = Instant::now();
    loop {
        let events = operator.events();
        let mut texts = Vec::new();
        for event in &events[before..] {
            let mut changed = Texts::new();
            apply(&event_of(event)?, &mut changed);
            texts.push(changed.remove(&slot_name(slot)));
        }
        if texts == expected {
            return Ok(());
        }
        if texts.len() > expected.len() || begin.elapsed() > REPLY_LIMIT {
            return Err(format!("events of slot 0 are {texts:?} instead of {expected:?}"));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// The texts that result from the events and from the replies to subscriptions. `None` without
/// any subscription.
fn combine(operator: &Requester, load: &Load<'_>) -> Result<Option<Texts>, String> {
    let fates = operator.fates();
    let subscriptions = load.asked.iter().filter(|(_, asked)| asked.kind == Kind::Subscribe);
    let mut messages: Vec<Answer> = subscriptions
        .filter_map(|(number, _)| Some((*number, fates.get(number)?)))
        .flat_map(|(number, fate)| {
            let subscribed =
                move |reply: &&Answer| Kind::Subscribe.judge(number, &reply.payload).is_ok();
            fate.replies.iter().filter(subscribed).cloned()
        })
        .collect();
    messages.extend(operator.events());
    messages.sort_by_key(|message| message.at);
    let mut texts = None;
    for message in &messages {
        let message = event_of(message)?;
        let whole = message["resynced"] == true || message.get("id").is_some();
        match &mut texts {
            Some(texts) if !whole => apply(&message, texts),
            // Events of an earlier subscription that the broker has lost.
            None if !whole => {}
            texts => {
                let mut state = Texts::new();
                apply(&message, &mut state);
                *texts = Some(state);
            }
        }
    }
    Ok(texts)
}

fn event_of(message: &Answer) -> Result<Value, String> {
    serde_json::from_slice(&message.payload).map_err(|error| format!("not an event: {error}"))
}

/// Applies what a message contains about the slots.
fn apply(message: &Value, texts: &mut Texts) {
    for slot in 0..SLOTS {
        let name = slot_name(slot);
        let path = slot_path(slot);
        let removed = message["removed_fields"].as_array();
        if removed.is_some_and(|fields| fields.iter().any(|field| field == path.as_str())) {
            texts.remove(&name);
        }
        let text = &message["complete_state"]["desired_state"]["configs"][&name]["text"];
        if let Some(text) = text.as_str() {
            texts.insert(name, text.to_owned());
        }
    }
}

fn texts_of(vehicle: &Vehicle) -> Texts {
    let configs = vehicle.desired_state().configs.unwrap_or_default().configs;
    let text = |item: &ConfigItem| match item.config_item_enum.as_ref()? {
        ConfigItemEnum::Object(object) => {
            match object.fields.get("text")?.config_item_enum.as_ref()? {
                ConfigItemEnum::String(text) => Some(text.clone()),
                _ => None,
            }
        }
        _ => None,
    };
    let slots = (0..SLOTS).map(slot_name);
    slots.filter_map(|name| Some((name.clone(), text(configs.get(&name)?)?))).collect()
}
