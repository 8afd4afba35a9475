//! Tests of the instances with a clock that stands still.

#![allow(clippy::unwrap_used)]

use ankaios_control::testing::{FAILED, RUNNING, event, snapshot, state};
use serde_json::json;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// The clocks of a test. They stand still except for [`Clock::advance`].
struct Clock(Moment);

impl Clock {
    fn new() -> Self {
        Self(Moment::now())
    }

    fn advance(&mut self, duration: Duration) {
        self.0 = self.after(duration);
    }

    fn after(&self, duration: Duration) -> Moment {
        let Moment { instant, time } = self.0;
        Moment { instant: instant + duration, time: time + duration }
    }

    /// Long after the log was requested.
    fn arrival(&self) -> Moment {
        self.after(60 * SECOND)
    }
}

/// The instances of the workload `w`, one of which has an open log.
fn instances(follow: bool, clock: &Clock) -> Instances {
    let subscription = json!({"id": "x", "workloads": ["w"], "follow": follow, "tail": 5,
        "since": "2026-01-31T11:00:00Z"});
    let subscription = serde_json::from_value(subscription).unwrap();
    let mut instances = Instances::new(&subscription, clock.0);
    let long_ago = clock.0.time - 60 * SECOND;
    instances.opened(&[instance()], 1, Some(long_ago), clock.0);
    instances
}

fn instance() -> InstanceName {
    "w.1.a".parse().unwrap()
}

#[test]
fn a_lost_log_is_requested_from_before_its_last_line_or_from_the_start() {
    let clock = Clock::new();
    let arrived = clock.arrival();
    let before = rfc3339::format(arrived.time - OVERLAP);
    for (follow, tail, since) in
        [(true, None, before.as_str()), (false, Some(5), "2026-01-31T11:00:00Z")]
    {
        let mut instances = instances(follow, &clock);
        instances.delivered(1, arrived);
        instances.lost(1, clock.0.instant);
        let (due_since, due) = instances.due(clock.0).pop_first().unwrap();
        let (options, _) = instances.request(due_since, clock.0);
        assert_eq!((options.tail, options.since.as_deref()), (tail, Some(since)));
        assert_eq!(due, [instance()]);
    }
}

#[test]
fn a_log_that_is_lost_before_it_has_caught_up_is_requested_from_the_same_time() {
    let clock = Clock::new();
    let mut instances = instances(true, &clock);
    // Before the log is live.
    instances.delivered(1, clock.0);
    instances.lost(1, clock.0.instant);
    let (since, _) = instances.due(clock.0).pop_first().unwrap();
    assert_eq!(since, Some(clock.0.time - 60 * SECOND));
    // The time for a later process is that of the log that is furthest behind.
    instances.opened(&["w.2.a".parse().unwrap()], 2, since, clock.0);
    instances.delivered(2, clock.arrival());
    assert_eq!(instances.delivered_until(clock.0), since);
}

#[test]
fn a_whole_log_that_is_lost_early_is_requested_from_the_start() {
    let clock = Clock::new();
    let now = clock.0;
    let subscription = json!({"id": "x", "workloads": ["w"], "follow": true});
    let subscription: LogsRequest = serde_json::from_value(subscription).unwrap();
    let mut instances = Instances::new(&subscription, now);
    let (_, from) = instances.request(None, now);
    instances.opened(&[instance()], 1, from, now);
    instances.delivered(1, now);
    assert_eq!(instances.delivered_until(now), None);
    instances.lost(1, clock.0.instant);
    let (since, _) = instances.due(clock.0).pop_first().unwrap();
    assert_eq!(instances.request(since, now), (options(&subscription), None));
}

#[test]
fn nothing_from_before_the_requested_time_is_requested_after_an_interruption() {
    let clock = Clock::new();
    let since = rfc3339::format(clock.arrival().time);
    let subscription = json!({"id": "x", "workloads": ["w"], "follow": true, "since": since});
    let subscription = serde_json::from_value(subscription).unwrap();
    let instances = Instances::new(&subscription, clock.0);
    let (options, from) = instances.request(Some(clock.0.time), clock.0);
    assert_eq!((options.since, from), (Some(since), instances.since));
}

