//! Resolves paths: from a path to the module that defines the named item.

use crate::modules::{Crate, ModuleId};
use crate::syntax::{Declaration, Names};

/// What a path refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// An item: the module that defines it, and its name.
    Item(ModuleId, String),
    Module(ModuleId),
    /// An item of another crate, or of the language.
    Foreign,
}

/// All items and modules that a path in a module may refer to. There can be several, because a
/// type, a value and a macro may have the same name.
pub(crate) fn resolve(source: &Crate, from: ModuleId, path: &[String]) -> Vec<Target> {
    Resolver { source, followed: Vec::new() }.path(from, path)
}

struct Resolver<'a> {
    source: &'a Crate,
    /// The imports that are being followed, to stop at imports that lead back to themselves.
    followed: Vec<(ModuleId, &'a Names)>,
}

impl<'a> Resolver<'a> {
    fn path(&mut self, from: ModuleId, path: &[String]) -> Vec<Target> {
        let Some((first, rest)) = path.split_first() else { return Vec::new() };
        let mut targets = match first.as_str() {
            "crate" => vec![Target::Module(self.source.root())],
            "self" => vec![Target::Module(from)],
            "super" => self.parent(from),
            _ => self.name(from, first).unwrap_or_else(|| vec![Target::Foreign]),
        };
        for name in rest {
            let modules = targets.iter().filter_map(|target| match target {
                Target::Module(module) => Some(*module),
                Target::Item(..) | Target::Foreign => None,
            });
            let modules: Vec<_> = modules.collect();
            if modules.is_empty() {
                // The rest names a variant, an associated item, or something in another crate.
                break;
            }
            targets = modules.into_iter().flat_map(|module| self.member(module, name)).collect();
        }
        targets
    }

    fn parent(&self, module: ModuleId) -> Vec<Target> {
        self.source.module(module).parent.map(Target::Module).into_iter().collect()
    }

    /// What a name refers to in a path after the name of a module.
    fn member(&mut self, module: ModuleId, name: &str) -> Vec<Target> {
        if name == "super" {
            return self.parent(module);
        }
        // A name without a declaration comes from a macro.
        self.name(module, name).unwrap_or_else(|| vec![Target::Item(module, name.to_owned())])
    }

    /// What a name refers to in a module, if it is declared there.
    fn name(&mut self, module: ModuleId, name: &str) -> Option<Vec<Target>> {
        let source = self.source.module(module);
        let child = source.children.get(name).map(|child| Target::Module(*child));
        let declared = source.body.names.get(name);
        if child.is_some() || declared.is_some() {
            let declared = declared.into_iter().flatten();
            let targets = declared.flat_map(|declaration| match declaration {
                Declaration::Item => vec![Target::Item(module, name.to_owned())],
                Declaration::Import(path) => {
                    self.once(module, path, |this| this.path(module, path)).unwrap_or_default()
                }
            });
            return Some(child.into_iter().chain(targets).collect());
        }
        let mut foreign = None;
        for glob in &source.body.globs {
            let found = self.once(module, glob, |this| {
                this.path(module, glob).into_iter().find_map(|target| match target {
                    Target::Module(inner) => this.name(inner, name),
                    Target::Foreign => Some(vec![Target::Foreign]),
                    Target::Item(..) => None,
                })
            });
            match found.flatten() {
                Some(targets) if targets == [Target::Foreign] => foreign = Some(targets),
                Some(targets) => return Some(targets),
                None => {}
            }
        }
        foreign
    }

    /// Follows an import, unless it is already being followed.
    fn once<T>(
        &mut self,
        module: ModuleId,
        import: &'a Names,
        follow: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        if self.followed.contains(&(module, import)) {
            return None;
        }
        self.followed.push((module, import));
        let result = follow(self);
        self.followed.pop();
        Some(result)
    }
}
