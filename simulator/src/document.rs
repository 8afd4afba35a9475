//! The state of Ankaios as one tree of named fields.
//!
//! Field masks, update masks and the comparison of two states all speak of
//! paths such as `desiredState.workloads.nginx.tags`. They are far simpler on a
//! tree than on the typed messages, so the simulator keeps the tree and
//! converts at its edges (see [`crate::conversion`]).
//!
//! Sub-trees are shared: a clone costs nothing, and two versions of a state are
//! compared only where they differ. That keeps a state of many megabytes cheap.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The fields of one map, in the order of their names.
pub(crate) type Fields = BTreeMap<Arc<str>, Node>;

/// One value of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// Named fields.
    Map(Arc<Fields>),
    /// A list; masks do not reach into it.
    List(Arc<Vec<Node>>),
    /// A string, or the name of an enum's value.
    Text(Arc<str>),
    /// An integer.
    Number(u64),
    /// A message without content.
    Nothing,
}

/// A path led through a value that is not a map.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotAMap;

impl Node {
    /// A map without fields.
    pub(crate) fn empty() -> Self {
        Self::Map(Arc::default())
    }

    /// A map of the given fields.
    pub(crate) fn map<K: Into<Arc<str>>>(fields: impl IntoIterator<Item = (K, Node)>) -> Self {
        Self::Map(Arc::new(fields.into_iter().map(|(key, value)| (key.into(), value)).collect()))
    }

    /// A list of the given values.
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
    pub(crate) fn fields(&self) -> Option<&Fields> {
        match self {
            Self::Map(fields) => Some(fields),
            _ => None,
        }
    }

    /// Whether it is a map without fields.
    pub(crate) fn is_empty_map(&self) -> bool {
        self.fields().is_some_and(BTreeMap::is_empty)
    }

    /// The field of that name, if there is one.
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.fields()?.get(name)
    }

    /// The value at that path.
    pub(crate) fn at<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Option<&Node> {
        path.into_iter().try_fold(self, |node, name| node.get(name))
    }

    /// Puts a value at a path and makes the maps on the way that are missing.
    pub(crate) fn set(&mut self, path: &[&str], value: Node) -> Result<(), NotAMap> {
        let Some((name, rest)) = path.split_first() else {
            *self = value;
            return Ok(());
        };
        let Self::Map(fields) = self else {
            return Err(NotAMap);
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

    /// Takes the value at a path out. The maps on the way have to exist, the
    /// value itself does not.
    pub(crate) fn remove(&mut self, path: &[&str]) -> Result<Option<Node>, NotAMap> {
        let Some((name, rest)) = path.split_first() else {
            return Err(NotAMap);
        };
        let Self::Map(fields) = self else {
            return Err(NotAMap);
        };
        let fields = Arc::make_mut(fields);
        if rest.is_empty() {
            return Ok(fields.remove(*name));
        }
        fields.get_mut(*name).ok_or(NotAMap)?.remove(rest)
    }

    /// Whether both are the same value; costs nothing where they share it.
    pub(crate) fn same(&self, other: &Node) -> bool {
        match (self, other) {
            (Self::Map(a), Self::Map(b)) => Arc::ptr_eq(a, b) || self == other,
            (Self::List(a), Self::List(b)) => Arc::ptr_eq(a, b) || a == b,
            _ => self == other,
        }
    }

    /// Whether both are the very same shared map or list: known to be equal
    /// without looking inside.
    pub(crate) fn shared(&self, other: &Node) -> bool {
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
    fn sets_and_makes_the_maps_on_the_way() {
        let mut tree = sample();
        tree.set(&["x", "y"], Node::text("new")).unwrap();
        tree.set(&["a", "b"], Node::text("2")).unwrap();
        assert_eq!(tree.at(["x", "y"]).and_then(Node::as_text), Some("new"));
        assert_eq!(tree.at(["a", "b"]).and_then(Node::as_text), Some("2"));
        assert_eq!(tree.set(&["a", "b", "c"], Node::empty()), Err(NotAMap));
    }

    #[test]
    fn removes_only_below_existing_maps() {
        let mut tree = sample();
        assert_eq!(tree.remove(&["a", "b"]), Ok(Some(Node::text("1"))));
        assert_eq!(tree.remove(&["a", "b"]), Ok(None));
        assert_eq!(tree.remove(&["missing", "b"]), Err(NotAMap));
        assert_eq!(tree.remove(&[]), Err(NotAMap));
    }

    #[test]
    fn a_clone_keeps_its_value_and_shares_what_did_not_change() {
        let before = Node::map([("kept", sample()), ("changed", sample())]);
        let mut after = before.clone();
        after.set(&["changed", "a", "b"], Node::text("2")).unwrap();
        assert_eq!(before.at(["changed", "a", "b"]), Some(&Node::text("1")));
        let (kept_before, kept_after) = (before.get("kept").unwrap(), after.get("kept").unwrap());
        assert!(kept_before.shared(kept_after));
        assert!(!before.same(&after));
    }
}
