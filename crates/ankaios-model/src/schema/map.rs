//! Maps that refuse duplicate keys.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::name::Name;
use super::text::{FromText, MapKey, Text};
use crate::hints::quoted;

/// A map with names as keys.
#[derive(Debug)]
pub(crate) struct NameMap<V>(pub(crate) BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for NameMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueKeys::<Name, _>::new(PhantomData)).map(Self)
    }
}

/// A map with any text as keys.
#[derive(Debug)]
pub(crate) struct TextMap<V>(pub(crate) BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for TextMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueKeys::<Text, _>::new(PhantomData)).map(Self)
    }
}

/// Deserializes a map with keys of type `K`, and its values with the seed `value`. Refuses
/// duplicate keys, of which serde's own maps keep the last.
pub(super) struct UniqueKeys<K, S> {
    key: PhantomData<K>,
    value: S,
}

impl<K, S> UniqueKeys<K, S> {
    pub(super) fn new(value: S) -> Self {
        Self { key: PhantomData, value }
    }
}

impl<'de, K, S> Visitor<'de> for UniqueKeys<K, S>
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
        while let Some(MapKey(key)) = access.next_key::<MapKey<K>>()? {
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

/// The error for a duplicate key.
pub(super) fn duplicate<E: Error>(key: &str) -> E {
    E::custom(format_args!("{} is listed twice, remove one of them", quoted(key)))
}

/// Converts the values of a map to those of the protobuf messages.
pub(super) fn into_values<V, T: From<V>>(map: BTreeMap<String, V>) -> BTreeMap<String, T> {
    map.into_iter().map(|(key, value)| (key, value.into())).collect()
}
