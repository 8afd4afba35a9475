//! What the requests read and change in the state of a vehicle.

use ankaios_model::proto::ank_base::ConfigItem;
use ankaios_model::proto::ank_base::config_item::ConfigItemEnum;

use super::load::{Load, Slot};
use super::request::{CONFIGS, config_text, slot_name, slot_text};
use super::support::vehicle::Vehicle;

/// Adds the configs that the state contains from the start.
pub(crate) fn add_configs(vehicle: &Vehicle) {
    let mut state = vehicle.state();
    let desired = state.desired_state.get_or_insert_default();
    let configs = desired.configs.get_or_insert_default();
    for index in 0..CONFIGS.len() {
        let text = ConfigItemEnum::String(config_text(index));
        let item = ConfigItem { config_item_enum: Some(text) };
        configs.configs.insert(format!("static-{index}"), item);
    }
    vehicle.set_startup_manifest(state.desired_state.clone().unwrap_or_default()).unwrap();
    vehicle.set_state(state);
}

/// The slots whose content differs from what their last successful request has set.
pub(crate) fn wrong_slots(load: &mut Load<'_>, vehicle: &Vehicle) -> Vec<String> {
    let desired = vehicle.desired_state();
    let workloads = desired.workloads.unwrap_or_default().workloads;
    let configs = desired.configs.unwrap_or_default().configs;
    let mut wrong = Vec::new();
    for (slot, expected) in load.slots().into_iter().enumerate() {
        let name = slot_name(slot);
        let text = workloads.get(&name).map(|workload| workload.runtime_config().to_owned());
        let right = match expected {
            Slot::Unknown => text.is_some() == configs.contains_key(&name),
            Slot::Absent => text.is_none() && !configs.contains_key(&name),
            Slot::Present { version } => {
                text == Some(slot_text(slot, version)) && configs.contains_key(&name)
            }
        };
        if !right {
            wrong.push(format!("{name} should be {expected:?}, but is {text:?}"));
        }
    }
    wrong
}
