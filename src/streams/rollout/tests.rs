//! Tests of the tracker on virtual time, without a link to Ankaios.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use ankaios_control::connect;
use ankaios_control::testing::{FAILED, RUNNING, event, snapshot, state};
use ankaios_model::proto::ank_base::RestartPolicy;
use ankaios_model::proto::ank_base::execution_state::ExecutionStateEnum;
use bytes::Bytes;
use fleet_contract::rollout::RolloutStatus;
use fleet_contract::topics::Topics;
use mqtt_session::{Publication, Receiver, Refused, queue};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::handle::Rollouts;
use super::record::{MAX_ROLLOUT_RECORD, RolloutRecord};
use super::reports::{ActiveReports, Reports};
use super::stale::{MAX_DELETED, STALE_FOR};
use super::tracked::MIN_INTERVAL;
use super::tracker::{MAX_RESTORED, MAX_ROLLOUTS, MISSING_GRACE, Tracker};
use super::update::{
    ChangedInstances, FollowedUpdate, RolloutCommand, RolloutEnded, RolloutOptions,
};
use crate::streams::RetainedUse;
use crate::streams::kept_records::KeptRecords;
use crate::streams::publisher::Publisher;

const PENDING: Option<ExecutionStateEnum> = Some(ExecutionStateEnum::Pending(2));
const STOPPING: Option<ExecutionStateEnum> = Some(ExecutionStateEnum::Stopping(0));

/// What a tracker has published, and the ends of rollouts that it has reported.
struct Published {
    reports: ActiveReports,
    topics: Topics,
    publisher: Publisher,
    receiver: Receiver,
    ended: mpsc::Receiver<RolloutEnded>,
}

impl Published {
    fn publication(&mut self) -> Option<Publication> {
        loop {
            if let Some(publication) = self.receiver.publication() {
                return Some(publication);
            }
            if !self.reports.publish_next(&self.topics, &self.publisher) {
                return None;
            }
        }
    }

    /// The statuses at the ends of the rollouts of revisions.
    fn ended(&mut self) -> Vec<(u64, RolloutStatus)> {
        self.ends().into_iter().map(|end| (end.revision, end.status)).collect()
    }

    fn ends(&mut self) -> Vec<RolloutEnded> {
        std::iter::from_fn(|| self.ended.try_recv().ok()).collect()
    }
}

/// How long workloads must stay up.
const STABLE_TIME: Duration = Duration::from_secs(10);

fn options() -> RolloutOptions {
    RolloutOptions {
        limit: Duration::from_secs(60),
        stable_time: STABLE_TIME,
        keeps_revisions: true,
    }
}

/// A tracker without a link to Ankaios, and what it publishes.
fn tracker() -> (Tracker, Published) {
    let (client, _) = connect("/nowhere".into(), Duration::from_secs(1));
    let (sender, receiver) = queue();
    let topics = Topics::new("1", Vec::new()).unwrap();
    let (ends, ended) = mpsc::channel(16);
    let reports = Reports::default();
    let tracker = Tracker::new(client, reports.clone(), options(), ends);
    let (reports, publisher) = (reports.activate(), Publisher::new(sender));
    (tracker, Published { reports, topics, publisher, receiver, ended })
}

/// An accepted apply of the workloads `named`, with the instances that Ankaios has added.
fn apply(request_id: &str, named: &[&str], added: &[&str]) -> FollowedUpdate {
    FollowedUpdate {
        request_id: request_id.into(),
        is_published: true,
        named: named.iter().map(ToString::to_string).collect(),
        changes: ChangedInstances {
            added: added.iter().map(|name| name.parse().unwrap()).collect(),
            deleted: Vec::new(),
        },
        ..FollowedUpdate::default()
    }
}

/// An accepted deletion.
fn delete(deleted: impl IntoIterator<Item = String>) -> FollowedUpdate {
    let deleted = deleted.into_iter().map(|name| name.parse().unwrap()).collect();
    let changes = ChangedInstances { added: Vec::new(), deleted };
    FollowedUpdate { changes, ..FollowedUpdate::default() }
}

fn rollout(request_id: &str, added: &[&str]) -> FollowedUpdate {
    apply(request_id, &[], added)
}

/// The published messages except for records.
fn messages(published: &mut Published) -> Vec<Value> {
    std::iter::from_fn(|| published.publication())
        .filter(|publication| !publication.retain)
        .map(|publication| serde_json::from_slice(&publication.payload).unwrap())
        .collect()
}

