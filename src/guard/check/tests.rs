//! Attempts to bypass a policy.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use ankaios_model::json::ankaios::parse_complete_state;
use ankaios_model::manifest::Manifest;

use super::*;
use crate::guard::view::to_value;

const POLICY: &str = "
runtimes: [podman]
agents: [agent_A]
images: [docker.io/library/]
forbidden_options: [--privileged, --volume=/*, --mount, --network=host]
control_interface_access: false
";

fn vehicle() -> Value {
    json!({"desiredState": {
        "apiVersion": "v1",
        "workloads": {
            // The policy does not apply to what the local administrator has configured.
            "fleetconnector": {"runtime": "podman", "agent": "agent_A",
                "runtimeConfig": "image: localhost/c\ncommandOptions: [--net=host]"},
            "web": {"runtime": "podman", "agent": "{{where}}", "configs": {"c": "web", "where": "place"},
                "runtimeConfig": "image: docker.io/library/nginx\ncommandOptions: [{{c.options}}]"},
        },
        "configs": {"web": {"options": "-t"}, "place": "agent_A", "other": "x"},
    }})
}

/// The rule and the field that refuse an update of the vehicle.
fn update(policy: &str, masks: &[&str], new: Value) -> Result<(), (&'static str, String)> {
    let policy = Policy::parse(policy).unwrap();
    let new = to_value(&parse_complete_state(new).unwrap());
    let masks: Vec<_> = masks.iter().map(|&mask| mask.to_owned()).collect();
    check(&policy, vehicle(), &new, &masks).map_err(|refusal| (refusal.rule, refusal.field))
}

fn apply(policy: &str, manifest: &str) -> Result<(), (&'static str, String)> {
    let manifest = Manifest::parse(manifest.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let request = manifest.into_apply_request();
    let new = to_value(&request.new_state.unwrap());
    let policy = Policy::parse(policy).unwrap();
    check(&policy, vehicle(), &new, &request.update_mask)
        .map_err(|refusal| (refusal.rule, refusal.field))
}

fn workload(config: &str) -> String {
    json!({"apiVersion": "v1", "workloads": {"w": {
        "runtime": "podman", "agent": "agent_A", "runtimeConfig": config,
    }}})
    .to_string()
}

#[test]
fn what_is_allowed_passes() {
    for config in [
        "image: docker.io/library/nginx:1.29",
        "image: docker.io/library/nginx\ncommandOptions: ['-p', '80:80', '-e', 'A=--privileged']",
        "image: docker.io/library/nginx\ncommandArgs: [--privileged, -v, '/:/x']",
        "image: docker.io/library/nginx\ncommandOptions: [-v, 'data:/data', --net=none]",
        "{image: docker.io/library/nginx, unknown: 1}",
    ] {
        assert_eq!(apply(POLICY, &workload(config)), Ok(()), "{config}");
    }
    assert_eq!(apply("{}", &workload("anything")), Ok(()));
    assert_eq!(apply(POLICY, "{apiVersion: v1, configs: {other: y}}"), Ok(()));
}

#[test]
fn options_are_found_in_all_spellings() {
    for options in [
        "[--privileged]",
        "[--privileged=true]",
        "[--privileged=1]",
        "[--rm, '--privileged']",
        "[\"\\x2d-privileged\"]",
        "[-v, '/:/host']",
        "[-v=/:/host]",
        "[-v/:/host]",
        "['-dv', '/:/host']",
        "[--volume, '/:/host']",
        "['--volume=/:/host']",
        "['--volume=//etc/:/host']",
        "[--mount, 'type=bind,src=/,dst=/x']",
        "['--mount=type=bind,src=/,dst=/x']",
        "[--net=host]",
        "[--net, host]",
        "[--network=host]",
        "[--network, HOST]",
        "&a [*b]",
    ] {
        let anchor = if options.contains('*') { "commandArgs: [&b --privileged]\n" } else { "" };
        for field in ["commandOptions", "generalOptions"] {
            let config = format!("image: docker.io/library/x\n{anchor}{field}: {options}");
            let refusal = apply(POLICY, &workload(&config)).unwrap_err();
            let (rule, place) = &refusal;
            let is_short = options.contains("-v") || options.contains("-dv");
            if field == "commandOptions" || !is_short {
                assert_eq!(*rule, "forbidden_options", "{config}");
            }
            assert_eq!(*place, format!("runtimeConfig.{field}"), "{config}");
        }
    }
}

/// The policy as the documentation has it.
fn documented_policy() -> &'static str {
    let document = include_str!("../../../docs/policy.md");
    let (_, rest) = document.split_once("```yaml\n").unwrap();
    rest.split_once("```").unwrap().0
}

fn options(field: &str, option: &str) -> String {
    let config = json!({"image": "docker.io/library/x", field: [option]});
    workload(&config.to_string())
}

#[test]
fn the_documented_policy_keeps_workloads_from_the_host() {
    let policy = documented_policy();
    assert!(Policy::parse(policy).unwrap().unknown_options().is_empty());
    let refused = Err(("forbidden_options", "runtimeConfig.generalOptions".to_owned()));
    for option in [
        "--network-cmd-path=/var/lib/containers/storage/volumes/v/_data/x",
        "--cdi-spec-dir=/x",
        "--cgroup-manager=cgroupfs",
        "--config=/x",
        "--conmon=/x",
        "--connection=x",
        "--cpu-profile=/etc/passwd",
        "--default-mounts-file=/x",
        "--events-backend=none",
        "--hooks-dir=/x",
        "--host=tcp://192.0.2.1:2375",
        "--context=default",
        "--identity=/x",
        "--imagestore=/x",
        "--memory-profile=/etc/passwd",
        "--module=/x",
        "--network-backend=cni",
        "--network-config-dir=/x",
        "--out=/etc/passwd",
        "--registries-conf=/x",
        "--registries-conf-dir=/x",
        "--remote",
        "--root=/x",
        "--runroot=/x",
        "--runtime=/x",
        "--runtime-flag=x",
        "--signature-policy=/x",
        "--ssh=native",
        "--storage-driver=vfs",
        "--storage-opt=overlay.mount_program=/x",
        "--tmpdir=/x",
        "--url=unix:/x",
        "--volumepath=/",
    ] {
        assert_eq!(apply(policy, &options("generalOptions", option)), refused, "{option}");
        // Podman accepts them there, too.
        assert!(apply(policy, &options("commandOptions", option)).is_err(), "{option}");
    }
    for option in [
        "--cap-add=\"SYS_ADMIN\"",
        "--device=\"/dev/mem\"",
        "--gpus=all",
        "--health-log-destination=/etc",
        "--label-file=/etc/shadow",
        "--network=slirp4netns:allow_host_loopback=true",
        "--network=pasta:-T,1883",
        "--mount=type=bind,\"source=/\",target=/x",
        "--pod-id-file=/x",
        "--replace",
        "--name=fleetconnector.x.agent_A",
        "--authfile=/x",
        "--env=*",
        "--env=SECRET",
        "--preserve-fds=9",
        "--seccomp-policy=image",
        "--volume=v:/x:O,upperdir=/etc,workdir=/tmp/x",
    ] {
        let refusal = apply(policy, &options("commandOptions", option)).unwrap_err();
        assert_eq!(refusal.0, "forbidden_options", "{option}");
    }
    for option in [
        "--network=slirp4netns",
        "--volume=data:/data",
        "--publish=80:80",
        "--log-level=debug",
        "--env=A={\"a\": \"/b,c\"}",
        "--health-cmd=[\"curl\", \"localhost\"]",
    ] {
        assert_eq!(apply(policy, &options("commandOptions", option)), Ok(()), "{option}");
    }
}

#[test]
fn a_refused_option_is_quoted_in_the_error() {
    let policy = Policy::parse("forbidden_options: [--cap-add]").unwrap();
    let config = json!({"image": "x", "commandOptions": ["--cap-add=A\nB"]}).to_string();
    let workload = json!({"runtime": "podman", "runtimeConfig": config});
    let violation = check_workload(
        &policy,
        &workload,
        &Map::new(),
        &mut Renderer::new(RenderLimits::POLICY),
        &mut PartCount::default(),
    );
    let reason = violation.unwrap_err().reason;
    assert_eq!(reason, r#"the option "--cap-add=A\nB" is not allowed: it matches "--cap-add""#);
}

#[test]
fn values_of_too_many_parts_are_refused_where_a_pattern_looks_at_them() {
    let refusal = |forbidden: &str, options: &[String]| {
        let policy = Policy::parse(&format!("forbidden_options: [{forbidden}]")).unwrap();
        let config = json!({"image": "x", "commandOptions": options}).to_string();
        let workload = json!({"runtime": "podman", "runtimeConfig": config});
        check_workload(
            &policy,
            &workload,
            &Map::new(),
            &mut Renderer::new(RenderLimits::POLICY),
            &mut PartCount::default(),
        )
        .err()
    };
    let list = |parts: usize, between: &str| {
        let parts: Vec<_> = (0..parts).map(|part| format!("/{part}")).collect();
        format!("--cap-add={}", parts.join(between))
    };
    for between in [",", "\n"] {
        assert_eq!(refusal("--cap-add=SYS_ADMIN", &[list(4096, between)]), None);
        let violation = refusal("--cap-add=SYS_ADMIN", &[list(4097, between)]).unwrap();
        assert_eq!(violation.rule, "forbidden_options");
        assert_eq!(violation.field, "runtimeConfig.commandOptions");
        assert!(violation.reason.contains("more than 4096 parts"), "{}", violation.reason);
    }
    // The limit also applies to the sum over many options.
    let many = vec![list(1000, ","); 5];
    assert_eq!(refusal("--cap-add=SYS_ADMIN", &many[..4]), None);
    assert!(refusal("--cap-*=SYS_ADMIN", &many).is_some());
    assert!(refusal("--cap-add=SYS_ADMIN", &vec!["--cap-add=X".to_owned(); 4097]).is_some());
    // Values that no pattern reads have no limit.
    assert_eq!(refusal("--volume=/*, --privileged", &many), None);

    // Another limit applies to the sum over many workloads.
    let policy = Policy::parse("forbidden_options: [--cap-add=SYS_ADMIN]").unwrap();
    let config = json!({"image": "x", "commandOptions": [list(4096, ",")]}).to_string();
    let workload = json!({"runtime": "podman", "runtimeConfig": config});
    let (mut renderer, mut parts) = (Renderer::new(RenderLimits::POLICY), PartCount::default());
    let mut check =
        || check_workload(&policy, &workload, &Map::new(), &mut renderer, &mut parts).err();
    assert!((0..16).all(|_| check().is_none()));
    assert!(check().unwrap().reason.contains("more than 65536 parts"));
}

#[test]
fn an_image_cannot_bypass_the_policy() {
    for config in [
        "image: evil.io/x",
        "image: docker.io/library-evil/x",
        "image: docker://docker.io/library/x",
        "image: ''",
        // To Podman, the first argument that is not an option is the image.
        "image: docker.io/library/x\ncommandOptions: [evil.io/x]",
        "image: docker.io/library/x\ncommandOptions: [-e, A=1, evil.io/x]",
        "image: docker.io/library/x\ncommandOptions: [--tty, evil.io/x]",
        "image: docker.io/library/x\ncommandOptions: [--, evil.io/x]",
        "image: docker.io/library/x\ncommandOptions: [--new-switch, evil.io/x]",
        "image: docker.io/library/x\ngeneralOptions: [run, evil.io/x]",
        "image: docker.io/library/x\ncommandOptions: [--rootfs]",
        // An option that takes the argument that Ankaios adds as its value.
        "image: docker.io/library/x\ncommandOptions: [-e]",
        // The image as an option, and the image as an argument.
        "image: --privileged\ncommandArgs: [evil.io/x]",
    ] {
        let refusal = apply(POLICY, &workload(config)).unwrap_err();
        assert_eq!(refusal.0, "images", "{config}");
    }
    let option = "image: --privileged\ncommandArgs: [evil.io/x]";
    let refusal = apply("forbidden_options: [--privileged]", &workload(option)).unwrap_err();
    assert_eq!(refusal, ("forbidden_options", "runtimeConfig.image".into()));
}

#[test]
fn a_config_that_cannot_be_read_is_refused_if_a_rule_needs_it() {
    for config in
        ["", "image: [", "- image", "image: docker.io/library/x\ncommandOptions: -v", "a: b"]
    {
        let refusal = apply(POLICY, &workload(config)).unwrap_err();
        assert_eq!(refusal, ("images", "runtimeConfig".into()), "{config}");
        assert_eq!(apply("runtimes: [podman]", &workload(config)), Ok(()), "{config}");
    }
}

#[test]
fn runtimes_agents_and_access_are_limited() {
    let with = |field: &str, value: Value| {
        let mut manifest: Value =
            serde_json::from_str(&workload("image: docker.io/library/x")).unwrap();
        manifest["workloads"]["w"][field] = value;
        apply(POLICY, &manifest.to_string())
    };
    let refused = |rule, field: &str| Err((rule, field.to_owned()));
    assert_eq!(with("runtime", json!("podman-kube")), refused("runtimes", "runtime"));
    assert_eq!(with("agent", json!("agent_B")), refused("agents", "agent"));
    assert_eq!(with("agent", json!("")), refused("agents", "agent"));
    let rule = json!({"type": "StateRule", "operation": "Read", "filterMasks": ["*"]});
    assert_eq!(
        with("controlInterfaceAccess", json!({"allowRules": [rule]})),
        refused("control_interface_access", "controlInterfaceAccess")
    );
    assert_eq!(with("controlInterfaceAccess", json!({"denyRules": [rule]})), Ok(()));
    // The configuration of other runtimes is not understood.
    let kube = workload("manifest: x").replace("\"podman\"", "\"podman-kube\"");
    for policy in ["images: [docker.io]", "{runtimes: [podman-kube], forbidden_options: [--x]}"] {
        assert_eq!(apply(policy, &kube).unwrap_err().1, "runtime", "{policy}");
    }
    assert_eq!(apply("runtimes: [podman-kube]", &kube), Ok(()));
}

#[test]
fn templates_are_checked_as_they_are_rendered() {
    let manifest = |agent: &str, config: &str, configs: Value| {
        json!({"apiVersion": "v1", "workloads": {"w": {
            "runtime": "podman", "agent": agent, "runtimeConfig": config, "configs": {"a": "mine"},
        }}, "configs": configs})
        .to_string()
    };
    let image = "image: docker.io/library/x\n";
    let fine = json!({"mine": {"options": ["-t"], "agent": "agent_A"}});
    let template =
        format!("{image}commandOptions: [{{{{#each a.options}}}}'{{{{this}}}}',{{{{/each}}}}]");
    assert_eq!(apply(POLICY, &manifest("{{a.agent}}", &template, fine)), Ok(()));
    for (agent, config, configs, rule) in [
        (
            "agent_A",
            &template[..],
            json!({"mine": {"options": ["--privileged"]}}),
            "forbidden_options",
        ),
        ("agent_A", &template, json!({"mine": {"options": ["evil.io/x"]}}), "images"),
        ("{{a.agent}}", image, json!({"mine": {"agent": "agent_B"}}), "agents"),
        ("agent_A", "image: {{a}}", json!({"mine": "evil.io/x"}), "images"),
        // A config may add fields besides the one in which it stands.
        (
            "agent_A",
            "image: {{a}}",
            json!({"mine": "docker.io/library/x\ngeneralOptions: [--net=host]"}),
            "forbidden_options",
        ),
        (
            "agent_A",
            "image: docker.io/library/x\n{{a}}: [--privileged]",
            json!({"mine": "commandOptions"}),
            "forbidden_options",
        ),
        (
            "agent_A",
            "image: docker.io/library/x{{#if a}}\ncommandOptions: [--mount=x]{{/if}}",
            json!({"mine": "x"}),
            "forbidden_options",
        ),
        // Unknown configs, and templates that cannot be rendered.
        ("agent_A", image, json!({"another": "x"}), "agents"),
        ("agent_A", "image: {{a.nothing}}", json!({"mine": "x"}), "images"),
        (
            "agent_A",
            "{{#*inline \"x\"}}{{/inline}}image: docker.io/library/x",
            json!({"mine": "x"}),
            "images",
        ),
    ] {
        let refusal = apply(POLICY, &manifest(agent, config, configs)).unwrap_err();
        assert_eq!(refusal.0, rule, "{agent} {config}");
    }
    // A config of the manifest replaces that of the vehicle with the same name.
    let uses = |name: &str, configs: Value| {
        let manifest = json!({"apiVersion": "v1", "workloads": {"w": {
            "runtime": "podman", "agent": "{{a}}", "configs": {"a": name},
            "runtimeConfig": "image: docker.io/library/x",
        }}, "configs": configs});
        apply(POLICY, &manifest.to_string())
    };
    assert_eq!(uses("place", json!({"unused": "x"})), Ok(()));
    assert_eq!(uses("place", json!({"place": "agent_B"})).unwrap_err().0, "agents");
    assert_eq!(uses("other", json!({"unused": "x"})).unwrap_err().0, "agents");
    // Without configs there are no templates.
    let plain = workload("image: '{{evil}}'");
    assert_eq!(apply(POLICY, &plain).unwrap_err().0, "images");
}

#[test]
fn a_config_is_checked_in_the_workloads_that_use_it() {
    let refused =
        |config: Value| apply(POLICY, &json!({"apiVersion": "v1", "configs": config}).to_string());
    assert_eq!(refused(json!({"web": {"options": "-i"}})), Ok(()));
    let privileged = json!({"web": {"options": "--privileged"}});
    assert_eq!(refused(privileged).unwrap_err().0, "forbidden_options");
    assert_eq!(refused(json!({"place": "agent_B"})).unwrap_err().0, "agents");
    let options = json!({"web": {"options": "--privileged"}, "place": "agent_A"});
    for mask in
        ["desiredState.configs.web.options", "desiredState.configs.web", "desiredState.configs"]
    {
        let new = json!({"desiredState": {"configs": options}});
        assert_eq!(update(POLICY, &[mask], new).unwrap_err().0, "forbidden_options", "{mask}");
    }
    let mut whole = vehicle();
    whole["desiredState"]["configs"] = options;
    whole["desiredState"]["workloads"].as_object_mut().unwrap().remove("fleetconnector");
    assert_eq!(update(POLICY, &["desiredState"], whole).unwrap_err().0, "forbidden_options");
    // Without the config the workload cannot be rendered.
    assert!(update(POLICY, &["desiredState.configs.web"], json!({})).is_err());
    assert_eq!(update(POLICY, &["desiredState.configs.other"], json!({})), Ok(()));
}

#[test]
fn parts_of_workloads_are_checked_with_the_rest() {
    let part = |fields: Value| json!({"desiredState": {"workloads": {"web": fields}}});
    let base = "desiredState.workloads.web";
    for (mask, new) in [
        ("runtimeConfig", json!({"runtimeConfig": "image: evil.io/x"})),
        ("agent", json!({"agent": "agent_B"})),
        ("runtime", json!({"runtime": "podman-kube"})),
        ("configs.c", json!({"configs": {"c": "other"}})),
        ("configs.where", json!({"configs": {"where": "other"}})),
        ("configs", json!({})),
        (
            "controlInterfaceAccess",
            json!({"controlInterfaceAccess": {"allowRules": [
            {"type": "LogRule", "workloadNames": ["*"]}]}}),
        ),
        ("agent.x", json!({})),
    ] {
        let mask = format!("{base}.{mask}");
        assert!(update(POLICY, &[&mask], part(new)).is_err(), "{mask}");
    }
    assert_eq!(
        update(POLICY, &[&format!("{base}.tags.owner")], part(json!({"tags": {"owner": "me"}}))),
        Ok(())
    );
    // Two masks that are each harmless alone.
    let new = json!({"desiredState": {
        "configs": {"fresh": {"options": "--privileged"}},
        "workloads": {"web": {"configs": {"c": "fresh"}}},
    }});
    assert_eq!(update(POLICY, &["desiredState.configs.fresh"], new.clone()), Ok(()));
    assert!(
        update(POLICY, &["desiredState.configs.fresh", &format!("{base}.configs.c")], new).is_err()
    );
}

#[test]
fn deleting_is_allowed_and_wildcards_are_not() {
    assert_eq!(update(POLICY, &["desiredState.workloads.web"], json!({})), Ok(()));
    assert_eq!(update(POLICY, &["agents.agent_A.tags"], json!({})), Ok(()));
    for mask in ["*", "desiredState.*", "desiredState.workloads.*", "*.workloads.web"] {
        assert_eq!(update(POLICY, &[mask], json!({})).unwrap_err().0, "update_mask", "{mask}");
    }
    // Workloads that the request does not touch may break the policy.
    assert_eq!(
        update(POLICY, &["desiredState.apiVersion"], json!({"desiredState": {"apiVersion": "v1"}})),
        Ok(())
    );
    let all = vehicle();
    let refusal = update(POLICY, &["desiredState.workloads"], all).unwrap_err();
    assert_eq!(refusal.1, "runtimeConfig.commandOptions");
}
