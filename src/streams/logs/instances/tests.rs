#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;
use crate::ankaios::workload_states::tests::{FAILED, RUNNING, event, snapshot, state};

/// The instances of the workload `w`, of which one has a log that comes.
fn instances(follow: bool) -> Instances {
    let subscription = json!({"id": "x", "workloads": ["w"], "follow": follow, "tail": 5,
        "since": "2026-01-31T11:00:00Z"});
    let mut instances = Instances::new(&serde_json::from_value(subscription).unwrap());
    let long_ago = SystemTime::now() - Duration::from_secs(60);
    instances.come(&[instance()], 1, Position::begin(Some(long_ago)));
    instances
}

fn instance() -> InstanceName {
    "w.1.a".parse().unwrap()
}

/// Long after the log was asked for.
fn arrived() -> SystemTime {
    SystemTime::now() + Duration::from_secs(60)
}

#[test]
fn a_lost_log_is_asked_for_from_before_its_last_line_or_anew() {
    let arrived = arrived();
    let before = format_rfc3339(arrived - OVERLAP);
    for (follow, tail, since) in
        [(true, None, before.as_str()), (false, Some(5), "2026-01-31T11:00:00Z")]
    {
        let mut instances = instances(follow);
        instances.moved(1, arrived);
        instances.lost(1);
        let (due_since, due) = instances.due().pop_first().unwrap();
        let options = instances.options_again(due_since);
        assert_eq!((options.tail, options.since.as_deref()), (tail, Some(since)));
        assert_eq!(due, [instance()]);
    }
}

#[test]
fn a_log_that_is_lost_before_it_has_caught_up_is_asked_for_from_there() {
    let mut instances = instances(true);
    // At once.
    instances.moved(1, SystemTime::now());
    instances.lost(1);
    let (since, _) = instances.due().pop_first().unwrap();
    assert!(since.unwrap() < SystemTime::now() - Duration::from_secs(50));
    // What is noted for a later process is that of the one that is furthest behind.
    instances.come(&["w.2.a".parse().unwrap()], 2, Position::begin(since));
    instances.moved(2, arrived());
    assert_eq!(instances.reached(), since);
}

#[test]
fn a_whole_log_of_which_little_has_come_is_asked_for_anew() {
    let subscription = json!({"id": "x", "workloads": ["w"], "follow": true});
    let mut instances = Instances::new(&serde_json::from_value(subscription).unwrap());
    instances.come(&[instance()], 1, Position::begin(instances.first_since()));
    instances.moved(1, SystemTime::now());
    assert_eq!(instances.reached(), None);
    instances.lost(1);
    let (since, _) = instances.due().pop_first().unwrap();
    assert_eq!(instances.options_again(since), instances.options());
}

#[test]
fn what_is_gone_is_forgotten_whatever_names_it() {
    for removed in ["workloadStates.a.w.1", "workloadStates.a.w", "workloadStates.a"] {
        let mut instances = instances(true);
        assert!(instances.learn(&snapshot(state(&[("a", "w", "1")], RUNNING, None))).is_empty());
        assert!(instances.learn(&event(Default::default(), &[removed])).is_empty());
        instances.stopped(1, &instance(), arrived());
        assert!(instances.logs.is_empty(), "{removed}");
    }
}

#[test]
fn an_event_without_a_state_does_not_stop_what_runs() {
    let mut instances = instances(true);
    let running = [("a", "w", "1")];
    assert!(instances.learn(&snapshot(state(&running, RUNNING, None))).is_empty());
    assert!(instances.learn(&event(state(&running, None, Some("news")), &[])).is_empty());
    instances.stopped(1, &instance(), arrived());
    assert!(matches!(instances.logs.get(&instance()), Some(Log::Due { .. })));
}

#[test]
fn the_end_of_a_lost_log_whose_instance_is_gone_is_told_once() {
    for asked_first in [false, true] {
        let mut instances = instances(true);
        assert!(instances.learn(&snapshot(state(&[("a", "w", "1")], RUNNING, None))).is_empty());
        instances.lost(1);
        if asked_first {
            // Ankaios does not know it, but by what is known it runs.
            let again = instances.runs(&instance());
            assert!(!instances.put_off(instance(), None, again));
        }
        assert_eq!(instances.learn(&snapshot(Default::default())), [instance()]);
        assert!(instances.learn(&snapshot(Default::default())).is_empty());
        assert!(instances.logs.is_empty());
    }
}

