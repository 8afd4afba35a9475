//! What people get wrong: each mistake has a position, and says what to write instead.

use super::*;

/// Checks the message and the position of an error.
fn check(text: &str, (line, column): (usize, usize), parts: &[&str]) {
    let error = parse(text).unwrap_err();
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{text}\n{part:?} is not in: {message}");
    }
    assert_eq!(error.position(), Some(LineColumn { line, column }), "{text}\n{message}");
    let position = format!(" (line {line}, column {column})");
    assert!(message.ends_with(&position), "{message}");
    assert!(message.len() < 1500, "{message}");
}

/// Checks the error of a field of the workload `w`, whose line is 7.
fn check_field(fields: &str, position: (usize, usize), parts: &[&str]) {
    check(&with(fields), position, parts);
}

/// A manifest with this instead of `agent: a`, in line 5.
fn with_agent(agent: &str) -> String {
    with("").replace("    agent: a\n", &format!("{agent}\n"))
}

/// A manifest with this instead of `runtimeConfig: x`, from line 6 on.
fn with_config(config: &str) -> String {
    with("").replace("    runtimeConfig: x\n", config)
}

#[test]
fn templates_without_quotes() {
    let quotes = "must be in quotes";
    check(&with_agent("    agent: {{target.agent}}"), (5, 12), &[quotes, "\"{{target.agent}}\""]);
    check(&with_agent("    agent: {{ target.agent }}"), (5, 12), &[quotes]);
    check(&with_agent("    agent: {{a}}-{{b}}"), (5, 12), &["in quotes"]);
    check(&with("").replace("  w:", "  {{name}}:"), (3, 3), &[quotes, "\"{{name}}\""]);
    check_field("files:\n  - {{file}}\n", (8, 9), &[quotes]);
    check_field("tags: {a: {{b}}}", (7, 15), &[quotes]);
    check("apiVersion: v1\nconfigs:\n  a: {{b.c}}\n", (3, 6), &[quotes, "\"{{b.c}}\""]);
    check("apiVersion: v1\nconfigs:\n  a:\n    - {{b}}\n", (4, 7), &[quotes]);
    check(&with("{{#if x}}\nrestartPolicy: NEVER\n{{/if}}"), (7, 5), &["{{#if}}"]);
}

#[test]
fn characters_that_are_not_seen() {
    let space = "a zero-width space (U+200B), which is invisible; remove it";
    check(&with("").replace("  w:", "  w\u{200b}x:"), (3, 4), &[space]);
    check(&with_agent("    agent: a\u{200b}"), (5, 13), &[space]);
    check(&with_agent("    ag\u{200b}ent: a"), (5, 7), &[space]);
    check(&format!("\u{feff}\u{feff}{}", with("")), (1, 1), &["a byte order mark (U+FEFF)"]);
    check(&with_agent("\u{a0}   agent: a"), (5, 1), &["a no-break space (U+00A0)"]);
}

#[test]
fn templates_of_other_tools() {
    check("apiVersion: v1\nworkloads:\n  {{- range .Values.a }}\n  b: c\n", (3, 3), &["Helm"]);
    check("kind: Deployment\nmetadata:\n  name: {{ .Release.Name }}\n", (3, 9), &["helm template"]);
    check("apiVersion: v1\nworkloads:\n{% for a in b %}\n", (3, 1), &["Jinja"]);
}

#[test]
fn a_runtime_config_that_is_not_a_text() {
    let block = "write runtimeConfig: |";
    check(&with_config("    runtimeConfig:\n      image: x\n"), (7, 7), &[block]);
    check(&with_config("    runtimeConfig: {image: x}\n"), (6, 20), &[block]);
    check(&with_config("    runtimeConfig:\n      - image: x\n"), (7, 7), &[block]);
    check(&with_config("    runtimeConfig:\n"), (6, 5), &["runtimeConfig has no value"]);
    check(&with_config("    runtimeconfig: x\n"), (6, 5), &["did you mean runtimeConfig?"]);
    check(&with_config("    runtime_config: x\n"), (6, 5), &["did you mean runtimeConfig?"]);
    check(
        &with_config("    image: x\n"),
        (6, 5),
        &["image belongs into the text of runtimeConfig"],
    );
    check(
        &with_config("    runtimeConfig: image: x\n"),
        (6, 25),
        &["a value that contains a colon"],
    );
}

