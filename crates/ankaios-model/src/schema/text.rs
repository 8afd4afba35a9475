//! Fields of text, read as they stand in the source.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// What a field of text holds.
pub trait FromText: Sized {
    /// Checks the text.
    ///
    /// # Errors
    /// What is wrong with the text, and what to do.
    fn from_text(text: String) -> Result<Self, String>;
}

/// Reads a field of text; for `#[serde(deserialize_with)]` and implementations of
/// `Deserialize`.
///
/// A scalar of YAML keeps its spelling, quoted or not: `1.10` is the text `1.10`
/// and `yes` is `yes`. Only `null` is refused. The text is checked inside of the
/// visitor, so that an error gets the position of the field.
///
/// # Errors
/// The field is not text, or [`FromText`] refuses it.
pub fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromText,
{
    // `deserialize_str` of YAML takes every scalar as text, `null` included; only
    // `deserialize_option` tells the two apart.
    deserializer.deserialize_option(TextVisitor(PhantomData))
}

/// A key of a map, of which `null` is the text `null`.
pub(super) struct Key<T>(pub(super) T);

impl<'de, T: FromText> Deserialize<'de> for Key<T> {
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
