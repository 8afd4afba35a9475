//! What the views of both formats are made of.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde::{Serialize, Serializer};

use crate::proto::ank_base::config_item::ConfigItemEnum;
use crate::proto::ank_base::file::FileContent;
use crate::proto::ank_base::{self, AddCondition};
use crate::schema::spelling;

/// A map whose values are written as `View`; an absent one is empty.
pub(super) struct Map<'a, V, View> {
    values: Option<&'a BTreeMap<String, V>>,
    view: PhantomData<View>,
}

impl<'a, V, View> From<Option<&'a BTreeMap<String, V>>> for Map<'a, V, View> {
    fn from(values: Option<&'a BTreeMap<String, V>>) -> Self {
        Self { values, view: PhantomData }
    }
}

impl<'a, V, View> From<&'a BTreeMap<String, V>> for Map<'a, V, View> {
    fn from(values: &'a BTreeMap<String, V>) -> Self {
        Some(values).into()
    }
}

impl<'a, V, View: From<&'a V> + Serialize> Serialize for Map<'a, V, View> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entries = self.values.into_iter().flatten();
        serializer.collect_map(entries.map(|(key, value)| (key, View::from(value))))
    }
}

/// A list whose items are written as `View`.
pub(super) struct List<'a, V, View> {
    items: &'a [V],
    view: PhantomData<View>,
}

impl<'a, V, View> From<&'a [V]> for List<'a, V, View> {
    fn from(items: &'a [V]) -> Self {
        Self { items, view: PhantomData }
    }
}

impl<'a, V, View: From<&'a V> + Serialize> Serialize for List<'a, V, View> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.items.iter().map(View::from))
    }
}

/// A map from names to text.
pub(super) type TextMap<'a> = Map<'a, String, &'a String>;

/// A map from names to config items.
pub(super) type ConfigMap<'a> = Map<'a, ank_base::ConfigItem, ConfigItem<'a>>;

/// A map from names of workloads to conditions.
pub(super) type Dependencies<'a> = Map<'a, i32, Condition>;

/// The condition of a dependency.
#[derive(Serialize)]
pub(super) struct Condition(Cow<'static, str>);

impl From<&i32> for Condition {
    fn from(number: &i32) -> Self {
        Self(spelling::<AddCondition>(*number))
    }
}

/// A string, a list or a map; `null` if Ankaios gave none of them.
pub(super) struct ConfigItem<'a>(&'a ank_base::ConfigItem);

impl<'a> From<&'a ank_base::ConfigItem> for ConfigItem<'a> {
    fn from(item: &'a ank_base::ConfigItem) -> Self {
        Self(item)
    }
}

impl Serialize for ConfigItem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Recursion as deep as the items, which the decoder of the messages bounds.
        match &self.0.config_item_enum {
            None => serializer.serialize_unit(),
            Some(ConfigItemEnum::String(text)) => serializer.serialize_str(text),
            Some(ConfigItemEnum::Array(array)) => {
                List::<_, ConfigItem<'_>>::from(array.values.as_slice()).serialize(serializer)
            }
            Some(ConfigItemEnum::Object(object)) => {
                ConfigMap::from(&object.fields).serialize(serializer)
            }
        }
    }
}

/// `data` or `binaryData` of a file, neither if Ankaios gave none of them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Content<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_data: Option<&'a str>,
}

impl<'a> From<&'a ank_base::File> for Content<'a> {
    fn from(file: &'a ank_base::File) -> Self {
        let (data, binary_data) = match &file.file_content {
            Some(FileContent::Data(data)) => (Some(data.as_str()), None),
            Some(FileContent::BinaryData(data)) => (None, Some(data.as_str())),
            None => (None, None),
        };
        Self { data, binary_data }
    }
}
