//! Wrong usage: nothing is sent.

use std::process::Command;

use crate::support::{Broker, DEADLINE, TestFleet, eventually, manifest};

/// Without a broker, because nothing gets that far.
#[test]
fn mistakes_are_found_before_a_connection_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("good.yaml", &manifest("nginx", "1"));
    write("bad.yaml", "apiVersion: v1\nworkloads:\n  nginx:\n    runtimee: podman\n");
    write("config.yaml", "contexts: {a: {host: b}}\n");
    for (args, part) in [
        ("apply good.yaml", "no vehicles are selected; name VINs, or use --vehicles FILE"),
        ("apply bad.yaml --all", "bad.yaml: workloads.nginx: a workload needs the field runtime"),
        ("apply bad.yaml --all", "(line 4, column 5)"),
        ("apply missing.yaml --all", "missing.yaml: No such file"),
        ("apply V01 --all", "no manifest is named"),
        ("apply good.yaml good.yaml --all", "workloads.nginx is in another file, too"),
        ("apply good.yaml --all --waves 5%,1%", "wave 2: 1% is not more than 5%"),
        ("apply good.yaml --all --max-failures 120%", "more than 100%"),
        ("apply good.yaml --all --waves 50%,30%,100%", "wave 2: 30% is not more than 50%"),
        ("apply good.yaml --all --waves 5,5,100%", "wave 2: 5 is not more than 5"),
        ("apply good.yaml --all --waves 1,5%", "the last wave must be 100%"),
        ("apply good.yaml --all --max-failures=-1", "--max-failures"),
        ("apply good.yaml --all --max-unreachable many", "--max-unreachable"),
        ("apply good.yaml --all --rate 0/m", "--rate"),
        ("apply good.yaml --all --pause-after 0", "--pause-after"),
        ("apply good.yaml --all --soak forever", "write it as 30s, 10m or 24h"),
        ("apply good.yaml --all --parallel 0", "0 is not in 1..=1000"),
        ("apply good.yaml --all --deadline 0s", "it must not be 0"),
        ("apply good.yaml --all --until soon", "--until: \"soon\" is not a time"),
        ("apply good.yaml --all --release ä", "--release"),
        ("apply good.yaml -l a>1", "is not a valid label key"),
        ("apply good.yaml -l region,", "column 8: expected a label key or !"),
        ("apply good.yaml --all -o yaml", "[possible values: jsonl]"),
        ("rollout resume 7f3a -o json", "[possible values: jsonl]"),
        ("history", "no vehicles are selected; name VINs, or use --vehicles FILE"),
        // What is no option is a workload or a payload.
        ("wait nginx V01", "no vehicles are selected; use --vehicle VIN, --vehicles FILE"),
        ("logs nginx V01", "no vehicles are selected; use --vehicle VIN, --vehicles FILE"),
        ("request state []", "no vehicles are selected; use --vehicle VIN, --vehicles FILE"),
        ("get state -o wide", "a state is not a table: -o is yaml, json, jsonl or name"),
        ("request nothing --all", "\"nothing\" is not an operation"),
        ("get vehicles --context x --config config.yaml", "there is no context \"x\""),
        ("get vehicles --context a --config config.yaml", "\"host\" is not a setting"),
        ("get vehicles --mqtt-tls maybe", "MQTT_TLS: \"maybe\""),
        ("rollout status 7f3a", "there is no roll-out 7f3a"),
        ("rollout status X", "is not the id of a roll-out"),
        ("wait nginx --all --for HAPPY", "HAPPY"),
        ("get state --timeout 500000000000y", "--timeout"),
        ("get state --timeout 366d", "it must be less than a year"),
        ("get vehicles --connect-timeout 2d", "--connect-timeout: 2d is not between 0s and 1day"),
        ("apply good.yaml --all --deadline 400d", "it must be less than a year"),
        ("exporter --group-by _region", "is not a valid label key"),
        ("history --vehicles /dev/zero", "/dev/zero: it is larger than 64 MiB"),
        ("get vehicles --inventory /dev/zero", "INVENTORY: /dev/zero: it is larger than 64 MiB"),
        ("get vehicles --config /dev/zero", "/dev/zero: it is larger than 64 MiB"),
        ("rollout status ../../etc", "is not the id of a roll-out"),
        ("validate -- -f.yaml", "-f.yaml: No such file"),
        ("nothing", "unrecognized subcommand"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_ank-fleet"))
            .args(args.split(' '))
            .env_clear()
            .env("HOME", folder.path())
            .env("MQTT_BROKER_PORT", "1")
            .current_dir(folder.path())
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args}: {error}");
        assert!(error.contains(part), "{args}: {error}");
        assert!(output.stdout.is_empty(), "{args}");
    }
}