#[test]
fn a_removed_instance_is_forgotten_whichever_field_is_removed() {
    let clock = Clock::new();
    let now = clock.0;
    for removed in ["workloadStates.a.w.1", "workloadStates.a.w", "workloadStates.a"] {
        let mut instances = instances(true, &clock);
        let running = snapshot(state(&[("a", "w", "1")], RUNNING, None));
        assert!(instances.observe(&running, now).is_empty());
        assert!(instances.observe(&event(Default::default(), &[removed]), now).is_empty());
        assert!(instances.stopped(1, instance(), clock.arrival(), now).is_some());
        assert!(instances.logs.is_empty(), "{removed}");
    }
}

#[test]
fn an_event_without_a_state_does_not_stop_what_runs() {
    let clock = Clock::new();
    let now = clock.0;
    let mut instances = instances(true, &clock);
    let running = [("a", "w", "1")];
    assert!(instances.observe(&snapshot(state(&running, RUNNING, None)), now).is_empty());
    assert!(instances.observe(&event(state(&running, None, Some("news")), &[]), now).is_empty());
    assert!(instances.stopped(1, instance(), clock.arrival(), now).is_some());
    assert!(matches!(instances.logs.get(&instance()), Some(Log::Settling { .. })));
}

#[test]
fn the_end_of_a_lost_log_of_a_removed_instance_is_published_once() {
    let clock = Clock::new();
    let now = clock.0;
    for asked_first in [false, true] {
        let mut instances = instances(true, &clock);
        let running = snapshot(state(&[("a", "w", "1")], RUNNING, None));
        assert!(instances.observe(&running, now).is_empty());
        instances.lost(1, now.instant);
        if asked_first {
            // Ankaios does not know the instance, but its last known state says that it runs.
            let retry = instances.is_running(&instance());
            assert!(instances.unavailable(instance(), None, retry, now).is_none());
        }
        assert_eq!(instances.observe(&snapshot(Default::default()), now), [instance()]);
        assert!(instances.observe(&snapshot(Default::default()), now).is_empty());
        assert!(instances.logs.is_empty());
    }
}

#[test]
fn a_published_end_is_not_published_again_when_the_instance_is_removed() {
    let clock = Clock::new();
    let now = clock.0;
    for asked_first in [false, true] {
        let mut instances = instances(true, &clock);
        let running = snapshot(state(&[("a", "w", "1")], RUNNING, None));
        assert!(instances.observe(&running, now).is_empty());
        assert!(instances.stopped(1, instance(), clock.arrival(), now).is_some());
        assert!(matches!(instances.logs.get(&instance()), Some(Log::Settling { .. })));
        if asked_first {
            assert!(instances.unavailable(instance(), None, true, now).is_none());
        }
        assert!(instances.observe(&snapshot(Default::default()), now).is_empty());
        assert!(instances.logs.is_empty());
    }
}

#[test]
fn an_end_that_ankaios_repeats_is_published_once() {
    let clock = Clock::new();
    let mut instances = instances(true, &clock);
    assert_eq!(instances.stopped(1, instance(), clock.arrival(), clock.0), Some(instance()));
    assert_eq!(instances.stopped(1, instance(), clock.arrival(), clock.0), None);
    assert!(instances.end_all(clock.0).is_empty());
}

#[test]
fn a_log_that_ends_before_the_state_changes_is_not_requested_again() {
    let mut clock = Clock::new();
    let news = |news| event(state(&[("a", "w", "1")], news, None), &[]);
    let mut instances = instances(true, &clock);
    let running = snapshot(state(&[("a", "w", "1")], RUNNING, None));
    assert!(instances.observe(&running, clock.0).is_empty());
    let arrived = clock.arrival();
    assert!(instances.stopped(1, instance(), arrived, clock.0).is_some());
    // Longer than an agent needs to notice the end.
    clock.advance(SECOND);
    assert!(instances.due(clock.0).is_empty());
    assert!(instances.observe(&news(FAILED), clock.0).is_empty());
    assert_eq!(
        (instances.next_due(), instances.delivered_until(clock.0)),
        (None, Some(arrived.time))
    );
    // Once the instance runs again, the rest is requested.
    assert!(instances.observe(&news(RUNNING), clock.0).is_empty());
    assert_eq!(instances.due(clock.0), [(Some(arrived.time), vec![instance()])].into());
}

