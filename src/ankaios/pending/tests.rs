use std::time::Duration;

use tokio::sync::watch;

use super::*;
use crate::ankaios::buffer::{Budget, Consumer, Item, buffer};
use crate::ankaios::client::Client;
use crate::ankaios::held::MAX_HELD;
use crate::ankaios::metrics::Metrics;
use crate::ankaios::status::LinkStatus;
use crate::proto::ank_base::{CompleteStateResponse, EventsCancelAccepted};

fn answer(pending: &Pending, id: &str, content: ResponseContent, size: usize) -> bool {
    pending.answer(id, content, size, SystemTime::now())
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
    let (producer, consumer) = buffer(&Budget::default());
    pending.add_stream(number, Bytes::new(), producer, None);
    (number, id, consumer)
}

/// Writes everything, and returns what that is.
fn write_all(pending: &Pending) -> Vec<u64> {
    let next = || pending.first_unwritten().map(|(number, _)| number);
    std::iter::from_fn(|| next().inspect(|&number| assert!(pending.written(number)))).collect()
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
fn answers_to_another_process_are_nobodys() {
    let pending = Pending::new();
    let (_, id, _receiver) = add(&pending, Kind::Read);
    let (_, foreign) = Pending::new().next_id();
    for unknown in [foreign.as_str(), "0", "", &id[1..], &format!("{id}9")] {
        assert!(!answer(&pending, unknown, content(), 0), "{unknown}");
    }
    assert!(answer(&pending, &id, content(), 0));
}

#[test]
fn what_a_lost_session_has_not_answered_is_written_again_before_anything_newer() {
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
fn there_is_an_end_to_the_answers_that_are_worked_on() {
    let pending = Pending::new();
    let size = MAX_HELD / 2 + 1;
    let mut requests: Vec<_> = (0..3).map(|_| add(&pending, Kind::Read)).collect();
    assert!(answer(&pending, &requests[0].1, content(), 2 * MAX_HELD));
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
    assert_eq!(pending.write_again(), 3);
    assert!(pending.written(first));
    // Ankaios has carried out the first, the second and will now do so with the first again.
    assert!(answer(&pending, &first_id, content(), 0));
    assert!(answer(&pending, &id, content(), 0));
    assert!(first_receiver.try_recv().unwrap().is_ok());
    assert!(receiver.try_recv().is_err());
    assert_eq!(write_all(&pending), [second, third]);
    assert!(answer(&pending, &id, content(), 0));
    assert!(receiver.try_recv().unwrap().is_ok());
}

#[test]
fn what_has_ended_is_not_written() {
    let pending = Pending::new();
    let (number, id, _receiver) = add(&pending, Kind::Update);
    write_all(&pending);
    pending.write_again();
    answer(&pending, &id, content(), 0);
    assert!(!pending.written(number));
    assert_eq!(pending.silent_since(), None);
}

#[test]
fn an_update_that_may_have_been_carried_out_says_so_when_it_ends() {
    let pending = Pending::new();
    let is_in_doubt = |error: Option<RequestError>| match error {
        Some(RequestError::Unavailable(reason)) => {
            assert!(reason.starts_with("away"), "{reason}");
            reason.contains("may have been carried out")
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
        requests.iter().for_each(|(number, ..)| assert!(pending.written(*number)));
        assert!(!is_in_doubt(expired(unsent)));
        pending.write_again();
        assert_eq!(is_in_doubt(expired(requests[0].0)), in_doubt);
        pending.fail_all("away");
        assert_eq!(is_in_doubt(requests[1].2.try_recv().unwrap().err()), in_doubt);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_on_its_way_when_the_time_is_over_arrives() {
    let pending = Arc::new(Pending::new());
    let timeout = Duration::from_secs(5);
    let status = watch::channel(LinkStatus::Connected).1;
    let client = Client::new(Arc::clone(&pending), status, timeout, Metrics::default());
    let call = client.state(Vec::new()).await.unwrap();
    let [number] = write_all(&pending)[..] else { panic!("one request") };
    let answering = async {
        // The reader takes it out of the table, and gets no time for a while.
        let request = pending.table().remove(number).unwrap();
        tokio::time::sleep(2 * timeout).await;
        let content = ResponseContent::CompleteStateResponse(CompleteStateResponse::default());
        let Answers::One(answer) = request.answer else { panic!("one answer") };
        answer.send(Ok((content, Held::new(0, &pending.held).unwrap()))).unwrap();
    };
    let (answer, ()) = tokio::join!(call.answer(), answering);
    answer.unwrap();
    assert!(!pending.is_overdue());
}

#[test]
fn a_stream_that_is_answered_late_is_cancelled_when_nobody_wants_it() {
    let pending = Pending::new();
    let (number, id, _consumer) = add_stream(&pending);
    write_all(&pending);
    pending.write_again();
    assert!(answer(&pending, &id, content(), 0));
    assert_eq!(write_all(&pending), [0u64; 0]);
    pending.cancel(number, Bytes::from_static(b"cancel"));
    assert_eq!(pending.first_unwritten().unwrap().1, "cancel");
}

#[test]
fn what_is_answered_late_is_not_written_again() {
    let pending = Pending::new();
    let (_, id, _receiver) = add(&pending, Kind::Read);
    write_all(&pending);
    pending.begin_session();
    answer(&pending, &id, content(), 0);
    assert_eq!(write_all(&pending), [0u64; 0]);
}

#[test]
fn only_a_stream_that_ankaios_knows_of_is_cancelled() {
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
    // A new session knows of none.
    pending.begin_session();
    assert_eq!(write_all(&pending), [0u64; 0]);
}

#[test]
fn a_stream_that_is_given_up_is_cancelled_unless_its_session_has_ended() {
    for session_ends in [false, true] {
        let pending = Pending::new();
        let (number, id, mut consumer) = add_stream(&pending);
        write_all(&pending);
        assert!(answer(&pending, &id, content(), 0));
        if session_ends {
            assert_eq!(pending.begin_session(), 0);
        } else {
            pending.give_up_streams();
            assert_eq!(pending.write_again(), 0);
        }
        assert!(!answer(&pending, &id, content(), 0), "nobody waits for it");
        assert_eq!(consumer.try_next(), Some(Item::Message(content())));
        assert_eq!(consumer.try_next(), Some(Item::End(None)));
        pending.cancel(number, Bytes::from_static(b"cancel"));
        assert_eq!(pending.first_unwritten().is_some(), !session_ends);
        // What is to be written in the same session is not forgotten.
        pending.write_again();
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
async fn there_is_an_end_to_what_may_wait() {
    let pending = Pending::new();
    let mut receivers = Vec::new();
    for _ in 0..MAX_UNWRITTEN {
        let place = pending.place().await;
        let (number, _) = pending.next_id();
        receivers.push(pending.add(number, Bytes::new(), Kind::Read, place));
    }
    let full = tokio::time::timeout(Duration::from_secs(1), pending.place()).await;
    assert!(full.is_err());
    pending.remove(7);
    assert!(pending.place().await.is_some());
}

#[test]
fn the_silence_outlasts_the_requests_that_were_given_up() {
    let pending = Pending::new();
    assert!(pending.silent_since().is_none());
    let (first, _, _receiver) = add(&pending, Kind::Read);
    write_all(&pending);
    let since = pending.silent_since().unwrap();
    assert!(matches!(pending.expire(first, "away"), Expired::Unanswered));
    assert!(pending.silent_since().is_none());
    pending.set_overdue();
    let _second = add(&pending, Kind::Read);
    write_all(&pending);
    assert!(pending.silent_since().unwrap() <= since);
    assert!(pending.heard());
    assert!(pending.silent_since().is_none_or(|again| again >= since));
}

#[test]
fn any_answer_ends_the_suspicion_that_nothing_is_answered() {
    let pending = Pending::new();
    pending.set_overdue();
    assert!(pending.is_overdue());
    assert!(pending.heard());
    assert!(!pending.is_overdue());
}
