//! `configs`: nested values made of strings, lists and maps.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};

use super::map::Unique;
use super::name::Name;
use crate::proto::ank_base::config_item::ConfigItemEnum;
use crate::proto::ank_base::{ConfigArray, ConfigItem, ConfigObject};

/// How many protobuf messages may be nested in a config item.
///
/// Ankaios decodes with prost, which gives up at 100 nested messages, and a
/// request that its agent can't decode is lost without an answer. The envelope
/// takes seven of the 100: request, update, state, desired state, configs, entry
/// of the map, item. That leaves 31 maps in each other, or 46 lists.
const MAX_MESSAGES: u8 = 93;
/// A list nests two messages: itself and its item.
const MESSAGES_OF_LIST: u8 = 2;
/// A map nests three messages: itself, its entry and the item.
const MESSAGES_OF_MAP: u8 = 3;

/// Reads a config item that may nest this many messages more.
#[derive(Clone, Copy)]
pub(super) struct ItemSeed {
    messages_left: u8,
}

impl ItemSeed {
    pub(super) fn new() -> Self {
        Self { messages_left: MAX_MESSAGES }
    }

    fn inside<E: Error>(self, messages: u8) -> Result<Self, E> {
        match self.messages_left.checked_sub(messages) {
            Some(messages_left) => Ok(Self { messages_left }),
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
        let item = self.inside(MESSAGES_OF_LIST)?;
        let mut values = Vec::new();
        while let Some(value) = access.next_element_seed(item)? {
            values.push(value);
        }
        Ok(ConfigItemEnum::Array(ConfigArray { values }))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<ConfigItemEnum, A::Error> {
        let item = self.inside(MESSAGES_OF_MAP)?;
        let fields = Unique::<Name, _>::new(item).visit_map(access)?;
        Ok(ConfigItemEnum::Object(ConfigObject { fields }))
    }
}
