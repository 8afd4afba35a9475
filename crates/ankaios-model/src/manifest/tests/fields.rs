//! The fields of a workload.

use super::*;

#[test]
fn missing_required_fields_are_refused() {
    for field in ["runtime", "agent", "runtimeConfig"] {
        let text: String = with("")
            .lines()
            .filter(|line| !line.trim_start().starts_with(&format!("{field}:")))
            .map(|line| format!("{line}\n"))
            .collect();
        let expected = format!("workloads.w: a workload needs the field {field}; write ");
        let message = error(&text);
        assert!(message.starts_with(&expected), "{message}");
        assert!(message.ends_with("(line 4, column 5)"), "{message}");
        let null = with("").replace(&format!("{field}: "), &format!("{field}: ~ # "));
        let message = error(&null);
        assert!(message.contains(&format!("the field {field}; {field} has no value")), "{message}");
    }
    assert!(error("apiVersion: v1\nworkloads: {w: }\n").contains("needs the field"));
}

#[test]
fn required_fields_may_be_empty() {
    let text = "apiVersion: v1\nworkloads: {w: {runtime: '', agent: '', runtimeConfig: ''}}";
    let workload = &parse(text).unwrap().state.workloads.unwrap().workloads["w"];
    assert_eq!(workload.agent.as_deref(), Some(""));
    assert_eq!(workload.runtime.as_deref(), Some(""));
    assert_eq!(workload.runtime_config.as_deref(), Some(""));
}

#[test]
fn text_keeps_its_spelling() {
    for scalar in ["1", "1.10", "yes", "true", "0x1F", "1e3", ".inf", "2020-01-01", "01", "+1"] {
        let text = with("").replace("runtimeConfig: x", &format!("runtimeConfig: {scalar}"));
        let workload = &parse(&text).unwrap().state.workloads.unwrap().workloads["w"];
        assert_eq!(workload.runtime_config.as_deref(), Some(scalar));
        assert_eq!(
            super::workload(&format!("tags: {{t: {scalar}}}")).tags.unwrap().tags["t"],
            scalar
        );
    }
    assert_eq!(workload("tags: {t: 'null'}").tags.unwrap().tags["t"], "null");
    assert_eq!(workload("tags: {t: ''}").tags.unwrap().tags["t"], "");
    assert_eq!(workload("tags: {1: x}").tags.unwrap().tags["1"], "x");
    assert!(field_error("tags: {t: null}").contains("workloads.w.tags: invalid type: null"));
    assert!(field_error("tags: {t: [x]}").contains("expected a string"));
}

#[test]
fn text_is_not_trimmed() {
    let text = with("").replace("runtimeConfig: x", "runtimeConfig: |+\n      a\n       b\n\n");
    let workload = &parse(&text).unwrap().state.workloads.unwrap().workloads["w"];
    assert_eq!(workload.runtime_config.as_deref(), Some("a\n b\n\n\n"));
}

#[test]
fn absent_and_null_fields_are_absent_in_the_message() {
    let workload = workload("");
    assert_eq!(
        workload,
        Workload {
            agent: Some("a".into()),
            runtime: Some("podman".into()),
            runtime_config: Some("x".into()),
            ..Workload::default()
        }
    );
    let nulls = super::workload(
        "restartPolicy:\ntags: ~\ndependencies: null\nconfigs:\nfiles:\ncontrolInterfaceAccess:\n",
    );
    assert_eq!(nulls, workload);
}

#[test]
fn enum_values_have_the_spelling_of_ankaios() {
    for (text, number) in [("NEVER", 0), ("ON_FAILURE", 1), ("ALWAYS", 2)] {
        assert_eq!(workload(&format!("restartPolicy: {text}")).restart_policy, Some(number));
    }
    for (text, number) in
        [("ADD_COND_RUNNING", 0), ("ADD_COND_SUCCEEDED", 1), ("ADD_COND_FAILED", 2)]
    {
        let workload = workload(&format!("dependencies: {{d: {text}}}"));
        assert_eq!(workload.dependencies.unwrap().dependencies["d"], number);
    }
    assert!(field_error("dependencies: {d: RUNNING}").starts_with(
        "workloads.w.dependencies.d: unknown value \"RUNNING\", \
             use ADD_COND_RUNNING, ADD_COND_SUCCEEDED or ADD_COND_FAILED"
    ));
    for text in ["never", "0", "''", "[NEVER]", "{NEVER: x}"] {
        let message = field_error(&format!("restartPolicy: {text}"));
        assert!(message.starts_with("workloads.w.restartPolicy"), "{message}");
    }
}

