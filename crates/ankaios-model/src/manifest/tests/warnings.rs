//! What Ankaios accepts, but probably does not do what is meant.

use super::*;

/// The warnings of a valid manifest, each with its position.
fn warnings(text: &str) -> Vec<String> {
    let warnings = parse(text).unwrap().warnings(text.as_bytes());
    let write = |Warning { message, position: LineColumn { line, column } }| {
        format!("{line}:{column} {message}")
    };
    warnings.into_iter().map(write).collect()
}

/// A manifest whose workload `w` has this runtime and runtime configuration.
fn with_config(runtime: &str, config: &str) -> String {
    let lines: String = config.lines().map(|line| format!("      {line}\n")).collect();
    format!(
        "apiVersion: v1\nworkloads:\n  w:\n    agent: a\n    runtime: {runtime}\n    \
         runtimeConfig: |\n{lines}"
    )
}

/// The fields of a workload without the warning of the runtime configuration `x`.
fn with(fields: &str) -> String {
    super::with(fields).replace("runtime: podman", "runtime: other")
}

#[test]
fn a_manifest_as_it_should_be_has_none() {
    let rules = "controlInterfaceAccess:\n  allowRules:\n    - type: StateRule\n      \
                 operation: Read\n      filterMask: ['*']\n";
    for text in [
        with(""),
        with(rules),
        with("tags: {a: b}\nrestartPolicy: NEVER\ndependencies: {b: ADD_COND_RUNNING}"),
        with("files:\n  - mountPoint: /a\n    data: x\n  - {mountPoint: /b, binaryData: eA==}"),
        with("").replace("runtimeConfig: x", "runtimeConfig: &x x") + "x-common: *x\n",
        with_config("podman", "image: x\ncommandOptions: [\"-e\", \"A=“q”\"]\ncommandArgs: []"),
        with_config("podman", "{{#if a}}\nany: x\n{{/if}}"),
        with_config("podman-kube", "manifest: |\n  kind: Pod\n  metadata: {}"),
        with_config("other", "any: x"),
        "apiVersion: v1\nconfigs: {a: {b: “c”, image: x}}\n".to_owned(),
    ] {
        assert_eq!(warnings(&text), [""; 0], "{text}");
    }
}

#[test]
fn ignored_fields_are_named_with_the_nearest_known_one() {
    let ignores = "Ankaios ignores this field";
    for (fields, expected) in [
        (
            "restart_policy: NEVER",
            "7:5 workloads.w.restart_policy: {}; did you mean restartPolicy?",
        ),
        ("restartpolicy: NEVER", "7:5 workloads.w.restartpolicy: {}; did you mean restartPolicy?"),
        ("restart: always", "7:5 workloads.w.restart: {}; did you mean restartPolicy?"),
        ("depends_on: [b]", "7:5 workloads.w.depends_on: {}; did you mean dependencies?"),
        ("dependencie: {}", "7:5 workloads.w.dependencie: {}; did you mean dependencies?"),
        ("updateStrategy: x", "7:5 workloads.w.updateStrategy: {}"),
        (
            "ports: ['80:80']",
            "7:5 workloads.w.ports: {}; write it into runtimeConfig: | and below it, indented, \
             ports:",
        ),
        ("files: [{mountPoint: /a, data: x, mode: '0644'}]", "7:39 workloads.w.files[0].mode: {}"),
        (
            "controlInterfaceAccess:\n  allowRule: []",
            "8:7 workloads.w.controlInterfaceAccess.allowRule: {}; did you mean allowRules?",
        ),
        (
            "controlInterfaceAccess:\n  denyRules:\n    - type: LogRule\n      workloadNames: ['*']\n\
             \u{20}     operation_: Read",
            "11:11 workloads.w.controlInterfaceAccess.denyRules[0].operation_: {}; did you mean \
             operation?",
        ),
        ("'a b': c", "7:5 workloads.w.\"a b\": {}"),
    ] {
        assert_eq!(warnings(&with(fields)), [expected.replace("{}", ignores)]);
    }
    let text = with("") + "kind: Config\nconfig: {}\n";
    let expected = ["7:1 kind: {}", "8:1 config: {}; did you mean configs?"];
    assert_eq!(warnings(&text), expected.map(|line| line.replace("{}", ignores)));
    let json = r#"{"apiVersion": "v1", "configs": {"a": "b"}, "kind": "x"}"#;
    assert_eq!(warnings(json), ["1:45 kind: Ankaios ignores this field"]);
}

#[test]
fn runtime_configurations_are_checked() {
    for (config, expected) in [
        (
            "image: x\ncommandoptions: []",
            "8:7 workloads.w.runtimeConfig: the runtime ignores the field commandoptions; did you \
             mean commandOptions?",
        ),
        (
            "image: x\nports: []",
            "8:7 workloads.w.runtimeConfig: the runtime ignores the field ports",
        ),
        (
            "commandOptions: []",
            "6:20 workloads.w.runtimeConfig: the field image is missing, which the runtime needs",
        ),
        (
            "image: “x”",
            "7:14 workloads.w.runtimeConfig: typographic quotes are part of the text for YAML; \
             write \" or '",
        ),
        (
            "nginx",
            "6:20 workloads.w.runtimeConfig: it is not a map in YAML, which the runtime needs; \
             write image: and a value",
        ),
        (
            "image: [",
            "6:20 workloads.w.runtimeConfig: it is not a map in YAML, which the runtime needs; \
             write image: and a value",
        ),
    ] {
        assert_eq!(warnings(&with_config("podman", config)), [expected]);
    }
    let folded = with_config("podman", "image: x\ncommandOptions: []").replace('|', ">");
    assert!(warnings(&folded)[0].contains("write | instead of >"));
    let kube = warnings(&with_config("podman-kube", "kind: Pod"));
    assert!(kube[0].contains("ignores the field kind"), "{kube:?}");
    assert!(kube[1].contains("the field manifest is missing"), "{kube:?}");
    // The position of what is not in a block is that of the value.
    let quoted = with_config("podman", "").replace("|\n", "\"image: x\\na: b\"\n");
    assert_eq!(
        warnings(&quoted),
        ["6:20 workloads.w.runtimeConfig: the runtime ignores the field a"]
    );
    let flat = with_config("podman", "").replace("|\n", "|\n    image: x\n");
    let flat = warnings(&flat);
    assert!(
        flat[0].starts_with("7:5 workloads.w.image: Ankaios ignores this field; write it into")
    );
    assert!(flat[1].contains("it is empty; indent the lines"), "{flat:?}");
}

#[test]
fn quotes_of_typography_are_found() {
    let text = with("").replace("agent: a", "agent: a\n    tags: {a: ‘b’}");
    assert_eq!(
        warnings(&text),
        ["6:15 workloads.w: typographic quotes are part of the text for YAML; write \" or '"]
    );
}

#[test]
fn the_number_is_limited() {
    let fields: String = (0..50).map(|index| format!("field{index}: x\n")).collect();
    let warnings = warnings(&with(&fields));
    assert_eq!(warnings.len(), 20);
    assert!(warnings[19].ends_with(" (and 30 more warnings)"), "{}", warnings[19]);
    let nested = format!("{}x", "{a: ".repeat(200_000));
    let start = Instant::now();
    let text = with_config("podman", &nested);
    assert_eq!(parse(&text).unwrap().warnings(text.as_bytes()), []);
    assert!(start.elapsed() < TIME_LIMIT);
}
