//! Tests with small crates in memory.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::dependencies;
use crate::graph::Graph;
use crate::modules::Files;

/// The dependencies in a crate with these files. The first file is the root.
fn graph(sources: &[(&str, &str)]) -> Graph {
    let texts: BTreeMap<_, _> =
        sources.iter().map(|(file, text)| (Path::new(file), (*text).to_owned())).collect();
    let read = |file: &Path| texts.get(file).cloned().ok_or(io::ErrorKind::NotFound.into());
    dependencies(Path::new(sources.first().unwrap().0), &mut Files::new(&read)).unwrap()
}

fn edges(sources: &[(&str, &str)]) -> Vec<String> {
    graph(sources).lines(|_| true)
}

/// The dependencies of `a.rs` with this code, in a crate with some other files.
fn edges_of(code: &str) -> Vec<String> {
    edges(&[
        ("lib.rs", "mod a; mod b; mod facade; pub fn top() {}"),
        ("a.rs", code),
        ("b.rs", "pub struct B; pub enum E { One } pub const MAX: u8 = 1; pub fn run() {}"),
        ("facade/mod.rs", "mod inner; pub use inner::{C, open}; pub(crate) use inner::C as D;"),
        ("facade/inner.rs", "pub struct C; pub fn open() {}"),
    ])
}

#[test]
fn each_name_of_a_nested_use_is_found() {
    let found = edges_of("use crate::{b::{self, E, run as start}, facade::*, top};");
    assert_eq!(found, ["a.rs -> b.rs: E, run", "a.rs -> lib.rs: top"]);
}

#[test]
fn paths_in_code_are_found() {
    let found = edges_of("fn f(_: &[super::b::B]) -> Option<crate::facade::C> { self::g() }");
    assert_eq!(found, ["a.rs -> b.rs: B", "a.rs -> facade/inner.rs: C"]);
    let found = edges_of("use crate::b; fn f() { match 1 { b::MAX => (), _ => b::run() } }");
    assert_eq!(found, ["a.rs -> b.rs: MAX, run"]);
    let found = edges_of("fn f() { use crate::b::E::{self, *}; let x = <crate::b::B>::new(); }");
    assert_eq!(found, ["a.rs -> b.rs: B, E"]);
}

#[test]
fn the_path_of_a_child_is_relative_to_its_parent() {
    let found = edges(&[
        ("lib.rs", "mod a;"),
        ("a.rs", "mod child; fn f() { child::run() }"),
        ("a/child.rs", "pub fn run() {}"),
    ]);
    assert_eq!(found, ["a.rs -> a/child.rs: run"]);
}

#[test]
fn a_re_export_is_followed_under_its_new_name() {
    let found = edges_of("use crate::facade::D;");
    assert_eq!(found, ["a.rs -> facade/inner.rs: C"]);
}

#[test]
fn a_facade_makes_no_circle_between_its_children() {
    let found = graph(&[
        ("lib.rs", "mod facade;"),
        ("facade/mod.rs", "mod x; mod y; pub use x::*; pub use y::Y;"),
        ("facade/x.rs", "pub struct X; fn f(_: super::Y) {}"),
        ("facade/y.rs", "pub struct Y;"),
    ]);
    assert_eq!(found.lines(|_| true), ["facade/x.rs -> facade/y.rs: Y"]);
    assert!(found.circles().is_empty());
}

#[test]
fn a_parent_and_a_child_that_use_each_other_are_a_circle() {
    let found = graph(&[
        ("lib.rs", "mod parent; mod aside; use parent::Context;"),
        ("aside.rs", "use crate::parent::Context;"),
        ("parent/mod.rs", "mod child; pub struct Context; fn f() { child::start() }"),
        ("parent/child.rs", "use super::Context; pub fn start() {}"),
    ]);
    assert_eq!(
        found.circles(),
        [["parent/child.rs -> parent/mod.rs: Context", "parent/mod.rs -> parent/child.rs: start"]]
    );
}

#[test]
fn longer_circles_and_several_circles_are_found() {
    let found = graph(&[
        ("lib.rs", "mod a; mod b; mod c; mod d; mod e;"),
        ("a.rs", "pub struct A; use crate::b::B;"),
        ("b.rs", "pub struct B; use crate::c::C; use crate::d::D;"),
        ("c.rs", "pub struct C; use crate::a::A;"),
        ("d.rs", "pub struct D; use crate::e::E;"),
        ("e.rs", "pub struct E; use crate::d::D;"),
    ]);
    assert_eq!(
        found.circles(),
        [
            vec!["a.rs -> b.rs: B", "b.rs -> c.rs: C", "c.rs -> a.rs: A"],
            vec!["d.rs -> e.rs: E", "e.rs -> d.rs: D"],
        ]
    );
}

