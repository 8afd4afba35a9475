//! A bound on what the aliases of a YAML text expand to.
//!
//! Each alias (`*name`) stands for a copy of what it names. The parser bounds how
//! many aliases it follows, but not their size: a text of 1 MiB may hold half a
//! megabyte of text and a hundred thousand aliases of it.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// What the aliases of a text may add to it, in bytes. More than Ankaios takes in
/// one request in any case.
const MAX_ADDED: usize = 8 << 20;

/// What a node costs beside its text: keys, values and items are small objects
/// on the heap.
const NODE: usize = 32;

/// What a byte of the text costs at most where there are no aliases: the
/// smallest node is two bytes long (`a,`).
const BYTE: usize = 1 + NODE / 2;

/// Refuses a text to which its aliases add more than [`MAX_ADDED`]. Walks through
/// the text without keeping anything.
pub(super) fn check_expansion(text: &str) -> Result<(), serde_yaml::Error> {
    let left = Cell::new(MAX_ADDED + BYTE * text.len());
    for document in serde_yaml::Deserializer::from_str(text) {
        Walk(&left).deserialize(document)?;
    }
    Ok(())
}

/// Takes the size of a value off the bytes that are left.
#[derive(Clone, Copy)]
struct Walk<'a>(&'a Cell<usize>);

impl Walk<'_> {
    fn charge<E: Error>(self, bytes: usize) -> Result<(), E> {
        match self.0.get().checked_sub(bytes.saturating_add(NODE)) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => Err(E::custom(format_args!(
                "the aliases add more than {MAX_ADDED} bytes, use fewer of them"
            ))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.charge(0)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.charge(0)
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<(), E> {
        self.charge(0)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.charge(0)
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<(), E> {
        self.charge(0)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.charge(0)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.charge(0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.charge(text.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        self.charge(0)?;
        while access.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        self.charge(0)?;
        while access.next_entry_seed(self, self)?.is_some() {}
        Ok(())
    }

    // A value with a tag of its own, `!tag value`.
    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<(), A::Error> {
        self.charge(0)?;
        let ((), variant) = access.variant_seed(self)?;
        variant.newtype_variant_seed(self)
    }
}
