//! Access rules.

use super::*;

fn rule(rule: &str) -> AccessRightsRuleEnum {
    let access = workload(&format!("controlInterfaceAccess: {{denyRules: [{rule}]}}"));
    let access = access.control_interface_access.unwrap();
    assert_eq!(access.allow_rules, []);
    access.deny_rules[0].access_rights_rule_enum.clone().unwrap()
}

#[test]
fn state_rules_are_accepted() {
    for (operation, number) in [("Nothing", 0), ("Read", 1), ("Write", 2), ("ReadWrite", 5)] {
        for version in ["filterMask", "filterMasks"] {
            let text =
                format!("{{type: StateRule, operation: {operation}, {version}: ['*', a.*.b-c]}}");
            let AccessRightsRuleEnum::StateRule(rule) = rule(&text) else { panic!() };
            assert_eq!(rule.operation, number);
            assert_eq!(rule.filter_masks, ["*", "a.*.b-c"]);
        }
    }
    rule("{type: StateRule, operation: Read, filterMasks: []}");
}

#[test]
fn log_rules_are_accepted() {
    let text = "{type: LogRule, workloadNames: ['*', a*b, 1]}";
    let AccessRightsRuleEnum::LogRule(log_rule) = rule(text) else { panic!() };
    assert_eq!(log_rule.workload_names, ["*", "a*b", "1"]);
    rule(&format!("{{type: LogRule, workloadNames: [{}*]}}", "a".repeat(63)));
    rule("{type: LogRule, workloadNames: []}");
}

#[test]
fn invalid_rules_are_refused() {
    let long = format!("{{type: LogRule, workloadNames: [{}]}}", "a".repeat(64));
    let long_pattern = format!("{{type: LogRule, workloadNames: ['{}*']}}", "a".repeat(64));
    for (rule, reason) in [
        ("{operation: Read, filterMasks: ['*']}", "needs the field type"),
        ("{type: Rule, filterMasks: ['*']}", "use StateRule or LogRule"),
        ("{type: StateRule, filterMasks: ['*']}", "needs the field operation"),
        ("{type: StateRule, operation: Read}", "needs the field filterMasks"),
        (
            "{type: StateRule, operation: read, filterMasks: []}",
            "use Nothing, Read, Write or ReadWrite",
        ),
        ("{type: StateRule, operation: RW_READ, filterMasks: []}", "unknown value"),
        ("{type: StateRule, operation: Read, filterMasks: ['']}", "not a valid filter mask"),
        ("{type: StateRule, operation: Read, filterMasks: [a.b*]}", "not a valid filter mask"),
        ("{type: StateRule, operation: Read, filterMasks: [a..b]}", "not a valid filter mask"),
        (
            "{type: StateRule, operation: Read, filterMasks: [a], filterMask: [a]}",
            "duplicate field",
        ),
        ("{type: LogRule}", "needs the field workloadNames"),
        ("{type: LogRule, workloadNames: ['']}", "not a valid workload name"),
        ("{type: LogRule, workloadNames: ['a*b*']}", "not a valid workload name"),
        (&long, "not a valid workload name"),
        (&long_pattern, "not a valid workload name"),
        ("StateRule", "expected an access rule"),
    ] {
        let message = field_error(&format!("controlInterfaceAccess: {{allowRules: [{rule}]}}"));
        assert!(
            message.starts_with("workloads.w.controlInterfaceAccess.allowRules[0]"),
            "{message}"
        );
        assert!(message.contains(reason), "{message}");
    }
}
