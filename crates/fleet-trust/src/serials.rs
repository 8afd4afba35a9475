//! Serials: what was accepted for each item, so that nothing older is accepted again.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hex;
use crate::refusal::{Reason, Refusal};

/// Maximum number of items whose serials are kept, and that one request can have.
pub const MAX_ITEMS: usize = 10_000;

/// The newest accepted request of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serial {
    /// Its serial.
    pub serial: u64,
    /// Its [digest](crate::Opened::digest).
    #[serde(serialize_with = "write_digest", deserialize_with = "read_digest")]
    pub digest: [u8; 32],
}

/// The serials of the items of a vehicle. An item is what can be changed on its own, for example
/// a workload.
///
/// A request is accepted if for each of its items its serial is higher than that of the newest
/// accepted request, or equal with the same digest: that is a redelivery. One serial for the
/// whole vehicle would refuse a rollout that is delivered after a later one of another workload.
///
/// Serialized, it is what has to be stored, without `min_serial`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serials {
    /// The smallest serial that is accepted for any item.
    #[serde(skip)]
    min_serial: u64,
    /// The smallest serial that is accepted for an item that is not in `items`: higher than all
    /// that were removed.
    floor: u64,
    items: BTreeMap<String, Serial>,
}

impl Serials {
    /// No items.
    #[must_use]
    pub fn new(min_serial: u64) -> Self {
        Self { min_serial, ..Self::default() }
    }

    /// Sets the smallest serial that is accepted: that of the trust file, whenever it is read.
    pub fn set_min_serial(&mut self, min_serial: u64) {
        self.min_serial = min_serial;
    }

    /// The newest accepted request of an item.
    #[must_use]
    pub fn get(&self, item: &str) -> Option<Serial> {
        self.items.get(item).copied()
    }

    /// The items that have a serial.
    pub fn items(&self) -> impl Iterator<Item = &str> {
        self.items.keys().map(String::as_str)
    }

    /// The number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are no items.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Checks a request, and changes nothing. An item without a serial accepts every serial from
    /// `min_serial` on, and from above the serials of the items that were removed.
    ///
    /// # Errors
    /// [`Replayed`](Reason::Replayed) if it is too old for one of the items, and
    /// [`Malformed`](Reason::Malformed) if it has too many.
    pub fn check<I: AsRef<str>>(
        &self,
        items: &[I],
        serial: u64,
        digest: [u8; 32],
    ) -> Result<(), Refusal> {
        if items.len() > MAX_ITEMS {
            let count = items.len();
            return Err(Refusal::malformed(format!(
                "the request changes {count} items; a signed one can change {MAX_ITEMS}"
            )));
        }
        if serial < self.min_serial {
            return Err(replayed(format!(
                "the serial {serial} is lower than min_serial of the trust file, {}",
                self.min_serial
            )));
        }
        let new = Serial { serial, digest };
        items.iter().try_for_each(|item| self.check_item(item.as_ref(), new))
    }

    fn check_item(&self, item: &str, new: Serial) -> Result<(), Refusal> {
        let serial = new.serial;
        let Some(newest) = self.get(item) else {
            if serial >= self.floor {
                return Ok(());
            }
            return Err(replayed(format!(
                "the serial {serial} is lower than {}, the lowest for {item}, for which none is \
                 kept any more; sign with a higher one",
                self.floor
            )));
        };
        if serial > newest.serial || new == newest {
            return Ok(());
        }
        if serial == newest.serial {
            return Err(replayed(format!(
                "another request with the serial {serial} was accepted for {item}; sign with a \
                 higher one"
            )));
        }
        Err(replayed(format!(
            "a newer request was accepted for {item}, with the serial {}; this one has {serial}",
            newest.serial
        )))
    }

    /// Accepts a request. The serials must be stored, and synced, before the request takes effect.
    /// If that fails, it must not take effect; it may be accepted again later.
    ///
    /// If there are more than [`MAX_ITEMS`] items now, those with the lowest serials are removed,
    /// but never those of this request. Deleting a workload does not remove its serial.
    ///
    /// # Errors
    /// As [`check`](Self::check). Nothing has changed then.
    pub fn accept<I: AsRef<str>>(
        &mut self,
        items: &[I],
        serial: u64,
        digest: [u8; 32],
    ) -> Result<(), Refusal> {
        self.accept_within(MAX_ITEMS, items, serial, digest)
    }

