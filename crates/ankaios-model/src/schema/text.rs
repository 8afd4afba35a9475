//! Text fields, deserialized exactly as they are written.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// A type that a text field is converted to.
pub trait FromText: Sized {
    /// Checks and converts the text.
    ///
    /// # Errors
    /// Says what is wrong with the text, and how to correct it.
    fn from_text(text: String) -> Result<Self, String>;
}

/// Deserializes a text field, for `#[serde(deserialize_with)]` and implementations of
/// `Deserialize`.
///
/// A YAML scalar keeps its spelling, quoted or not: `1.10` is the text `1.10`, and `yes` is
/// `yes`. Only `null` is refused. The visitor does the check, so an error has the position of
/// the field.
///
/// # Errors
/// The field is not text, or [`FromText`] refuses it.
pub fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromText,
{
    // For YAML, `deserialize_str` accepts every scalar as text, also `null`; only
    // `deserialize_option` distinguishes `null`.
    deserializer.deserialize_option(TextVisitor(PhantomData))
}

/// A key of a map. The key `null` is the text `null`.
pub(super) struct MapKey<T>(pub(super) T);

impl<'de, T: FromText> Deserialize<'de> for MapKey<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(PhantomData)).map(Self)
    }
}

struct TextVisitor<T>(PhantomData<T>);

impl<'de, T: FromText> Visitor<'de> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_str(self)
    }

    fn visit_none<E: Error>(self) -> Result<T, E> {
        Err(E::invalid_type(Unexpected::Other("null"), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<T, E> {
        T::from_text(text).map_err(E::custom)
    }
}

/// Any text.
#[derive(Debug)]
pub(crate) struct Text(pub(crate) String);

impl FromText for Text {
    fn from_text(text: String) -> Result<Self, String> {
        Ok(Self(text))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(deserializer)
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.0
    }
}
