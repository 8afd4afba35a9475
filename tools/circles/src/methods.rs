//! The inherent methods of types, and their other associated functions and constants.

use std::collections::BTreeMap;

use syn::{ImplItem, Item, Type};

use crate::modules::{Crate, ModuleId};
use crate::resolve::{Target, resolve};
use crate::syntax::{attributes, is_compiled, name_of, names};

/// The module that defines each method. It can differ from the module of the type.
pub(crate) struct Methods(BTreeMap<(Target, String), ModuleId>);

impl Methods {
    /// The methods of all types in a crate.
    pub(crate) fn of(source: &Crate) -> Self {
        let mut methods = BTreeMap::new();
        for module in source.ids() {
            for item in &source.module(module).body.items {
                let Item::Impl(block) = item else { continue };
                if block.trait_.is_some() || !is_compiled(attributes(item)) {
                    continue;
                }
                let Some(of) = type_of(source, module, &block.self_ty) else { continue };
                for item in &block.items {
                    let ident = match item {
                        ImplItem::Const(item) => &item.ident,
                        ImplItem::Fn(item) => &item.sig.ident,
                        _ => continue,
                    };
                    methods.insert((of.clone(), name_of(ident)), module);
                }
            }
        }
        Self(methods)
    }

    /// The module that defines a method of a type.
    pub(crate) fn definition(&self, of: &Target, method: &str) -> Option<ModuleId> {
        self.0.get(&(of.clone(), method.to_owned())).copied()
    }
}

/// The item of this crate that a type refers to.
pub(crate) fn type_of(source: &Crate, module: ModuleId, named: &Type) -> Option<Target> {
    let Type::Path(path) = named else { return None };
    let mut targets = resolve(source, module, &names(&path.path)).into_iter();
    targets.find(|target| matches!(target, Target::Item(..)))
}