#[test]
fn dependencies_as_in_compose() {
    let map = "dependencies: {db: ADD_COND_RUNNING}";
    check_field("dependencies: [db]", (7, 19), &[map]);
    check_field("dependencies:\n  - db\n", (8, 7), &[map]);
    check_field("dependencies:\n  - db: ADD_COND_FAILED\n", (8, 7), &[map]);
    check_field("dependencies: db", (7, 19), &[map]);
    let value = "db: ADD_COND_SUCCEEDED";
    let compose = "dependencies:\n  db:\n    condition: service_completed_successfully\n";
    check_field(compose, (9, 9), &[value]);
    check_field("dependencies:\n  db:\n", (8, 7), &["db: ADD_COND_RUNNING"]);
    for (condition, value) in [
        ("service_started", "ADD_COND_RUNNING"),
        ("running", "ADD_COND_RUNNING"),
        ("add_cond_running", "ADD_COND_RUNNING"),
        ("Add-Cond-Failed", "ADD_COND_FAILED"),
        ("succeeded", "ADD_COND_SUCCEEDED"),
    ] {
        let here = format!("here it is {value}");
        check_field(&format!("dependencies: {{db: {condition}}}"), (7, 24), &[&here]);
    }
    let one = "runtime: podman, agent: a, runtimeConfig: x, dependencies:";
    let cycle = format!(
        "apiVersion: v1\nworkloads:\n  a: {{{one} {{b: ADD_COND_RUNNING}}}}\n  \
         b: {{{one} {{a: ADD_COND_RUNNING}}}}\n"
    );
    check(&cycle, (3, 52), &["workloads.a.dependencies: ", "form a cycle", "remove one"]);
}

#[test]
fn restart_policies_of_docker() {
    check_field("restartPolicy: unless-stopped", (7, 20), &["here it is ALWAYS"]);
    check_field("restartPolicy: on-failure", (7, 20), &["here it is ON_FAILURE"]);
    check_field("restartPolicy: 'no'", (7, 20), &["here it is NEVER"]);
    check_field("restartPolicy: Always", (7, 20), &["use NEVER, ON_FAILURE or ALWAYS"]);
}

#[test]
fn tabs_and_foreign_spaces() {
    check("apiVersion: v1\nworkloads:\n\tw:\n\t\truntime: podman\n", (3, 1), &["a tab", "expand"]);
    check(&with_agent("\t    agent: a"), (5, 1), &["a tab"]);
    check(&with_agent("  \tagent: a"), (5, 3), &["a tab"]);
    check("apiVersion: v1\nworkloads:\n\u{a0}\u{a0}w:\n    agent: a\n", (3, 1), &["no-break"]);
    check("apiVersion:\u{a0}v1\nconfigs: {a: b}\n", (1, 1), &["no-break space"]);
    check(&with_agent("    agent:\u{a0}a"), (5, 11), &["no-break space"]);
}

#[test]
fn typographic_quotes() {
    check("apiVersion: “v1”\nconfigs: {a: b}\n", (1, 13), &["typographic quotes"]);
    check(&with_agent("    agent: ‘a’"), (5, 12), &["typographic quotes"]);
    check(&with("").replace("  w:", "  “w”:"), (3, 3), &["typographic quotes"]);
}

#[test]
fn duplicates_are_in_two_lines() {
    let again = "  w:\n    runtime: podman\n    agent: b\n    runtimeConfig: x\n";
    check(&(with("") + again), (7, 3), &["\"w\" is listed twice", "the first is in line 3"]);
    check_field("agent: b", (7, 5), &["duplicate field `agent`", "the first is in line 5"]);
    check(&(with("") + "workloads: {}\n"), (7, 1), &["the first is in line 2"]);
    check_field("tags: [{key: a, value: x},\n {key: a, value: y}]", (8, 12), &["line 7"]);
    check("apiVersion: v1\nconfigs: {a: {b: x,\n b: y}}", (3, 2), &["line 2"]);
    check(
        "{\"apiVersion\": \"v1\",\n\"configs\": {\"a\": \"x\",\n\"a\": \"y\"}}",
        (3, 1),
        &["line 2"],
    );
}

#[test]
fn several_documents() {
    let one = with("");
    check(&format!("{one}---\n{one}"), (8, 1), &["several YAML documents", "separate manifest"]);
}

