//! What a workload may ask for: the allow and deny rules of its control
//! interface.

use fleet_connector::proto::ank_base::{
    AccessRightsRule, ControlInterfaceAccess, LogRule, ReadWriteEnum, Request, StateRule,
    access_rights_rule::AccessRightsRuleEnum, request::RequestContent,
};

/// Rules that allow everything.
pub fn allow_all() -> ControlInterfaceAccess {
    ControlInterfaceAccess {
        allow_rules: vec![
            state_rule(ReadWriteEnum::RwReadWrite, &["*"]),
            log_rule(&["*"]),
        ],
        deny_rules: Vec::new(),
    }
}

/// A rule for parts of the state.
pub fn state_rule(operation: ReadWriteEnum, filter_masks: &[&str]) -> AccessRightsRule {
    AccessRightsRule {
        access_rights_rule_enum: Some(AccessRightsRuleEnum::StateRule(StateRule {
            operation: operation.into(),
            filter_masks: filter_masks.iter().map(|&mask| mask.to_owned()).collect(),
        })),
    }
}

/// A rule for the logs of workloads; a name may hold one `*`.
pub fn log_rule(workload_names: &[&str]) -> AccessRightsRule {
    AccessRightsRule {
        access_rights_rule_enum: Some(AccessRightsRuleEnum::LogRule(LogRule {
            workload_names: workload_names.iter().map(|&name| name.to_owned()).collect(),
        })),
    }
}

/// Whether the rules let a request pass. Each of its masks, or of the workloads
/// whose logs it asks for, has to be allowed and must not be denied.
/// Cancelling is always allowed, a request without content never.
pub(crate) fn allows(access: &ControlInterfaceAccess, request: &Request) -> bool {
    match &request.request_content {
        Some(RequestContent::CompleteStateRequest(request)) => {
            allows_masks(access, &request.field_mask, ReadWriteEnum::RwRead)
        }
        Some(RequestContent::UpdateStateRequest(request)) => {
            allows_masks(access, &request.update_mask, ReadWriteEnum::RwWrite)
        }
        Some(RequestContent::LogsRequest(request)) => request.workload_names.iter().all(|name| {
            let matches = |rules: &[AccessRightsRule]| {
                log_patterns(rules).any(|pattern| name_matches(pattern, &name.workload_name))
            };
            matches(&access.allow_rules) && !matches(&access.deny_rules)
        }),
        Some(RequestContent::LogsCancelRequest(_) | RequestContent::EventsCancelRequest(_)) => true,
        None => false,
    }
}

fn allows_masks(access: &ControlInterfaceAccess, masks: &[String], wanted: ReadWriteEnum) -> bool {
    let everything = [String::new()];
    let masks = if masks.is_empty() {
        &everything[..]
    } else {
        masks
    };
    masks.iter().all(|mask| {
        let allowed = state_patterns(&access.allow_rules, wanted);
        let denied = state_patterns(&access.deny_rules, wanted);
        allowed.into_iter().any(|pattern| covers(pattern, mask))
            && !denied.into_iter().any(|pattern| touches(pattern, mask))
    })
}

fn state_patterns(rules: &[AccessRightsRule], wanted: ReadWriteEnum) -> Vec<&str> {
    let patterns = rules
        .iter()
        .filter_map(|rule| match &rule.access_rights_rule_enum {
            Some(AccessRightsRuleEnum::StateRule(rule))
                if [wanted, ReadWriteEnum::RwReadWrite].contains(&rule.operation()) =>
            {
                Some(rule.filter_masks.iter().map(String::as_str))
            }
            _ => None,
        });
    patterns.flatten().collect()
}

fn log_patterns(rules: &[AccessRightsRule]) -> impl Iterator<Item = &str> {
    let patterns = rules
        .iter()
        .filter_map(|rule| match &rule.access_rights_rule_enum {
            Some(AccessRightsRuleEnum::LogRule(rule)) => {
                Some(rule.workload_names.iter().map(String::as_str))
            }
            _ => None,
        });
    patterns.flatten()
}

/// An allow rule has to reach at least as far down as the mask, or the mask
/// would show more than is allowed. A rule that begins with `*` may be longer.
fn covers(pattern: &str, mask: &str) -> bool {
    let starts_with_wildcard = pattern.split('.').next() == Some("*");
    (depth(pattern) <= depth(mask) || starts_with_wildcard) && touches(pattern, mask)
}

/// A deny rule also catches masks above it, because they include what it denies.
fn touches(pattern: &str, mask: &str) -> bool {
    if pattern.is_empty() {
        return false;
    }
    let mask = mask.split('.').filter(|_| !mask.is_empty());
    pattern
        .split('.')
        .zip(mask)
        .all(|(pattern, part)| pattern == "*" || pattern == part)
}

fn depth(mask: &str) -> usize {
    if mask.is_empty() {
        0
    } else {
        mask.split('.').count()
    }
}

fn name_matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((prefix, suffix)) => {
            name.len() >= prefix.len() + suffix.len()
                && name.starts_with(prefix)
                && name.ends_with(suffix)
        }
        None => pattern == name,
    }
}
