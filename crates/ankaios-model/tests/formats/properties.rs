//! Properties of every desired state: it can be written in Ankaios' own format and parsed again,
//! and it is a manifest in JSON and in YAML.

use ankaios_model::json::{self, StateFormat, ankaios::parse_complete_state};
use ankaios_model::manifest::Manifest;
use ankaios_model::proto::ank_base::access_rights_rule::AccessRightsRuleEnum;
use ankaios_model::proto::ank_base::config_item::ConfigItemEnum;
use ankaios_model::proto::ank_base::file::FileContent;
use ankaios_model::proto::ank_base::{
    AccessRightsRule, CompleteState, ConfigArray, ConfigItem, ConfigMap, ConfigMappings,
    ConfigObject, ControlInterfaceAccess, Dependencies, File, Files, LogRule, State, StateRule,
    Tags, Workload, WorkloadMap,
};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;

const NAME: &str = "[a-zA-Z0-9_-]{1,63}";

/// Any text, often text with a special meaning in YAML, or with more brackets than may be nested.
fn text() -> impl Strategy<Value = String> {
    let tricky = proptest::sample::select(vec![
        "",
        "~",
        "null",
        "true",
        "yes",
        "1",
        "1.10",
        "0x1F",
        "<<",
        "- a",
        "a: b",
        "{{c.k}}",
        "#",
        "[[[",
        "'",
        "\"",
        "|\n x",
        " leading",
        "trailing ",
        "\n",
        "\t",
        "---",
        "*a",
        "&a",
        "!t",
    ]);
    let brackets = "[ \\n]{0,9}[\\[{]{80}[ '\"\\n#|:-]{0,9}[\\[{]{9}";
    prop_oneof![any::<String>(), tricky.prop_map(str::to_owned), brackets]
}

fn config_item() -> impl Strategy<Value = ConfigItem> {
    let item = |value| ConfigItem { config_item_enum: Some(value) };
    let leaf = text().prop_map(move |text| item(ConfigItemEnum::String(text)));
    leaf.prop_recursive(5, 30, 5, move |inner| {
        let array = vec(inner.clone(), 0..5)
            .prop_map(move |values| item(ConfigItemEnum::Array(ConfigArray { values })));
        let object = btree_map(NAME, inner, 0..5)
            .prop_map(move |fields| item(ConfigItemEnum::Object(ConfigObject { fields })));
        prop_oneof![array, object]
    })
}

fn rule() -> impl Strategy<Value = AccessRightsRule> {
    let operation = proptest::sample::select(vec![0, 1, 2, 5]);
    let mask = r"(\*|[a-zA-Z0-9_-]{1,9})(\.(\*|[a-zA-Z0-9_-]{1,9})){0,3}";
    let state_rule = (operation, vec(mask, 0..3)).prop_map(|(operation, filter_masks)| {
        AccessRightsRuleEnum::StateRule(StateRule { operation, filter_masks })
    });
    let log_rule = vec(r"[a-zA-Z0-9_-]{1,20}\*?[a-zA-Z0-9_-]{0,20}", 0..3)
        .prop_map(|workload_names| AccessRightsRuleEnum::LogRule(LogRule { workload_names }));
    prop_oneof![state_rule, log_rule]
        .prop_map(|rule| AccessRightsRule { access_rights_rule_enum: Some(rule) })
}

fn file() -> impl Strategy<Value = File> {
    let content =
        prop_oneof![text().prop_map(FileContent::Data), text().prop_map(FileContent::BinaryData)];
    (text(), content)
        .prop_map(|(mount_point, content)| File { mount_point, file_content: Some(content) })
}

/// A workload without empty messages, which are equivalent to absent ones.
fn workload() -> impl Strategy<Value = Workload> {
    (
        "[a-zA-Z0-9_-]{0,70}|a-\\{\\{c\\.k\\}\\}",
        of(0..3_i32),
        // Not names of generated workloads, so that there is no cycle.
        of(btree_map("dep-[a-z]{1,9}", 0..3_i32, 1..4)),
        of(btree_map(NAME, text(), 1..4)),
        text(),
        text(),
        of((vec(rule(), 1..3), vec(rule(), 0..3))),
        of(btree_map(NAME, NAME, 1..4)),
        of(vec(file(), 1..3)),
    )
        .prop_map(
            |(agent, policy, dependencies, tags, runtime, config, rules, configs, files)| {
                Workload {
                    agent: Some(agent),
                    restart_policy: policy,
                    dependencies: dependencies.map(|dependencies| Dependencies { dependencies }),
                    tags: tags.map(|tags| Tags { tags }),
                    runtime: Some(runtime),
                    runtime_config: Some(config),
                    control_interface_access: rules.map(|(allow_rules, deny_rules)| {
                        ControlInterfaceAccess { allow_rules, deny_rules }
                    }),
                    configs: configs.map(|configs| ConfigMappings { configs }),
                    files: files.map(|files| Files { files }),
                }
            },
        )
}

fn desired_state() -> impl Strategy<Value = State> {
    let version = prop_oneof![Just("v1"), Just("v0.1")];
    let workloads = of(btree_map("w-[a-zA-Z0-9_-]{0,61}", workload(), 1..4));
    let configs = btree_map(NAME, config_item(), 1..4);
    (version, workloads, configs).prop_map(|(version, workloads, configs)| State {
        api_version: version.to_owned(),
        workloads: workloads.map(|workloads| WorkloadMap { workloads }),
        configs: Some(ConfigMap { configs }),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_written_state_is_parsed_unchanged(state in desired_state()) {
        let complete = CompleteState { desired_state: Some(state), ..CompleteState::default() };
        let json = serde_json::to_string(&json::complete_state(&complete, StateFormat::Ankaios)).unwrap();
        let read = parse_complete_state(&mut serde_json::Deserializer::from_str(&json)).unwrap();
        prop_assert_eq!(&read, &complete);

        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let desired_state = &value["desiredState"];
        let yaml = serde_yaml::to_string(desired_state).unwrap();
        for text in [desired_state.to_string(), yaml] {
            let manifest = Manifest::parse(text.as_bytes())
                .map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
            prop_assert_eq!(Some(manifest.desired_state()), complete.desired_state.as_ref());
            let masks = manifest.update_mask().len();
            prop_assert_eq!(masks, manifest.workload_names().count() + manifest.config_names().count());
        }
    }

    #[test]
    fn no_payload_causes_a_panic(payload in any::<Vec<u8>>()) {
        let _ = Manifest::parse(&payload);
    }
}
