//! Messages of name servers, right and wrong ones.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

const ID: u16 = 0x1234;
const V4: Query<'_> = Query { name: "broker.test", family: Family::V4 };
const V6: Query<'_> = Query { name: "broker.test", family: Family::V6 };

/// A pointer to the name in the question.
const SAME: &[u8] = &[0xc0, 12];

const A: u16 = 1;
const CNAME: u16 = 5;
const TXT: u16 = 16;
const AAAA: u16 = 28;

fn name(text: &str) -> Vec<u8> {
    let labels = text.split('.').map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    [labels.collect::<Vec<_>>().concat(), vec![0]].concat()
}

fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let size = u16::try_from(data.len()).unwrap().to_be_bytes();
    [owner, &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 60], &size, data].concat()
}

/// An answer with these flags and records.
fn answer(query: Query<'_>, flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
    let mut message = query.bytes(ID).unwrap();
    message[2..4].copy_from_slice(&flags.to_be_bytes());
    message[7] = u8::try_from(records.len()).unwrap();
    [message, records.concat()].concat()
}

/// A response with recursion, without an error.
const OK: u16 = 0x8180;

fn found(addresses: &[&str]) -> Option<Reply> {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    Some(Reply::Answer(Outcome::Found(addresses)))
}

fn failure(failure: Failure) -> Option<Reply> {
    Some(Reply::Answer(Outcome::Failure(failure)))
}

