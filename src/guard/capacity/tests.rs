use serde_json::json;

use super::*;

fn vehicle(workloads: Value, configs: Value) -> Value {
    json!({
        "desiredState": {"apiVersion": "v1", "workloads": workloads, "configs": configs},
        "workloadStates": {}, "agents": {"a": {}},
    })
}

fn workload(size: usize) -> Value {
    json!({"agent": "a", "runtime": "podman", "runtimeConfig": "image: x",
        "files": [{"mountPoint": "/x", "data": "x".repeat(size)}]})
}

fn with_options(options: &str) -> Value {
    json!({"agent": "a", "runtime": "podman", "runtimeConfig": options})
}

fn apply(before: &Value, name: &str, workload: Value) -> Result<StateSize, String> {
    let new = json!({"desiredState": {"workloads": {name: workload}}});
    let masks = [format!("desiredState.workloads.{name}")];
    check(before, &new, &masks).map_err(|refusal| refusal.message)
}

#[test]
fn a_state_that_no_reply_can_carry_is_refused_with_the_sizes() {
    let mut before = vehicle(json!({}), json!({}));
    for number in 0..4 {
        let name = format!("w{number}");
        apply(&before, &name, workload(900_000)).unwrap();
        before["desiredState"]["workloads"][name] = workload(900_000);
    }
    let message = apply(&before, "w4", workload(900_000)).unwrap_err();
    assert!(message.contains("could have 450") && message.contains("(now 360"), "{message}");
    assert!(message.contains("4194304") && message.contains("3932160"), "{message}");
    // What replaces something counts once.
    apply(&before, "w3", workload(900_000)).unwrap();
    let size = apply(&before, "w3", workload(10)).unwrap();
    assert!((2_700_000..2_710_000).contains(&size.reply), "{size:?}");
}

#[test]
fn what_makes_the_state_smaller_passes() {
    let large = json!({"a": workload(3_000_000), "b": workload(3_000_000)});
    let before = vehicle(large, json!({}));
    for masks in [&["desiredState.workloads.a"][..], &["desiredState.workloads"]] {
        let masks: Vec<_> = masks.iter().map(|&mask| mask.to_owned()).collect();
        check(&before, &json!({}), &masks).unwrap();
    }
    assert!(apply(&before, "c", workload(1)).is_err());
}

#[test]
fn states_of_workloads_and_the_effective_state_count() {
    let mut before = vehicle(json!({"w": workload(1_000_000)}), json!({}));
    apply(&before, "v", workload(1_000_000)).unwrap();
    before["effectiveState"] = json!({"apiVersion": "v1"});
    assert!(apply(&before, "v", workload(1_000_000)).is_err());
    before.as_object_mut().unwrap().remove("effectiveState");
    before["workloadStates"] =
        json!({"a": {"w": {"1": {"additionalInfo": "x".repeat(2_000_000)}}}});
    assert!(apply(&before, "v", workload(1_000_000)).is_err());
}

#[test]
fn the_error_that_an_agent_may_report_counts() {
    let empty = vehicle(json!({}), json!({}));
    apply(&empty, "w", with_options(&"x".repeat(1_900_000))).unwrap();
    assert!(apply(&empty, "w", with_options(&"x".repeat(2_000_000))).is_err());
    // It is quoted.
    assert!(apply(&empty, "w", with_options(&"\n".repeat(1_400_000))).is_err());
    let file = json!({"agent": "a", "files": [{"mountPoint": "/".repeat(1_400_000), "data": ""}]});
    assert!(apply(&empty, "w", file).is_err());
    assert!(apply(&empty, "w", json!({"agent": "a".repeat(2_000_000)})).is_err());

    // Of a workload that runs, no such error is expected, and one that is reported counts once.
    let mut before = empty;
    before["desiredState"]["workloads"]["w"] = with_options(&"x".repeat(1_500_000));
    assert!(apply(&before, "v", workload(1_000_000)).is_err());
    let state = |state: &str, text: &str| json!({"a": {"w": {"id": {"state": state, "additionalInfo": text}}}});
    before["workloadStates"] = state("Running", "");
    apply(&before, "v", workload(1_000_000)).unwrap();
    before["workloadStates"] = state("Pending", &"x".repeat(1_500_000));
    apply(&before, "v", workload(700_000)).unwrap();
    assert!(apply(&before, "v", workload(1_000_000)).is_err());
}

