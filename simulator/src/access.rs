//! Access rules: what a workload may request over its control interface.

use ankaios_model::proto::ank_base::{
    AccessRightsRule, ControlInterfaceAccess, LogRule, ReadWriteEnum, Request, StateRule,
    access_rights_rule::AccessRightsRuleEnum, request::RequestContent,
};

/// Access rules that allow all requests.
pub fn allow_all() -> ControlInterfaceAccess {
    ControlInterfaceAccess {
        allow_rules: vec![state_rule(ReadWriteEnum::RwReadWrite, &["*"]), log_rule(&["*"])],
        deny_rules: Vec::new(),
    }
}

/// A rule for parts of the complete state.
pub fn state_rule(operation: ReadWriteEnum, filter_masks: &[&str]) -> AccessRightsRule {
    AccessRightsRule {
        access_rights_rule_enum: Some(AccessRightsRuleEnum::StateRule(StateRule {
            operation: operation.into(),
            filter_masks: filter_masks.iter().map(|&mask| mask.to_owned()).collect(),
        })),
    }
}

/// A rule for the logs of workloads. Each name may contain one `*`.
pub fn log_rule(workload_names: &[&str]) -> AccessRightsRule {
    AccessRightsRule {
        access_rights_rule_enum: Some(AccessRightsRuleEnum::LogRule(LogRule {
            workload_names: workload_names.iter().map(|&name| name.to_owned()).collect(),
        })),
    }
}

/// Whether the rules allow a request: each of its field masks, or each workload whose logs it
/// requests, must be allowed and not denied. Cancelling is always allowed, a request without
/// content never.
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
    let masks = if masks.is_empty() { &everything[..] } else { masks };
    masks.iter().all(|mask| {
        let allowed = state_patterns(&access.allow_rules, wanted);
        let denied = state_patterns(&access.deny_rules, wanted);
        allowed.into_iter().any(|pattern| covers(pattern, mask))
            && !denied.into_iter().any(|pattern| overlaps(pattern, mask))
    })
}

