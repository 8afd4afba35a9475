//! Maps in which a key may stand only once.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::name::Name;
use super::text::{FromText, Key, Text};

/// A map from names to `V`.
#[derive(Debug)]
pub(crate) struct Named<V>(pub(crate) BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Named<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Unique::<Name, _>::new(PhantomData)).map(Self)
    }
}

/// A map from any text to `V`.
#[derive(Debug)]
pub(crate) struct Map<V>(pub(crate) BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Map<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Unique::<Text, _>::new(PhantomData)).map(Self)
    }
}

/// Reads a map with keys of type `K` and values as `value` says; refuses a key
/// that stands twice, of which serde's own maps would keep the last.
pub(super) struct Unique<K, S> {
    key: PhantomData<K>,
    value: S,
}

impl<K, S> Unique<K, S> {
    pub(super) fn new(value: S) -> Self {
        Self { key: PhantomData, value }
    }
}

impl<'de, K, S> Visitor<'de> for Unique<K, S>
where
    K: FromText + Into<String>,
    S: DeserializeSeed<'de> + Copy,
{
    type Value = BTreeMap<String, S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some(Key(key)) = access.next_key::<Key<K>>()? {
            let key: String = key.into();
            if map.contains_key(&key) {
                return Err(duplicate(&key));
            }
            let value = access.next_value_seed(self.value)?;
            map.insert(key, value);
        }
        Ok(map)
    }
}

/// The error for a key that stands twice.
pub(super) fn duplicate<E: Error>(key: &str) -> E {
    E::custom(format_args!("{key:?} stands here twice, remove one of them"))
}

/// Turns the values of a map into what the protobuf messages hold.
pub(super) fn into_values<V, T: From<V>>(map: BTreeMap<String, V>) -> BTreeMap<String, T> {
    map.into_iter().map(|(key, value)| (key, value.into())).collect()
}