#[test]
fn tags_of_agents_count() {
    let before = vehicle(json!({"w": workload(3_000_000)}), json!({}));
    let tags = |size| json!({"agents": {"a": {"tags": {"t": "x".repeat(size)}}}});
    let masks = ["agents.a.tags.t".to_owned()];
    check(&before, &tags(900_000), &masks).unwrap();
    assert!(check(&before, &tags(1_000_000), &masks).is_err());
    let mut full = before;
    full["agents"] = tags(900_000)["agents"].take();
    assert!(apply(&full, "v", workload(100_000)).is_err());
}

#[test]
fn too_many_workloads_are_refused() {
    let many = |count: usize| (0..count).map(|n| (format!("w{n}"), workload(1))).collect();
    let before = vehicle(Value::Object(many(MAX_WORKLOADS)), json!({}));
    apply(&before, "w1", workload(2)).unwrap();
    let message = apply(&before, "more", workload(1)).unwrap_err();
    assert!(message.contains("1001 workloads"), "{message}");
    let new = json!({"desiredState": {"workloads": Value::Object(many(10_000))}});
    let masks = ["desiredState.workloads".to_owned()];
    assert!(check(&vehicle(json!({}), json!({})), &new, &masks).is_err());
}

fn templated(template: &str) -> Value {
    json!({"agent": "a", "runtime": "podman", "configs": {"c": "list"}, "runtimeConfig": "",
        "files": [{"mountPoint": "/f", "data": template}]})
}

#[test]
fn rendered_templates_count_for_the_agent() {
    let list: Vec<_> = (0..500).map(|number| number.to_string()).collect();
    let before = vehicle(json!({}), json!({"list": list}));
    let square = format!("{{{{#each c}}}}{}{{{{/each}}}}", "x".repeat(5_000));
    let size = apply(&before, "w", templated(&square)).unwrap();
    assert_eq!(size.templated, BTreeSet::from(["w".to_owned()]));
    assert_eq!(size.used_configs, BTreeSet::from(["list".to_owned()]));
    let mut both = before.clone();
    both["desiredState"]["workloads"]["v"] = templated(&square);
    let message = apply(&both, "w", templated(&square)).unwrap_err();
    assert!(message.contains("agent \"a\"") && message.contains("rendered"), "{message}");
    // The config alone makes them too large, too.
    let list: Vec<_> = (0..1_000).map(|number| number.to_string()).collect();
    let new = json!({"desiredState": {"configs": {"list": list}}});
    assert!(check(&both, &new, &["desiredState.configs.list".into()]).is_err());
    // What does not touch them is not their fault.
    apply(&both, "u", workload(1)).unwrap();
}

#[test]
fn templates_that_end_or_stop_the_server_are_refused() {
    let before = vehicle(json!({}), json!({"list": ["x"]}));
    for template in [
        "{{#*inline \"a\"}}{{> a}}{{/inline}}{{> a}}".to_owned(),
        "{{c.[0]}}".repeat(100_000),
        "{{#if c}}".repeat(100),
    ] {
        let new = json!({"desiredState": {"workloads": {"w": templated(&template)}}});
        let masks = ["desiredState.workloads.w".to_owned()];
        let refusal = check(&before, &new, &masks).unwrap_err();
        assert_eq!(refusal.workload.as_deref(), Some("w"));
    }
    // Ankaios refuses these itself, with its own words.
    for template in ["{{#if c}}", "{{d}}", "{{c.nothing}}"] {
        apply(&before, "w", templated(template)).unwrap();
    }
    // Without configs nothing is rendered.
    apply(&before, "w", json!({"runtimeConfig": "{{> a}}"})).unwrap();
}
