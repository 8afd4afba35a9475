//! Workloads and configs.

use super::*;

#[test]
fn an_empty_workload() {
    let empty = Workload {
        agent: Some(String::new()),
        runtime: Some(String::new()),
        runtime_config: Some(String::new()),
        restart_policy: Some(0),
        dependencies: Some(Dependencies::default()),
        tags: Some(Tags::default()),
        control_interface_access: Some(ControlInterfaceAccess::default()),
        configs: Some(ConfigMappings::default()),
        files: Some(Files::default()),
    };
    for workload in [Workload::default(), empty.clone()] {
        assert_eq!(
            sdk(&with_workload(workload))["desired_state"]["workloads"]["w"],
            json!({
                "restartPolicy": "NEVER",
                "dependencies": {},
                "tags": {},
                "controlInterfaceAccess": {"allowRules": [], "denyRules": []},
                "configs": {},
                "files": [],
            })
        );
    }
    let own = |workload| ankaios(&with_workload(workload))["desiredState"]["workloads"]["w"].take();
    assert_eq!(own(Workload::default()), json!({}));
    assert_eq!(
        own(empty),
        json!({"agent": "", "runtime": "", "runtimeConfig": "", "restartPolicy": "NEVER"})
    );
}

#[test]
fn a_workload_with_unknown_enum_numbers_and_absent_oneofs() {
    let rules = vec![
        AccessRightsRule::default(),
        AccessRightsRule {
            access_rights_rule_enum: Some(AccessRightsRuleEnum::StateRule(StateRule {
                operation: 9,
                filter_masks: vec![],
            })),
        },
    ];
    let complete = with_workload(Workload {
        restart_policy: Some(-1),
        dependencies: Some(Dependencies { dependencies: [("d".to_owned(), 5)].into() }),
        control_interface_access: Some(ControlInterfaceAccess {
            allow_rules: rules,
            deny_rules: vec![],
        }),
        files: Some(Files { files: vec![File { mount_point: "/a".into(), file_content: None }] }),
        ..Workload::default()
    });
    let workload = sdk(&complete)["desired_state"]["workloads"]["w"].take();
    assert_eq!(workload["restartPolicy"], "UNKNOWN_-1");
    assert_eq!(workload["dependencies"], json!({"d": "UNKNOWN_5"}));
    assert_eq!(
        workload["controlInterfaceAccess"]["allowRules"],
        json!([
            {"type": "Unknown"},
            {"type": "StateRule", "operation": "UNKNOWN_9", "filterMask": []},
        ])
    );
    assert_eq!(workload["files"], json!([{"mount_point": "/a", "content": {}}]));

    let own = ankaios(&complete);
    let workload = &own["desiredState"]["workloads"]["w"];
    assert_eq!(workload["restartPolicy"], "UNKNOWN_-1");
    assert_eq!(
        workload["controlInterfaceAccess"],
        json!({"allowRules": [{}, {"type": "StateRule", "operation": "UNKNOWN_9", "filterMasks": []}]})
    );
    assert_eq!(workload["files"], json!([{"mountPoint": "/a"}]));
    parse_complete_state(&own).unwrap_err();
}

#[test]
fn files_and_rules_differ_between_the_formats() {
    let complete = with_workload(Workload {
        control_interface_access: Some(ControlInterfaceAccess {
            allow_rules: vec![],
            deny_rules: vec![
                AccessRightsRule {
                    access_rights_rule_enum: Some(AccessRightsRuleEnum::StateRule(StateRule {
                        operation: 5,
                        filter_masks: vec!["*".into()],
                    })),
                },
                AccessRightsRule {
                    access_rights_rule_enum: Some(AccessRightsRuleEnum::LogRule(LogRule {
                        workload_names: vec!["a*".into()],
                    })),
                },
            ],
        }),
        files: Some(Files {
            files: vec![
                File {
                    mount_point: "/a".into(),
                    file_content: Some(FileContent::Data(String::new())),
                },
                File {
                    mount_point: "/b".into(),
                    file_content: Some(FileContent::BinaryData("aGk=".into())),
                },
            ],
        }),
        ..Workload::default()
    });
    let workload = sdk(&complete)["desired_state"]["workloads"]["w"].take();
    assert_eq!(
        workload["files"],
        json!([
            {"mount_point": "/a", "content": {"data": ""}},
            {"mount_point": "/b", "content": {"binaryData": "aGk="}},
        ])
    );
    assert_eq!(
        workload["controlInterfaceAccess"],
        json!({"allowRules": [], "denyRules": [
            {"type": "StateRule", "operation": "ReadWrite", "filterMask": ["*"]},
            {"type": "LogRule", "workloadNames": ["a*"]},
        ]})
    );
    assert_eq!(
        ankaios(&complete)["desiredState"]["workloads"]["w"],
        json!({
            "files": [{"mountPoint": "/a", "data": ""}, {"mountPoint": "/b", "binaryData": "aGk="}],
            "controlInterfaceAccess": {"denyRules": [
                {"type": "StateRule", "operation": "ReadWrite", "filterMasks": ["*"]},
                {"type": "LogRule", "workloadNames": ["a*"]},
            ]},
        })
    );
    assert_eq!(parse_complete_state(ankaios(&complete)).unwrap(), complete);
}

#[test]
fn any_text_is_written_and_parsed_unchanged() {
    let text = "\0\u{1}\u{7f}\u{85}\u{2028}\"\\/ünïcödé ✓ 🚗\r\n\t{{#each c}}";
    let object =
        ConfigItemEnum::Object(ConfigObject { fields: [("k".to_owned(), string(text))].into() });
    let array = ConfigItemEnum::Array(ConfigArray {
        values: vec![string(text), ConfigItem { config_item_enum: Some(object) }],
    });
    let complete = with_configs(Some(array));
    let expected = json!({"c": [text, {"k": text}]});
    assert_eq!(sdk(&complete)["desired_state"]["configs"], expected);
    let own = serde_json::to_string(&complete_state(&complete, StateFormat::Ankaios)).unwrap();
    let own: Value = serde_json::from_str(&own).unwrap();
    assert_eq!(own["desiredState"]["configs"], expected);
    assert_eq!(parse_complete_state(&own).unwrap(), complete);
}

#[test]
fn an_absent_config_item_is_null() {
    let complete = with_configs(None);
    assert_eq!(sdk(&complete)["desired_state"]["configs"], json!({"c": null}));
    assert_eq!(ankaios(&complete)["desiredState"]["configs"], json!({"c": null}));
}