#[test]
fn an_end_that_was_told_is_not_told_again_when_the_instance_is_gone() {
    for asked_first in [false, true] {
        let mut instances = instances(true);
        assert!(instances.learn(&snapshot(state(&[("a", "w", "1")], RUNNING, None))).is_empty());
        instances.stopped(1, &instance(), arrived());
        assert!(matches!(instances.logs.get(&instance()), Some(Log::Due { .. })));
        if asked_first {
            assert!(!instances.put_off(instance(), None, true));
        }
        assert!(instances.learn(&snapshot(Default::default())).is_empty());
        assert!(instances.logs.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_ends_before_ankaios_tells_of_it_is_not_asked_for_again() {
    let news = |news| event(state(&[("a", "w", "1")], news, None), &[]);
    let mut instances = instances(true);
    assert!(instances.learn(&snapshot(state(&[("a", "w", "1")], RUNNING, None))).is_empty());
    let arrived = arrived();
    instances.stopped(1, &instance(), arrived);
    // As long as an agent may need to see it, with some time to spare.
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(instances.due().is_empty());
    assert!(instances.learn(&news(FAILED)).is_empty());
    assert_eq!((instances.next_due(), instances.reached()), (None, Some(arrived)));
    // Once it runs again, the rest is.
    assert!(instances.learn(&news(RUNNING)).is_empty());
    assert_eq!(instances.due(), [(Some(arrived), vec![instance()])].into());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ends_before_its_log_was_asked_for_is_asked_for_all_the_same() {
    let news = |news| event(state(&[("a", "w", "1")], news, None), &[]);
    let mut instances = instances(true);
    assert!(instances.learn(&snapshot(state(&[("a", "w", "1")], RUNNING, None))).is_empty());
    let arrived = arrived();
    instances.stopped(1, &instance(), arrived);
    for state in [FAILED, RUNNING, FAILED] {
        assert!(instances.learn(&news(state)).is_empty());
    }
    assert_eq!(instances.due(), [(Some(arrived), vec![instance()])].into());
    // Also if the first attempt fails.
    assert!(!instances.put_off(instance(), Some(arrived), true));
    assert!(instances.learn(&news(FAILED)).is_empty());
    assert!(instances.next_due().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_log_that_ends_before_the_first_snapshot_is_not_asked_for_again() {
    let mut instances = instances(true);
    instances.stopped(1, &instance(), arrived());
    assert!(instances.learn(&snapshot(state(&[("a", "w", "1")], RUNNING, None))).is_empty());
    assert!(instances.due().is_empty());
    assert!(instances.learn(&event(state(&[("a", "w", "1")], FAILED, None), &[])).is_empty());
    assert_eq!(instances.next_due(), None);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_has_ended_is_asked_for_at_once_if_its_instance_runs_again() {
    let running = || state(&[("a", "w", "1")], RUNNING, None);
    let mut instances = instances(true);
    assert!(instances.learn(&snapshot(running())).is_empty());
    instances.stopped(1, &instance(), arrived());
    assert!(instances.learn(&snapshot(running())).is_empty());
    assert!(instances.due().is_empty(), "that may be from before the end");
    assert!(instances.learn(&event(running(), &["workloadStates.a.w"])).is_empty());
    assert_eq!(instances.due().len(), 1);
    // Without such news it is asked for in the end.
    instances.come(&[instance()], 2, Position::begin(None));
    instances.stopped(2, &instance(), arrived());
    assert!(instances.due().is_empty());
    tokio::time::advance(PAUSE).await;
    assert_eq!(instances.due().len(), 1);
}

#[test]
fn the_end_of_a_log_that_has_come_again_is_told_again() {
    let mut instances = instances(true);
    let running = snapshot(state(&[("a", "w", "1")], RUNNING, None));
    assert!(instances.learn(&running).is_empty());
    instances.stopped(1, &instance(), arrived());
    instances.come(&[instance()], 2, Position::begin(None));
    instances.lost(2);
    assert!(instances.put_off(instance(), None, false));
    // It runs again, but cannot be had.
    assert!(instances.learn(&running).is_empty());
    assert!(!instances.put_off(instance(), None, false));
    assert!(instances.end_all().is_empty());
}
