//! Roll-outs without trouble from outside.

use serde_json::json;

use crate::support::{Broker, TestFleet, eventually, manifest, vin};

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_out_changes_a_fleet_in_waves_and_is_taken_back() {
    let mut fleet = TestFleet::start(20).await;
    fleet.fails(18);
    fleet.fails(19);
    fleet.disconnect(20).await;
    fleet.write("a.yaml", &manifest("nginx", "1.29"));
    let apply = ["apply", "a.yaml", "--all", "--yes", "--id", "eeee", "--release", "7"];
    let options = ["--waves", "1,50%,100%", "--max-failures", "3", "--soak", "100ms"];
    let gate = ["--gate", "echo $ROLLOUT $WAVE | tee -a gates", "--rate", "1000/s"];
    let output = fleet.run(&[&apply[..], &options, &gate].concat()).await;
    assert_eq!(output.code, 1, "{output:?}");
    for part in [
        "roll-out eeee: 20 vehicles (19 online, 1 offline → pending)",
        "  waves 1, 10, 20; stops above 3 failed in a wave",
        "  changes  19× nginx new",
        "wave 1/3   1/1   ",
        "\neeee 2\n",
    ] {
        assert!(output.stderr.contains(part), "{part}: {}", output.stderr);
    }
    assert!(output.stdout.starts_with("finished: 17 of 20 succeeded\n"), "{output:?}");
    assert!(output.stdout.contains("  2× rolled back: nginx Failed(ExecFailed)"), "{output:?}");
    assert!(output.stdout.contains("V1[8-9]\n  1 pending\n"), "{output:?}");
    let gates = std::fs::read_to_string(fleet.folder().join("gates")).unwrap();
    assert_eq!(gates, "eeee 1\neeee 2\neeee 3\n");
    assert!(output.stderr.contains("eeee 2\n"), "{output:?}");
    assert!(!output.stdout.contains("eeee 2\n"), "{output:?}");
    assert!(output.stderr.ends_with("retry: ank-fleet rollout retry eeee\n"), "{output:?}");
    assert!((1..=17).all(|number| fleet.has(number, "nginx")));
    assert!((18..=20).all(|number| !fleet.has(number, "nginx")));
    let vehicles = fleet.run(&["get", "vehicles", "V01"]).await;
    assert!(vehicles.stdout.contains("7         1          succeeded"), "{vehicles:?}");

    let list = fleet.run(&["rollout", "list"]).await;
    let row = list.stdout.lines().nth(1).unwrap();
    assert!(row.starts_with("eeee") && row.ends_with("17   2        1         7         finished"));
    let status = fleet.run(&["rollout", "status", "eeee", "-o", "jsonl"]).await;
    let failed: Vec<_> = status
        .json_lines()
        .into_iter()
        .filter(|line| line["outcome"] == json!("rolled_back"))
        .map(|line| line["vin"].clone())
        .collect();
    assert_eq!(failed.len(), 2);
    let in_form = async |form: &'static str| {
        fleet.run(&["rollout", "status", "eeee", "-o", form]).await.stdout
    };
    let json: serde_json::Value = serde_json::from_str(&in_form("json").await).unwrap();
    assert_eq!(json.as_array().map(Vec::len), Some(20), "{json}");
    assert!(in_form("yaml").await.contains("  outcome: rolled_back\n"));
    let wide = in_form("wide").await;
    assert!(wide.starts_with("VIN   WAVE     OUTCOME       REVISION   WORKLOAD"), "{wide}");
    assert_eq!(in_form("name").await.lines().count(), 20);
    assert_eq!(status.code, 1);

    // Somebody else has changed a vehicle since: it is left alone.
    fleet.write("b.yaml", &manifest("other", "1"));
    assert_eq!(fleet.run(&["apply", "b.yaml", "V05"]).await.code, 0);
    let undone = fleet.run(&["rollout", "undo", "eeee", "--yes"]).await;
    assert!(undone.stdout.contains("16 taken back"), "{undone:?}");
    assert_eq!(undone.code, 1, "{undone:?}");
    assert!(undone.stdout.contains("1× superseded"), "{undone:?}");
    assert!((1..=17).all(|number| fleet.has(number, "nginx") == (number == 5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_manifest_reaches_only_the_first_wave() {
    let mut fleet = TestFleet::start(12).await;
    (1..=12).for_each(|number| fleet.fails(number));
    fleet.write("a.yaml", &manifest("nginx", "1.29"));
    let output = fleet.run(&["apply", "a.yaml", "--all", "--yes", "--id", "aaaa"]).await;
    assert_eq!(output.code, 3, "{output:?}");
    assert!(output.stdout.starts_with("stopped in wave 1: 1 of 1 failed, limit 0\n"), "{output:?}");
    assert!(output.stderr.contains("resume: ank-fleet rollout resume aaaa"), "{output:?}");
    assert_eq!(fleet.count("aaaa", "sent"), 1);
    // Without a rollback by the vehicles, the command takes the change back.
    let options = ["--id", "bbbb", "--rollback", "off", "--on-failure", "undo", "--soak", "500ms"];
    let output = fleet.run(&[&["apply", "a.yaml", "--all", "--yes"][..], &options].concat()).await;
    assert_eq!(output.code, 3, "{output:?}");
    assert_eq!(fleet.count("bbbb", "undo_started"), 1);
    assert!((1..=12).all(|number| !fleet.has(number, "nginx")));
}

/// The soak time would be longer than the test may take. What has failed is started again at once, so
/// it would run again at the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_fails_in_the_soak_time_stops_the_roll_out() {
    let fleet = TestFleet::start(3).await;
    fleet.write("a.yaml", &manifest("nginx", "1.29"));
    let apply = ["apply", "a.yaml", "--all", "--yes", "--id", "aaaa", "--waves", "2,100%"];
    let mut process = fleet.spawn(&[&apply[..], &["--soak", "10m", "--rollback", "off"]].concat());
    let subscribed = async |expected: usize| {
        let list = fleet.run(&["get", "subscriptions", "--all", "-o", "jsonl"]).await;
        list.json_lines().len() == expected
    };
    eventually("the first wave soaks", || fleet.count("aaaa", "soaking") == 1).await;
    while !subscribed(2).await {}
    // Another change of a vehicle is not a failure of this one.
    fleet.write("b.yaml", &manifest("other", "1"));
    assert_eq!(fleet.run(&["apply", "b.yaml", "--all", "--yes"]).await.code, 0);
    let changed: Vec<usize> = (1..=3).filter(|number| fleet.has(*number, "nginx")).collect();
    let &[first, second] = &changed[..] else { panic!("{changed:?}") };
    fleet.vehicles[&vin(second)].ankaios.crash("other").unwrap();
    fleet.vehicles[&vin(first)].ankaios.crash("nginx").unwrap();
    assert_eq!(process.wait().await.code(), Some(3), "{:?}", process.output());
    process.line("stopped in wave 1: 1 of 2 failed, limit 0").await;
    let ended = fleet.journal("aaaa").into_iter().rfind(|line| line["type"] == "ended").unwrap();
    assert_eq!((&ended["vin"], &ended["code"]), (&json!(vin(first)), &json!("soak")), "{ended}");
    assert!(subscribed(0).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_in_the_soak_time_ends_the_subscriptions() {
    let fleet = TestFleet::start(3).await;
    fleet.write("a.yaml", &manifest("nginx", "1.29"));
    let mut process = fleet.spawn(&["apply", "a.yaml", "--all", "--yes", "--soak", "10m"]);
    let mut subscriptions = fleet.spawn(&["get", "subscriptions", "--all", "-w"]);
    let lines = |part: &str| {
        subscriptions.output().iter().filter(|line| line.trim_end().ends_with(part)).count()
    };
    // Each has an end of its lifetime.
    eventually("all are watched", || lines("Z") == 3).await;
    process.signal(rustix::process::Signal::INT);
    assert_eq!(process.wait().await.code(), Some(130));
    eventually("no vehicle is watched", || lines("   ended") == 3).await;
    subscriptions.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_workload_that_has_failed_is_kept() {
    let mut fleet = TestFleet::start(1).await;
    fleet.fails(1);
    fleet.write("a.yaml", &manifest("nginx", "1.29"));
    // It starts at first, so that the soak time finds it.
    let apply = ["apply", "a.yaml", "V01", "--id", "aaaa", "--rollback", "off", "--soak", "500ms"];
    let output = fleet.run(&apply).await;
    assert_eq!(output.code, 3, "{output:?}");
    let status = fleet.run(&["rollout", "status", "aaaa"]).await;
    assert!(status.stdout.contains("log of V01:\n  it does not work"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_reported_and_never_retried() {
    let fleet = TestFleet::start(2).await;
    fleet.write("a.yaml", &manifest("fleetconnector", "1"));
    let output = fleet.run(&["apply", "a.yaml", "--all", "--yes", "--id", "aaaa"]).await;
    assert_eq!(output.code, 3, "{output:?}");
    assert!(output.stdout.contains("rejected: "), "{output:?}");
    let retried = fleet.run(&["rollout", "retry", "aaaa", "--failed"]).await;
    assert_eq!(fleet.count("aaaa", "sent"), 2, "{retried:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_unless_confirmed_vehicles_keep_the_change_after_the_gate() {
    let fleet = TestFleet::start(2).await;
    fleet.write("a.yaml", &manifest("nginx", "1.29"));
    let apply = ["apply", "a.yaml", "--all", "--yes", "--id", "aaaa"];
    let output = fleet.run(&[&apply[..], &["--rollback", "unless-confirmed"]].concat()).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(fleet.count("aaaa", "confirmed"), 2);
    let history = fleet.run(&["history", "--all", "-o", "jsonl"]).await;
    for line in history.json_lines() {
        assert_eq!(line["history"]["revisions"][0]["status"], "succeeded", "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_says_when_nothing_is_started_any_more_in_the_zone_of_the_operator() {
    let fleet = TestFleet::start(1).await;
    fleet.write("a.yaml", &manifest("nginx", "1"));
    let mut command = fleet.command(&["apply", "a.yaml", "V01", "--until", "05:00"]);
    // Without the files of the system.
    let output = command.env("TZ", "IST-5:30").output().await.unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{error}");
    let line = error.lines().find(|line| line.starts_with("  starts nothing after ")).unwrap();
    assert!(line.ends_with(" 05:00 +05:30"), "{line}");
    let plans = std::fs::read_dir(fleet.journals()).unwrap();
    let plan = plans.filter_map(Result::ok).map(|entry| entry.path().join("plan.json"));
    let plan = plan.map(std::fs::read_to_string).find_map(Result::ok).unwrap();
    assert!(plan.contains("T23:30:00.000Z"), "{plan}");
}

/// Also of its undo.
#[tokio::test(flavor = "multi_thread")]
async fn force_lifts_the_protection_of_workloads() {
    let broker = Broker::with(&["persistence false"]).await;
    let fleet = TestFleet::with(broker, 2, &[("--protected-workloads", "nginx")]).await;
    fleet.write("a.yaml", &manifest("nginx", "1"));
    let apply = ["apply", "a.yaml", "--all", "--yes", "--id"];
    let refused = fleet.run(&[&apply[..], &["aaaa"]].concat()).await;
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stdout.contains("rejected: "), "{refused:?}");
    let applied = fleet.run(&[&apply[..], &["bbbb", "--force"]].concat()).await;
    assert_eq!(applied.code, 0, "{applied:?}");
    assert!(fleet.has(1, "nginx") && fleet.has(2, "nginx"));
    let undone = fleet.run(&["rollout", "undo", "bbbb", "--yes"]).await;
    assert!(undone.stdout.contains("2 taken back"), "{undone:?}");
    assert_eq!(undone.code, 0, "{undone:?}");
    assert!(!fleet.has(1, "nginx") && !fleet.has(2, "nginx"));
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_deleted_and_each_transition_is_a_line_of_json() {
    let fleet = TestFleet::start(2).await;
    fleet.write("a.yaml", &manifest("nginx", "1"));
    fleet.write("b.yaml", &manifest("other", "1"));
    let applied = fleet.run(&["apply", "a.yaml", "b.yaml", "--all", "--yes", "-o", "jsonl"]).await;
    assert_eq!(applied.code, 0, "{applied:?}");
    let kinds: Vec<_> = applied.json_lines().iter().map(|line| line["type"].clone()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == json!("ended")).count(), 2);
    assert_eq!(kinds.last(), Some(&json!("finished")));
    assert!(fleet.has(1, "nginx") && fleet.has(2, "other"));
    let deleted = fleet.run(&["apply", "-d", "a.yaml", "--vehicle", &vin(1)]).await;
    assert_eq!(deleted.code, 0, "{deleted:?}");
    assert!(!fleet.has(1, "nginx") && fleet.has(2, "nginx"));
}
