//! From a path to the module that defines what it names.

use crate::modules::{Crate, ModuleId};
use crate::syntax::{Declaration, Names};

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// An item, by its name and the module that defines it.
    Item(ModuleId, String),
    Module(ModuleId),
    /// Something of another crate.
    Foreign,
}

/// All that a path may name, seen from a module. That is more than one thing where a
/// type, a value and a macro share a name.
pub(crate) fn resolve(source: &Crate, from: ModuleId, path: &[String]) -> Vec<Target> {
    Resolver { source, followed: Vec::new() }.path(from, path)
}

struct Resolver<'a> {
    source: &'a Crate,
    /// The imports that are being followed: some lead back to themselves.
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
                // What follows is a variant, an associated item, or foreign as well.
                break;
            }
            targets = modules.into_iter().flat_map(|module| self.member(module, name)).collect();
        }
        targets
    }

    fn parent(&self, module: ModuleId) -> Vec<Target> {
        self.source.module(module).parent.map(Target::Module).into_iter().collect()
    }

    /// What a name stands for behind that of a module.
    fn member(&mut self, module: ModuleId, name: &str) -> Vec<Target> {
        if name == "super" {
            return self.parent(module);
        }
        // What is declared nowhere comes from `include!` or another macro.
        self.name(module, name).unwrap_or_else(|| vec![Target::Item(module, name.to_owned())])
    }

    /// What a name stands for in a module, if it is declared there.
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

    /// Follows an import, unless that is being done already.
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
