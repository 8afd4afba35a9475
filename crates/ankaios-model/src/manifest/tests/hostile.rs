//! Malicious and extreme input.

use super::*;
use crate::node_limit::MAX_NODES;

#[test]
fn deep_flow_nesting_is_refused() {
    for open in ["[", "{", "{a: ", "[a, ", "{? ", "[? ", "{\"a\":", "[\n", "{[]: ", "[#\n"] {
        let message = error(&format!("a: {}", open.repeat(100_000)));
        assert!(message.starts_with("brackets are nested more than 64 deep"), "{message}");
    }
    let json = r#"{"a":"#.repeat(100_000);
    assert!(error(&json).contains("64 deep"));
}

#[test]
fn deep_flow_maps_of_400_kb_are_refused_where_they_are_too_deep() {
    let text = format!("apiVersion: v1\nconfigs: {}", "{a: ".repeat(100_000));
    let error = parse(&text).unwrap_err();
    let Some(LineColumn { line: 2, column }) = error.position() else { panic!("{error}") };
    assert_eq!(column, "configs: ".len() + 64 * "{a: ".len() + 1);
    let wide =
        format!("apiVersion: v1\nx: [{}]\nconfigs: {{a: b}}", "{a: {a: {a: {}}}},".repeat(5_000));
    parse(&wide).unwrap();
}

#[test]
fn deep_block_nesting_is_refused() {
    for open in ["- ", "? ", "- - - - "] {
        for prefix in ["", "apiVersion: v1\nconfigs:\n  a:\n    ", "unknown:\n  "] {
            assert!(parse(&format!("{prefix}{}", open.repeat(100_000))).is_err());
        }
    }
    let stairs: String = (0..1000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert!(
        parse(&format!("apiVersion: v1\nconfigs:\n{}", stairs.replace('\n', "\n ").trim_end()))
            .is_err()
    );
}

#[test]
fn brackets_in_text_do_not_count() {
    let brackets = "[{".repeat(500);
    for scalar in [
        format!("'{brackets}'"),
        format!("\"{brackets}\\\"{brackets}\""),
        format!("x{brackets}"),
        format!("x\n      {brackets}"),
        format!("|\n      {brackets}\n       {brackets}\n\n      '\n"),
        format!(">-2\n      {brackets}\n      \"{brackets}"),
        format!("x # {brackets} ' \""),
    ] {
        let text = with("").replace("runtimeConfig: x", &format!("runtimeConfig: {scalar}"));
        parse(&text).unwrap();
        let text = text + &format!("    tags: {{t: 'it''s {brackets}'}} # {brackets}\n");
        parse(&text).unwrap();
    }
    // 64 levels pass this check; the schema refuses them.
    assert!(
        config(&("[".repeat(64) + &"]".repeat(64))).unwrap_err().to_string().contains("nested too")
    );
}

#[test]
fn brackets_next_to_quotes_and_blocks_are_counted() {
    let brackets = "[".repeat(100);
    for text in [
        format!("a: \"\\\"\" \nb: {brackets}"),
        format!("a: 'it''s'\nb: {brackets}"),
        format!("a: |\n  '\nb: {brackets}"),
        format!("a: x'\nb: {brackets}"),
        format!("a: x#'\nb: {brackets}"),
        format!("a: # '\n  {brackets}"),
        format!("- |\n '\n- {brackets}"),
        format!("a: !<'> {brackets}"),
        format!("a: [ x'y, {brackets}"),
        format!("a: [ |, {brackets}"),
        format!("a: |\n\n  x\n {brackets}\nb: {brackets}"),
        format!("? |\n '\n: {brackets}"),
        format!("a: &b {brackets}"),
    ] {
        assert!(parse(&text).is_err(), "{text}");
    }
}

#[test]
fn exponential_aliases_are_refused() {
    let mut text = "apiVersion: v1\nconfigs:\n  a0: &a0 lol\n".to_owned();
    for level in 1..20 {
        let aliases = format!("*a{}, ", level - 1).repeat(10);
        text += &format!("  a{level}: &a{level} [{aliases}]\n");
    }
    assert!(parse(&text).is_err());
    let padded = text + &format!("unknown: [{}]\n", "x,".repeat(30_000));
    let message = error(&padded);
    assert!(message.starts_with("there are more than 40000 keys"), "{message}");
}

#[test]
fn many_aliases_of_a_large_text_are_refused() {
    let text = format!(
        "apiVersion: v1\nconfigs:\n  a: &a {}\n  b: [{}]\n",
        "x".repeat(500_000),
        "*a,".repeat(100_000)
    );
    assert!(error(&text).contains("aliases add more than"));
}

#[test]
fn other_aliases_are_accepted() {
    let text = "apiVersion: v1\nworkloads:\n  a: &a {runtime: r, agent: a, runtimeConfig: x, tags: &t {k: v}}\n  \
                b: *a\n  c: {runtime: r, agent: a, runtimeConfig: x, tags: *t}\n";
    let manifest = parse(text).unwrap();
    let workloads = manifest.state.workloads.unwrap().workloads;
    assert_eq!(workloads["a"], workloads["b"]);
    assert_eq!(workloads["a"], workloads["c"]);
    // The maximum number of nodes with an alias.
    let full = format!(
        "apiVersion: v1\nx: [{}]\nconfigs: {{a: &a x, b: *a}}\n",
        "a,".repeat(MAX_NODES - 11)
    );
    parse(&full).unwrap();
    assert!(error(&full.replace("x: [", "x: [a,")).starts_with("there are more than 40000 keys"));
}

#[test]
fn too_many_nodes_are_refused_where_they_are_too_many() {
    let node = |text: String| {
        let error = parse(&text).unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with("there are more than 40000 keys, values and items"),
            "{message}"
        );
        error.position().unwrap()
    };
    let mut configs = "apiVersion: v1\nconfigs:\n".to_owned();
    for index in 0..50_000 {
        configs += &format!("  c{index:05}: some\n");
    }
    // The five nodes of the first two lines, and two in each line: the value in line 20,000.
    assert_eq!(node(configs), LineColumn { line: 20_000, column: 1 + "  c19997: ".len() });
    for item in ["a,", "[],", "{},", "[a],", "{a: b},"] {
        node(format!("apiVersion: v1\nconfigs: {{a: [{}]}}\n", item.repeat(300_000)));
        node(format!("apiVersion: v1\nconfigs: {{a: b}}\nignored: [{}]\n", item.repeat(300_000)));
    }
    for item in ["\"\"", "[]", "1"] {
        let items = vec![item; 300_000].join(",");
        let json = format!("{{\"apiVersion\": \"v1\", \"configs\": {{\"a\": [{items}]}}}}");
        assert_eq!(node(json).line, 1);
    }
    let list = "a,".repeat(5_000);
    node(format!("apiVersion: v1\nconfigs: {{a: &a [{list}], b: [*a,*a,*a,*a,*a,*a,*a]}}\n"));
}

