//! Config items: strings, lists and maps, which can be nested.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};

use super::map::UniqueKeys;
use super::name::Name;
use crate::proto::ank_base::config_item::ConfigItemEnum;
use crate::proto::ank_base::{ConfigArray, ConfigItem, ConfigObject};

/// Maximum nesting depth of protobuf messages in a config item.
///
/// Ankaios decodes with prost, which fails at 100 nested messages, and there is no answer to a
/// request that the agent cannot decode. The messages around a config item are 7 of the 100:
/// request, update, state, desired state, configs, map entry, config item. So maps can be nested
/// 31 deep, and lists 46.
const MAX_DEPTH: u8 = 93;
/// A list adds two nested messages: the list and its item.
const LIST_DEPTH: u8 = 2;
/// A map adds three nested messages: the map, its entry and the item.
const MAP_DEPTH: u8 = 3;

/// Deserializes a config item with a limited nesting depth.
#[derive(Clone, Copy)]
pub(super) struct ItemSeed {
    depth_left: u8,
}

impl ItemSeed {
    pub(super) fn new() -> Self {
        Self { depth_left: MAX_DEPTH }
    }

    /// The seed for items that are nested `depth` messages deeper.
    fn nested<E: Error>(self, depth: u8) -> Result<Self, E> {
        match self.depth_left.checked_sub(depth) {
            Some(depth_left) => Ok(Self { depth_left }),
            None => Err(E::custom("nested too deeply for Ankaios, use at most 31 levels")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for ItemSeed {
    type Value = ConfigItem;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ConfigItem, D::Error> {
        let item = deserializer.deserialize_any(self)?;
        Ok(ConfigItem { config_item_enum: Some(item) })
    }
}

impl<'de> Visitor<'de> for ItemSeed {
    type Value = ConfigItemEnum;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a list or a map (put numbers and booleans in quotes)")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ConfigItemEnum, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<ConfigItemEnum, E> {
        Ok(ConfigItemEnum::String(text))
    }

    fn visit_unit<E: Error>(self) -> Result<ConfigItemEnum, E> {
        Err(E::invalid_type(Unexpected::Other("null"), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<ConfigItemEnum, A::Error> {
        let item = self.nested(LIST_DEPTH)?;
        let mut values = Vec::new();
        while let Some(value) = access.next_element_seed(item)? {
            values.push(value);
        }
        Ok(ConfigItemEnum::Array(ConfigArray { values }))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<ConfigItemEnum, A::Error> {
        let item = self.nested(MAP_DEPTH)?;
        let fields = UniqueKeys::<Name, _>::new(item).visit_map(access)?;
        Ok(ConfigItemEnum::Object(ConfigObject { fields }))
    }
}