fn state_patterns(rules: &[AccessRightsRule], wanted: ReadWriteEnum) -> Vec<&str> {
    let patterns = rules.iter().filter_map(|rule| match &rule.access_rights_rule_enum {
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
    let patterns = rules.iter().filter_map(|rule| match &rule.access_rights_rule_enum {
        Some(AccessRightsRuleEnum::LogRule(rule)) => {
            Some(rule.workload_names.iter().map(String::as_str))
        }
        _ => None,
    });
    patterns.flatten()
}

/// Whether an allow rule applies to a mask. A rule that is longer than the mask allows only a
/// part of what the mask selects, so it does not apply, unless it starts with `*`.
fn covers(pattern: &str, mask: &str) -> bool {
    let starts_with_wildcard = pattern.split('.').next() == Some("*");
    (depth(pattern) <= depth(mask) || starts_with_wildcard) && overlaps(pattern, mask)
}

/// Whether a deny rule applies to a mask. It also applies to shorter masks, which select more
/// than it denies.
fn overlaps(pattern: &str, mask: &str) -> bool {
    if pattern.is_empty() {
        return false;
    }
    let mask = mask.split('.').filter(|_| !mask.is_empty());
    pattern.split('.').zip(mask).all(|(pattern, part)| pattern == "*" || pattern == part)
}

fn depth(mask: &str) -> usize {
    if mask.is_empty() { 0 } else { mask.split('.').count() }
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use ankaios_model::proto::ank_base::{
        CompleteStateRequest, LogsCancelRequest, LogsRequest, UpdateStateRequest,
        WorkloadInstanceName,
    };

    use super::*;

    fn rules(allow: Vec<AccessRightsRule>, deny: Vec<AccessRightsRule>) -> ControlInterfaceAccess {
        ControlInterfaceAccess { allow_rules: allow, deny_rules: deny }
    }

    fn request(content: RequestContent) -> Request {
        Request { request_id: "1".to_owned(), request_content: Some(content) }
    }

    fn read(masks: &[&str]) -> Request {
        request(RequestContent::CompleteStateRequest(CompleteStateRequest {
            field_mask: masks.iter().map(|&mask| mask.to_owned()).collect(),
            subscribe_for_events: false,
        }))
    }

    fn write(masks: &[&str]) -> Request {
        request(RequestContent::UpdateStateRequest(UpdateStateRequest {
            new_state: None,
            update_mask: masks.iter().map(|&mask| mask.to_owned()).collect(),
        }))
    }

    fn logs(names: &[&str]) -> Request {
        let name = |name: &&str| WorkloadInstanceName {
            workload_name: (*name).to_owned(),
            ..WorkloadInstanceName::default()
        };
        request(RequestContent::LogsRequest(LogsRequest {
            workload_names: names.iter().map(name).collect(),
            ..LogsRequest::default()
        }))
    }

    #[test]
    fn everything_is_allowed_by_a_wildcard_and_nothing_without_rules() {
        let requests = [read(&[]), read(&["a.b"]), write(&[]), write(&["a"]), logs(&["x"])];
        for request in requests {
            assert!(allows(&allow_all(), &request), "{request:?}");
            assert!(!allows(&rules(vec![], vec![]), &request), "{request:?}");
        }
    }

    #[test]
    fn rules_apply_to_their_operation_only() {
        let reader = rules(vec![state_rule(ReadWriteEnum::RwRead, &["*"])], vec![]);
        assert!(allows(&reader, &read(&["agents"])));
        assert!(!allows(&reader, &write(&["agents"])));
        let nobody = rules(vec![state_rule(ReadWriteEnum::RwNothing, &["*"])], vec![]);
        assert!(!allows(&nobody, &read(&["agents"])));
    }

    #[test]
    fn an_allow_rule_covers_what_lies_below_it() {
        let masks = &["desiredState.workloads.*.tags", "agents"];
        let access = rules(vec![state_rule(ReadWriteEnum::RwRead, masks)], vec![]);
        assert!(allows(&access, &read(&["desiredState.workloads.nginx.tags.owner"])));
        assert!(allows(&access, &read(&["agents", "desiredState.workloads.nginx.tags"])));
        for denied in ["desiredState", "desiredState.workloads.nginx", "workloadStates", ""] {
            assert!(!allows(&access, &read(&["agents", denied])), "{denied}");
        }
    }

    #[test]
    fn a_deny_rule_also_denies_what_includes_it() {
        let deny = state_rule(ReadWriteEnum::RwReadWrite, &["desiredState.configs.secret"]);
        let access = rules(allow_all().allow_rules, vec![deny]);
        assert!(allows(&access, &read(&["desiredState.workloads"])));
        let denied = ["desiredState.configs.secret.key", "desiredState.configs", "desiredState"];
        for mask in denied {
            assert!(!allows(&access, &write(&[mask])), "{mask}");
        }
        assert!(!allows(&access, &read(&[])));
    }

    #[test]
    fn logs_are_allowed_by_name_with_one_wildcard() {
        let access = rules(vec![log_rule(&["web-*", "db"])], vec![log_rule(&["*-secret"])]);
        assert!(allows(&access, &logs(&["web-1", "db"])));
        assert!(!allows(&access, &logs(&["web-1", "dbx"])));
        assert!(!allows(&access, &logs(&["web-secret"])));
        assert!(allows(&access, &logs(&[])));
    }

    #[test]
    fn cancelling_is_always_allowed_and_a_request_without_content_never() {
        let nothing = rules(vec![], vec![]);
        assert!(allows(
            &nothing,
            &request(RequestContent::LogsCancelRequest(LogsCancelRequest {}))
        ));
        assert!(!allows(&allow_all(), &Request::default()));
    }
}
