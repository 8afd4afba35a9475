use std::time::Duration;

use ankaios_model::proto::ank_base::{
    CompleteStateResponse, EventsCancelAccepted, UpdateStateSuccess,
};
use tokio::sync::watch;

use super::*;
use crate::answer_memory::MAX_ANSWERS;
use crate::buffer::{Buffers, Consumer, Item};
use crate::client::Client;
use crate::metrics::LinkMetrics;
use crate::status::LinkStatus;

fn answer(pending: &Pending, id: &str, content: ResponseContent, size: usize) -> bool {
    pending.answer(id, content, size, Moment::now())
}

fn content() -> ResponseContent {
    ResponseContent::EventsCancelAccepted(EventsCancelAccepted {})
}

fn add(pending: &Pending, kind: Kind) -> (u64, String, oneshot::Receiver<Answer>) {
    let (number, id) = pending.next_id();
    let receiver = pending.add(number, Bytes::new(), kind, None);
    (number, id, receiver)
}

fn add_stream(pending: &Pending) -> (u64, String, Consumer) {
    let (number, id) = pending.next_id();
    let (producer, consumer) = Buffers::default().add();
    pending.add_stream(number, Bytes::new(), producer, None);
    (number, id, consumer)
}

/// Writes all requests, and returns their numbers.
fn write_all(pending: &Pending) -> Vec<u64> {
    let next = || pending.first_unwritten().map(|(number, _)| number);
    std::iter::from_fn(|| next().inspect(|&number| assert!(pending.mark_written(number)))).collect()
}

#[test]
fn an_answer_reaches_its_request_once() {
    let pending = Pending::new();
    let (_, id, mut receiver) = add(&pending, Kind::Read);
    assert!(answer(&pending, &id, content(), 0));
    assert!(!answer(&pending, &id, content(), 0));
    assert!(receiver.try_recv().unwrap().is_ok());
}

#[test]
fn answers_to_another_process_are_not_delivered() {
    let pending = Pending::new();
    let (_, id, _receiver) = add(&pending, Kind::Read);
    let (_, foreign) = Pending::new().next_id();
    for unknown in [foreign.as_str(), "0", "", &id[1..], &format!("{id}9")] {
        assert!(!answer(&pending, unknown, content(), 0), "{unknown}");
    }
    assert!(answer(&pending, &id, content(), 0));
}

#[test]
fn what_a_lost_session_has_not_answered_is_repeated_before_anything_newer() {
    let pending = Pending::new();
    let old: Vec<_> = (0..4).map(|_| add(&pending, Kind::Update)).collect();
    assert_eq!(write_all(&pending), [0, 1, 2, 3]);
    let _new = add(&pending, Kind::Read);
    pending.remove(old[1].0);
    assert_eq!(pending.begin_session(), 3);
    assert_eq!(write_all(&pending), [0, 2, 3, 4]);
    assert_eq!(write_all(&pending), [0u64; 0]);
}

#[test]
fn the_memory_of_answers_in_use_is_limited() {
    let pending = Pending::new();
    let size = MAX_ANSWERS / 2 + 1;
    let mut requests: Vec<_> = (0..3).map(|_| add(&pending, Kind::Read)).collect();
    assert!(answer(&pending, &requests[0].1, content(), 2 * MAX_ANSWERS));
    let first = requests[0].2.try_recv().unwrap();
    assert!(first.is_ok());
    assert!(answer(&pending, &requests[1].1, content(), size));
    assert!(matches!(requests[1].2.try_recv().unwrap(), Err(RequestError::Unavailable(_))));
    drop(first);
    assert!(answer(&pending, &requests[2].1, content(), size));
    assert!(requests[2].2.try_recv().unwrap().is_ok());
}

#[test]
fn an_update_is_not_repeated_after_a_later_one_was_carried_out() {
    let pending = Pending::new();
    let (_, _, mut first) = add(&pending, Kind::Update);
    let _read = add(&pending, Kind::Read);
    let (_, id, _second) = add(&pending, Kind::Update);
    let _third = add(&pending, Kind::Update);
    write_all(&pending);
    answer(&pending, &id, content(), 0);
    assert_eq!(pending.begin_session(), 2);
    assert_eq!(write_all(&pending), [1, 3]);
    assert!(matches!(first.try_recv().unwrap(), Err(RequestError::Unavailable(_))));
}

