//! Finds all paths in the code of a module.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{
    Arm, Attribute, Block, Expr, ExprClosure, ExprForLoop, ExprIf, ExprLet, ExprMethodCall,
    ExprPath, ExprWhile, Field, GenericParam, ImplItem, Item, ItemImpl, ItemUse, LitStr, Local,
    Macro, Meta, PatIdent, Path, QSelf, Token, TraitItem, TypePath, VisRestricted, Visibility,
};

use crate::graph::Graph;
use crate::methods::{Methods, type_of};
use crate::modules::{Crate, ModuleId};
use crate::resolve::{Target, resolve};
use crate::syntax::{Names, attributes, imports, is_compiled, name_of, names};

/// Adds the dependencies of a module to the graph.
pub(crate) fn collect(source: &Crate, methods: &Methods, module: ModuleId, graph: &mut Graph) {
    let (of, scopes) = (None, Vec::new());
    let mut references = References { source, methods, module, graph, of, scopes };
    for item in &source.module(module).body.items {
        references.visit_item(item);
    }
}

struct References<'a> {
    source: &'a Crate,
    methods: &'a Methods,
    module: ModuleId,
    graph: &'a mut Graph,
    /// The type of `self`.
    of: Option<Target>,
    /// The variables and generic parameters of each scope. They hide declarations of the module.
    scopes: Vec<BTreeSet<String>>,
}

