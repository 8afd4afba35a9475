//! `PROTECTED_WORKLOADS`: protects workloads from being deleted or changed by mistake.
//!
//! A workload is changed by a mask that touches it, and by one that touches a config it
//! uses: Ankaios renders its templates with the new config and restarts it.

use ankaios_model::update_mask::{get, touches};
use fleet_contract::error::ErrorCode;
use serde_json::Value;

use super::refusal::Refusal;

/// The name of the rule in replies.
const RULE: &str = "PROTECTED_WORKLOADS";

/// The names of the protected workloads.
#[derive(Debug, Clone, Default)]
pub(super) struct Protection(Vec<String>);

impl Protection {
    pub(super) fn new(names: Vec<String>) -> Self {
        Self(names)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The parts of the state that [`Protection::check_configs`] reads.
    pub(super) fn field_masks(&self) -> Vec<String> {
        self.0.iter().map(|name| format!("desiredState.workloads.{name}")).collect()
    }

    /// Why the connector may be unprotected: the vehicle has none of the protected workloads. `state`
    /// has at least the parts that [`Protection::field_masks`] names.
    pub(super) fn warning(&self, state: &Value) -> Option<String> {
        let exists =
            |name: &String| get(state, &["desiredState", "workloads", name.as_str()]).is_some();
        (!self.is_empty() && !self.0.iter().any(exists)).then(|| {
            format!(
                "no workload is named {}, so a request can delete or change the workload of the \
                 connector itself; add its name to PROTECTED_WORKLOADS",
                self.0.join(" or ")
            )
        })
    }

    /// Refuses masks that touch a protected workload itself.
    pub(super) fn check_workloads(&self, masks: &[String]) -> Result<(), Refusal> {
        for name in &self.0 {
            let path = ["desiredState", "workloads", name];
            if let Some(mask) = masks.iter().find(|mask| touches(mask, &path)) {
                return Err(refusal(name, mask, "it is protected"));
            }
        }
        Ok(())
    }

    /// Refuses masks that touch a config a protected workload uses. `state` has at least
    /// the parts that [`Protection::field_masks`] names.
    pub(super) fn check_configs(&self, masks: &[String], state: &Value) -> Result<(), Refusal> {
        for name in &self.0 {
            let configs = get(state, &["desiredState", "workloads", name, "configs"]);
            let configs = configs.and_then(Value::as_object).into_iter().flatten();
            for config in configs.filter_map(|(_, config)| config.as_str()) {
                let path = ["desiredState", "configs", config];
                if let Some(mask) = masks.iter().find(|mask| touches(mask, &path)) {
                    let reason = format!("it is protected, and uses the config {config}");
                    return Err(refusal(name, mask, &reason));
                }
            }
        }
        Ok(())
    }
}

fn refusal(workload: &str, mask: &str, reason: &str) -> Refusal {
    Refusal {
        code: ErrorCode::Forbidden,
        rule: RULE,
        field: mask.to_owned(),
        workload: Some(workload.to_owned()),
        message: format!(
            "{reason}; nothing was done. To change it nevertheless, send the \
             request with the MQTT 5 user property force: true"
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn masks(masks: &[&str]) -> Vec<String> {
        masks.iter().map(|&mask| mask.to_owned()).collect()
    }

    #[test]
    fn a_protected_workload_is_covered_with_its_parents_and_children() {
        let protection = Protection::new(vec!["fleetconnector".into()]);
        let fine = masks(&["desiredState.workloads.nginx", "desiredState.configs.c", "agents"]);
        assert_eq!(protection.check_workloads(&fine), Ok(()));
        for mask in ["desiredState", "*.*", "desiredState.workloads.fleetconnector.restartPolicy"] {
            let refusal = protection.check_workloads(&masks(&["agents", mask])).unwrap_err();
            assert_eq!(refusal.field, mask);
            assert_eq!(refusal.workload.as_deref(), Some("fleetconnector"));
        }
        assert_eq!(Protection::default().check_workloads(&masks(&["desiredState"])), Ok(()));
    }

    #[test]
    fn a_vehicle_without_a_protected_workload_is_noticed() {
        let protection = Protection::new(vec!["a".into(), "b".into()]);
        let state = |name: &str| json!({"desiredState": {"workloads": {name: {"agent": "x"}}}});
        assert_eq!(protection.warning(&state("b")), None);
        let warning = protection.warning(&state("c")).unwrap();
        assert!(warning.starts_with("no workload is named a or b, so"), "{warning}");
        assert!(protection.warning(&json!({})).is_some());
        assert_eq!(Protection::default().warning(&state("c")), None);
    }

    #[test]
    fn its_configs_are_covered_as_well() {
        let protection = Protection::new(vec!["fleetconnector".into()]);
        let state = json!({"desiredState": {"workloads": {
            "fleetconnector": {"configs": {"c": "broker"}},
            "nginx": {"configs": {"c": "web"}},
        }}});
        let fine = masks(&["desiredState.configs.web"]);
        assert_eq!(protection.check_configs(&fine, &state), Ok(()));
        for mask in ["desiredState.configs", "desiredState.configs.broker.port", "*"] {
            let refusal = protection.check_configs(&masks(&[mask]), &state).unwrap_err();
            assert!(refusal.message.contains("broker"), "{}", refusal.message);
        }
        assert_eq!(protection.check_configs(&masks(&["*"]), &json!({})), Ok(()));
    }
}