    fn accept_within<I: AsRef<str>>(
        &mut self,
        limit: usize,
        items: &[I],
        serial: u64,
        digest: [u8; 32],
    ) -> Result<(), Refusal> {
        self.check(items, serial, digest)?;
        let items: BTreeSet<&str> = items.iter().map(AsRef::as_ref).collect();
        let new = items.iter().filter(|item| !self.items.contains_key(**item)).count();
        let excess = (self.items.len() + new).saturating_sub(limit);
        if excess > 0 {
            let others = self.items.iter().filter(|(item, _)| !items.contains(item.as_str()));
            let mut others: Vec<_> =
                others.map(|(item, newest)| (newest.serial, item.clone())).collect();
            others.sort_unstable();
            for (serial, item) in others.into_iter().take(excess) {
                self.floor = self.floor.max(serial.saturating_add(1));
                self.items.remove(&item);
            }
        }
        let serial = Serial { serial, digest };
        self.items.extend(items.into_iter().map(|item| (item.to_owned(), serial)));
        Ok(())
    }
}

fn replayed(message: String) -> Refusal {
    Refusal::new(Reason::Replayed, message)
}

fn write_digest<S: Serializer>(digest: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(digest))
}

fn read_digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    let text = String::deserialize(deserializer)?;
    hex::decode(&text).ok_or_else(|| D::Error::custom("expected 64 hexadecimal digits"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(id: u8) -> [u8; 32] {
        [id; 32]
    }

    fn reason(result: Result<impl Sized, Refusal>) -> Option<Reason> {
        result.err().map(|refusal| refusal.reason)
    }

    #[test]
    fn a_serial_concerns_only_the_items_of_its_request() {
        let mut serials = Serials::new(0);
        serials.accept(&["b"], 7, digest(7)).unwrap();
        // A rollout that was signed earlier and is delivered later.
        serials.accept(&["a"], 5, digest(5)).unwrap();
        assert_eq!(reason(serials.accept(&["a", "b"], 6, digest(6))), Some(Reason::Replayed));
        assert_eq!(serials.get("a"), Some(Serial { serial: 5, digest: digest(5) }));
        serials.accept(&["a", "b"], 8, digest(8)).unwrap();
        assert_eq!(reason(serials.check(&["a"], 5, digest(5))), Some(Reason::Replayed));
    }

    #[test]
    fn a_redelivery_is_accepted_and_another_request_with_its_serial_is_not() {
        let mut serials = Serials::new(0);
        serials.accept(&["a"], 1, digest(1)).unwrap();
        assert_eq!(serials.accept(&["a"], 1, digest(1)), Ok(()));
        let refusal = serials.check(&["a"], 1, digest(2)).unwrap_err();
        assert_eq!(refusal.reason, Reason::Replayed);
        assert!(refusal.message.contains("another request with the serial 1"), "{refusal}");
    }

    #[test]
    fn nothing_below_min_serial_is_accepted() {
        let mut serials = Serials::new(10);
        for items in [&["a"][..], &[]] {
            assert_eq!(reason(serials.check(items, 9, digest(9))), Some(Reason::Replayed));
            assert_eq!(reason(serials.check(items, 10, digest(9))), None);
        }
        serials.accept(&["a"], 10, digest(1)).unwrap();
        serials.set_min_serial(11);
        assert_eq!(reason(serials.check(&["a"], 10, digest(1))), Some(Reason::Replayed));
    }

    #[test]
    fn the_oldest_items_are_removed_and_raise_the_floor() {
        let mut serials = Serials::new(0);
        for number in 0..MAX_ITEMS as u64 {
            serials.accept(&[format!("w{number}")], 1000 + number, digest(0)).unwrap();
        }
        serials.accept(&["x", "y"], 500, digest(1)).unwrap();
        assert_eq!(
            ["w0", "w1", "w2"].map(|item| serials.get(item).is_some()),
            [false, false, true]
        );
        assert_eq!(serials.floor, 1002);
        assert_eq!(serials.len(), MAX_ITEMS);
        // What was accepted for a removed item is not accepted again.
        assert_eq!(reason(serials.check(&["w1"], 1001, digest(0))), Some(Reason::Replayed));
        assert_eq!(reason(serials.check(&["w1"], 1002, digest(0))), None);
        // What was just accepted may be delivered again, although it is older.
        assert_eq!(reason(serials.check(&["x", "y"], 500, digest(1))), None);

        let many: Vec<_> = (0..=MAX_ITEMS).map(|number| number.to_string()).collect();
        assert_eq!(reason(serials.check(&many, 5000, digest(2))), Some(Reason::Malformed));
        let many = many.get(1..).unwrap();
        serials.accept(many, 50_000, digest(2)).unwrap();
        assert_eq!(serials.len(), MAX_ITEMS);
        assert_eq!(reason(serials.check(&["w9000"], 10_000, digest(0))), Some(Reason::Replayed));
    }

    #[test]
    fn serials_are_stored_without_min_serial() {
        let mut serials = Serials::new(3);
        serials.accept(&["a"], 4, digest(0xab)).unwrap();
        let json = serde_json::to_string(&serials).unwrap();
        let hash = "ab".repeat(32);
        let expected =
            format!("{{\"floor\":0,\"items\":{{\"a\":{{\"serial\":4,\"digest\":\"{hash}\"}}}}}}");
        assert_eq!(json, expected);
        let mut read: Serials = serde_json::from_str(&json).unwrap();
        assert_eq!(reason(read.check(&["b"], 0, digest(0))), None);
        read.set_min_serial(3);
        assert_eq!(read, serials);
        assert!(serde_json::from_str::<Serials>(&json.replace(&hash, "ab")).is_err());
    }

    /// A request that somebody has signed: its items as bits, and its serial.
    #[derive(Debug, Clone)]
    struct Request {
        items: u8,
        serial: u64,
    }

    impl Request {
        fn items(&self) -> Vec<String> {
            (0..6).filter(|bit| self.items >> bit & 1 == 1).map(|bit| bit.to_string()).collect()
        }
    }

    /// Requests, and the order in which copies of them are delivered.
    fn deliveries() -> impl Strategy<Value = (Vec<Request>, Vec<usize>)> {
        let request = (1..64_u8, 0..8_u64).prop_map(|(items, serial)| Request { items, serial });
        prop::collection::vec(request, 1..8).prop_flat_map(|requests| {
            let orders = prop::collection::vec(0..requests.len(), 0..40);
            (Just(requests), orders)
        })
    }

    proptest! {
        #[test]
        fn in_any_order_nothing_goes_back_and_what_is_new_is_accepted(
            (requests, order) in deliveries(),
            limit in 1..8_usize,
        ) {
            let mut serials = Serials::new(0);
            // All that was ever accepted, which the serials may forget.
            let mut newest: BTreeMap<String, Serial> = BTreeMap::new();
            let mut is_full = false;
            for index in order {
                let request = &requests[index];
                let (items, new) =
                    (request.items(), Serial { serial: request.serial, digest: digest(index as u8) });
                let is_allowed = items.iter().all(|item| {
                    newest.get(item).is_none_or(|it| new.serial > it.serial || new == *it)
                });
                let before = serials.clone();
                match serials.accept_within(limit, &items, new.serial, new.digest) {
                    Ok(()) => {
                        prop_assert!(is_allowed, "{request:?} was accepted");
                        is_full |= before.items.keys().any(|item| serials.get(item).is_none());
                        newest.extend(items.iter().map(|item| (item.clone(), new)));
                        prop_assert!(serials.len() <= limit.max(items.len()));
                        // It is delivered again.
                        prop_assert_eq!(serials.check(&items, new.serial, new.digest), Ok(()));
                    }
                    Err(refusal) => {
                        prop_assert_eq!(refusal.reason, Reason::Replayed);
                        prop_assert!(!is_allowed || is_full, "{request:?} was refused");
                        prop_assert_eq!(&before, &serials);
                    }
                }
                // What is stored is all that is needed.
                let stored = serde_json::to_string(&serials).unwrap();
                prop_assert_eq!(&serde_json::from_str::<Serials>(&stored).unwrap(), &serials);
            }
        }
    }
}
