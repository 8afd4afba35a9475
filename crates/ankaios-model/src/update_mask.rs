//! Update masks: which fields they touch, and the state after an update.
//!
//! A state is JSON in Ankaios' own format, as [`json`](crate::json) writes it.

use serde_json::{Map, Value};

/// The names along a mask.
#[must_use]
pub fn parts(mask: &str) -> Vec<&str> {
    mask.split('.').collect()
}

/// Whether an update with this mask can change the field at `path`: the mask names the field, a
/// parent or a child of it. `*` on either side matches any single name. To Ankaios a `*` in an
/// update mask is an ordinary name, but a check must not depend on that.
#[must_use]
pub fn touches(mask: &str, path: &[&str]) -> bool {
    mask.split('.').zip(path).all(|(part, name)| part == *name || part == "*" || *name == "*")
}

/// The mask leads through a field that is not a map. Ankaios refuses such a mask.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the mask leads through a field that is not a map")]
pub struct NotAMap;

/// Updates `state` as Ankaios does: the field of `new` at the mask replaces the one of
/// `state`; if `new` has none, the field is removed.
///
/// # Errors
/// See [`NotAMap`]. The state is unchanged, apart from maps that were added on the way.
pub fn merge(state: &mut Value, new: &Value, mask: &str) -> Result<(), NotAMap> {
    let path = parts(mask);
    match get(new, &path) {
        Some(value) => set(state, &path, value.clone()),
        None => remove(state, &path),
    }
}

/// The field at a path. A number is the index of a list item, as in Ankaios.
#[must_use]
pub fn get<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, name| match value {
        Value::Object(fields) => fields.get(*name),
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

fn set(value: &mut Value, path: &[&str], new: Value) -> Result<(), NotAMap> {
    let Some((last, parents)) = path.split_last() else { return Err(NotAMap) };
    let mut fields = value.as_object_mut().ok_or(NotAMap)?;
    for name in parents {
        let child = fields.entry(*name).or_insert_with(|| Value::Object(Map::new()));
        fields = child.as_object_mut().ok_or(NotAMap)?;
    }
    fields.insert((*last).to_owned(), new);
    Ok(())
}

fn remove(value: &mut Value, path: &[&str]) -> Result<(), NotAMap> {
    let Some((last, parents)) = path.split_last() else { return Err(NotAMap) };
    let mut fields = value.as_object_mut().ok_or(NotAMap)?;
    for name in parents {
        let Some(child) = fields.get_mut(*name) else { return Ok(()) };
        fields = child.as_object_mut().ok_or(NotAMap)?;
    }
    fields.remove(*last);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mask_touches_what_lies_above_and_below_it() {
        let path = ["desiredState", "workloads", "fleetconnector"];
        for mask in [
            "desiredState",
            "desiredState.workloads",
            "desiredState.workloads.fleetconnector",
            "desiredState.workloads.fleetconnector.tags.owner",
            "*",
            "*.workloads",
            "desiredState.*.fleetconnector",
            "desiredState.workloads.*.agent",
            "*.*.*.*.*",
        ] {
            assert!(touches(mask, &path), "{mask}");
        }
        for mask in [
            "desiredState.workloads.nginx",
            "desiredState.configs",
            "desiredState.workloads.fleetconnector2",
            "agents",
            "*.configs",
        ] {
            assert!(!touches(mask, &path), "{mask}");
        }
    }

    #[test]
    fn an_update_replaces_adds_and_removes() {
        let mut state = json!({"desiredState": {"configs": {"a": "1", "b": {"x": "2"}}}});
        let new = json!({"desiredState": {"configs": {"b": {"x": "3"}, "c": ["4"]}}});
        for mask in [
            "desiredState.configs.a",
            "desiredState.configs.b.x",
            "desiredState.configs.c",
            "desiredState.workloads.none.tags",
        ] {
            merge(&mut state, &new, mask).unwrap();
        }
        assert_eq!(state, json!({"desiredState": {"configs": {"b": {"x": "3"}, "c": ["4"]}}}));
        assert_eq!(merge(&mut state, &new, "desiredState.configs.c.0"), Err(NotAMap));
    }
}
