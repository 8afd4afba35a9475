//! The workloads and configs that an update touches.

use std::collections::BTreeSet;

/// The workloads and configs that an update touches. With many masks this is faster than to compare
/// each with each of them.
#[derive(Debug, Default)]
pub(super) struct Touched<'a> {
    workloads: Names<'a>,
    configs: Names<'a>,
}

#[derive(Debug, Default)]
struct Names<'a> {
    all: bool,
    some: BTreeSet<&'a str>,
}

impl<'a> Touched<'a> {
    /// What the masks of an update touch. As in
    /// [`touches`](ankaios_model::update_mask::touches), a `*` matches any name.
    pub(super) fn of(masks: &'a [String]) -> Self {
        let mut touched = Self::default();
        for mask in masks {
            let mut parts = mask.split('.');
            let (Some("desiredState" | "*"), map, name) =
                (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            if matches!(map, None | Some("*" | "workloads")) {
                touched.workloads.add(name);
            }
            if matches!(map, None | Some("*" | "configs")) {
                touched.configs.add(name);
            }
        }
        touched
    }

    /// Whether the update touches a workload.
    pub(super) fn workload(&self, name: &str) -> bool {
        self.workloads.has(name)
    }

    /// Whether the update touches a config.
    pub(super) fn config(&self, name: &str) -> bool {
        self.configs.has(name)
    }
}

impl<'a> Names<'a> {
    fn add(&mut self, name: Option<&'a str>) {
        match name {
            None | Some("*") => self.all = true,
            Some(name) => drop(self.some.insert(name)),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.all || self.some.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use ankaios_model::update_mask::touches;

    use super::*;

    #[test]
    fn it_is_what_the_masks_touch_one_by_one() {
        for mask in [
            "desiredState",
            "desiredState.workloads",
            "desiredState.workloads.a",
            "desiredState.workloads.a.tags.owner",
            "desiredState.workloads.*.agent",
            "desiredState.configs",
            "desiredState.configs.a.0",
            "desiredState.*.a",
            "*.*.a",
            "*.workloads",
            "*",
            "agents",
            "agents.a.a",
            "desiredState.apiVersion",
        ] {
            let masks = [mask.to_owned()];
            let touched = Touched::of(&masks);
            for name in ["a", "b"] {
                let path = ["desiredState", "workloads", name];
                assert_eq!(touched.workload(name), touches(mask, &path), "{mask} {name}");
                let path = ["desiredState", "configs", name];
                assert_eq!(touched.config(name), touches(mask, &path), "{mask} {name}");
            }
        }
    }
}