#[test]
fn names_have_1_to_63_characters() {
    let longest = "n".repeat(63);
    let valid = ["a", "7", "-", "_", "A-b_9", &longest];
    let too_long = "n".repeat(64);
    let invalid = ["''", "a.b", "'a b'", "é", "a/b", "'*'", &too_long];
    let places: [fn(&str) -> String; 7] = [
        |name| {
            format!(
                "apiVersion: v1\nworkloads: {{{name}: {{runtime: r, agent: a, runtimeConfig: x}}}}"
            )
        },
        |name| format!("apiVersion: v1\nconfigs: {{{name}: x}}"),
        |name| format!("apiVersion: v1\nconfigs: {{c: {{d: [{{{name}: x}}]}}}}"),
        |name| with(&format!("tags: {{{name}: x}}")),
        |name| with(&format!("configs: {{{name}: x}}")),
        |name| with(&format!("configs: {{x: {name}}}")),
        |name| with(&format!("dependencies: {{{name}: ADD_COND_RUNNING}}")),
    ];
    for place in places {
        for name in valid {
            parse(&place(name)).unwrap();
        }
        for name in invalid {
            assert!(error(&place(name)).contains("is not a valid name"), "{}", place(name));
        }
    }
}

#[test]
fn agent_names_may_have_templates_and_any_length() {
    let long = "a".repeat(100);
    let of = |agent: &str| with("").replace("agent: a", &format!("agent: {agent}"));
    for agent in ["agent_A", "''", "'{{c.k}}'", "'a-{{c}}-{{ d.e }}_b'", "'{{{c}}}'", &long] {
        parse(&of(agent)).unwrap();
    }
    for agent in ["a.b", "'a b'", "é", "'{{c'", "'c}}'", "'{c}'", "'a.{{c}}'"] {
        assert!(error(&of(agent)).contains("is not a valid agent name"), "{agent}");
    }
}

#[test]
fn tags_are_a_map_or_a_list_in_both_versions() {
    for version in ["v1", "v0.1"] {
        for tags in ["{k: v, l: 1.10}", "[{key: k, value: v}, {value: 1.10, key: l, x: y}]"] {
            let text = with(&format!("tags: {tags}")).replace("v1", version);
            let workload = &parse(&text).unwrap().state.workloads.unwrap().workloads["w"];
            let tags = &workload.tags.as_ref().unwrap().tags;
            assert_eq!(tags.iter().collect::<Vec<_>>().len(), 2);
            assert_eq!((tags["k"].as_str(), tags["l"].as_str()), ("v", "1.10"));
        }
    }
    for tags in ["[{key: k}]", "[{value: v}]", "[k]", "k", "[{key: a.b, value: c}]", "1"] {
        assert!(field_error(&format!("tags: {tags}")).starts_with("workloads.w.tags"));
    }
}

#[test]
fn files_have_a_mount_point_and_one_content() {
    let files = workload("files: [{mountPoint: /a, data: 1}, {binaryData: aGk=, mountPoint: rel}]");
    let files = files.files.unwrap().files;
    assert_eq!(files[0].mount_point, "/a");
    assert_eq!(files[0].file_content, Some(FileContent::Data("1".into())));
    assert_eq!(files[1].mount_point, "rel");
    assert_eq!(files[1].file_content, Some(FileContent::BinaryData("aGk=".into())));
    assert_eq!(workload("files: []").files.unwrap().files, []);
    for (file, reason) in [
        ("{data: x}", "needs the field mountPoint"),
        ("{mountPoint: /a}", "needs the field data or binaryData"),
        ("{mountPoint: /a, data: x, binaryData: eA==}", "not both"),
        ("x", "expected a file"),
    ] {
        let message = field_error(&format!("files: [{file}]"));
        assert!(message.starts_with("workloads.w.files[0]: "), "{message}");
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn dependencies_must_not_form_a_cycle() {
    let message = field_error("dependencies: {w: ADD_COND_RUNNING}");
    let expected = "workloads.w.dependencies: the dependencies form a cycle; ";
    assert!(message.starts_with(expected), "{message}");
    assert!(message.ends_with("(line 7, column 5)"), "{message}");
    let chain = |last: &str| {
        let mut text = "apiVersion: v1\nworkloads:\n".to_owned();
        for (name, on) in [("a", "b"), ("b", "c"), ("c", last)] {
            text += &format!(
                "  {name}: {{runtime: r, agent: a, runtimeConfig: x, \
                 dependencies: {{{on}: ADD_COND_RUNNING}}}}\n"
            );
        }
        text
    };
    assert!(error(&chain("a")).contains("form a cycle"));
    assert!(error(&chain("b")).contains("form a cycle"));
    parse(&chain("elsewhere")).unwrap();
}

#[test]
fn workloads_and_configs_outside_of_the_manifest_may_be_referenced() {
    workload("dependencies: {elsewhere: ADD_COND_RUNNING}\nconfigs: {alias: elsewhere}");
}
