//! Finds circular dependencies between the source files of each crate in the workspace.
//!
//! File A depends on file B if A names an item that B defines: in a `use`, as a path in its code,
//! or as a method of `self`. Two files that depend on each other, directly or indirectly, are a
//! circle.
//!
//! Re-exports are followed to the definition. So a `mod.rs` that only declares and re-exports its
//! children does not depend on them, and the children may use each other through it. Not counted as
//! a dependency: `mod`, a re-export, and code that is compiled only for unit tests.
//!
//! ```text
//!  root files ─► syntax, modules ─► resolve, methods ─► references ─► graph ─► report
//! ```
//!
//! | module | what it contains |
//! |---|---|
//! | `syntax` | the declarations of a module in its source |
//! | `modules` | the modules of a crate, loaded from its files |
//! | `resolve` | from a path to the module that defines the named item |
//! | `methods` | the inherent methods of types, which may be in another file than the type |
//! | `references` | all paths in the code of a module |
//! | `graph` | the dependencies between files, and the circles among them |
//!
//! The tool knows names, not types. It does not find methods that are called on other values than
//! `self`, traits that are imported by a glob or through a re-export and used only for their
//! methods, or code that macros generate.

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use graph::Graph;
use methods::Methods;
use modules::{Crate, Files};

mod graph;
mod methods;
mod modules;
mod references;
mod resolve;
mod syntax;
#[cfg(test)]
mod tests;

const USAGE: &str = "\
Usage: circles [--edges]
Finds circular dependencies between the source files of each crate in the workspace.
  --edges  list the dependencies between the top-level files and folders of each crate";

fn main() -> ExitCode {
    match check() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "circles: {error}");
            ExitCode::from(2)
        }
    }
}

/// Reports the circles in the workspace. Returns `true` if there is none.
fn check() -> Result<bool, Box<dyn Error>> {
    let with_edges = match env::args().nth(1).as_deref() {
        None => false,
        Some("--edges") => true,
        Some(_) => return Err(USAGE.into()),
    };
    let workspace = env::current_dir()?;
    let read = |file: &Path| fs::read_to_string(file);
    let mut files = Files::new(&read);
    let mut report = Vec::new();
    // A set, because tests share files: a circle between shared files is reported once.
    let mut circles = BTreeSet::new();
    for root in crate_roots()? {
        let root = root.strip_prefix(&workspace).unwrap_or(&root);
        let graph = dependencies(root, &mut files)?;
        if with_edges && root.parent().is_some_and(|folder| folder.ends_with("src")) {
            let summary = graph.summary(root);
            if !summary.is_empty() {
                report.push(section(&root.display().to_string(), &summary));
            }
        }
        circles.extend(graph.circles());
    }
    let title = "These files depend on each other:";
    report.extend(circles.iter().map(|circle| section(title, circle)));
    io::stdout().write_all(report.join("\n").as_bytes())?;
    Ok(circles.is_empty())
}

fn section(title: &str, lines: &[String]) -> String {
    let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
    format!("{title}\n{lines}")
}

/// The dependencies between the files of a crate.
fn dependencies(root: &Path, files: &mut Files<'_>) -> Result<Graph, modules::LoadError> {
    let source = Crate::load(root, files)?;
    let methods = Methods::of(&source);
    let mut graph = Graph::default();
    for module in source.ids() {
        references::collect(&source, &methods, module, &mut graph);
    }
    Ok(graph)
}

/// The root files of all targets of the workspace.
fn crate_roots() -> Result<BTreeSet<PathBuf>, Box<dyn Error>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["metadata", "--no-deps", "--format-version", "1"];
    let output = Command::new(cargo).args(arguments).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let metadata = String::from_utf8(output.stdout)?;
    // Parsed without a JSON library: Cargo determines the keys, and a path with characters that
    // JSON escapes is reported as a file that cannot be read.
    let roots = metadata.split(r#""src_path":""#).skip(1);
    Ok(roots.filter_map(|rest| rest.split('"').next()).map(PathBuf::from).collect())
}
