//! The subcommand `dashboard`: real binary, simulated Ankaios.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Output, Stdio};

use ankaios_model::manifest::Manifest;
use ankaios_model::proto::ank_base::access_rights_rule::AccessRightsRuleEnum;
use ankaios_model::proto::ank_base::execution_state::ExecutionStateEnum;
use ankaios_model::proto::ank_base::request::RequestContent;
use ankaios_model::proto::ank_base::{ExecutionState, Failed, ReadWriteEnum};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;
use vehicle_simulator::{CONNECTOR_WORKLOAD, execution};

use crate::support::vehicle::Vehicle;
use crate::support::{DEADLINE, Process, skipped};

const BINARY: &str = env!("CARGO_BIN_EXE_fleet-connector");

fn command(control_interface: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command
        .arg("dashboard")
        .env_clear()
        .env("CONTROL_INTERFACE_DIR", control_interface)
        .env("REQUEST_TIMEOUT", "2s");
    command
}

fn start(control_interface: &Path) -> Process {
    Process::start("dashboard", command(control_interface))
}

async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(arguments).env_clear().envs(environment.iter().copied());
    timeout(DEADLINE, command.output()).await.unwrap().unwrap()
}

/// Waits for the next line at or after index `next` that contains `part`.
async fn find(dashboard: &Process, next: &mut usize, part: &str) -> String {
    let found = dashboard.line_from(*next, DEADLINE, |line| line.contains(part)).await;
    let Some((index, line)) = found else { panic!("no '{part}' in {:#?}", dashboard.output()) };
    *next = index + 1;
    line
}

fn set(vehicle: &Vehicle, state: ExecutionState) {
    let instance = vehicle.instance(CONNECTOR_WORKLOAD).unwrap();
    vehicle.set_execution_state(&instance, state);
}

#[tokio::test]
async fn prints_all_states_at_its_start_and_at_each_change() {
    let vehicle = Vehicle::start().await;
    let mut dashboard = start(vehicle.control_interface());
    let mut next = 0;
    let headline = find(&dashboard, &mut next, " 1 workload").await;
    humantime::parse_rfc3339(headline.split(' ').next().unwrap()).unwrap();
    let header = find(&dashboard, &mut next, "WORKLOAD NAME").await;
    for column in ["AGENT", "ID", "STATE(SUBSTATE)", "ADDITIONAL INFO"] {
        assert!(header.contains(column), "{header}");
    }
    let row = find(&dashboard, &mut next, CONNECTOR_WORKLOAD).await;
    let instance = vehicle.instance(CONNECTOR_WORKLOAD).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells, [CONNECTOR_WORKLOAD, "agent_A", &instance.workload_id[..8], "Running(Ok)"]);

    // Every change must be printed, however fast they follow each other.
    for number in 0..20 {
        set(&vehicle, execution::starting(format!("attempt {number}.")));
    }
    set(&vehicle, execution::running());
    for number in 0..20 {
        find(&dashboard, &mut next, " 1 workload").await;
        let row = find(&dashboard, &mut next, CONNECTOR_WORKLOAD).await;
        assert!(row.ends_with(&format!("Pending(Starting)  attempt {number}.")), "{row}");
    }
    find(&dashboard, &mut next, "Running(Ok)").await;

    let code = ExecutionStateEnum::Failed(Failed::ExecFailed.into());
    let info = "\x1b[2Jexit\n\u{202e}code \u{8eca}".to_owned();
    set(&vehicle, ExecutionState { additional_info: Some(info), execution_state_enum: Some(code) });
    let row = find(&dashboard, &mut next, "Failed(ExecFailed)").await;
    assert!(row.ends_with("\u{fffd}[2Jexit \u{fffd}code \u{8eca}"), "{row}");

    assert_eq!(dashboard.terminate().await.code(), Some(0));
    assert!(!dashboard.output().iter().any(|line| line.contains('\x1b')));
}