#[test]
fn an_update_is_not_repeated_after_a_later_one_was_answered_late() {
    let pending = Pending::new();
    let (_, _, mut first) = add(&pending, Kind::Update);
    let (_, id, _second) = add(&pending, Kind::Update);
    write_all(&pending);
    assert_eq!(pending.begin_session(), 2);
    let (_, _, mut new) = add(&pending, Kind::Update);
    answer(&pending, &id, content(), 0);
    assert_eq!(write_all(&pending), [2]);
    assert!(matches!(first.try_recv().unwrap(), Err(RequestError::Unavailable(_))));
    assert!(new.try_recv().is_err());
}

#[test]
fn an_update_that_an_earlier_one_may_have_undone_is_repeated_although_it_was_answered() {
    let pending = Pending::new();
    let (first, first_id, mut first_receiver) = add(&pending, Kind::Update);
    let (second, id, mut receiver) = add(&pending, Kind::Update);
    let (third, _, _third_receiver) = add(&pending, Kind::Update);
    write_all(&pending);
    assert_eq!(pending.requeue(), 3);
    assert!(pending.mark_written(first));
    // Ankaios has carried out the first and the second, and now carries out the first again.
    assert!(answer(&pending, &first_id, content(), 0));
    assert!(answer(&pending, &id, content(), 0));
    assert!(first_receiver.try_recv().unwrap().is_ok());
    assert!(receiver.try_recv().is_err());
    assert_eq!(write_all(&pending), [second, third]);
    assert!(answer(&pending, &id, content(), 0));
    assert!(receiver.try_recv().unwrap().is_ok());
}

#[test]
fn a_completed_request_is_not_written() {
    let pending = Pending::new();
    let (number, id, _receiver) = add(&pending, Kind::Update);
    write_all(&pending);
    pending.requeue();
    answer(&pending, &id, content(), 0);
    assert!(!pending.mark_written(number));
    assert_eq!(pending.silent_since(), None);
}