#[test]
fn a_query_is_as_in_rfc_1035() {
    let expected =
        [&[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x06broker\x04test\0", &[0, 28, 0, 1]];
    assert_eq!(V6.bytes(ID).unwrap(), expected.concat());
}

#[test]
fn names_that_cannot_be_asked_for_have_no_query() {
    let long = "x".repeat(64);
    let many = ["x".repeat(63).as_str(); 4].join(".");
    for text in ["", ".", "a..b", "a.", ".a", "ä.test", "a b", "a\0b", &long, &many] {
        assert!(Query { name: text, family: Family::V4 }.bytes(ID).is_none(), "{text:?}");
    }
    for text in ["a", "_mqtt.x-y.test", "a\\046b", &many[..253]] {
        assert!(Query { name: text, family: Family::V4 }.bytes(ID).is_some(), "{text:?}");
    }
}

#[test]
fn addresses_are_those_of_the_family_and_the_name() {
    let two = [record(SAME, A, &[192, 0, 2, 1]), record(&name("BROKER.test"), A, &[192, 0, 2, 2])];
    assert_eq!(V4.read(&answer(V4, OK, &two), ID), found(&["192.0.2.1", "192.0.2.2"]));
    let v6 = record(SAME, AAAA, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(V6.read(&answer(V6, OK, std::slice::from_ref(&v6)), ID), found(&["2001:db8::1"]));
    assert_eq!(V4.read(&answer(V4, OK, &[v6]), ID), failure(Failure::NoData));
    let other = record(&name("other.test"), A, &[192, 0, 2, 3]);
    assert_eq!(V4.read(&answer(V4, OK, &[other]), ID), failure(Failure::NoData));
    let many = vec![record(SAME, A, &[192, 0, 2, 1]); 200];
    let Some(Reply::Answer(Outcome::Found(many))) = V4.read(&answer(V4, OK, &many), ID) else {
        unreachable!();
    };
    assert_eq!(many.len(), MAX_ADDRESSES);
}

#[test]
fn aliases_are_followed_in_any_order() {
    let first = record(SAME, CNAME, &name("a.test"));
    let second = record(&name("a.test"), CNAME, &name("b.test"));
    let address = record(&name("B.test"), A, &[192, 0, 2, 1]);
    let text = record(SAME, TXT, b"\x01x");
    let records = [address.clone(), second.clone(), text, first.clone()];
    assert_eq!(V4.read(&answer(V4, OK, &records), ID), found(&["192.0.2.1"]));
    // Without the address of the last one.
    assert_eq!(V4.read(&answer(V4, OK, &[first.clone(), second]), ID), failure(Failure::NoData));
    let circle = record(&name("a.test"), CNAME, &name("broker.test"));
    let records = [first.clone(), circle];
    assert_eq!(V4.read(&answer(V4, OK, &records), ID), failure(Failure::NoData));
    assert_eq!(V4.read(&answer(V4, OK | 3, &[first]), ID), failure(Failure::NoName));
}

#[test]
fn codes_decide() {
    let complaint = |complaint| Some(Reply::Complaint(complaint));
    for (flags, expected) in [
        (OK, failure(Failure::NoData)),
        (OK | 1, complaint(Complaint::Refused)),
        (OK | 2, complaint(Complaint::Failed)),
        (OK | 3, failure(Failure::NoName)),
        (OK | 4, complaint(Complaint::Refused)),
        (OK | 5, complaint(Complaint::Refused)),
        (OK | 6, complaint(Complaint::Failed)),
        (OK | 15, complaint(Complaint::Failed)),
        (OK | 0x200, Some(Reply::Truncated)),
        (OK | 0x200 | 2, complaint(Complaint::Failed)),
        // Neither authoritative nor recursive.
        (0x8100, complaint(Complaint::Failed)),
        (0x8500, failure(Failure::NoData)),
        // The reserved bit means nothing.
        (OK | 0x40, failure(Failure::NoData)),
    ] {
        assert_eq!(V4.read(&answer(V4, flags, &[]), ID), expected, "{flags:x}");
    }
}

#[test]
fn what_is_no_answer_to_the_question_is_ignored() {
    let right = answer(V4, OK, &[record(SAME, A, &[192, 0, 2, 1])]);
    assert!(V4.read(&right, ID).is_some());
    assert_eq!(V4.read(&right, ID + 1), None);
    assert_eq!(V6.read(&right, ID), None);
    assert_eq!(Query { name: "broker.tess", ..V4 }.read(&right, ID), None);
    // A query, another operation, two questions, another class.
    for (index, byte) in [(2, 1), (2, 0x91), (5, 2), (4, 0xff), (28, 3)] {
        let mut wrong = right.clone();
        wrong[index] = byte;
        assert_eq!(V4.read(&wrong, ID), None, "{index}");
    }
    // Only an error need not repeat the question.
    let header = |code: u8| [0x12, 0x34, 0x81, 0x80 | code, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(V4.read(&header(1), ID), Some(Reply::Complaint(Complaint::Refused)));
    for code in [0, 3] {
        assert_eq!(V4.read(&header(code), ID), None);
    }
}

#[test]
fn only_the_answers_are_read() {
    let mut message = answer(V4, OK, &[record(SAME, A, &[192, 0, 2, 1])]);
    message[8..12].fill(0xff);
    message.extend([0xff; 40]);
    assert_eq!(V4.read(&message, ID), found(&["192.0.2.1"]));
}

#[test]
fn broken_answers_to_the_right_question_are_a_failure_of_the_name_server() {
    let failed = Some(Reply::Complaint(Complaint::Failed));
    let mut many = answer(V4, OK, &[record(SAME, A, &[192, 0, 2, 1])]);
    many[6..8].fill(0xff);
    assert_eq!(V4.read(&many, ID), failed);
    let short = record(SAME, A, &[192, 0]);
    assert_eq!(V4.read(&answer(V4, OK, &[short]), ID), failed);
    // The name of the record points to itself, and behind itself.
    let end = u8::try_from(V4.bytes(ID).unwrap().len()).unwrap();
    for target in [end, end + 1, end + 20, 0xff] {
        let circle = record(&[0xc0, target], A, &[192, 0, 2, 1]);
        assert_eq!(V4.read(&answer(V4, OK, &[circle]), ID), failed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_read(message in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = V4.read(&message, message.first_chunk().map_or(0, |id| u16::from_be_bytes(*id)));
    }

    /// Headers and questions that are right, then anything.
    #[test]
    fn any_records_are_read(
        count in any::<u16>(),
        flags in prop_oneof![Just(OK), any::<u16>()],
        records in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut message = answer(V4, flags, &[records]);
        message[6..8].copy_from_slice(&count.to_be_bytes());
        let _ = V4.read(&message, ID);
    }

    /// Records of any type that are well-formed from the outside.
    #[test]
    fn any_data_is_read(
        records in proptest::collection::vec(
            (0_u16..270, proptest::collection::vec(any::<u8>(), 0..60), any::<bool>()),
            0..12,
        )
    ) {
        let records: Vec<_> = records
            .into_iter()
            .map(|(kind, data, is_same)| {
                let owner = if is_same { SAME.to_vec() } else { name("a.b") };
                record(&owner, kind, &data)
            })
            .collect();
        let _ = V4.read(&answer(V4, OK, &records), ID);
    }

    /// A right answer in which some bytes are others, or which ends early.
    #[test]
    fn damaged_answers_are_read(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        end in any::<prop::sample::Index>(),
    ) {
        let records = [
            record(SAME, CNAME, &name("a.test")),
            record(&name("a.test"), A, &[192, 0, 2, 1]),
            record(&[0xc0, 0x29], A, &[192, 0, 2, 2]),
        ];
        let mut message = answer(V4, OK, &records);
        for (index, byte) in changes {
            let index = index.index(message.len());
            message[index] = byte;
        }
        message.truncate(end.index(message.len() + 1));
        let _ = V4.read(&message, ID);
    }
}