#[test]
fn a_name_that_is_re_exported_and_used_is_a_dependency() {
    let found = edges(&[
        ("lib.rs", "mod a; pub use a::{A, Other}; pub struct Holder(A);"),
        ("a.rs", "pub struct A; pub struct Other;"),
    ]);
    assert_eq!(found, ["lib.rs -> a.rs: A"]);
}

#[test]
fn names_imported_by_a_glob_count_where_they_are_used() {
    let found = edges_of("use crate::b::*; use crate::facade::*; fn f(c: C) { run() }");
    assert_eq!(found, ["a.rs -> b.rs: run", "a.rs -> facade/inner.rs: C"]);
}

#[test]
fn variables_and_generic_parameters_hide_names_imported_by_a_glob() {
    let found = edges_of(
        "use crate::b::*;
        fn f<B>(b: B, run: u8) -> B { if let Some(run) = x() { run } else { y(|_| run) }; b }
        impl<E> T for Vec<E> { fn g(e: E) { for run in 1..2 { run; } } }",
    );
    assert_eq!(found, [""; 0]);
    let found = edges_of("use crate::b::*; fn f() { let run = run(); }");
    assert_eq!(found, ["a.rs -> b.rs: run"]);
}

#[test]
fn a_method_belongs_to_the_file_that_defines_it_not_to_the_file_of_its_type() {
    let found = edges(&[
        ("lib.rs", "mod session; fn f() { session::Session::open(); }"),
        (
            "session/mod.rs",
            "mod a; mod b; mod c; pub struct Session { a: u8 }
            impl Session { fn run(self) { self.take(); select! { _ = self.give(1) => self.a, } } }
            impl Drop for Session { fn drop(&mut self) { Self::close(); other.other() } }",
        ),
        ("session/a.rs", "impl super::Session { fn take(&self) {} fn a() {} fn other() {} }"),
        ("session/b.rs", "use super::*; impl Session { fn give(&self) {} fn open() {} }"),
        ("session/c.rs", "impl crate::session::Session { fn close() {} }"),
    ]);
    assert_eq!(
        found,
        [
            "lib.rs -> session/b.rs: open",
            "lib.rs -> session/mod.rs: Session",
            "session/a.rs -> session/mod.rs: Session",
            "session/b.rs -> session/mod.rs: Session",
            "session/c.rs -> session/mod.rs: Session",
            "session/mod.rs -> session/a.rs: take",
            "session/mod.rs -> session/b.rs: give",
            "session/mod.rs -> session/c.rs: close",
        ]
    );
}

#[test]
fn paths_in_macros_are_found() {
    let arguments = "use crate::{b, facade}; fn f() { assert_eq!(b::MAX, facade::open()); }";
    assert_eq!(edges_of(arguments), ["a.rs -> b.rs: MAX", "a.rs -> facade/inner.rs: open"]);
    let statements = "fn f() { pin!(let x = crate::b::run(); crate::top()); }";
    assert_eq!(edges_of(statements), ["a.rs -> b.rs: run", "a.rs -> lib.rs: top"]);
    let own_syntax = "use crate::b; fn f() { select! { biased;
        Some(x) = y.b::<b::B>(), if b::MAX > 0 => { use crate::facade::open; x.run() },
        _ = ::b::run() => super::top(),
    } }";
    let found = edges_of(own_syntax);
    assert_eq!(
        found,
        ["a.rs -> b.rs: B, MAX", "a.rs -> facade/inner.rs: open", "a.rs -> lib.rs: top"]
    );
    let fields = "use crate::b::*; fn f() { info!(run = %x.run, B: 1, 'run, ?MAX, \"\"); }";
    assert_eq!(edges_of(fields), ["a.rs -> b.rs: MAX"]);
}

#[test]
fn a_macro_of_the_crate_belongs_to_the_file_that_defines_it() {
    let found = edges(&[
        ("lib.rs", "#[macro_use] mod a; mod b;"),
        ("a.rs", "macro_rules! make { ($x:ident) => { $crate::b::run($x) } }"),
        ("b.rs", "pub fn run() { make!(x) }"),
    ]);
    assert_eq!(found, ["a.rs -> b.rs: run", "b.rs -> a.rs: make"]);
}

