//! A state as a tree of named fields.
//!
//! Field masks, updates and events refer to paths such as
//! `desiredState.workloads.nginx.tags`. These are simpler to follow in a tree than in typed
//! messages, so the simulator stores a tree and converts it from and to messages (see
//! [`crate::conversion`]).
//!
//! Subtrees are shared: a clone is cheap, and comparing two versions of a state skips what
//! they share. This keeps states of many megabytes fast.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Fields by name.
pub(crate) type FieldMap = BTreeMap<Arc<str>, Node>;

/// A value in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// Named fields.
    Map(Arc<FieldMap>),
    /// A list. Field masks cannot refer to its elements.
    List(Arc<Vec<Node>>),
    /// A string, or the name of an enum value.
    Text(Arc<str>),
    /// An integer.
    Number(u64),
    /// A `oneof` without a value.
    Unset,
}

/// The path is empty, leads through a value that is not a map, or misses a map.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InvalidPath;

impl Node {
    /// A map without fields.
    pub(crate) fn empty() -> Self {
        Self::Map(Arc::default())
    }

    /// A map with these fields.
    pub(crate) fn map<K: Into<Arc<str>>>(fields: impl IntoIterator<Item = (K, Node)>) -> Self {
        Self::Map(Arc::new(fields.into_iter().map(|(key, value)| (key.into(), value)).collect()))
    }

    /// A list of these values.
    pub(crate) fn list(values: impl IntoIterator<Item = Node>) -> Self {
        Self::List(Arc::new(values.into_iter().collect()))
    }

    /// A string.
    pub(crate) fn text(value: impl Into<Arc<str>>) -> Self {
        Self::Text(value.into())
    }

    /// The string, if it is one.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The fields, if it is a map.
    pub(crate) fn fields(&self) -> Option<&FieldMap> {
        match self {
            Self::Map(fields) => Some(fields),
            _ => None,
        }
    }

    /// Whether it is a map without fields.
    pub(crate) fn is_empty_map(&self) -> bool {
        self.fields().is_some_and(BTreeMap::is_empty)
    }

    /// The field with this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.fields()?.get(name)
    }

    /// The value at a path.
    pub(crate) fn at<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Option<&Node> {
        path.into_iter().try_fold(self, |node, name| node.get(name))
    }

    /// Sets the value at a path. Creates missing maps.
    pub(crate) fn set(&mut self, path: &[&str], value: Node) -> Result<(), InvalidPath> {
        let Some((name, rest)) = path.split_first() else {
            *self = value;
            return Ok(());
        };
        let Self::Map(fields) = self else {
            return Err(InvalidPath);
        };
        let fields = Arc::make_mut(fields);
        match fields.get_mut(*name) {
            Some(field) => field.set(rest, value),
            None => {
                let mut field = Self::empty();
                field.set(rest, value)?;
                fields.insert((*name).into(), field);
                Ok(())
            }
        }
    }

    /// Removes the value at a path, if there is one. The maps that lead to it must exist.
    pub(crate) fn remove(&mut self, path: &[&str]) -> Result<Option<Node>, InvalidPath> {
        let Some((name, rest)) = path.split_first() else {
            return Err(InvalidPath);
        };
        let Self::Map(fields) = self else {
            return Err(InvalidPath);
        };
        let fields = Arc::make_mut(fields);
        if rest.is_empty() {
            return Ok(fields.remove(*name));
        }
        fields.get_mut(*name).ok_or(InvalidPath)?.remove(rest)
    }

    /// Whether both are equal. Faster than `==` if they share their content.
    pub(crate) fn same(&self, other: &Node) -> bool {
        match (self, other) {
            (Self::Map(a), Self::Map(b)) => Arc::ptr_eq(a, b) || self == other,
            (Self::List(a), Self::List(b)) => Arc::ptr_eq(a, b) || a == b,
            _ => self == other,
        }
    }

    /// Whether both share one map or list, and so are equal.
    pub(crate) fn is_shared_with(&self, other: &Node) -> bool {
        match (self, other) {
            (Self::Map(a), Self::Map(b)) => Arc::ptr_eq(a, b),
            (Self::List(a), Self::List(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn sample() -> Node {
        Node::map([(
            "a",
            Node::map([("b", Node::text("1")), ("c", Node::list([Node::Number(2)]))]),
        )])
    }

    #[test]
    fn setting_a_value_creates_missing_maps() {
        let mut tree = sample();
        tree.set(&["x", "y"], Node::text("new")).unwrap();
        tree.set(&["a", "b"], Node::text("2")).unwrap();
        assert_eq!(tree.at(["x", "y"]).and_then(Node::as_text), Some("new"));
        assert_eq!(tree.at(["a", "b"]).and_then(Node::as_text), Some("2"));
        assert_eq!(tree.set(&["a", "b", "c"], Node::empty()), Err(InvalidPath));
    }

    #[test]
    fn removing_a_value_needs_the_maps_above_it() {
        let mut tree = sample();
        assert_eq!(tree.remove(&["a", "b"]), Ok(Some(Node::text("1"))));
        assert_eq!(tree.remove(&["a", "b"]), Ok(None));
        assert_eq!(tree.remove(&["missing", "b"]), Err(InvalidPath));
        assert_eq!(tree.remove(&[]), Err(InvalidPath));
    }

    #[test]
    fn a_clone_keeps_its_value_and_shares_what_has_not_changed() {
        let before = Node::map([("kept", sample()), ("changed", sample())]);
        let mut after = before.clone();
        after.set(&["changed", "a", "b"], Node::text("2")).unwrap();
        assert_eq!(before.at(["changed", "a", "b"]), Some(&Node::text("1")));
        let (kept_before, kept_after) = (before.get("kept").unwrap(), after.get("kept").unwrap());
        assert!(kept_before.is_shared_with(kept_after));
        assert!(!before.same(&after));
    }
}