#[tokio::test]
async fn reports_a_lost_link_and_continues_when_it_is_back() {
    let vehicle = Vehicle::start().await;
    let mut dashboard = start(vehicle.control_interface());
    let mut next = 0;
    find(&dashboard, &mut next, "Running(Ok)").await;
    vehicle.kill_agent().await.unwrap();
    let lost = find(&dashboard, &mut next, "no link to Ankaios").await;
    assert!(lost.contains("agent"), "{lost}");
    set(&vehicle, execution::failed(3));
    vehicle.start_agent().await.unwrap();
    find(&dashboard, &mut next, " 1 workload").await;
    find(&dashboard, &mut next, "Failed(ExecFailed)  Exit code: '3'").await;
    set(&vehicle, execution::running());
    find(&dashboard, &mut next, "Running(Ok)").await;

    // The only sign of a restart of the server is that the files are removed.
    vehicle.restart_server().await.unwrap();
    set(&vehicle, execution::failed(4));
    find(&dashboard, &mut next, "Exit code: '4'").await;
    assert_eq!(dashboard.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn waits_for_the_agent_and_for_access_rights() {
    let vehicle = Vehicle::start().await;
    let elsewhere = vehicle.control_interface().join("nowhere");
    let mut dashboard = start(&elsewhere);
    dashboard.line("no link to Ankaios").await;
    assert_eq!(dashboard.terminate().await.code(), Some(0));

    vehicle.set_access(Default::default());
    let mut dashboard = start(vehicle.control_interface());
    dashboard.line("no workload states: Ankaios denies this request").await;
    vehicle.set_access(vehicle_simulator::access::allow_all());
    dashboard.line("Running(Ok)").await;
    assert_eq!(dashboard.terminate().await.code(), Some(0));
}

/// The access rights in the shipped manifest are sufficient, and all are needed.
#[tokio::test]
async fn the_manifest_grants_the_least_access_rights() {
    let manifest = Manifest::parse(include_bytes!("../../manifests/dashboard.yaml")).unwrap();
    let workload = &manifest.desired_state().workloads.as_ref().unwrap().workloads["dashboard"];
    let access = workload.control_interface_access.clone().unwrap();
    let vehicle = Vehicle::start().await;
    vehicle.set_access(access.clone());
    let dashboard = start(vehicle.control_interface());
    dashboard.line("Running(Ok)").await;
    let masks = vehicle.requests().into_iter().flat_map(|request| match request.request_content {
        Some(RequestContent::CompleteStateRequest(request)) => request.field_mask,
        other => panic!("{other:?}"),
    });
    let used: BTreeSet<String> = masks.collect();
    let rules = access.allow_rules.into_iter().map(|rule| match rule.access_rights_rule_enum {
        Some(AccessRightsRuleEnum::StateRule(rule)) => rule,
        other => panic!("{other:?}"),
    });
    let mut allowed = BTreeSet::new();
    for rule in rules {
        assert_eq!(rule.operation(), ReadWriteEnum::RwRead);
        allowed.extend(rule.filter_masks);
    }
    assert_eq!(used, allowed);
    assert_eq!(workload.runtime_config().matches("fleet-connector:").count(), 1);
}

#[tokio::test]
async fn a_terminal_is_redrawn_in_place_and_in_colour() {
    if std::process::Command::new("script").arg("--version").output().is_err() {
        return skipped("a_terminal_is_redrawn_in_place_and_in_colour", "no `script` (util-linux)");
    }
    for (no_colour, coloured) in [("", true), ("1", false)] {
        let vehicle = Vehicle::start().await;
        let mut command = Command::new("script");
        let line = format!("stty cols 60 rows 10; exec {BINARY} dashboard");
        command
            .args(["-qefc", &line, "/dev/null"])
            .env("CONTROL_INTERFACE_DIR", vehicle.control_interface())
            .env("NO_COLOR", no_colour);
        let terminal = Process::start("script", command);
        let mut next = 0;
        let first = find(&terminal, &mut next, "Running(Ok)").await;
        assert_eq!(first.contains("\x1b[32mRunning(Ok)\x1b[0m"), coloured, "{first:?}");
        set(&vehicle, execution::failed(1));
        let headline = find(&terminal, &mut next, "\x1b[H").await;
        assert!(headline.contains(" 1 workload"), "{headline:?}");
        let second = find(&terminal, &mut next, "Failed(ExecFailed)").await;
        assert_eq!(second.contains("\x1b[31mFailed"), coloured, "{second:?}");
        let cleared = terminal.output().iter().filter(|line| line.contains("\x1b[2J")).count();
        assert_eq!(cleared, 1, "only at the beginning: {:?}", terminal.output());
    }
}

#[tokio::test]
async fn a_reader_that_stalls_does_not_delay_its_exit() {
    let vehicle = Vehicle::start().await;
    let mut state = vehicle.state();
    let agents = &mut state.workload_states.as_mut().unwrap().agent_state_map;
    let workloads = &mut agents.get_mut("agent_A").unwrap().wl_name_state_map;
    let states = workloads[CONNECTOR_WORKLOAD].clone();
    // A table larger than the 64 KiB that a pipe holds.
    workloads.extend((0..3_000).map(|number| (format!("workload_{number}"), states.clone())));
    vehicle.set_state(state);
    let mut child = command(vehicle.control_interface())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // When the first bytes of the table have arrived, the write of the rest is blocked.
    let stdout = child.stdout.as_mut().unwrap();
    let mut begin = Vec::new();
    while !String::from_utf8_lossy(&begin).contains("WORKLOAD NAME") {
        assert_ne!(timeout(DEADLINE, stdout.read_buf(&mut begin)).await.unwrap().unwrap(), 0);
    }
    let pid = i32::try_from(child.id().unwrap()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let status = timeout(DEADLINE, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn all_invalid_settings_are_reported_and_exit_with_64() {
    let environment = [("LOG_LEVEL", "loud"), ("LOG_FORMAT", "xml"), ("MQTT_BROKER_PORT", "x")];
    let output = run(&["dashboard", "--request-timeout=never"], &environment).await;
    assert_eq!(output.status.code(), Some(64));
    let error = String::from_utf8(output.stderr).unwrap();
    for part in ["REQUEST_TIMEOUT: \"never\"", "LOG_LEVEL: \"loud\"", "LOG_FORMAT: \"xml\""] {
        assert!(error.contains(part), "{part} is missing in {error}");
    }
    assert!(!error.contains("VIN") && !error.contains("MQTT"), "{error}");
    assert!(output.stdout.is_empty());
    for arguments in [&["dashboard", "--vin=1"][..], &["dashbord"], &["--vin=1", "dashboard"]] {
        assert_eq!(run(arguments, &[]).await.status.code(), Some(64), "{arguments:?}");
    }
}

#[tokio::test]
async fn help_explains_it() {
    let output = run(&["--help"], &[]).await;
    assert!(String::from_utf8(output.stdout).unwrap().contains("dashboard"));
    let output = run(&["dashboard", "--help"], &[]).await;
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8(output.stdout).unwrap();
    for part in [
        "CONTROL_INTERFACE_DIR",
        "REQUEST_TIMEOUT",
        "LOG_LEVEL",
        "LOG_FORMAT",
        "NO_COLOR",
        "manifests/dashboard.yaml",
    ] {
        assert!(help.contains(part), "{part} is missing in {help}");
    }
    assert!(!help.contains("VIN") && !help.contains("MQTT_BROKER"), "{help}");
}