#[test]
fn an_alias_inside_its_own_node_is_refused() {
    let text = format!("apiVersion: v1\nconfigs: {{a: &a [{}, *a]}}\n", "x".repeat(500_000));
    assert!(error(&text).contains("aliases add more than"));
    assert!(parse("apiVersion: v1\nconfigs: &a\n  b: *a\n").is_err());
    assert!(parse("apiVersion: v1\nconfigs:\n  b: *nowhere\n").is_err());
}

#[test]
fn duplicate_keys_are_refused() {
    for text in [
        with("agent: b"),
        with("tags: {a: x, a: y}"),
        with("tags: [{key: a, value: x}, {key: a, value: y}]"),
        with("dependencies: {a: ADD_COND_FAILED, a: ADD_COND_FAILED}"),
        with("configs: {a: x, 'a': y}"),
        with("") + "workloads: {}\n",
        with("") + "  w: {runtime: r, agent: a, runtimeConfig: x}\n",
        "apiVersion: v1\nconfigs: {a: x, a: y}".to_owned(),
        "apiVersion: v1\nconfigs: {a: {b: x, b: y}}".to_owned(),
        "apiVersion: v1\napiVersion: v1\nconfigs: {a: x}".to_owned(),
        r#"{"apiVersion": "v1", "configs": {"a": "x", "a": "y"}}"#.to_owned(),
    ] {
        let message = error(&text);
        assert!(message.contains("twice") || message.contains("duplicate field"), "{message}");
    }
}

/// libyaml compares each with all others.
#[test]
fn tag_directives_are_refused() {
    let directives: String = (0..60_000).map(|i| format!("%TAG !{i}! b\n")).collect();
    let begin = std::time::Instant::now();
    let error = Manifest::parse((directives + "---\napiVersion: v1\n").as_bytes()).unwrap_err();
    assert!(error.to_string().starts_with("directives such as %TAG"), "{error}");
    assert!(begin.elapsed() < std::time::Duration::from_secs(1));
    let version = format!("%YAML 1.1\n---\n{}", with(""));
    Manifest::parse(version.as_bytes()).unwrap();
}