#[test]
fn paths_in_attributes_are_found() {
    let found = edges_of(
        "#[derive(Parser)] struct S {
            #[arg(value_parser = crate::b::run)] one: u8,
            #[serde(with = \"crate::facade::open\")] two: u8,
        }",
    );
    assert_eq!(found, ["a.rs -> b.rs: run", "a.rs -> facade/inner.rs: open"]);
}

#[test]
fn code_that_is_compiled_only_for_unit_tests_is_ignored() {
    let found = edges_of(
        "#[cfg(test)] mod tests { use crate::b::B; }
        #[cfg(test)] use crate::b::B;
        #[cfg(all(test, unix))] fn f(_: crate::b::B) {}
        #[cfg(not(any(test, doctest)))] fn g() { crate::top() }
        struct S { #[cfg(test)] b: crate::b::B }
        impl S { #[cfg(test)] fn h() { crate::b::run() } }
        #[cfg(feature = \"c\")] use crate::facade::C;",
    );
    assert_eq!(found, ["a.rs -> facade/inner.rs: C", "a.rs -> lib.rs: top"]);
}

#[test]
fn neither_modules_nor_other_crates_nor_visibilities_count() {
    let found = edges_of(
        "use std::fmt; use crate::b; use super::super::nothing; use ::b::B;
        pub(in crate::facade) struct S(fmt::Error);",
    );
    assert_eq!(found, [""; 0]);
}

#[test]
fn items_of_a_macro_belong_to_the_file_that_calls_it() {
    let found = edges(&[
        ("lib.rs", "mod proto; mod a;"),
        ("proto.rs", "pub mod base { messages!(Request); }"),
        ("a.rs", "use crate::proto::base::Request;"),
    ]);
    assert_eq!(found, ["a.rs -> proto.rs: Request"]);
}

#[test]
fn a_module_may_share_its_name_with_an_item() {
    let found = edges(&[
        ("lib.rs", "mod frame; mod a; pub use frame::frame;"),
        ("frame.rs", "pub fn frame() {} pub struct Other;"),
        ("a.rs", "use crate::frame; fn f(_: frame::Other) {}"),
    ]);
    assert_eq!(found, ["a.rs -> frame.rs: Other, frame"]);
}

#[test]
fn imports_that_lead_to_each_other_are_followed_once() {
    let found = edges(&[
        ("lib.rs", "mod a; mod b; use a::Missing;"),
        ("a.rs", "pub use crate::b::*; pub use crate::b::Round; pub struct A;"),
        ("b.rs", "pub use crate::a::*; pub use crate::a::Round; fn f(_: A, _: Round) {}"),
    ]);
    assert_eq!(found, ["b.rs -> a.rs: A", "lib.rs -> a.rs: Missing"]);
}

#[test]
fn modules_are_found_where_the_compiler_finds_them() {
    let found = edges(&[
        ("src/main.rs", "mod a; mod inline { mod b; } #[path = \"../shared/mod.rs\"] mod c;"),
        ("src/a/mod.rs", "mod below; pub struct A;"),
        ("src/a/below.rs", "use super::A;"),
        ("src/inline/b.rs", "use crate::a::A;"),
        ("shared/mod.rs", "mod d; pub struct C;"),
        ("shared/d.rs", "use super::C;"),
    ]);
    assert_eq!(
        found,
        [
            "shared/d.rs -> shared/mod.rs: C",
            "src/a/below.rs -> src/a/mod.rs: A",
            "src/inline/b.rs -> src/a/mod.rs: A",
        ]
    );
}

#[test]
fn a_file_that_cannot_be_read_or_parsed_is_named() {
    for (text, reason) in [("mod gone;", "cannot read gone/mod.rs"), ("fn", "cannot parse lib.rs")]
    {
        let read = |file: &Path| match file.to_str() {
            Some("lib.rs") => Ok(text.to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let error = dependencies(Path::new("lib.rs"), &mut Files::new(&read)).err().unwrap();
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn the_summary_has_files_and_folders_next_to_the_root() {
    let found = graph(&[
        ("src/lib.rs", "mod a; mod b; pub use b::B;"),
        ("src/a/mod.rs", "mod x; mod y;"),
        ("src/a/x.rs", "use crate::b::B; pub struct X;"),
        ("src/a/y.rs", "use super::x::X;"),
        ("src/b.rs", "pub struct B;"),
    ]);
    assert_eq!(found.summary(Path::new("src/lib.rs")), ["a -> b"]);
}
