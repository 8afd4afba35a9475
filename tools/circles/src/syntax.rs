//! The declarations of a module in its source.

use std::collections::BTreeMap;
use std::rc::Rc;

use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Expr, ExprLit, Ident, Item, ItemMacro, ItemMod, ItemUse, Lit, Meta, Path, Token,
    UseTree,
};

/// The names of a path in the source. If the path begins with `::`, the first name is empty.
pub(crate) type Names = Vec<String>;

/// The content of a module, without the code that is compiled only for unit tests.
#[derive(Default)]
pub(crate) struct Body {
    /// All items other than modules.
    pub(crate) items: Vec<Item>,
    pub(crate) children: Vec<Child>,
    /// The declarations of each name, other than modules. There can be several: a type, a value
    /// and a macro. Names that are declared inside functions are included; that does not change
    /// the dependencies of the file.
    pub(crate) names: BTreeMap<String, Vec<Declaration>>,
    /// The modules and enums that are imported by a glob.
    pub(crate) globs: Vec<Names>,
    /// The names of the `macro_rules!` macros.
    pub(crate) macros: Vec<String>,
}

/// A declaration of a name in a module.
pub(crate) enum Declaration {
    /// An item that the module defines.
    Item,
    /// An import of this path.
    Import(Names),
}

/// The declaration of a child module.
pub(crate) struct Child {
    pub(crate) name: String,
    /// The value of `#[path = "…"]`.
    pub(crate) path: Option<String>,
    /// The content of an inline module; `None` if the module has its own file.
    pub(crate) body: Option<Rc<Body>>,
}

impl Body {
    pub(crate) fn parse(text: &str) -> syn::Result<Self> {
        Ok(Self::new(syn::parse_file(text)?.items))
    }

    fn new(items: Vec<Item>) -> Self {
        let mut body = Self::default();
        for item in items {
            if let Item::Mod(module) = item {
                body.children.extend(is_compiled(&module.attrs).then(|| Child::new(module)));
            } else {
                body.visit_item(&item);
                body.items.push(item);
            }
        }
        body
    }

    fn declare(&mut self, name: String, declaration: Declaration) {
        self.names.entry(name).or_default().push(declaration);
    }
}

impl Child {
    fn new(module: ItemMod) -> Self {
        Self {
            name: name_of(&module.ident),
            path: path_attribute(&module.attrs),
            body: module.content.map(|(_, items)| Rc::new(Body::new(items))),
        }
    }
}

impl<'ast> Visit<'ast> for Body {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_compiled(attributes(item)) {
            return;
        }
        let ident = match item {
            Item::Const(item) => Some(&item.ident),
            Item::Enum(item) => Some(&item.ident),
            Item::Fn(item) => Some(&item.sig.ident),
            Item::Macro(item) => item.ident.as_ref(),
            Item::Static(item) => Some(&item.ident),
            Item::Struct(item) => Some(&item.ident),
            Item::Trait(item) => Some(&item.ident),
            Item::TraitAlias(item) => Some(&item.ident),
            Item::Type(item) => Some(&item.ident),
            Item::Union(item) => Some(&item.ident),
            _ => None,
        };
        if let Some(ident) = ident {
            self.declare(name_of(ident), Declaration::Item);
        }
        if let Item::Macro(ItemMacro { ident: Some(ident), .. }) = item {
            self.macros.push(name_of(ident));
        }
        if let Item::Use(item) = item {
            for import in imports(item) {
                match import.name {
                    Some(name) => self.declare(name, Declaration::Import(import.path)),
                    None => self.globs.push(import.path),
                }
            }
        }
        visit::visit_item(self, item);
    }
}

/// A name or a glob in a `use`.
pub(crate) struct Import {
    pub(crate) path: Names,
    /// The name that is declared; `None` for a glob.
    pub(crate) name: Option<String>,
}

/// All names and globs in a `use`.
pub(crate) fn imports(item: &ItemUse) -> Vec<Import> {
    let mut imports = Vec::new();
    let start = item.leading_colon.as_ref().map(|_| String::new()).into_iter().collect();
    add_imports(&item.tree, start, &mut imports);
    imports
}

fn add_imports(tree: &UseTree, mut path: Names, imports: &mut Vec<Import>) {
    match tree {
        UseTree::Path(tree) => {
            path.push(name_of(&tree.ident));
            add_imports(&tree.tree, path, imports);
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                add_imports(tree, path.clone(), imports);
            }
        }
        UseTree::Glob(_) => imports.push(Import { path, name: None }),
        UseTree::Name(tree) => add_import(path, &tree.ident, None, imports),
        UseTree::Rename(tree) => add_import(path, &tree.ident, Some(&tree.rename), imports),
    }
}

fn add_import(mut path: Names, last: &Ident, rename: Option<&Ident>, imports: &mut Vec<Import>) {
    // `a::{self}` declares `a`.
    if last != "self" {
        path.push(name_of(last));
    }
    let name = rename.map(name_of).or_else(|| path.last().cloned());
    imports.push(Import { path, name });
}

/// The value of `#[path = "…"]`.
fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(path) if path.path.is_ident("path") => match &path.value {
            Expr::Lit(ExprLit { lit: Lit::Str(path), .. }) => Some(path.value()),
            _ => None,
        },
        _ => None,
    })
}

/// Whether code with these attributes is compiled outside of tests. Code that depends on a feature
/// or a platform counts as compiled.
pub(crate) fn is_compiled(attributes: &[Attribute]) -> bool {
    !attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args().is_ok_and(|condition| holds(&condition) == Some(false))
    })
}

/// Whether a `cfg` condition holds outside of tests; `None` if that is not known.
fn holds(condition: &Meta) -> Option<bool> {
    if condition.path().is_ident("test") || condition.path().is_ident("doctest") {
        return Some(false);
    }
    let Meta::List(list) = condition else { return None };
    let inner = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok()?;
    let mut inner = inner.iter().map(holds);
    if list.path.is_ident("not") {
        inner.next()?.map(|holds| !holds)
    } else if list.path.is_ident("all") {
        inner.any(|holds| holds == Some(false)).then_some(false)
    } else {
        inner.all(|holds| holds == Some(false)).then_some(false)
    }
}

/// The attributes of an item that is not a module.
pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The name without `r#`.
pub(crate) fn name_of(ident: &Ident) -> String {
    ident.unraw().to_string()
}

/// The names of a path.
pub(crate) fn names(path: &Path) -> Names {
    let start = path.leading_colon.as_ref().map(|_| String::new());
    start.into_iter().chain(path.segments.iter().map(|segment| name_of(&segment.ident))).collect()
}