#[test]
fn misspelled_and_missing_fields() {
    let w = "{runtime: podman, agent: a, runtimeConfig: x}";
    for key in ["workload", "Workloads", "worklaods"] {
        let text = format!("apiVersion: v1\n{key}:\n  w: {w}\n");
        check(&text, (2, 1), &["no workloads and no configs", "did you mean workloads?"]);
    }
    let text = format!("apiversion: v1\nworkloads: {{w: {w}}}\n");
    check(&text, (1, 1), &["no apiVersion", "did you mean apiVersion?"]);
    check(&with_agent("    agents: a"), (5, 5), &["did you mean agent?"]);
    check(&with_agent("    node: a"), (5, 5), &["did you mean agent?"]);
    check(&with_agent("    # none"), (4, 5), &["needs the field agent", "agent: agent_A"]);
    check_field("files: [{mount_point: /a, data: x}]", (7, 14), &["did you mean mountPoint?"]);
    check_field("files: [{mountPoint: /a, content: x}]", (7, 30), &["did you mean data?"]);
    check_field("files: [{mountPoint: /a}]", (7, 13), &["write data: |"]);
    check_field("files: [{mountPoint: /a, data: x,\n binaryData: eA==}]", (8, 6), &["not both"]);
    let rule = "controlInterfaceAccess: {allowRules: [{type: StateRule, operation: read, \
                filterMasks: []}]}";
    check_field(rule, (7, 72), &["here it is Read"]);
}

#[test]
fn indentation() {
    let flat = "apiVersion: v1\nworkloads:\n  w:\n  runtime: podman\n  agent: a\n";
    check(flat, (3, 5), &["indent its fields"]);
    check(&with_agent("     agent: a"), (5, 11), &["indented deeper"]);
    check(&with_agent("   agent: a"), (5, 4), &["same column"]);
    let root = "apiVersion: v1\nworkloads:\nw:\n  runtime: podman\n";
    check(root, (3, 1), &["put the workloads below workloads:"]);
    let no_name = format!("apiVersion: v1\nw: {{runtime: {}}}\n", "podman, agent: a");
    check(&no_name, (2, 1), &["put the workloads below workloads:"]);
    check("runtime: podman\nagent: a\nruntimeConfig: x\n", (3, 1), &["a single workload"]);
}

#[test]
fn wrong_types_say_the_right_ones() {
    let list = "apiVersion: v1\nworkloads:\n  - name: w\n    runtime: podman\n";
    check(list, (3, 3), &["w: and its fields below"]);
    check_field("tags: foo", (7, 11), &["tags: {key: value}"]);
    check_field("tags: [foo]", (7, 12), &["tags: {key: value}"]);
    check_field("tags:\n  a:\n", (8, 7), &["a has no value"]);
    check(&with_agent("    agent: [a]"), (5, 12), &["one workload for each"]);
    check_field("files: {mountPoint: /a, data: x}", (7, 12), &["begins with -"]);
    check_field("files: ['./a:/b']", (7, 13), &["write mountPoint: and data: |"]);
    check_field("files: [{mountPoint: /a, data: {a: b}}]", (7, 36), &["the content is a text"]);
    check_field("configs: [a]", (7, 14), &["configs: {a: a}"]);
    check_field(
        "controlInterfaceAccess:\n  allowRules:\n    type: StateRule\n",
        (9, 9),
        &["write a list"],
    );
    check("apiVersion: v1\nconfigs:\n  a: {b: ~}\n", (3, 7), &["b has no value"]);
    check("{\"workloads\": [\"nginx\"]}", (1, 15), &["nginx: and its fields"]);
    check("apiVersion: v1\nconfigs:\n  a: {port: 80}\n", (3, 13), &["port: \"1\""]);
    check(&with("").replace("  w:", "  my.app:"), (3, 3), &["for example my-app"]);
    check(&with("").replace("  w:", &format!("  {}:", "w".repeat(64))), (3, 3), &["too long"]);
    for (version, hint) in [("v2", "use v1"), ("apps/v1", "Kubernetes"), ("1", "apiVersion: v1")] {
        check(&format!("apiVersion: {version}\nconfigs: {{a: b}}\n"), (1, 13), &[hint]);
    }
    check("configs: {a: b}\n", (1, 1), &["put the line apiVersion: v1 in front"]);
}