/// Whether a process handles SIGINT itself by now.
fn handles_interrupts(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & 2 != 0
}

#[tokio::test]
async fn a_list_that_never_ends_is_not_waited_for_after_an_interrupt() {
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_ank-fleet"))
        .args(["history", "--vehicles", "-"])
        .stdin(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let _stdin = child.stdin.take();
    let pid = child.id().unwrap();
    eventually("it handles signals", || handles_interrupts(pid)).await;
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = tokio::time::timeout(DEADLINE, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(130));
}

#[test]
fn each_command_has_help_with_an_example() {
    for command in [
        "get",
        "request",
        "validate",
        "apply",
        "diff",
        "history",
        "wait",
        "logs",
        "rollout resume",
        "sign",
        "verify",
        "completion",
        "man",
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_ank-fleet"))
            .args(command.split(' '))
            .arg("--help")
            .output()
            .unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(help.contains(&format!("  ank-fleet {command}")), "{help}");
    }
}

/// Pages of all commands; what they say is what `--help` says.
#[test]
fn man_pages_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("share/man1");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ank-fleet"));
    let output = command.arg("man").arg(&pages).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let page = |name: &str| std::fs::read_to_string(pages.join(name)).unwrap();
    assert!(page("ank-fleet.1").contains("ank\\-fleet\\-apply(1)"), "{}", page("ank-fleet.1"));
    let apply = page("ank-fleet-apply.1");
    assert!(
        apply.contains("max\\-failures") && apply.contains("ank\\-fleet apply nginx.yaml WDB0412")
    );
    assert!(page("ank-fleet-rollout-undo.1").contains("Take back what a roll\\-out has changed"));
    // A file is in the way.
    let output = Command::new(env!("CARGO_BIN_EXE_ank-fleet"))
        .arg("man")
        .arg(pages.join("ank-fleet.1"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn without_a_broker_the_exit_code_is_5() {
    let output = Command::new(env!("CARGO_BIN_EXE_ank-fleet"))
        .args(["get", "vehicles", "--connect-timeout", "300ms"])
        .env_clear()
        .env("MQTT_BROKER_ADDR", "127.0.0.1:1")
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5), "{error}");
    assert!(error.contains("no connection to the broker 127.0.0.1:1: "), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_ends_with_5_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let status = Command::new("mosquitto_passwd")
        .args(["-b", "-c", &path("users"), "alice", "right"])
        .status()
        .unwrap();
    assert!(status.success());
    std::fs::write(path("right"), "right\n").unwrap();
    std::fs::write(path("wrong"), "wrong\n").unwrap();
    let users = format!("password_file {}", path("users"));
    let broker = Broker::with(&["persistence false", "allow_anonymous false", &users]).await;
    let run = |login: &[(&str, &str)]| {
        let output = Command::new(env!("CARGO_BIN_EXE_ank-fleet"))
            .args(["get", "vehicles"])
            .env_clear()
            .env("MQTT_BROKER_ADDR", "127.0.0.1")
            .env("MQTT_BROKER_PORT", broker.port().to_string())
            .envs(login.iter().copied())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let login = |user: &'static str, file: &str| {
        run(&[("MQTT_USERNAME", user), ("MQTT_PASSWORD_FILE", &path(file))])
    };
    let (code, error) = login("alice", "right");
    assert_eq!(code, Some(0), "{error}");
    for (outcome, help) in [
        (
            login("alice", "wrong"),
            "\"alice\" with this password; check MQTT_USERNAME and MQTT_PASSWORD_FILE",
        ),
        (login("bob", "right"), "\"bob\" with this password"),
        (run(&[]), "it requires a login; set MQTT_USERNAME and MQTT_PASSWORD_FILE"),
    ] {
        let (code, error) = outcome;
        assert_eq!(code, Some(5), "{error}");
        assert!(error.contains("no connection to the broker 127.0.0.1:"), "{error}");
        assert!(error.contains(help) && !error.contains("MQTT_CLIENT_ID"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_and_unselected_vehicles_are_refused_and_a_question_needs_a_terminal() {
    let fleet = TestFleet::start(2).await;
    fleet.write("a.yaml", &manifest("nginx", "1"));
    for (args, part) in [
        (&["apply", "a.yaml", "V07"][..], "V07 is not in the inventory and was not seen"),
        (&["apply", "a.yaml", "-l", "region=cn"], "the selection matches none of 2 vehicles"),
        (&["apply", "a.yaml", "--all"], "there is no terminal to ask on; --yes goes on"),
        (&["apply", "a.yaml", "--all", "V01"], "--all selects all vehicles"),
    ] {
        let output = fleet.run(args).await;
        assert_eq!(output.code, 2, "{output:?}");
        assert!(output.stderr.contains(part), "{output:?}");
    }
    assert!(!fleet.has(1, "nginx") && !fleet.has(2, "nginx"));
    assert!(!fleet.journals().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn contexts_have_the_settings_of_a_connection() {
    let fleet = TestFleet::start(1).await;
    let port = fleet.broker.port();
    fleet.write(
        "config.yaml",
        &format!(
            "current-context: here\ncontexts:\n  here: {{mqtt_broker_addr: 127.0.0.1, \
             mqtt_broker_port: {port}, fleet: test}}\n  away: {{mqtt_broker_port: 1}}\n"
        ),
    );
    let run = |args: &[&str]| {
        let mut command = fleet.command(args);
        command.env_remove("MQTT_BROKER_ADDR").env_remove("MQTT_BROKER_PORT");
        command.output()
    };
    let found = run(&["get", "vehicles", "--config", "config.yaml"]).await.unwrap();
    assert!(String::from_utf8(found.stdout).unwrap().contains("V01"));
    assert!(String::from_utf8(found.stderr).unwrap().contains("answers of fleet test"));
    let away = ["get", "vehicles", "--config=config.yaml", "--context", "away"];
    let away = run(&[&away[..], &["--connect-timeout", "200ms"]].concat()).await.unwrap();
    assert_eq!(away.status.code(), Some(5));
    // A flag comes before the context.
    let port = port.to_string();
    let flag = [&away_args()[..], &["--mqtt-broker-port", &port]].concat();
    assert_eq!(run(&flag).await.unwrap().status.code(), Some(0));
}

fn away_args() -> [&'static str; 6] {
    ["get", "vehicles", "--config=config.yaml", "--context", "away", "--mqtt-broker-addr=127.0.0.1"]
}

#[tokio::test(flavor = "multi_thread")]
async fn shells_complete_vehicles_workloads_and_roll_outs() {
    let fleet = TestFleet::start(2).await;
    fleet.write("a.yaml", &manifest("nginx", "1"));
    assert_eq!(fleet.run(&["apply", "a.yaml", "V01", "--id", "aaaa"]).await.code, 0);
    let script = fleet.run(&["completion", "bash"]).await;
    assert!(script.stdout.contains("complete "), "{script:?}");
    for (words, expected) in [
        (&["rollout", "resume", ""][..], "aaaa"),
        (&["history", ""], "V02"),
        (&["logs", "ng"], "nginx"),
        (&["ap"], "apply"),
        (&["apply", ""], "a.yaml"),
        (&["apply", "a.yaml", ""], "V02"),
        (&["diff", "a.yaml", "V"], "V01"),
        (&["validate", "a.yaml", "V01", "V0"], "V02"),
        (&["sign", "a.yaml", "--vehicle", ""], "V01"),
        (&["sign", "a"], "a.yaml"),
        (&["verify", "a.yaml", "--vehicle", "V"], "V02"),
    ] {
        let found = complete(&fleet, words, &[]).await;
        assert!(found.iter().any(|line| line == expected), "{words:?}: {found:?}");
    }
    // Before there is a file, the vehicles would be in the way.
    let found = complete(&fleet, &["apply", ""], &[]).await;
    assert!(!found.iter().any(|line| line == "V01"), "{found:?}");
}

/// What a shell offers for the last of these words.
async fn complete(fleet: &TestFleet, words: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    let mut command = fleet.command(&["--", "ank-fleet"]);
    command
        .args(words)
        .env("COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", words.len().to_string())
        .env("_CLAP_COMPLETE_COMP_TYPE", "9")
        .env("_CLAP_COMPLETE_SPACE", "true")
        .env("_CLAP_IFS", "\n")
        .envs(variables.iter().copied());
    let output = command.output().await.unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_use_the_connection_that_is_typed() {
    let fleet = TestFleet::start(1).await;
    let port = fleet.broker.port().to_string();
    let config = format!("contexts: {{here: {{mqtt_broker_port: {port}}}}}\n");
    fleet.write("config.yaml", &config);
    fleet.write("fleet.csv", "vin,region\nV09,cn\n");
    // Nobody listens there.
    let nowhere = [("MQTT_BROKER_PORT", "1")];
    assert!(!complete(&fleet, &["history", "V"], &nowhere).await.contains(&"V01".to_owned()));
    for (words, variables, expected) in [
        (&["history", "--mqtt-broker-port", &port, "V"][..], &nowhere[..], "V01"),
        (&["--mqtt-broker-port", "=", &port, "history", "V"], &nowhere, "V01"),
        (&["history", "--inventory=fleet.csv", "V"], &[], "V09"),
        (&["--config", "config.yaml", "history", "--context", "h"], &[], "here"),
    ] {
        let found = complete(&fleet, words, variables).await;
        assert!(found.iter().any(|line| line == expected), "{words:?}: {found:?}");
    }
}
