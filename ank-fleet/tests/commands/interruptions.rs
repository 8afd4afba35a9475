//! Roll-outs that are interrupted: from the terminal, by kills, by the broker, and by vehicles that
//! go and come back.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Broker, Clock, Process, TestFleet, eventually, manifest};

const APPLY: [&str; 6] = ["apply", "a.yaml", "--all", "--yes", "--id", "aaaa"];

/// A roll-out that is in flight on all vehicles, because nothing starts there.
async fn in_flight(fleet: &TestFleet, count: usize) -> Process {
    fleet.hold(true);
    fleet.write("a.yaml", &manifest("nginx", "1.29"));
    let process = fleet.spawn(&[&APPLY[..], &["--rollback", "off"]].concat());
    eventually("all vehicles have answered", || fleet.count("aaaa", "answered") == count).await;
    process
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_says_how_to_go_on_and_nothing_is_sent_twice() {
    let fleet = TestFleet::start(3).await;
    let mut process = in_flight(&fleet, 3).await;
    process.signal(Signal::INT);
    assert_eq!(process.wait().await.code(), Some(130));
    process.line("resume: ank-fleet rollout resume aaaa").await;
    let list = fleet.run(&["rollout", "list"]).await;
    assert!(list.stdout.contains("interrupted in wave 1"), "{list:?}");
    fleet.hold(false);
    let resumed = fleet.run(&["rollout", "resume", "aaaa"]).await;
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert!(resumed.stdout.starts_with("finished: 3 of 3 succeeded"), "{resumed:?}");
    assert_eq!(fleet.count("aaaa", "sent"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_was_killed_goes_on() {
    let fleet = TestFleet::start(3).await;
    let mut process = in_flight(&fleet, 3).await;
    process.kill().await;
    fleet.hold(false);
    let resumed = fleet.run(&["rollout", "resume", "aaaa"]).await;
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!((fleet.count("aaaa", "sent"), fleet.count("aaaa", "ended")), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_loses_nothing() {
    let broker = Broker::persistent().await;
    let mut fleet = TestFleet::with(broker, 3, &[]).await;
    let mut process = in_flight(&fleet, 3).await;
    fleet.broker.stop().await;
    process.line("the connection to the broker is lost").await;
    // What happens meanwhile is not reported, and read afterwards.
    fleet.hold(false);
    fleet.broker.start_again().await;
    assert_eq!(process.wait().await.code(), Some(0), "{:?}", process.output());
    assert_eq!(fleet.count("aaaa", "sent"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vehicle_that_is_lost_in_the_middle_comes_back() {
    let mut fleet = TestFleet::start(2).await;
    let mut process = in_flight(&fleet, 2).await;
    fleet.disconnect(1).await;
    fleet.hold(false);
    eventually("the other vehicle has ended", || fleet.count("aaaa", "ended") == 1).await;
    fleet.connect(1);
    assert_eq!(process.wait().await.code(), Some(0), "{:?}", process.output());
    assert_eq!(fleet.count("aaaa", "sent"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn vehicles_that_are_offline_are_pending_until_they_are_back() {
    let mut fleet = TestFleet::start(3).await;
    fleet.disconnect(3).await;
    fleet.write("a.yaml", &manifest("nginx", "1.29"));
    let first = fleet.run(&APPLY).await;
    assert_eq!(first.code, 4, "{first:?}");
    assert!(first.stdout.contains("1 pending"), "{first:?}");
    fleet.connect(3);
    fleet.all_online().await;
    let resumed = fleet.run(&["rollout", "resume", "aaaa"]).await;
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert!(fleet.has(3, "nginx"));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_queue_the_broker_keeps_the_request() {
    let mut fleet = TestFleet::start(2).await;
    fleet.disconnect(2).await;
    fleet.write("a.yaml", &manifest("nginx", "1.29"));
    let first = fleet.run(&[&APPLY[..], &["--queue", "1h"]].concat()).await;
    assert_eq!(first.code, 4, "{first:?}");
    assert!(first.stderr.contains("1 offline → queued for 1h"), "{first:?}");
    fleet.connect(2);
    eventually("the vehicle has got it", || fleet.has(2, "nginx")).await;
    let resumed = fleet.run(&["rollout", "resume", "aaaa"]).await;
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(fleet.count("aaaa", "sent"), 2);
}

/// The clock jumps, and the connection looks alive: as when a laptop wakes up.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_has_slept_connects_again_before_it_judges_deadlines() {
    let Some(clock) = Clock::new("a_command_that_has_slept") else { return };
    let fleet = TestFleet::start(2).await;
    fleet.hold(true);
    fleet.write("a.yaml", &manifest("nginx", "1.29"));
    let mut command = fleet.command(&[&APPLY[..], &["--rollback", "off"]].concat());
    command.envs(clock.settings());
    let mut process = Process::start("ank-fleet", command);
    eventually("all vehicles have answered", || fleet.count("aaaa", "answered") == 2).await;
    process.suspend().await;
    fleet.hold(false);
    assert_eq!(fleet.run(&["wait", "nginx", "--all"]).await.code, 0);
    clock.set_forward(Duration::from_secs(8 * 3600));
    process.signal(Signal::CONT);
    assert_eq!(process.wait().await.code(), Some(0), "{:?}", process.output());
    assert_eq!(fleet.count("aaaa", "sent"), 2);
    let lost = "the connection to the broker is lost: the command has not run for a while";
    assert!(process.output().iter().any(|line| line.contains(lost)), "{:?}", process.output());
}

/// The journal is on another machine; the vehicles know what the roll-out has done.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_journal_a_roll_out_finds_out_what_it_has_changed() {
    let fleet = TestFleet::start(4).await;
    fleet.write("a.yaml", &manifest("nginx", "1.29"));
    let options = ["--rollback", "unless-confirmed", "--waves", "2,100%"];
    let apply = [&APPLY[..], &options].concat();
    let mut process = fleet.spawn(&[&apply[..], &["--soak", "10m"]].concat());
    eventually("the first wave soaks", || fleet.count("aaaa", "soaking") == 1).await;
    process.kill().await;
    std::fs::remove_dir_all(fleet.journals()).unwrap();

    let output = fleet.run(&[&apply[..], &["--soak", "100ms"]].concat()).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stderr.contains("  2 have got it from an earlier start"), "{output:?}");
    assert!(output.stdout.starts_with("finished: 4 of 4 succeeded"), "{output:?}");
    assert_eq!((fleet.count("aaaa", "found"), fleet.count("aaaa", "confirmed")), (2, 4));
    let requests = fleet.journal("aaaa").into_iter().filter(|line| line["request"] == "change");
    assert_eq!(requests.count(), 2);
    let history = fleet.run(&["history", "--all", "-o", "jsonl"]).await;
    for line in history.json_lines() {
        assert_eq!(line["history"]["revisions"][0]["status"], "succeeded", "{line}");
    }
    // Once more, when all is done.
    std::fs::remove_dir_all(fleet.journals()).unwrap();
    let output = fleet.run(&[&apply[..], &["--soak", "100ms"]].concat()).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(fleet.count("aaaa", "found"), 4);
    let undone = fleet.run(&["rollout", "undo", "aaaa", "--yes"]).await;
    assert!(undone.stdout.contains("4 taken back"), "{undone:?}");
    assert_eq!(undone.code, 0, "{undone:?}");
    assert!((1..=4).all(|number| !fleet.has(number, "nginx")));
    let resumed = fleet.run(&["rollout", "resume", "aaaa"]).await;
    assert_eq!(resumed.code, 2, "{resumed:?}");
    assert!(resumed.stderr.contains("roll-out aaaa was taken back"), "{resumed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_journal_a_roll_out_follows_what_is_in_progress() {
    let fleet = TestFleet::start(3).await;
    let mut process = in_flight(&fleet, 3).await;
    process.kill().await;
    std::fs::remove_dir_all(fleet.journals()).unwrap();
    let mut process = fleet.spawn(&[&APPLY[..], &["--rollback", "off"]].concat());
    eventually("they are found", || fleet.count("aaaa", "found") == 3).await;
    fleet.hold(false);
    assert_eq!(process.wait().await.code(), Some(0), "{:?}", process.output());
    assert_eq!((fleet.count("aaaa", "sent"), fleet.count("aaaa", "ended")), (0, 3));
}

/// Its state says that it has the change, and nothing who has made it.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_journal_a_vehicle_without_revisions_is_unchanged() {
    let mut fleet = TestFleet::start(0).await;
    fleet.add(1, &[("--state-dir", "")]).await;
    fleet.add(2, &[]).await;
    fleet.all_online().await;
    fleet.write("a.yaml", &manifest("nginx", "1.29"));
    let apply = [&APPLY[..], &["--rollback", "off"]].concat();
    let output = fleet.run(&apply).await;
    assert_eq!(output.code, 0, "{output:?}");
    std::fs::remove_dir_all(fleet.journals()).unwrap();
    let output = fleet.run(&apply).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stderr.contains("(all online), 1 unchanged"), "{output:?}");
    assert_eq!((fleet.count("aaaa", "found"), fleet.count("aaaa", "sent")), (1, 0));
}