/// `%` begins a directive only outside of documents.
#[test]
fn directives_are_found_where_libyaml_finds_them() {
    for (text, line) in [
        ("# x\r\n\r\n%TAG !a! b\n---\n".to_owned(), 3),
        ("# x\u{85}%TAG !a! b\n---\n".to_owned(), 2),
        ("%YAML 1.1\n%TAG !a! b\n---\n".to_owned(), 2),
        (with("") + "...\n... # x\n\n%TAG !a! b\n---\n", 10),
        (with("") + "%TAG !a! b\n---\n", 7),
        ("#\n\u{feff}\n%TAG !a! b\n---\n".to_owned(), 3),
        ("\u{feff}\u{feff}%TAG !a! b\n---\n".to_owned(), 1),
        ("# x\n\u{feff}%TAG !a! b\n---\n".to_owned(), 2),
        (with("") + "...\n\u{feff}\n%TAG !a! b\n---\n", 9),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(error.to_string().starts_with("directives such as %TAG"), "{text}: {error}");
        assert_eq!(error.position(), Some(LineColumn { line, column: 1 }), "{text}");
    }
    assert_eq!(config_string("\"x\n%TAG !a! b\""), "x %TAG !a! b");
}

#[test]
fn merge_keys_are_refused() {
    let text = with("<<: {restartPolicy: NEVER}");
    let error = parse(&text).unwrap_err();
    assert!(error.to_string().starts_with("merge keys (<<)"), "{error}");
    assert_eq!(error.position(), Some(LineColumn { line: 7, column: 5 }));
    assert!(field_error("tags: {a: b, << : {c: d}}").starts_with("merge keys"));
    assert_eq!(workload("tags: {a: <<, b: '<<'}").tags.unwrap().tags["a"], "<<");
}

#[test]
fn yaml_tags_of_text_are_ignored() {
    for text in [
        with("").replace("runtimeConfig: x", "runtimeConfig: !!binary x"),
        with("").replace("runtimeConfig: x", "runtimeConfig: !!str x"),
    ] {
        assert_eq!(parse(&text).unwrap(), parse(&with("")).unwrap());
    }
    assert!(parse(&with("tags: !!set {a}")).is_err());
    assert!(parse("!!python/object:os.system x").is_err());
}

#[test]
fn unescaped_control_characters_are_refused() {
    for text in ["\0", "a: \0", "apiVersion: v1\nconfigs: {a: \"\0\"}", "\u{7}"] {
        assert!(parse(text).is_err(), "{text:?}");
    }
    assert_eq!(config_string("\"\\0\\x01\""), "\0\u{1}");
}

#[test]
fn large_manifests_are_accepted() {
    let text =
        with("").replace("runtimeConfig: x", &format!("runtimeConfig: {}", "x".repeat(1 << 20)));
    parse(&text).unwrap();
    let mut text = "apiVersion: v1\nworkloads:\n".to_owned();
    for index in 0..4_900 {
        text += &format!("  w{index}: {{runtime: podman, agent: a, runtimeConfig: 'image: x'}}\n");
    }
    assert_eq!(parse(&text).unwrap().workload_names().count(), 4_900);
    let mut text = "apiVersion: v1\nconfigs:\n".to_owned();
    for index in 0..19_900 {
        text += &format!("  c{index}: x\n");
    }
    assert_eq!(parse(&text).unwrap().config_names().count(), 19_900);
}

#[test]
fn a_long_chain_of_dependencies_is_accepted() {
    let mut text = "apiVersion: v1\nworkloads:\n".to_owned();
    for index in 0..3_300 {
        text += &format!(
            "  w{index}: {{runtime: r, agent: a, runtimeConfig: x, dependencies: {{w{}: ADD_COND_RUNNING}}}}\n",
            index + 1
        );
    }
    parse(&text).unwrap();
    assert!(error(&text.replace("w3300", "w0")).contains("form a cycle"));
}

#[test]
fn wrong_types_are_refused() {
    for text in [
        "apiVersion: v1\nworkloads: []\n",
        "apiVersion: v1\nworkloads: x\n",
        "apiVersion: v1\nworkloads: {w: x}\n",
        "apiVersion: v1\nworkloads: {w: [x]}\n",
        "apiVersion: v1\nworkloads: {[a]: x}\n",
        "apiVersion: v1\nconfigs: [x]\n",
        "apiVersion: v1\nconfigs: x\n",
        "- apiVersion: v1\n",
        "apiVersion: {v1: x}\nconfigs: {a: b}\n",
        "? [a]\n: b\n",
        "@",
        "\t",
        "a: b: c",
        "\"",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}