#[test]
fn an_update_that_may_have_been_carried_out_says_so_when_it_ends() {
    let pending = Pending::new();
    let is_in_doubt = |error: Option<RequestError>| match error {
        Some(RequestError::Unavailable(reason)) => {
            assert!(reason.starts_with("away"), "{reason}");
            reason.contains("may have been executed")
        }
        other => panic!("{other:?}"),
    };
    let expired = |number| match pending.expire(number, "away") {
        Expired::Unavailable(error) => Some(error),
        other => panic!("{other:?}"),
    };
    for (kind, in_doubt) in [(Kind::Read, false), (Kind::Update, true)] {
        let mut requests: Vec<_> = (0..3).map(|_| add(&pending, kind)).collect();
        let (unsent, ..) = requests.pop().unwrap();
        requests.iter().for_each(|(number, ..)| assert!(pending.mark_written(*number)));
        assert!(!is_in_doubt(expired(unsent)));
        pending.requeue();
        assert_eq!(is_in_doubt(expired(requests[0].0)), in_doubt);
        pending.fail_all("away");
        assert_eq!(is_in_doubt(requests[1].2.try_recv().unwrap().err()), in_doubt);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_at_the_moment_of_the_timeout_is_delivered() {
    let pending = Arc::new(Pending::new());
    let timeout = Duration::from_secs(5);
    let status = watch::channel(LinkStatus::Connected).1;
    let client = Client::new(Arc::clone(&pending), status, timeout, LinkMetrics::default());
    let call = client.state(Vec::new()).await.unwrap();
    let [number] = write_all(&pending)[..] else { panic!("one request") };
    let answering = async {
        // The reader takes it out of the table, and is then delayed.
        let request = pending.table().remove(number).unwrap();
        tokio::time::sleep(2 * timeout).await;
        let content = ResponseContent::CompleteStateResponse(CompleteStateResponse::default());
        let Recipient::Call(answer) = request.recipient else { panic!("one answer") };
        answer.send(Ok((content, pending.answer_memory.try_acquire(0).unwrap()))).unwrap();
    };
    let (answer, ()) = tokio::join!(call.answer(), answering);
    answer.unwrap();
    assert!(!pending.is_unresponsive());
}

#[test]
fn a_stream_that_is_answered_late_is_cancelled_when_it_is_dropped() {
    let pending = Pending::new();
    let (number, id, _consumer) = add_stream(&pending);
    write_all(&pending);
    pending.requeue();
    assert!(answer(&pending, &id, content(), 0));
    assert_eq!(write_all(&pending), [0u64; 0]);
    pending.cancel(number, Bytes::from_static(b"cancel"));
    assert_eq!(pending.first_unwritten().unwrap().1, "cancel");
}

#[test]
fn a_request_that_is_answered_late_is_not_repeated() {
    let pending = Pending::new();
    let (_, id, _receiver) = add(&pending, Kind::Read);
    write_all(&pending);
    pending.begin_session();
    answer(&pending, &id, content(), 0);
    assert_eq!(write_all(&pending), [0u64; 0]);
}

#[test]
fn only_a_stream_that_ankaios_knows_is_cancelled() {
    let pending = Pending::new();
    for written in [false, true] {
        let (number, _, _consumer) = add_stream(&pending);
        if written {
            write_all(&pending);
        }
        pending.cancel(number, Bytes::from_static(b"cancel"));
        let next = pending.first_unwritten().map(|(_, frame)| frame);
        assert_eq!(next.as_deref(), written.then_some(&b"cancel"[..]));
    }
    // A new session knows no streams.
    pending.begin_session();
    assert_eq!(write_all(&pending), [0u64; 0]);
}

#[test]
fn an_abandoned_stream_is_cancelled_unless_its_session_has_ended() {
    for session_ends in [false, true] {
        let pending = Pending::new();
        let (number, id, mut consumer) = add_stream(&pending);
        write_all(&pending);
        assert!(answer(&pending, &id, content(), 0));
        if session_ends {
            assert_eq!(pending.begin_session(), 0);
        } else {
            pending.abandon_streams();
            assert_eq!(pending.requeue(), 0);
        }
        assert!(!answer(&pending, &id, content(), 0), "nobody waits for it");
        assert_eq!(consumer.try_next(), Some(Item::Message(content())));
        assert_eq!(consumer.try_next(), Some(Item::End(None)));
        pending.cancel(number, Bytes::from_static(b"cancel"));
        assert_eq!(pending.first_unwritten().is_some(), !session_ends);
        // The cancellation stays queued in the same session.
        pending.requeue();
        assert_eq!(pending.first_unwritten().is_some(), !session_ends);
    }
}

#[test]
fn a_stream_that_has_not_been_answered_in_time_is_cancelled() {
    let pending = Pending::new();
    let (number, _, _consumer) = add_stream(&pending);
    assert!(!pending.is_unanswered(number));
    write_all(&pending);
    assert!(pending.is_unanswered(number));
    pending.cancel(number, Bytes::new());
    assert_eq!(write_all(&pending).len(), 1);
    pending.begin_session();
    assert_eq!(write_all(&pending), [0u64; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_unwritten_requests_is_limited() {
    let pending = Pending::new();
    let mut receivers = Vec::new();
    for _ in 0..MAX_UNWRITTEN {
        let slot = pending.acquire_slot().await;
        let (number, _) = pending.next_id();
        receivers.push(pending.add(number, Bytes::new(), Kind::Read, slot));
    }
    let full = tokio::time::timeout(Duration::from_secs(1), pending.acquire_slot()).await;
    assert!(full.is_err());
    pending.remove(7);
    assert!(pending.acquire_slot().await.is_some());
}

#[test]
fn the_silence_outlasts_requests_that_have_expired() {
    let pending = Pending::new();
    assert!(pending.silent_since().is_none());
    let (first, _, _receiver) = add(&pending, Kind::Read);
    write_all(&pending);
    let since = pending.silent_since().unwrap();
    assert!(matches!(pending.expire(first, "away"), Expired::Unanswered));
    assert!(pending.silent_since().is_none());
    pending.mark_unresponsive();
    let _second = add(&pending, Kind::Read);
    write_all(&pending);
    assert!(pending.silent_since().unwrap() <= since);
    assert!(pending.record_answer());
    assert!(pending.silent_since().is_none_or(|again| again >= since));
}

#[test]
fn any_answer_shows_that_ankaios_is_responsive() {
    let pending = Pending::new();
    pending.mark_unresponsive();
    assert!(pending.is_unresponsive());
    assert!(pending.record_answer());
    assert!(!pending.is_unresponsive());
}

fn state_of(mask: &str) -> Subject {
    Subject::State(vec![mask.to_owned()])
}

#[tokio::test(start_paused = true)]
async fn a_request_that_may_have_broken_the_connection_is_not_repeated() {
    let pending = Pending::new();
    // The agent needs a second to connect again.
    let connection_lost = async || {
        tokio::time::advance(ANSWER_LOST).await;
        pending.connection_lost();
        pending.requeue();
    };
    let request = |subject| {
        let (number, id, receiver) = add(&pending, Kind::Read);
        pending.set_subject(number, subject).map(|()| (number, id, receiver))
    };
    let everything = || Subject::State(Vec::new());
    let (all, _, mut of_all) = request(everything()).unwrap();
    let (agents, _, mut of_agents) = request(state_of("agents")).unwrap();
    let (configs, _, mut of_configs) = request(state_of("desiredState.configs")).unwrap();
    assert_eq!(write_all(&pending), [all, agents, configs]);
    connection_lost().await;
    for receiver in [&mut of_all, &mut of_configs] {
        assert_eq!(receiver.try_recv().unwrap().unwrap_err(), RequestError::AnswerTooLarge);
    }
    // It was not the oldest, and is small.
    assert_eq!(write_all(&pending), [agents]);
    connection_lost().await;
    assert_eq!(write_all(&pending), [agents]);
    connection_lost().await;
    assert_eq!(of_agents.try_recv().unwrap().unwrap_err(), RequestError::AnswerTooLarge);
    // What contains them is not written at all, others are.
    for wider in [everything(), state_of("desiredState"), state_of("*")] {
        assert_eq!(request(wider).map(drop), Err(RequestError::AnswerTooLarge));
    }
    let (narrower, _, _receiver) = request(state_of("desiredState.configs.a")).unwrap();
    assert_eq!(write_all(&pending), [narrower]);
    pending.remove(narrower);
    // Until something is removed.
    let (_, id, _receiver) = request(Subject::Removal).unwrap();
    write_all(&pending);
    let success = ResponseContent::UpdateStateSuccess(UpdateStateSuccess::default());
    assert!(answer(&pending, &id, success, 0));
    let (all, id, _receiver) = request(everything()).unwrap();
    assert_eq!(write_all(&pending), [all]);
    // An answer that was small is requested again.
    let state = ResponseContent::CompleteStateResponse(CompleteStateResponse::default());
    assert!(answer(&pending, &id, state, 1000));
    let (all, _, mut of_all) = request(everything()).unwrap();
    assert_eq!(write_all(&pending), [all]);
    connection_lost().await;
    assert_eq!(write_all(&pending), [all]);
    assert!(of_all.try_recv().is_err());
    // A connection that comes back at once was not lost because of it.
    let (large, _, mut of_large) = request(state_of("effectiveState")).unwrap();
    assert_eq!(write_all(&pending), [large]);
    pending.connection_lost();
    pending.requeue();
    assert_eq!(write_all(&pending), [all, large]);
    assert!(of_large.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_lost_if_a_later_one_arrives_long_after() {
    let pending = Pending::new();
    let (number, _, mut receiver) = add(&pending, Kind::Read);
    pending.set_subject(number, state_of("agents")).unwrap();
    write_all(&pending);
    // Not at once, and not by an earlier request.
    assert!(!pending.overtaken_by(number + 1));
    tokio::time::advance(ANSWER_LOST).await;
    assert!(!pending.overtaken_by(number));
    assert!(pending.overtaken_by(number + 1));
    assert_eq!(write_all(&pending), [number]);
    tokio::time::advance(ANSWER_LOST).await;
    assert!(pending.overtaken_by(number + 2));
    assert_eq!(receiver.try_recv().unwrap().unwrap_err(), RequestError::AnswerTooLarge);
}

#[test]
fn a_request_that_keeps_ankaios_busy_is_repeated_only_a_few_times() {
    let pending = Pending::new();
    let (number, _, _receiver) = add(&pending, Kind::Read);
    assert_eq!(write_all(&pending), [number]);
    for _ in 0..MAX_REPETITIONS {
        assert_eq!(pending.requeue_after_silence(), 1);
        assert_eq!(write_all(&pending), [number]);
    }
    assert_eq!(pending.requeue_after_silence(), 0);
    // A new session knows nothing of it.
    assert_eq!(pending.requeue(), 1);
}