#[test]
fn syntax() {
    for (value, position, part) in [
        ("@a", (5, 12), "begins with @"),
        ("`a`", (5, 12), "begins with `"),
        ("%a", (5, 12), "begins with %"),
        ("*a", (5, 12), "begins with *"),
        ("\"C:\\path\"", (5, 15), "write \\\\"),
        ("a: b", (5, 13), "contains a colon"),
        ("[a, b", (6, 18), "closing bracket"),
    ] {
        check(&with_agent(&format!("    agent: {value}")), position, &[part]);
    }
    check(&with_agent("    agent: \"a"), (7, 1), &["line 5 column 12", "is not closed"]);
    check("apiVersion: v1\nworkloads:\n  w\n    agent: a\n", (4, 10), &["colon"]);
    check(
        "apiVersion: v1\nworkloads:\n  w:\n    runtime:podman\n",
        (4, 5),
        &["space after the colon"],
    );
    check("apiVersion: v1\nconfigs:\n  a: \0\n", (3, 6), &["NUL byte (U+0000)"]);
    check("apiVersion: v1\nconfigs:\n  a: \u{1b}[1m\n", (3, 6), &["U+001B"]);
    let json = "{\"apiVersion\": \"v1\"\n \"configs\": {}}";
    check(json, (2, 2), &["a comma"]);
    check("{\n// x\n\"apiVersion\": \"v1\"}", (2, 1), &["comments"]);
    check("// \"x\"\n{\"apiVersion\": \"v1\"}", (1, 1), &["comments"]);
    let json = "{\"apiVersion\": \"v1\", /* x */\n \"configs\": {\"a\": \"http://b\"}}";
    check(json, (1, 22), &["comments"]);
    let cut_off = "it ends too early, so it is probably cut off";
    check("{\"apiVersion\": \"v1\",\n \"configs\": {\"a\": \"b", (2, 20), &[cut_off]);
    check("{\"apiVersion\": \"v1\",\n \"configs\": {\"a\": \"b\"}", (2, 22), &[cut_off]);
    check(&with_config("    runtimeConfig: | image: x\n"), (6, 22), &["begins in the next line"]);
    let quote = with_agent("    agent: \"a").replace("Config: x", "Config: \"x\"");
    check(&quote, (5, 12), &["is not closed"]);
    check(&with_agent("    agent: \"a\n    tags: {b: \"c\"}"), (5, 12), &["is not closed"]);
    let conflict = with("").replace("    agent", "<<<<<<< HEAD\n    agent") + ">>>>>>> x\n";
    check(&conflict, (5, 1), &["merge conflict"]);
}

#[test]
fn text_after_the_manifest() {
    check(&(with("") + "EOF\n"), (7, 1), &["from a shell"]);
    check(&(with("") + "root@host:~# \n"), (7, 1), &["from a shell"]);
    check(&(with("") + "thanks\n"), (7, 1), &["this line is not a field"]);
    check(&(with("") + "...\nthanks\n"), (8, 1), &["remove the rest"]);
    check(&(with("") + "\0"), (7, 1), &["NUL byte"]);
    check("{\"apiVersion\": \"v1\"}\n{\"a\": 1}\n", (2, 1), &["a separate request"]);
}

#[test]
fn variables_that_were_not_replaced() {
    check(&with_agent("    agent: ${AGENT}"), (5, 12), &["envsubst"]);
    check(&with_agent("    agent: $AGENT"), (5, 12), &["envsubst"]);
}

#[test]
fn json_has_positions_too() {
    let json = r#"{
  "apiVersion": "v1",
  "workloads": {
    "w": {"runtime": "podman", "agent": "a", "runtimeConfig": {"image": "x"}}
  }
}"#;
    check(json, (4, 63), &["workloads.w.runtimeConfig: ", "write runtimeConfig: |"]);
    check(&json.replace("runtimeConfig", "config"), (4, 46), &["did you mean runtimeConfig?"]);
}