#[test]
fn the_log_of_a_run_that_ends_before_the_request_is_still_requested() {
    let clock = Clock::new();
    let now = clock.0;
    let news = |news| event(state(&[("a", "w", "1")], news, None), &[]);
    let mut instances = instances(true, &clock);
    let running = snapshot(state(&[("a", "w", "1")], RUNNING, None));
    assert!(instances.observe(&running, now).is_empty());
    let arrived = clock.arrival();
    assert!(instances.stopped(1, instance(), arrived, now).is_some());
    for state in [FAILED, RUNNING, FAILED] {
        assert!(instances.observe(&news(state), now).is_empty());
    }
    assert_eq!(instances.due(now), [(Some(arrived.time), vec![instance()])].into());
    // This also holds if the first attempt fails.
    assert!(instances.unavailable(instance(), Some(arrived.time), true, now).is_none());
    assert!(instances.observe(&news(FAILED), now).is_empty());
    assert!(instances.next_due().is_some());
}

#[test]
fn a_log_that_ends_before_the_first_snapshot_is_not_requested_again() {
    let clock = Clock::new();
    let now = clock.0;
    let mut instances = instances(true, &clock);
    assert!(instances.stopped(1, instance(), clock.arrival(), now).is_some());
    let running = snapshot(state(&[("a", "w", "1")], RUNNING, None));
    assert!(instances.observe(&running, now).is_empty());
    assert!(instances.due(now).is_empty());
    let failed = event(state(&[("a", "w", "1")], FAILED, None), &[]);
    assert!(instances.observe(&failed, now).is_empty());
    assert_eq!(instances.next_due(), None);
}

#[test]
fn a_log_that_has_ended_is_requested_at_once_if_its_instance_runs_again() {
    let mut clock = Clock::new();
    let running = || state(&[("a", "w", "1")], RUNNING, None);
    let mut instances = instances(true, &clock);
    assert!(instances.observe(&snapshot(running()), clock.0).is_empty());
    assert!(instances.stopped(1, instance(), clock.arrival(), clock.0).is_some());
    assert!(instances.observe(&snapshot(running()), clock.0).is_empty());
    assert!(instances.due(clock.0).is_empty(), "that may be from before the end");
    let again = event(running(), &["workloadStates.a.w"]);
    assert!(instances.observe(&again, clock.0).is_empty());
    assert_eq!(instances.due(clock.0).len(), 1);
    // Without such an event it is requested after a while.
    instances.opened(&[instance()], 2, None, clock.0);
    assert!(instances.stopped(2, instance(), clock.arrival(), clock.0).is_some());
    assert!(instances.due(clock.0).is_empty());
    clock.advance(SETTLE);
    assert_eq!(instances.due(clock.0).len(), 1);
}

#[test]
fn the_end_of_a_log_that_was_opened_again_is_published_again() {
    let clock = Clock::new();
    let now = clock.0;
    let mut instances = instances(true, &clock);
    let running = snapshot(state(&[("a", "w", "1")], RUNNING, None));
    assert!(instances.observe(&running, now).is_empty());
    assert!(instances.stopped(1, instance(), clock.arrival(), now).is_some());
    instances.opened(&[instance()], 2, None, now);
    instances.lost(2, now.instant);
    assert!(instances.unavailable(instance(), None, false, now).is_some());
    // The instance runs again, but its log is not available.
    assert!(instances.observe(&running, now).is_empty());
    assert!(instances.unavailable(instance(), None, false, now).is_none());
    assert!(instances.end_all(clock.0).is_empty());
}

