//! The inherent methods and other associated items of types.

use std::collections::BTreeMap;

use syn::{ImplItem, Item, Type};

use crate::modules::{Crate, ModuleId};
use crate::resolve::{Target, resolve};
use crate::syntax::{attributes, is_compiled, name_of, names};

/// The module that defines each method. It may be another one than that of its type.
pub(crate) struct Methods(BTreeMap<(Target, String), ModuleId>);

impl Methods {
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

    pub(crate) fn definition(&self, of: &Target, method: &str) -> Option<ModuleId> {
        self.0.get(&(of.clone(), method.to_owned())).copied()
    }
}

/// The item of this crate that a type names.
pub(crate) fn type_of(source: &Crate, module: ModuleId, named: &Type) -> Option<Target> {
    let Type::Path(path) = named else { return None };
    let mut targets = resolve(source, module, &names(&path.path)).into_iter();
    targets.find(|target| matches!(target, Target::Item(..)))
}
