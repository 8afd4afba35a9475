//! The dependencies between files, and the circles among them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// For each file, the files that it depends on, and the names that it uses from each of them.
#[derive(Default)]
pub(crate) struct Graph(BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>>);

/// Files that all depend on each other, as one line for each dependency between two of them.
pub(crate) type Circle = Vec<String>;

impl Graph {
    /// Adds a dependency of the file `from` on a name in the file `to`.
    pub(crate) fn add(&mut self, from: &Path, to: &Path, name: &str) {
        if from != to {
            let uses = self.0.entry(from.to_owned()).or_default();
            uses.entry(to.to_owned()).or_default().insert(name.to_owned());
        }
    }

    /// The circles, each with all files that depend on each other.
    pub(crate) fn circles(&self) -> Vec<Circle> {
        let reached: BTreeMap<_, _> =
            self.0.keys().map(|file| (file.as_path(), self.reached_from(file))).collect();
        let reaches =
            |from: &Path, to: &Path| reached.get(from).is_some_and(|files| files.contains(to));
        let in_a_circle = self.0.keys().filter(|file| reaches(file, file));
        let circles: BTreeSet<BTreeSet<_>> = in_a_circle
            .map(|file| {
                let is_mutual = |other: &&PathBuf| reaches(file, other) && reaches(other, file);
                self.0.keys().filter(is_mutual).map(PathBuf::as_path).collect()
            })
            .collect();
        circles.iter().map(|files| self.lines(|file| files.contains(file))).collect()
    }

    /// The files that a file depends on, directly or indirectly.
    fn reached_from<'a>(&'a self, file: &'a Path) -> BTreeSet<&'a Path> {
        let mut reached = BTreeSet::new();
        let mut next = vec![file];
        while let Some(file) = next.pop() {
            let used = self.0.get(file).into_iter().flat_map(BTreeMap::keys);
            next.extend(used.map(PathBuf::as_path).filter(|used| reached.insert(*used)));
        }
        reached
    }

    /// The dependencies between the selected files, one line each.
    pub(crate) fn lines(&self, is_selected: impl Fn(&Path) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        for (from, uses) in self.0.iter().filter(|(from, _)| is_selected(from)) {
            for (to, names) in uses.iter().filter(|(to, _)| is_selected(to)) {
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                let names = names.join(", ");
                lines.push(format!("{} -> {}: {names}", from.display(), to.display()));
            }
        }
        lines
    }

    /// The dependencies between the files and folders next to the root file of a crate, one line
    /// for each that has dependencies.
    pub(crate) fn summary(&self, root: &Path) -> Vec<String> {
        let folder = root.parent().unwrap_or(root);
        let part = |file: &Path| {
            let inside = file.strip_prefix(folder).unwrap_or(file);
            let first = inside.iter().next().map(|first| Path::new(first).with_extension(""));
            first.unwrap_or_default().display().to_string()
        };
        let mut parts: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (from, uses) in &self.0 {
            let from = part(from);
            let used = uses.keys().map(|to| part(to)).filter(|to| *to != from);
            parts.entry(from.clone()).or_default().extend(used);
        }
        parts.retain(|_, uses| !uses.is_empty());
        let line = |(from, uses): (String, BTreeSet<String>)| {
            format!("{from} -> {}", uses.into_iter().collect::<Vec<_>>().join(", "))
        };
        parts.into_iter().map(line).collect()
    }
}
