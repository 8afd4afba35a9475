//! Views that both formats use.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde::{Serialize, Serializer};

use crate::proto::ank_base::config_item::ConfigItemEnum;
use crate::proto::ank_base::file::FileContent;
use crate::proto::ank_base::{self, AddCondition};
use crate::schema::spelling;

/// Writes a map, with each value as `View`. An absent map is written as an empty one.
pub(super) struct MapView<'a, V, View> {
    values: Option<&'a BTreeMap<String, V>>,
    view: PhantomData<View>,
}

impl<'a, V, View> From<Option<&'a BTreeMap<String, V>>> for MapView<'a, V, View> {
    fn from(values: Option<&'a BTreeMap<String, V>>) -> Self {
        Self { values, view: PhantomData }
    }
}

impl<'a, V, View> From<&'a BTreeMap<String, V>> for MapView<'a, V, View> {
    fn from(values: &'a BTreeMap<String, V>) -> Self {
        Some(values).into()
    }
}

impl<'a, V, View: From<&'a V> + Serialize> Serialize for MapView<'a, V, View> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entries = self.values.into_iter().flatten();
        serializer.collect_map(entries.map(|(key, value)| (key, View::from(value))))
    }
}

/// Writes a list, with each item as `View`.
pub(super) struct ListView<'a, V, View> {
    items: &'a [V],
    view: PhantomData<View>,
}

impl<'a, V, View> From<&'a [V]> for ListView<'a, V, View> {
    fn from(items: &'a [V]) -> Self {
        Self { items, view: PhantomData }
    }
}

impl<'a, V, View: From<&'a V> + Serialize> Serialize for ListView<'a, V, View> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.items.iter().map(View::from))
    }
}

/// Writes a map from names to text.
pub(super) type TextMapView<'a> = MapView<'a, String, &'a String>;

/// Writes a map from names to config items.
pub(super) type ConfigMapView<'a> = MapView<'a, ank_base::ConfigItem, ConfigItemView<'a>>;

/// Writes a map from workload names to conditions.
pub(super) type DependenciesView<'a> = MapView<'a, i32, AddConditionView>;

/// Writes the states of all workload instances, each as `View`: a map from agent names to maps
/// from workload names to maps from instance ids.
pub(super) type WorkloadStatesView<'a, View> = MapView<
    'a,
    ank_base::ExecutionsStatesOfWorkload,
    MapView<'a, ank_base::ExecutionsStatesForId, MapView<'a, ank_base::ExecutionState, View>>,
>;

impl<'a, View> From<&'a ank_base::ExecutionsStatesOfWorkload>
    for MapView<'a, ank_base::ExecutionsStatesForId, View>
{
    fn from(states: &'a ank_base::ExecutionsStatesOfWorkload) -> Self {
        (&states.wl_name_state_map).into()
    }
}

impl<'a, View> From<&'a ank_base::ExecutionsStatesForId>
    for MapView<'a, ank_base::ExecutionState, View>
{
    fn from(states: &'a ank_base::ExecutionsStatesForId) -> Self {
        (&states.id_state_map).into()
    }
}

/// Writes the condition of a dependency.
#[derive(Serialize)]
pub(super) struct AddConditionView(Cow<'static, str>);

impl From<&i32> for AddConditionView {
    fn from(number: &i32) -> Self {
        Self(spelling::<AddCondition>(*number))
    }
}

/// Writes a config item: a string, a list or a map, or `null` if it is absent.
pub(super) struct ConfigItemView<'a>(&'a ank_base::ConfigItem);

impl<'a> From<&'a ank_base::ConfigItem> for ConfigItemView<'a> {
    fn from(item: &'a ank_base::ConfigItem) -> Self {
        Self(item)
    }
}

impl Serialize for ConfigItemView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The depth of the recursion is that of the message, which prost limits to 100.
        match &self.0.config_item_enum {
            None => serializer.serialize_unit(),
            Some(ConfigItemEnum::String(text)) => serializer.serialize_str(text),
            Some(ConfigItemEnum::Array(array)) => {
                ListView::<_, ConfigItemView<'_>>::from(array.values.as_slice())
                    .serialize(serializer)
            }
            Some(ConfigItemEnum::Object(object)) => {
                ConfigMapView::from(&object.fields).serialize(serializer)
            }
        }
    }
}

/// Writes the content of a file: `data` or `binaryData`, or neither if it is absent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContentView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_data: Option<&'a str>,
}

impl<'a> From<&'a ank_base::File> for ContentView<'a> {
    fn from(file: &'a ank_base::File) -> Self {
        let (data, binary_data) = match &file.file_content {
            Some(FileContent::Data(data)) => (Some(data.as_str()), None),
            Some(FileContent::BinaryData(data)) => (None, Some(data.as_str())),
            None => (None, None),
        };
        Self { data, binary_data }
    }
}
