//! Several operators at the same time, and journals that cannot be used.

use std::fs;

use crate::support::{TestFleet, eventually, manifest};

#[tokio::test(flavor = "multi_thread")]
async fn one_roll_out_is_driven_by_one_command_and_controlled_by_others() {
    let fleet = TestFleet::start(3).await;
    fleet.hold(true);
    fleet.write("a.yaml", &manifest("nginx", "1.29"));
    let apply = ["apply", "a.yaml", "--all", "--yes", "--id", "aaaa", "--parallel", "1"];
    let mut process = fleet.spawn(&[&apply[..], &["--rollback", "off"]].concat());
    eventually("one vehicle has answered", || fleet.count("aaaa", "answered") == 1).await;
    let second = fleet.run(&["rollout", "resume", "aaaa"]).await;
    assert_eq!(second.code, 2, "{second:?}");
    assert!(second.stderr.contains("another command is running this roll-out"), "{second:?}");
    let same = fleet.run(&apply).await;
    assert_eq!(same.code, 2, "{same:?}");
    let list = fleet.run(&["rollout", "list"]).await;
    assert!(list.stdout.contains("running, wave 1"), "{list:?}");

    assert_eq!(fleet.run(&["rollout", "pause", "aaaa"]).await.code, 0);
    eventually("it is paused", || fleet.count("aaaa", "halted") == 1).await;
    fleet.hold(false);
    process.wait().await;
    process.line("paused in wave 1").await;
    assert_eq!(fleet.count("aaaa", "sent"), 1);
    let resumed = fleet.run(&["rollout", "resume", "aaaa"]).await;
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(fleet.count("aaaa", "sent"), 3);

    // One that nobody drives is aborted, too.
    assert_eq!(fleet.run(&["rollout", "abort", "aaaa"]).await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_change_the_same_vehicles() {
    let fleet = TestFleet::start(4).await;
    fleet.write("a.yaml", &manifest("nginx", "1"));
    fleet.write("b.yaml", &manifest("other", "1"));
    let apply = |file, id| {
        let args = ["apply", file, "--all", "--yes", "--id", id];
        let fleet = &fleet;
        async move { fleet.run(&args).await }
    };
    let (one, other) = tokio::join!(apply("a.yaml", "aaaa"), apply("b.yaml", "bbbb"));
    assert_eq!((one.code, other.code), (0, 0), "{one:?} {other:?}");
    assert!((1..=4).all(|number| fleet.has(number, "nginx") && fleet.has(number, "other")));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_change_of_the_same_workload_supersedes_a_roll_out() {
    let fleet = TestFleet::start(2).await;
    fleet.hold(true);
    fleet.write("a.yaml", &manifest("nginx", "1"));
    let apply = ["apply", "a.yaml", "--all", "--yes", "--id", "aaaa", "--rollback", "off"];
    let mut process = fleet.spawn(&apply);
    eventually("both vehicles have answered", || fleet.count("aaaa", "answered") == 2).await;
    // By mosquitto_pub.
    fleet.broker.publish("vehicle/V01/manifest/apply/req", manifest("nginx", "2"), &[]).await;
    eventually("it is superseded", || fleet.count("aaaa", "ended") == 1).await;
    fleet.hold(false);
    assert_eq!(process.wait().await.code(), Some(1), "{:?}", process.output());
    let ended = fleet.journal("aaaa");
    let outcome = |vin: &str| {
        let line = ended.iter().find(|line| line["type"] == "ended" && line["vin"] == vin);
        line.unwrap()["outcome"].clone()
    };
    assert_eq!((outcome("V01"), outcome("V02")), ("superseded".into(), "succeeded".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn journals_that_are_damaged_or_of_another_version_are_refused() {
    let fleet = TestFleet::start(1).await;
    fleet.write("a.yaml", &manifest("nginx", "1"));
    assert_eq!(fleet.run(&["apply", "a.yaml", "V01", "--id", "aaaa"]).await.code, 0);
    let folder = fleet.journals().join("aaaa");
    let lines = fs::read_to_string(folder.join("transitions.jsonl")).unwrap();
    fs::write(folder.join("transitions.jsonl"), format!("?\n{lines}")).unwrap();
    let damaged = fleet.run(&["rollout", "resume", "aaaa"]).await;
    assert_eq!(damaged.code, 2);
    assert!(damaged.stderr.contains("is damaged: line 1, column 1"), "{damaged:?}");
    let plan = fs::read_to_string(folder.join("plan.json")).unwrap();
    fs::write(folder.join("plan.json"), plan.replace("\"format\": 1", "\"format\": 9")).unwrap();
    let other = fleet.run(&["rollout", "status", "aaaa"]).await;
    assert_eq!(other.code, 2);
    assert!(other.stderr.contains("has format 9, this version reads 1"), "{other:?}");
}