impl References<'_> {
    /// Adds the dependencies of a path.
    fn refer(&mut self, path: &[String]) {
        let ([first, ..], Some(last)) = (path, path.last()) else { return };
        if first == "Self" {
            self.refer_to_own(last);
            return;
        }
        // A variable does not hide a module; a generic parameter hides everything.
        let may_be_hidden = path.len() == 1 || is_capitalized(first);
        if may_be_hidden && self.scopes.iter().any(|scope| scope.contains(first)) {
            return;
        }
        for target in resolve(self.source, self.module, path) {
            let Target::Item(module, name) = &target else { continue };
            self.depend_on(*module, name);
            // A method in the file of its type adds no dependency.
            let method = self.methods.definition(&target, last);
            if let Some(method) = method.filter(|method| method != module) {
                self.depend_on(method, last);
            }
        }
    }

    /// Adds the dependency of a method of `self`, or of another associated item of `Self`.
    fn refer_to_own(&mut self, name: &str) {
        let of = self.of.as_ref();
        if let Some(module) = of.and_then(|of| self.methods.definition(of, name)) {
            self.depend_on(module, name);
        }
    }

    fn depend_on(&mut self, module: ModuleId, name: &str) {
        let file = |module| &self.source.module(module).file;
        self.graph.add(file(self.module), file(module), name);
    }

    /// Declares a variable or a generic parameter.
    fn bind(&mut self, name: String) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name);
        }
    }

    fn in_scope(&mut self, visit: impl FnOnce(&mut Self)) {
        self.scopes.push(BTreeSet::new());
        visit(self);
        self.scopes.pop();
    }

    /// Visits a path that may begin with `<T>::` or `<T as Trait>::`.
    fn visit_qualified(&mut self, of: Option<&QSelf>, path: &Path) {
        if let Some(of) = of {
            self.visit_qself(of);
        }
        if of.is_some_and(|of| of.position == 0) {
            // `<T>::item`: the path is an associated item, not an item of a module.
            visit::visit_path(self, path);
        } else {
            self.visit_path(path);
        }
    }

    /// Visits the arguments of a macro. Most are expressions or statements.
    fn visit_arguments(&mut self, tokens: TokenStream) {
        let expressions = Punctuated::<Expr, Token![,]>::parse_terminated;
        if let Ok(expressions) = expressions.parse2(tokens.clone()) {
            for expression in &expressions {
                self.visit_expr(expression);
            }
        } else if let Ok(statements) = Block::parse_within.parse2(tokens.clone()) {
            self.in_scope(|this| {
                for statement in &statements {
                    this.visit_stmt(statement);
                }
            });
        } else {
            self.visit_tokens(tokens);
        }
    }

    /// Visits tokens in a syntax that only their macro knows.
    fn visit_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        for tree in &tokens {
            if let TokenTree::Group(group) = tree {
                self.visit_arguments(group.stream());
            }
        }
        for path in paths(&tokens) {
            self.refer(&path);
        }
    }

    /// Visits the arguments of an attribute. A single name need not be a path, so only paths of
    /// several names count. Serde has paths in strings.
    fn visit_attribute_arguments(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut found = paths(&tokens);
        for tree in tokens {
            match tree {
                TokenTree::Group(group) => self.visit_attribute_arguments(group.stream()),
                TokenTree::Literal(literal) => {
                    let text = syn::parse2::<LitStr>(TokenTree::from(literal).into());
                    let path = text.and_then(|text| text.parse::<Path>());
                    found.extend(path.iter().map(names));
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
        for path in found.iter().filter(|path| path.len() > 1) {
            self.refer(path);
        }
    }
}

/// The paths in tokens, without those in groups. A call `self.method(…)` is the path
/// `Self::method`. Not included are fields, lifetimes, and the part of a path that follows generic
/// arguments, such as `new` in `Vec::<u8>::new`.
fn paths(tokens: &[TokenTree]) -> Vec<Names> {
    let is = |at: Option<usize>, punct: char| {
        let tree = at.and_then(|at| tokens.get(at));
        matches!(tree, Some(TokenTree::Punct(found)) if found.as_char() == punct)
    };
    let ident = |at: usize| match tokens.get(at) {
        Some(TokenTree::Ident(ident)) => Some(name_of(ident)),
        _ => None,
    };
    let mut paths = Vec::new();
    let mut next = 0;
    while next < tokens.len() {
        let start = next;
        next += 1;
        let Some(first) = ident(start) else { continue };
        let mut path = vec![first];
        while is(Some(next), ':')
            && is(Some(next + 1), ':')
            && let Some(name) = ident(next + 2)
        {
            path.push(name);
            next += 3;
        }
        if path == ["self"]
            && is(Some(next), '.')
            && let (Some(method), Some(TokenTree::Group(_))) =
                (ident(next + 1), tokens.get(next + 2))
        {
            path = vec!["Self".to_owned(), method];
        }
        let (previous, second_previous) = (start.checked_sub(1), start.checked_sub(2));
        let is_field = is(previous, '.') && !is(second_previous, '.');
        let is_rest = is(previous, ':') && is(second_previous, ':');
        let is_fragment = is(previous, '$') && !path.starts_with(&["crate".to_owned()]);
        let is_key = path.len() == 1
            && (is(Some(next), ':') && !is(Some(next + 1), ':')
                || is(Some(next), '=') && !is(Some(next + 1), '=') && !is(Some(next + 1), '>'));
        if !(is_field || is_rest || is_fragment || is_key || is(previous, '\'')) {
            paths.push(path);
        }
    }
    paths
}

fn is_capitalized(name: &str) -> bool {
    name.starts_with(char::is_uppercase)
}

impl<'ast> Visit<'ast> for References<'_> {
    fn visit_path(&mut self, path: &'ast Path) {
        self.refer(&names(path));
        visit::visit_path(self, path);
    }

    fn visit_expr_path(&mut self, node: &'ast ExprPath) {
        self.visit_qualified(node.qself.as_ref(), &node.path);
    }

    fn visit_type_path(&mut self, node: &'ast TypePath) {
        self.visit_qualified(node.qself.as_ref(), &node.path);
    }

    /// `pub(in path)` is not a dependency on the path.
    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}

    /// A re-export is not a dependency; a private import is one.
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let is_private = match &item.vis {
            Visibility::Public(_) => false,
            Visibility::Restricted(within) => within.path.is_ident("self"),
            Visibility::Inherited => true,
        };
        if is_private {
            for import in imports(item) {
                self.refer(&import.path);
            }
        }
    }

    fn visit_macro(&mut self, node: &'ast Macro) {
        let path = names(&node.path);
        let defined = path.last().and_then(|name| Some((self.source.macro_rules(name)?, name)));
        match defined {
            Some((module, name)) => self.depend_on(module, name),
            None => self.refer(&path),
        }
        self.visit_arguments(node.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        self.refer(&names(attribute.path()));
        if let Meta::List(list) = &attribute.meta {
            self.visit_attribute_arguments(list.tokens.clone());
        }
    }

    fn visit_item(&mut self, item: &'ast Item) {
        if is_compiled(attributes(item)) {
            self.in_scope(|this| visit::visit_item(this, item));
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let outer = self.of.take();
        self.of = type_of(self.source, self.module, &item.self_ty);
        visit::visit_item_impl(self, item);
        self.of = outer;
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        if matches!(&*call.receiver, Expr::Path(receiver) if receiver.path.is_ident("self")) {
            self.refer_to_own(&name_of(&call.method));
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes = match item {
            ImplItem::Const(item) => &item.attrs,
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            ImplItem::Macro(item) => &item.attrs,
            _ => return,
        };
        if is_compiled(attributes) {
            self.in_scope(|this| visit::visit_impl_item(this, item));
        }
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        self.in_scope(|this| visit::visit_trait_item(this, item));
    }

    fn visit_field(&mut self, field: &'ast Field) {
        if is_compiled(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_generic_param(&mut self, parameter: &'ast GenericParam) {
        match parameter {
            GenericParam::Type(parameter) => self.bind(name_of(&parameter.ident)),
            GenericParam::Const(parameter) => self.bind(name_of(&parameter.ident)),
            GenericParam::Lifetime(_) => {}
        }
        visit::visit_generic_param(self, parameter);
    }

    fn visit_pat_ident(&mut self, pattern: &'ast PatIdent) {
        let name = name_of(&pattern.ident);
        if is_capitalized(&name) {
            // A constant, not a variable.
            self.refer(&[name]);
        } else {
            self.bind(name);
        }
        visit::visit_pat_ident(self, pattern);
    }

    fn visit_block(&mut self, block: &'ast Block) {
        self.in_scope(|this| visit::visit_block(this, block));
    }

    fn visit_local(&mut self, local: &'ast Local) {
        if !is_compiled(&local.attrs) {
            return;
        }
        // The value first, because the variables of the pattern are not in its scope.
        if let Some(init) = &local.init {
            self.visit_local_init(init);
        }
        self.visit_pat(&local.pat);
    }

    fn visit_expr_let(&mut self, node: &'ast ExprLet) {
        self.visit_expr(&node.expr);
        self.visit_pat(&node.pat);
    }

    fn visit_expr_if(&mut self, node: &'ast ExprIf) {
        self.in_scope(|this| {
            this.visit_expr(&node.cond);
            this.visit_block(&node.then_branch);
        });
        if let Some((_, otherwise)) = &node.else_branch {
            self.visit_expr(otherwise);
        }
    }

    fn visit_expr_while(&mut self, node: &'ast ExprWhile) {
        self.in_scope(|this| visit::visit_expr_while(this, node));
    }

    fn visit_expr_for_loop(&mut self, node: &'ast ExprForLoop) {
        self.visit_expr(&node.expr);
        self.in_scope(|this| {
            this.visit_pat(&node.pat);
            this.visit_block(&node.body);
        });
    }

    fn visit_expr_closure(&mut self, node: &'ast ExprClosure) {
        self.in_scope(|this| visit::visit_expr_closure(this, node));
    }

    fn visit_arm(&mut self, arm: &'ast Arm) {
        if is_compiled(&arm.attrs) {
            self.in_scope(|this| visit::visit_arm(this, arm));
        }
    }
}