/// The request id, the status and the state of the first workload of each published message.
fn progress_messages(published: &mut Published) -> Vec<(String, String, Value)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let sent = |message: &Value| {
        let state = message["workloads"][0]["execution_state"].clone();
        (text(&message["request_id"]), text(&message["status"]), state)
    };
    messages(published).iter().map(sent).collect()
}

fn statuses(published: &mut Published) -> Vec<String> {
    progress_messages(published).into_iter().map(|sent| sent.1).collect()
}

async fn pass(tracker: &mut Tracker, time: Duration) {
    tokio::time::advance(time).await;
    tracker.check_deadlines();
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_another_client_removes_supersedes_whichever_field_is_removed() {
    for removed in ["workloadStates.a.w.1", "workloadStates.a.w", "workloadStates.a"] {
        let (mut tracker, mut published) = tracker();
        tracker.start(rollout("r", &["w.1.a"]));
        let first = snapshot(state(&[("a", "w", "1")], PENDING, None));
        tracker.observe(&first);
        tracker.observe(&event(Default::default(), &[removed]));
        pass(&mut tracker, MISSING_GRACE).await;
        assert_eq!(statuses(&mut published).last().map(String::as_str), Some("superseded"));
        assert!(tracker.rollouts.is_empty(), "{removed}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_comes_back_at_once_was_not_removed() {
    let (mut tracker, mut published) = tracker();
    tracker.start(rollout("r", &["w.1.a"]));
    let instances = [("a", "w", "1")];
    tracker.observe(&snapshot(state(&instances, PENDING, None)));
    let removed = event(Default::default(), &["workloadStates.a.w"]);
    tracker.observe(&removed);
    tracker.observe(&event(state(&instances, PENDING, None), &[]));
    pass(&mut tracker, MISSING_GRACE).await;
    tracker.observe(&event(state(&instances, RUNNING, None), &[]));
    assert_eq!(statuses(&mut published), ["in_progress", "in_progress", "succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn an_event_of_one_field_leaves_the_other_as_it_is() {
    let (mut tracker, mut published) = tracker();
    tracker.start(rollout("r", &["w.1.a"]));
    let instances = [("a", "w", "1")];
    let first = snapshot(state(&instances, PENDING, Some("pulling")));
    tracker.observe(&first);
    pass(&mut tracker, MIN_INTERVAL).await;
    tracker.observe(&event(state(&instances, None, Some("pulled")), &[]));
    tracker.observe(&event(state(&instances, RUNNING, None), &[]));
    let states: Vec<_> = progress_messages(&mut published)
        .into_iter()
        .map(|(_, status, state)| {
            (status, state["state"].clone(), state["additional_info"].clone())
        })
        .collect();
    assert_eq!(
        states,
        [
            ("in_progress".into(), json!("PENDING"), json!("pulling")),
            ("in_progress".into(), json!("PENDING"), json!("pulled")),
            ("succeeded".into(), json!("RUNNING"), json!("pulled")),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn changes_that_come_fast_come_in_one_message_and_the_end_at_once() {
    const WORKLOADS: usize = 500;
    let (mut tracker, mut published) = tracker();
    let ids: Vec<String> = (0..WORKLOADS).map(|id| id.to_string()).collect();
    let names: Vec<String> = ids.iter().map(|id| format!("w.{id}.a")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    tracker.start(rollout("r", &names));
    tracker.observe(&snapshot(Default::default()));
    let mut count = 0;
    // A change every 2 ms, for 2 s.
    for news in [PENDING, RUNNING] {
        for id in &ids {
            assert!(tracker.rollouts[0].next_deadline() > tokio::time::Instant::now());
            pass(&mut tracker, Duration::from_millis(2)).await;
            tracker.observe(&event(state(&[("a", "w", id)], news, None), &[]));
            let sent = statuses(&mut published);
            count += sent.len();
            let end = news == RUNNING && *id == ids[WORKLOADS - 1];
            assert_eq!(sent.iter().any(|status| status == "succeeded"), end);
        }
    }
    // The first message, one for each 250 ms, and the end.
    assert!((8..=10).contains(&count), "{count}");
}

#[tokio::test(start_paused = true)]
async fn a_delayed_change_is_published_and_then_only_the_timeout_is_left() {
    let (mut tracker, mut published) = tracker();
    tracker.start(rollout("r", &["w.1.a", "v.1.a"]));
    let deadline = tracker.rollouts[0].deadline;
    tracker.observe(&snapshot(state(&[("a", "w", "1")], PENDING, None)));
    assert_eq!(statuses(&mut published).len(), 1, "after a quiet time at once");
    tracker.observe(&event(state(&[("a", "w", "1")], RUNNING, None), &[]));
    assert!(messages(&mut published).is_empty());
    let wait = tracker.rollouts[0].next_deadline() - tokio::time::Instant::now();
    assert_eq!(wait, MIN_INTERVAL);
    pass(&mut tracker, wait).await;
    let messages = messages(&mut published);
    assert_eq!(messages[0]["workloads"][1]["execution_state"]["state"], json!("RUNNING"));
    // Without further changes, the next deadline is the timeout.
    tracker.observe(&event(state(&[("a", "v", "1")], PENDING, None), &[]));
    pass(&mut tracker, MIN_INTERVAL).await;
    assert_eq!(tracker.rollouts[0].next_deadline(), deadline);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_a_snapshot_lacks_is_gone_unless_it_may_be_newer() {
    let (mut tracker, mut published) = tracker();
    tracker.start(rollout("old", &["w.1.a"]));
    let first = snapshot(state(&[("a", "w", "1")], PENDING, None));
    tracker.observe(&first);
    tracker.start(rollout("new", &["v.1.a"]));
    progress_messages(&mut published);
    // This snapshot may have been requested before the second rollout began.
    tracker.observe(&snapshot(Default::default()));
    pass(&mut tracker, MISSING_GRACE).await;
    let superseded = progress_messages(&mut published);
    assert_eq!(superseded.iter().map(|sent| &*sent.0).collect::<Vec<_>>(), ["old"]);
    tracker.observe(&snapshot(Default::default()));
    pass(&mut tracker, MISSING_GRACE).await;
    assert_eq!(progress_messages(&mut published)[0].1, "superseded");
    assert!(tracker.rollouts.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_apply_that_changes_nothing_follows_the_workloads_that_it_names() {
    let (mut tracker, mut published) = tracker();
    tracker.start(apply("r", &["w", "v"], &[]));
    assert!(messages(&mut published).is_empty(), "nothing is known yet");
    let old_and_new = [("a", "w", "2"), ("a", "v", "1"), ("a", "other", "1")];
    let mut states = state(&old_and_new, PENDING, None);
    let old = state(&[("a", "w", "1")], STOPPING, None);
    let merge = |state: &mut ankaios_model::proto::ank_base::CompleteState| {
        let agents = &mut state.workload_states.as_mut().unwrap().agent_state_map;
        let old = old.workload_states.clone().unwrap().agent_state_map["a"].clone();
        let ids = old.wl_name_state_map["w"].id_state_map.clone();
        let workloads = &mut agents.get_mut("a").unwrap().wl_name_state_map;
        workloads.get_mut("w").unwrap().id_state_map.extend(ids);
    };
    merge(&mut states);
    tracker.observe(&snapshot(states));
    let sent = messages(&mut published);
    let names = |message: &Value| {
        let workloads = message["workloads"].as_array().unwrap().iter();
        let name = |workload: &Value| {
            format!("{}.{}", workload["workload_name"], workload["workload_id"]).replace('"', "")
        };
        workloads.map(name).collect::<Vec<_>>()
    };
    assert_eq!((sent.len(), &sent[0]["status"]), (1, &json!("in_progress")));
    assert_eq!(names(&sent[0]), ["v.1", "w.2"]);
    let running = state(&[("a", "w", "2"), ("a", "v", "1")], RUNNING, None);
    tracker.observe(&event(running, &[]));
    assert_eq!(statuses(&mut published), ["succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn an_apply_that_changes_nothing_and_has_no_instances_succeeds() {
    let (mut tracker, mut published) = tracker();
    tracker.start(apply("r", &["w"], &[]));
    tracker.observe(&snapshot(Default::default()));
    assert_eq!(messages(&mut published)[0]["workloads"], json!([]));
    // An apply of configs only.
    tracker.start(apply("r", &[], &[]));
    assert_eq!(statuses(&mut published), ["succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn an_apply_that_changes_nothing_uses_only_newer_states() {
    let (mut tracker, mut published) = tracker();
    tracker.start(rollout("first", &["v.1.a"]));
    // The first snapshot was requested before this one began.
    tracker.start(apply("second", &["w"], &[]));
    tracker.observe(&snapshot(state(&[("a", "w", "1")], RUNNING, None)));
    assert!(messages(&mut published).is_empty());
    tracker.observe(&snapshot(state(&[("a", "w", "1")], RUNNING, None)));
    let sent = progress_messages(&mut published);
    assert_eq!((&*sent[0].0, &*sent[0].1), ("second", "succeeded"));
    // A later update deletes the workload that it names.
    tracker.start(apply("third", &["w"], &[]));
    tracker.start(delete(["w.1.a".to_owned()]));
    assert_eq!(statuses(&mut published), ["superseded"]);
}

/// A deletion of an instance, and then an apply that adds it again.
fn delete_and_apply(tracker: &mut Tracker, request_id: &str) {
    tracker.start(delete(["w.1.a".to_owned()]));
    tracker.start(rollout(request_id, &["w.1.a"]));
}

#[tokio::test(start_paused = true)]
async fn a_state_from_before_a_deletion_does_not_count_for_the_next_rollout() {
    let instances = [("a", "w", "1")];
    let running = || state(&instances, RUNNING, None);
    for known in [false, true] {
        let (mut tracker, mut published) = tracker();
        if known {
            // A subscription exists already.
            tracker.start(rollout("other", &["v.1.a"]));
            tracker.observe(&snapshot(running()));
        }
        delete_and_apply(&mut tracker, "r");
        tracker.observe(&snapshot(running()));
        pass(&mut tracker, MIN_INTERVAL).await;
        let before = progress_messages(&mut published);
        assert!(before.iter().all(|sent| sent.1 == "in_progress"), "{before:?}");
        tracker.observe(&event(state(&instances, PENDING, None), &[]));
        tracker.observe(&event(state(&instances, FAILED, None), &[]));
        let last = progress_messages(&mut published).pop().unwrap();
        assert_eq!((&*last.0, &*last.1), ("r", "failed"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_known_state_of_an_instance_that_another_client_deleted_is_stale_too() {
    let (mut tracker, mut published) = tracker();
    tracker.start(rollout("other", &["v.1.a"]));
    let instances = [("a", "w", "1")];
    tracker.observe(&snapshot(state(&instances, RUNNING, None)));
    tracker.start(rollout("r", &["w.1.a"]));
    assert_eq!(statuses(&mut published), ["in_progress"]);
    // A later event is not stale.
    tracker.observe(&event(state(&instances, RUNNING, None), &[]));
    assert_eq!(statuses(&mut published), ["succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn a_state_that_does_not_change_counts_after_a_later_snapshot() {
    let (mut tracker, mut published) = tracker();
    let running = snapshot(state(&[("a", "w", "1")], RUNNING, None));
    delete_and_apply(&mut tracker, "r");
    tracker.observe(&running);
    let wait = tracker.rollouts[0].next_deadline() - tokio::time::Instant::now();
    assert_eq!(wait, STALE_FOR);
    pass(&mut tracker, wait).await;
    // The known state may be old, because the link may have been down.
    assert_eq!(statuses(&mut published), ["in_progress"]);
    assert_eq!(tracker.rollouts[0].next_deadline(), tracker.rollouts[0].deadline);
    tracker.observe(&running);
    assert_eq!(statuses(&mut published), ["succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_was_requested_while_states_were_stale_does_not_count() {
    let (mut tracker, mut published) = tracker();
    let running = snapshot(state(&[("a", "w", "1")], RUNNING, None));
    delete_and_apply(&mut tracker, "r");
    pass(&mut tracker, STALE_FOR).await;
    tracker.observe(&running);
    assert_eq!(statuses(&mut published), ["in_progress"]);
    tracker.observe(&running);
    assert_eq!(statuses(&mut published), ["succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn deleted_instances_are_remembered_for_a_while_and_within_a_limit() {
    let (mut tracker, _published) = tracker();
    let many = |range: std::ops::Range<usize>| delete(range.map(|id| format!("w.{id}.a")));
    tracker.start(many(0..2 * MAX_DELETED));
    assert_eq!(tracker.deleted.len(), MAX_DELETED);
    pass(&mut tracker, STALE_FOR).await;
    tracker.start(many(0..1));
    assert_eq!(tracker.deleted.len(), 1);
}

fn record() -> RolloutRecord {
    record_of("r", "w.1.a")
}

fn record_of(request_id: &str, instance: &str) -> RolloutRecord {
    let instances = [instance.parse().unwrap()].into();
    RolloutRecord::new(request_id.into(), instances, Duration::from_secs(60), None)
}

#[tokio::test(start_paused = true)]
async fn a_removal_before_the_snapshot_is_noticed_even_if_the_record_arrives_later() {
    let (mut tracker, mut published) = tracker();
    let states = snapshot(state(&[("a", "w", "1")], PENDING, None));
    tracker.restore("0a".into(), record(), 100);
    tracker.observe(&states);
    // Its instance was removed while no connector ran.
    tracker.restore("0b".into(), record_of("gone", "v.1.a"), 100);
    tracker.observe(&states);
    pass(&mut tracker, MISSING_GRACE).await;
    let sent = progress_messages(&mut published);
    let superseded: Vec<_> = sent.iter().filter(|sent| sent.1 == "superseded").collect();
    assert_eq!(superseded.iter().map(|sent| &*sent.0).collect::<Vec<_>>(), ["gone"]);
    assert_eq!(tracker.rollouts.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_supersedes_a_rollout_whose_record_arrives_later() {
    let (mut tracker, mut published) = tracker();
    tracker.start(delete(["w.1.a".to_owned()]));
    tracker.restore("0a".into(), record(), 100);
    // Ankaios may still have the state from before the deletion.
    tracker.observe(&snapshot(state(&[("a", "w", "1")], RUNNING, None)));
    assert_eq!(statuses(&mut published), ["superseded"]);
    assert!(tracker.rollouts.is_empty());
}

#[tokio::test(start_paused = true)]
async fn forged_records_are_limited_in_number_and_size() {
    let (mut first, mut published) = tracker();
    for id in 0..2 * MAX_ROLLOUTS {
        first.restore(id.to_string(), record(), 100);
        assert_eq!(messages(&mut published), [Value::Null; 0]);
    }
    assert_eq!(first.rollouts.len(), MAX_ROLLOUTS);
    let (mut second, mut published) = tracker();
    for id in 0..2 * MAX_ROLLOUTS {
        second.restore(id.to_string(), record(), MAX_ROLLOUT_RECORD);
        assert_eq!(messages(&mut published), [Value::Null; 0]);
    }
    assert_eq!(second.rollouts.len(), MAX_RESTORED / MAX_ROLLOUT_RECORD);
}

/// Otherwise, whoever retains records or delivers a request again could have a revision taken back.
#[tokio::test(start_paused = true)]
async fn other_rollouts_never_end_that_of_a_revision() {
    let (mut tracker, mut published) = tracker();
    let started = rollout("r", &["v.1.a"]);
    tracker.start(FollowedUpdate { revision: Some(7), is_trial: true, ..started });
    let watched = apply("w", &[], &[]);
    tracker.start(FollowedUpdate { revision: Some(8), must_be_stable: true, ..watched });
    for id in 0..MAX_ROLLOUTS {
        tracker.restore(id.to_string(), record(), 100);
    }
    for _ in 0..2 * MAX_ROLLOUTS {
        // A redelivery, which changes nothing.
        tracker.start(apply("again", &["v"], &[]));
    }
    assert_eq!(tracker.rollouts.len(), MAX_ROLLOUTS);
    assert_eq!(published.ended(), [(8, RolloutStatus::Succeeded)]);
    assert!(tracker.rollouts.iter().any(|one| one.revision == Some(7)));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_must_not_be_used_is_removed_unless_its_rollout_is_known() {
    let (mut tracker, mut published) = tracker();
    // The store has the record of a rollout, which the broker has, too.
    tracker.restore("0a".into(), record(), 100);
    for id in ["0a", "0b"] {
        tracker.handle(RolloutCommand::Untrusted { id: id.into(), reason: "for a test" });
    }
    assert_eq!(tracker.rollouts.len(), 1);
    let removed: Vec<_> = std::iter::from_fn(|| published.publication())
        .filter(|one| one.payload.is_empty())
        .map(|one| one.topic)
        .collect();
    assert_eq!(removed, ["vehicle/1/manifest/apply/0b/rollout"]);
}

#[tokio::test]
async fn a_record_that_cannot_be_used_is_removed() {
    let (client, _) = connect("/nowhere".into(), Duration::from_secs(1));
    let (sender, mut published) = queue();
    let topics = Topics::new("1", Vec::new()).unwrap();
    let (ends, _ended) = mpsc::channel(16);
    let (rollouts, _task) = Rollouts::new(client, options(), ends);
    let publish = tokio::spawn(rollouts.publish(
        topics,
        Publisher::new(sender),
        KeptRecords::default(),
        CancellationToken::new(),
    ));
    rollouts.clone().restore("x".into(), Err(Refused::TooMany), RetainedUse::Allowed).await;
    assert!(published.publication().is_none(), "it is genuine, perhaps");
    let large = Bytes::from(vec![b' '; MAX_ROLLOUT_RECORD + 1]);
    for record in [Ok(Bytes::from_static(b"{}")), Ok(large), Err(Refused::TooLarge { size: 9 })] {
        rollouts.clone().restore("x".into(), record, RetainedUse::Allowed).await;
        tokio::task::yield_now().await;
        let removed = published.publication().unwrap();
        assert!(removed.retain && removed.payload.is_empty());
        assert_eq!(removed.topic, "vehicle/1/manifest/apply/x/rollout");
    }
    publish.abort();
}

/// An apply of a revision that is taken back when it fails.
/// A revision that is taken back if it fails, with a workload that has this restart policy.
fn trial(policy: RestartPolicy) -> FollowedUpdate {
    FollowedUpdate {
        revision: Some(7),
        is_trial: true,
        must_be_stable: true,
        restarted: [("w".to_owned(), policy)].into(),
        ..rollout("r", &["w.1.a"])
    }
}

const ENDED: Option<ExecutionStateEnum> = Some(ExecutionStateEnum::Succeeded(0));

#[tokio::test(start_paused = true)]
async fn a_trial_succeeds_when_its_workloads_have_stayed_up() {
    let (mut tracker, mut published) = tracker();
    tracker.start(trial(RestartPolicy::Always));
    let instances = [("a", "w", "1")];
    tracker.observe(&snapshot(state(&instances, RUNNING, None)));
    assert_eq!(statuses(&mut published), ["in_progress"]);
    pass(&mut tracker, STABLE_TIME - Duration::from_millis(1)).await;
    assert_eq!(published.ended(), []);
    // It is started again: the time begins anew.
    tracker.observe(&event(state(&instances, FAILED, None), &[]));
    tracker.observe(&event(state(&instances, RUNNING, None), &[]));
    pass(&mut tracker, STABLE_TIME - Duration::from_millis(1)).await;
    assert_eq!(published.ended(), []);
    pass(&mut tracker, Duration::from_millis(1)).await;
    assert_eq!(published.ended(), [(7, RolloutStatus::Succeeded)]);
    assert_eq!(statuses(&mut published).last().map(String::as_str), Some("succeeded"));
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_ends_for_the_third_time_has_failed() {
    let instances = [("a", "w", "1")];
    for end in [FAILED, ENDED] {
        let (mut tracker, mut published) = tracker();
        tracker.start(trial(RestartPolicy::Always));
        tracker.observe(&snapshot(state(&instances, PENDING, None)));
        for count in 1..=3 {
            assert_eq!(published.ended(), [], "{count}");
            tracker.observe(&event(state(&instances, RUNNING, None), &[]));
            tracker.observe(&event(state(&instances, end, None), &[]));
            // A second event about the same end.
            tracker.observe(&event(state(&instances, None, Some("more")), &[]));
        }
        assert_eq!(published.ended(), [(7, RolloutStatus::Failed)]);
        assert!(!statuses(&mut published).contains(&"failed".to_owned()), "it is not over");
        tracker.handle(RolloutCommand::RollingBack { revision: 7, request_id: "r".into() });
        let result = Err("no".to_owned());
        tracker.handle(RolloutCommand::RolledBack { revision: 7, request_id: "r".into(), result });
        let messages = messages(&mut published);
        let last = &messages[messages.len() - 2..];
        assert_eq!(
            (&last[0]["status"], &last[1]["status"]),
            (&json!("rolling_back"), &json!("rollback_failed"))
        );
        assert_eq!((&last[1]["reason"], &last[1]["request_id"]), (&json!("no"), &json!("r")));
        assert_eq!(last[1]["workloads"][0]["workload_name"], json!("w"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_is_not_started_again_fails_at_once_and_may_succeed() {
    let instances = [("a", "w", "1")];
    for (end, status) in [(FAILED, RolloutStatus::Failed), (ENDED, RolloutStatus::Succeeded)] {
        let (mut tracker, mut published) = tracker();
        tracker.start(trial(RestartPolicy::Never));
        tracker.observe(&snapshot(state(&instances, end, None)));
        pass(&mut tracker, STABLE_TIME).await;
        assert_eq!(published.ended(), [(7, status)]);
    }
}

/// Ankaios starts it again after a failure, but not after a success.
#[tokio::test(start_paused = true)]
async fn a_job_that_is_started_again_only_after_failures_may_succeed() {
    let instances = [("a", "w", "1")];
    let (mut tracker, mut published) = tracker();
    tracker.start(trial(RestartPolicy::OnFailure));
    tracker.observe(&snapshot(state(&instances, FAILED, None)));
    tracker.observe(&event(state(&instances, RUNNING, None), &[]));
    tracker.observe(&event(state(&instances, ENDED, None), &[]));
    pass(&mut tracker, STABLE_TIME - Duration::from_millis(1)).await;
    assert_eq!(published.ended(), []);
    pass(&mut tracker, Duration::from_millis(1)).await;
    assert_eq!(published.ended(), [(7, RolloutStatus::Succeeded)]);

    let (mut tracker, mut published) = self::tracker();
    tracker.start(trial(RestartPolicy::OnFailure));
    tracker.observe(&snapshot(state(&instances, RUNNING, None)));
    for _ in 0..3 {
        assert_eq!(published.ended(), []);
        tracker.observe(&event(state(&instances, FAILED, None), &[]));
        tracker.observe(&event(state(&instances, PENDING, None), &[]));
    }
    assert_eq!(published.ended(), [(7, RolloutStatus::Failed)]);
}

#[tokio::test(start_paused = true)]
async fn without_a_trial_a_workload_settles_when_it_runs() {
    let (mut tracker, mut published) = tracker();
    tracker.start(FollowedUpdate { revision: Some(3), ..rollout("r", &["w.1.a"]) });
    tracker.observe(&snapshot(state(&[("a", "w", "1")], RUNNING, None)));
    assert_eq!(published.ended(), [(3, RolloutStatus::Succeeded)]);
    tracker.start(FollowedUpdate { revision: Some(4), ..delete(["w.1.a".to_owned()]) });
    assert_eq!(published.ended(), [(4, RolloutStatus::Succeeded)]);
    assert_eq!(statuses(&mut published), ["succeeded"], "a deletion has no messages");
}

#[tokio::test(start_paused = true)]
async fn workloads_that_have_succeeded_are_watched_until_they_have_stayed_up() {
    let instances = [("a", "w", "1")];
    let end = |is_stable| RolloutEnded { revision: 3, status: RolloutStatus::Succeeded, is_stable };
    for stays_up in [true, false] {
        let (mut tracker, mut published) = tracker();
        tracker.start(FollowedUpdate { revision: Some(3), ..rollout("r", &["w.1.a"]) });
        tracker.observe(&snapshot(state(&instances, RUNNING, None)));
        assert_eq!(published.ends(), [end(false)]);
        assert_eq!(statuses(&mut published), ["succeeded"]);
        if !stays_up {
            tracker.observe(&event(state(&instances, FAILED, None), &[]));
        }
        pass(&mut tracker, STABLE_TIME).await;
        assert_eq!(published.ends(), if stays_up { vec![end(true)] } else { vec![] });
        assert_eq!(statuses(&mut published), [] as [String; 0], "its end was published");
        assert!(tracker.rollouts.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_after_a_restart_has_messages_without_workloads() {
    let (mut tracker, mut published) = tracker();
    tracker.handle(RolloutCommand::RollingBack { revision: 7, request_id: "r".into() });
    let result = Ok(());
    tracker.handle(RolloutCommand::RolledBack { revision: 7, request_id: "r".into(), result });
    let messages = messages(&mut published);
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[1], json!({"request_id": "r", "status": "rolled_back", "workloads": []}));
}

/// The record of the rollout of revision 7.
fn record_of_revision() -> RolloutRecord {
    let mut record = record();
    record.revision = Some(7);
    record
}

/// The update of revision 7 as the store resumes it.
fn resumed() -> FollowedUpdate {
    FollowedUpdate { revision: Some(7), ..apply("r", &["w"], &[]) }
}

/// Whether the record with the id `0a` was removed, and nothing else was retained.
fn is_record_removed(published: &mut Published) -> bool {
    let retained: Vec<_> = std::iter::from_fn(|| published.publication())
        .filter(|publication| publication.retain)
        .collect();
    let [publication] = &retained[..] else { return false };
    publication.topic == "vehicle/1/manifest/apply/0a/rollout" && publication.payload.is_empty()
}

#[tokio::test(start_paused = true)]
async fn a_record_of_a_rollout_that_the_store_knows_belongs_to_it() {
    for record_first in [false, true] {
        let (mut tracker, mut published) = tracker();
        if record_first {
            tracker.restore("0a".into(), record_of_revision(), 100);
            assert_eq!(tracker.rollouts.len(), 0);
        }
        tracker.start(resumed());
        if !record_first {
            tracker.restore("0a".into(), record_of_revision(), 100);
        }
        tracker.restore("0a".into(), record_of_revision(), 100);
        assert_eq!(tracker.rollouts.len(), 1);
        tracker.observe(&snapshot(state(&[("a", "w", "1")], RUNNING, None)));
        assert_eq!(published.ended(), [(7, RolloutStatus::Succeeded)]);
        assert!(is_record_removed(&mut published));
    }
}

#[tokio::test(start_paused = true)]
async fn the_record_of_a_revision_does_not_let_it_succeed_before_its_time() {
    let (mut tracker, mut published) = tracker();
    tracker.restore("0a".into(), record_of_revision(), 100);
    tracker.start(FollowedUpdate { must_be_stable: true, is_trial: true, ..resumed() });
    tracker.observe(&snapshot(state(&[("a", "w", "1")], RUNNING, None)));
    assert_eq!(statuses(&mut published), ["in_progress"]);
    pass(&mut tracker, STABLE_TIME).await;
    assert_eq!(statuses(&mut published), ["succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_rollout_in_an_earlier_process_is_published() {
    for record_first in [false, true] {
        let (mut tracker, mut published) = tracker();
        if record_first {
            tracker.restore("0a".into(), record_of_revision(), 100);
        }
        let status = RolloutStatus::TimedOut;
        tracker.handle(RolloutCommand::Ended { revision: 7, status });
        if !record_first {
            tracker.restore("0a".into(), record_of_revision(), 100);
        }
        let publications: Vec<_> = std::iter::from_fn(|| published.publication()).collect();
        assert_eq!(publications.len(), 2);
        let message: Value = serde_json::from_slice(&publications[0].payload).unwrap();
        assert_eq!(
            (&message["status"], &message["request_id"]),
            (&json!("timed_out"), &json!("r"))
        );
        assert!(publications[1].retain && publications[1].payload.is_empty());
        assert_eq!(published.ended(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_trial_keeps_its_record_until_it_is_rolled_back() {
    let (mut tracker, mut published) = tracker();
    tracker.restore("0a".into(), record_of_revision(), 100);
    tracker.handle(RolloutCommand::RollingBack { revision: 7, request_id: "r".into() });
    let rolling_back = messages(&mut published);
    assert_eq!(rolling_back[0]["workloads"][0]["workload_name"], json!("w"));
    let result = Ok(());
    tracker.handle(RolloutCommand::RolledBack { revision: 7, request_id: "r".into(), result });
    assert!(is_record_removed(&mut published));
}

/// The progress of a deletion is not published, but that it is taken back is.
#[tokio::test(start_paused = true)]
async fn the_rollback_of_a_deletion_is_published() {
    let (mut tracker, mut published) = tracker();
    let deletion = delete(["w.1.a".to_owned()]);
    tracker.start(FollowedUpdate { revision: Some(7), is_trial: true, ..deletion });
    assert_eq!(messages(&mut published), [] as [Value; 0]);
    tracker.handle(RolloutCommand::RollingBack { revision: 7, request_id: "r".into() });
    let result = Ok(());
    tracker.handle(RolloutCommand::RolledBack { revision: 7, request_id: "r".into(), result });
    let sent = messages(&mut published);
    let sent: Vec<_> = sent.iter().map(|message| &message["status"]).collect();
    assert_eq!(sent, [&json!("rolling_back"), &json!("rolled_back")]);
}

#[tokio::test(start_paused = true)]
async fn only_the_newest_progress_waits_for_a_slow_session() {
    let (mut tracker, mut published) = tracker();
    tracker.start(rollout("r", &["w.1.a", "v.1.a"]));
    tracker.observe(&snapshot(state(&[("a", "w", "1"), ("a", "v", "1")], PENDING, None)));
    for info in 0..30 {
        let changed = state(&[("a", "w", "1")], PENDING, Some(&info.to_string()));
        tracker.observe(&event(changed, &[]));
        pass(&mut tracker, MIN_INTERVAL).await;
    }
    let messages = messages(&mut published);
    assert!(messages.len() < 20, "{}", messages.len());
    assert_eq!(
        messages[messages.len() - 1]["workloads"][1]["execution_state"]["additional_info"],
        json!("29")
    );
}