#[test]
fn logs_that_ankaios_does_not_end_end_after_a_grace_period_without_messages() {
    let clock = Clock::new();
    let until = rfc3339::format(clock.after(10 * SECOND).time);
    for (follow, expected) in [(true, true), (false, false)] {
        let subscription = json!({"id": "x", "workloads": ["w"], "follow": follow, "until": until});
        let subscription = serde_json::from_value(subscription).unwrap();
        let mut instances = Instances::new(&subscription, clock.0);
        instances.opened(&[instance()], 1, None, clock.0);
        let deadline = |at: Moment, last: Moment| instances.deadline(last.instant, at);
        let quiet = deadline(clock.0, clock.0).map(|at| at - clock.0.instant);
        // `until` is written in milliseconds.
        let ends = quiet.is_some_and(|wait| wait > 10 * SECOND && wait <= 11 * SECOND);
        assert_eq!(ends, expected, "{quiet:?}");
        let late = clock.after(12 * SECOND);
        assert_eq!(deadline(late, late), expected.then(|| late.instant + GRACE));
        assert!(!instances.is_past_until(clock.0.time) && instances.is_past_until(late.time));
        assert_eq!(instances.end_all(clock.0), [instance()]);
        assert!(instances.is_done(true, late.time));
    }
}

/// The clock after `duration`, set back or forward to `time`.
fn set(clock: &Clock, duration: Duration, time: SystemTime) -> Moment {
    Moment { time, ..clock.after(duration) }
}

#[test]
fn no_line_is_missing_after_the_clock_was_set() {
    let clock = Clock::new();
    let subscription = json!({"id": "x", "workloads": ["w"], "follow": true,
        "since": rfc3339::format(clock.0.time - 600 * SECOND)});
    let subscription = serde_json::from_value(subscription).unwrap();
    let arrived = clock.arrival();
    let (years, hour) = (500_000 * 3600 * SECOND, 3600 * SECOND);
    for (now, expected) in [
        // Set forward: lines may have the earlier times.
        (arrived.time + years, arrived.time),
        (arrived.time - hour, arrived.time - hour - 10 * SECOND),
        (SystemTime::UNIX_EPOCH + hour, SystemTime::UNIX_EPOCH + hour - 10 * SECOND),
    ] {
        let mut instances = Instances::new(&subscription, clock.0);
        instances.opened(&[instance()], 1, instances.since, clock.0);
        instances.delivered(1, arrived);
        instances.lost(1, arrived.instant);
        let now = set(&clock, 70 * SECOND, now);
        assert_eq!(instances.delivered_until(now), Some(expected));
        let (since, _) = instances.due(now).pop_first().unwrap();
        let (_, from) = instances.request(since, now);
        assert_eq!(from, Some(expected - OVERLAP));
        // So it is with an instance that appears now.
        let appeared = instances.begin.unwrap().at(now);
        assert!(appeared <= clock.0.time && appeared <= now.time - 70 * SECOND);
    }
}

#[test]
fn a_log_is_resumed_from_the_start_of_the_device_if_the_clock_was_set_back() {
    let now = Moment::now();
    let subscription = json!({"id": "x", "workloads": ["w"], "follow": true});
    let subscription = serde_json::from_value(subscription).unwrap();
    let uptime = 100 * SECOND;
    for (resume_at, expected) in [
        (now.time - 3600 * SECOND, now.time - 3600 * SECOND),
        (now.time + 3600 * SECOND, now.time - uptime),
    ] {
        let instances = Instances::new(&subscription, now).restored(Some(resume_at), uptime);
        assert_eq!(instances.begin.map(|begin| begin.at(now)), Some(expected));
    }
    let instances = Instances::new(&subscription, now).restored(None, uptime);
    assert_eq!(instances.begin, None);
}

#[test]
fn logs_end_soon_after_the_clock_is_set_to_a_time_after_until() {
    let clock = Clock::new();
    let until = rfc3339::format(clock.after(900_000 * SECOND).time);
    let subscription = json!({"id": "x", "workloads": ["w"], "follow": true, "until": until});
    let subscription = serde_json::from_value(subscription).unwrap();
    let instances = Instances::new(&subscription, clock.0);
    let deadline = instances.deadline(clock.0.instant, clock.0).unwrap();
    assert!(deadline <= clock.0.instant + 15 * SECOND);
    assert!(!instances.is_past_until(clock.0.time));
    assert!(instances.is_past_until(clock.0.time + 900_001 * SECOND));
}