#[test]
fn other_documents() {
    for (text, position, part) in [
        ("apiVersion: v1\nkind: Pod\nmetadata: {}\n", (2, 1), "Kubernetes object (kind: Pod)"),
        ("apiVersion: apps/v1\nkind: Deployment\n", (2, 1), "podman-kube"),
        ("apiVersion: v1\nmetadata: {}\nspec: {}\n", (2, 1), "Kubernetes"),
        ("version: '3'\nservices:\n  w: {}\n", (2, 1), "Docker Compose"),
        ("services: {}\nconfigs: {}\n", (1, 1), "Docker Compose"),
        ("apiVersion: v2\nname: x\nversion: 1.0.0\n", (2, 1), "Helm chart"),
        ("desiredState:\n  apiVersion: v1\n", (1, 1), "below desiredState"),
        ("{\"workloadStates\": {}}", (1, 2), "below desiredState"),
        ("{\"desired_state\": {}}", (1, 2), "\"format\": \"ankaios\""),
        ("{\"update_mask\": [], \"state\": {}}", (1, 2), "state/update"),
        ("{\"field_masks\": []}", (1, 2), "events/subscribe"),
        ("{\"error\": {}}", (1, 2), "an error message"),
        ("{\"message\": \"x\", \"status\": \"404\"}", (1, 2), "the download has failed"),
        ("runtimes: [podman]\nagents: []\n", (1, 1), "POLICY_FILE"),
        ("image: x\ncommandOptions: []\n", (1, 1), "the runtimeConfig of a workload"),
        ("[{\"apiVersion\": \"v1\"}]", (1, 1), "a separate request"),
        ("[\"workloadStates\"]", (1, 1), "field masks"),
        ("- hosts: all\n", (1, 1), "Ansible"),
        ("\"apiVersion: v1\\nworkloads: {}\"", (1, 1), "inside of a string"),
        ("nginx", (1, 1), "begins with apiVersion: v1"),
        ("~", (1, 1), "expected a manifest"),
        ("404: Not Found", (1, 1), "a web server"),
        ("diff --git a/x b/x\n--- a/x\n+++ b/x\n", (1, 1), "git apply"),
        ("apiVersion: v1\nkind: List\nitems: []\n", (2, 1), "each item of the list"),
        ("apiVersion: v1\nkind: Service\n", (2, 1), "publish ports with"),
        ("currentState:\n  workloads: {}\n", (1, 1), "Ankaios 0.2 or older"),
        ("web:\n  image: nginx\n  ports: []\n", (1, 1), "Docker Compose"),
        ("x: &x {a: b}\nservices:\n  web:\n    <<: *x\n", (2, 1), "Docker Compose"),
        ("{\"message\": \"404 Project Not Found\"}", (1, 2), "the download has failed"),
        ("{\"workload_name\": \"a\"}", (1, 2), "workload/wait"),
        ("{\"revision\": 1}", (1, 2), "manifest/rollback"),
        ("openapi: 3.0.0\ninfo: {}\n", (1, 1), "none of its fields is one of a manifest"),
        ("{\n// x\n\"a\":1}", (1, 1), "comments in JSON"),
        ("{“apiVersion”: “v1”}", (1, 2), "typographic quotes"),
        ("null", (1, 1), "it is empty: null"),
        ("\0\x01\x02\x03", (1, 1), "a binary file"),
    ] {
        check(text, position, &[part]);
    }
}

/// A text may be a secret, or a whole file.
#[test]
fn texts_are_not_quoted() {
    for text in [
        with("tags: SECRET"),
        with("files: [SECRET]"),
        with("files: [{mountPoint: /a, data: [SECRET]}]"),
        with("controlInterfaceAccess: SECRET"),
        with_config("    runtimeConfig: {password: SECRET}\n"),
        "apiVersion: v1\nconfigs: SECRET\n".to_owned(),
        "SECRET".to_owned(),
        "\"SECRET\"".to_owned(),
        "apiVersion: v1\nconfigs: {a: {b: {{SECRET: SECRET}}}}"
            .to_owned()
            .replace("{{SECRET: SECRET}}", "\"SECRET"),
        "apiVersion: v1\nconfigs: {pin: !x SECRET}".to_owned(),
    ] {
        let message = error(&text);
        assert!(!message.contains("SECRET"), "{message}");
    }
}

#[test]
fn messages_are_bounded() {
    let long = "x".repeat(500_000);
    for text in [
        long.clone(),
        with(&format!("tags: {{'{long}': [x]}}")),
        with(&format!("tags: {{'a{long}': x}}")),
        with(&format!("restartPolicy: {long}")),
        with(&format!("dependencies: [{long}]")),
        format!("apiVersion: {long}\nconfigs: {{a: b}}"),
        format!("apiVersion: v1\n{long}: {long}\n"),
        format!("apiVersion: v1\nconfigs: {{a: *{long}}}\n"),
    ] {
        assert!(error(&text).len() < 1500);
    }
}
